//! Messages into prompts that fit the context.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;
mod tiny;

use nox_engine::template::{ChatMessage, TemplateError};
use nox_engine::{EngineError, LoadOptions, Model, PromptOptions};
use tiny::Tiny;

fn model(n_ctx: usize) -> Model {
    Tiny::default().load_with(LoadOptions {
        n_ctx: Some(n_ctx),
        ..tiny::single_threaded()
    })
}

/// A system message and `n_turns` turns, each message some 30 tokens long.
fn conversation(n_turns: usize) -> Vec<ChatMessage> {
    let mut messages = vec![ChatMessage::new("system", "be brief")];
    for turn in 0..n_turns {
        messages.push(ChatMessage::new("user", format!("question {turn:02}")));
        messages.push(ChatMessage::new("assistant", format!("answer {turn:02}")));
    }
    messages.push(ChatMessage::new("user", "the last question"));
    messages
}

#[test]
fn a_short_conversation_stays_whole() {
    let messages = conversation(2);
    let prompt = model(512)
        .prompt(&messages, &PromptOptions::default())
        .unwrap();
    assert_eq!(prompt.n_dropped, 0);
    for message in &messages {
        assert!(prompt.text.contains(&message.content));
    }
    assert!(prompt.text.ends_with("<|im_start|>assistant\n"));
}

#[test]
fn the_oldest_turns_go_first_and_as_few_as_possible() {
    let messages = conversation(20);
    for (n_ctx, reserve_tokens) in [(100, 0), (150, 30), (200, 1000), (300, 50)] {
        let model = model(n_ctx);
        let options = PromptOptions {
            reserve_tokens,
            ..PromptOptions::default()
        };
        let prompt = model.prompt(&messages, &options).unwrap();
        let room = n_ctx - reserve_tokens.min(n_ctx / 2);
        assert!(prompt.tokens.len() <= room);
        assert!(prompt.text.contains("be brief"), "the system message stays");
        assert!(prompt.text.contains("the last question"));
        assert!(
            prompt.n_dropped > 0 && prompt.n_dropped.is_multiple_of(2),
            "whole turns go"
        );
        let n_kept_turns = 20 - prompt.n_dropped / 2;
        for turn in 0..20 {
            let is_kept = prompt.text.contains(&format!("question {turn:02}"));
            assert_eq!(is_kept, turn >= 20 - n_kept_turns);
        }
        // With one turn more it would not have fitted.
        let mut one_more = messages.clone();
        one_more.drain(1..1 + prompt.n_dropped - 2);
        let whole = self::model(512)
            .prompt(&one_more, &PromptOptions::default())
            .unwrap();
        assert!(whole.tokens.len() > room);
    }
}

#[test]
fn a_message_that_cannot_fit_is_an_error_with_figures() {
    let model = model(64);
    let messages = [
        ChatMessage::new("user", "short"),
        ChatMessage::new("assistant", "short"),
        ChatMessage::new("user", "long ".repeat(100)),
    ];
    for messages in [&messages[..], &messages[2..]] {
        let error = model
            .prompt(messages, &PromptOptions::default())
            .unwrap_err();
        assert!(
            matches!(error, EngineError::ContextOverflow { needed, n_ctx: 64 } if needed > 500 && needed < 600),
            "{error}"
        );
    }
}

#[test]
fn a_model_without_a_template_says_so() {
    let without_template = Tiny::default().gguf();
    // The same file with another key in the template's place.
    let key = b"tokenizer.chat_template";
    let at = without_template
        .windows(key.len())
        .position(|window| window == key)
        .unwrap();
    let mut file = without_template;
    file[at..at + key.len()].copy_from_slice(b"tokenizer.chat_templaXX");
    let loader = nox_engine::ModelLoader::new(file, tiny::single_threaded()).unwrap();
    let model = loader.load().unwrap();
    let error = model
        .prompt(&conversation(1), &PromptOptions::default())
        .unwrap_err();
    assert!(matches!(
        error,
        EngineError::Template(TemplateError::Missing)
    ));
    assert!(model.template().is_err());
}
