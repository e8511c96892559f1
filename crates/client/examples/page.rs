//! A Rust page in one function: starts the worker, says hello, streams a reply.
//!
//! Built for `wasm32-unknown-unknown` and passed through wasm-bindgen (`--target
//! web`), a page's script calls it as
//! `await ask("/runtime/worker.js", "Hello", (piece) => console.log(piece))`.

#![cfg(target_arch = "wasm32")]

use futures::StreamExt;
use js_sys::Function;
use nox_client::{ChatEvent, NoxClient};
use nox_protocol::{HandleChatParams, HostInfo, RequestMessage, RpcError};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

/// Asks one question in a new runtime; `on_text` gets the reply piece by piece.
///
/// # Errors
/// What the runtime answers instead of a reply.
#[wasm_bindgen]
pub async fn ask(worker_url: &str, question: &str, on_text: &Function) -> Result<String, JsValue> {
    let reply = reply(worker_url, question, |text| {
        // What the page does with it is the page's matter.
        let _ = on_text.call1(&JsValue::NULL, &text.into());
    });
    reply
        .await
        .map_err(|error| js_sys::Error::new(&error.message).into())
}

async fn reply(
    worker_url: &str,
    question: &str,
    mut on_text: impl FnMut(&str),
) -> Result<String, RpcError> {
    let nox = NoxClient::spawn(worker_url);
    let host = HostInfo {
        name: "page".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    nox.hello(host).await?;
    let params = HandleChatParams {
        messages: vec![RequestMessage {
            role: "user".to_owned(),
            content: question.into(),
        }],
        temperature: Some(0.0),
        stream: Some(true),
        ..HandleChatParams::default()
    };
    let mut call = nox.handle_chat(&params)?;
    let mut content = String::new();
    while let Some(event) = call.next().await {
        match event? {
            ChatEvent::Progress(_) => {}
            ChatEvent::Delta(delta) => on_text(&delta.text),
            ChatEvent::Done(result) => content = result.message.content,
        }
    }
    Ok(content)
}
