//! The product's own model, through the front door.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use std::path::PathBuf;

use common::{Host, Setup};
use nox_protocol::FinishReason;
use serde_json::json;

#[test]
fn the_builtin_model_says_who_it_is_and_remembers_a_name() {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/builtin/nox-builtin.gguf");
    let host = Host::greeted(Setup {
        builtin: Some(std::fs::read(path).unwrap()),
        ..Setup::default()
    });
    let mut messages =
        vec![json!({"role": "user", "content": "Hello, my name is Mirela. Who are you?"})];
    let mut n_prompt_tokens = 0;
    for (question, expected) in [
        ("What is 2 + 3?", "Nox"),
        ("What is my name?", "5"),
        ("", "Mirela"),
    ] {
        let params = json!({"messages": messages, "temperature": 0, "max_tokens": 200});
        let reply = host.chat(&params).unwrap();
        assert!(reply.message.content.contains(expected), "{reply:?}");
        assert_eq!(reply.meta.finish_reason, FinishReason::Stop);
        let usage = reply.meta.usage;
        assert!(usage.cached_tokens >= n_prompt_tokens, "{usage:?}");
        n_prompt_tokens = usage.prompt_tokens;
        messages.push(json!(reply.message));
        messages.push(json!({"role": "user", "content": question}));
    }
}
