//! Text in, tokens out; messages in, prompt out.

use std::path::Path;

use anyhow::{Context as _, Result};
use nox_engine::gguf::Gguf;
use nox_engine::template::{ChatMessage, ChatTemplate, RenderOptions};
use nox_engine::tokenizer::{SpecialTokens, Tokenizer};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::file;

pub(crate) fn tokenize(path: &Path, parse_special: bool) -> Result<Value> {
    let tokenizer = Tokenizer::from_gguf(&file::read_header(path)?)?;
    let special = match parse_special {
        true => SpecialTokens::Parse,
        false => SpecialTokens::AsText,
    };
    let ids = tokenizer.encode(&file::read_stdin()?, special)?;
    Ok(json!({ "ids": ids }))
}

pub(crate) fn template(path: &Path, now: Option<i64>) -> Result<Value> {
    let gguf = file::read_header(path)?;
    let template = ChatTemplate::from_gguf(&gguf)?;
    let conversation = Conversation::parse(&file::read_stdin()?)?;
    let (bos_token, eos_token) = boundary_tokens(&gguf);
    let options = RenderOptions {
        add_generation_prompt: conversation.add_generation_prompt.unwrap_or(true),
        bos_token: conversation.bos_token.unwrap_or(bos_token),
        eos_token: conversation.eos_token.unwrap_or(eos_token),
        now_unix_s: Some(now.unwrap_or_else(file::now_unix_s)),
        extra: conversation.extra,
    };
    let prompt = template.render(&conversation.messages, &options)?;
    Ok(json!({ "prompt": prompt }))
}

/// The texts of BOS and EOS. A template can be looked at even where the
/// tokenizer cannot be used.
fn boundary_tokens(gguf: &Gguf) -> (String, String) {
    match Tokenizer::from_gguf(gguf) {
        Ok(tokenizer) => {
            let text_of = |id: Option<u32>| id.map_or("", |id| tokenizer.token_text(id)).to_owned();
            (text_of(tokenizer.bos()), text_of(tokenizer.eos()))
        }
        Err(error) => {
            eprintln!("warning: BOS and EOS are taken to be empty: {error}");
            Default::default()
        }
    }
}

/// Messages with what else a template is given.
#[derive(Deserialize)]
pub(crate) struct Conversation {
    pub(crate) messages: Vec<ChatMessage>,
    pub(crate) add_generation_prompt: Option<bool>,
    bos_token: Option<String>,
    eos_token: Option<String>,
    #[serde(flatten)]
    pub(crate) extra: Map<String, Value>,
}

impl Conversation {
    /// From a JSON array of messages, or an object that has one.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).context("the messages are not JSON")?;
        let object = match value {
            Value::Array(messages) => json!({ "messages": messages }),
            other => other,
        };
        serde_json::from_value(object).context(
            "the messages are neither an array of {\"role\", \"content\"} nor an object with \"messages\"",
        )
    }
}
