//! Where in a file the chat template is found.
#![allow(clippy::unwrap_used)] // helpers fail the test that calls them

mod common;

use common::GgufWriter;
use nox_engine::gguf::Gguf;
use nox_engine::template::{ChatMessage, ChatTemplate, RenderOptions, TemplateError};

fn read(writer: GgufWriter) -> Result<ChatTemplate, TemplateError> {
    ChatTemplate::from_gguf(&Gguf::read(&writer.finish()).unwrap())
}

fn render(template: &ChatTemplate) -> String {
    let messages = [ChatMessage::new("user", "Hi")];
    template
        .render(&messages, &RenderOptions::default())
        .unwrap()
}

#[test]
fn the_template_without_a_name_is_the_one_that_counts() {
    let named = || {
        GgufWriter::new()
            .str("tokenizer.chat_template.tool_use", "tools")
            .str("tokenizer.chat_template.default", "named")
    };
    let both = named().str("tokenizer.chat_template", "{{ messages[0].role }}: plain");
    assert_eq!(render(&read(both).unwrap()), "user: plain");
    assert_eq!(render(&read(named()).unwrap()), "named");
}

#[test]
fn a_file_without_a_template_says_so() {
    let error = read(GgufWriter::new().str("general.architecture", "llama")).unwrap_err();
    assert!(matches!(error, TemplateError::Missing));
    assert!(error.to_string().contains("no chat template"), "{error}");
}

#[test]
fn what_is_no_template_is_refused() {
    let key = "tokenizer.chat_template";
    assert!(matches!(
        read(GgufWriter::new().u32(key, 1)),
        Err(TemplateError::Gguf(_))
    ));
    assert!(matches!(
        read(GgufWriter::new().raw(key, 8, &common::string(b"{{ '\xFF' }}"))),
        Err(TemplateError::Gguf(_))
    ));
    assert!(matches!(
        read(GgufWriter::new().str(key, "{{")),
        Err(TemplateError::Syntax(_))
    ));
}
