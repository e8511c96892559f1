//! A page in Rust: starts the worker, says hello, streams replies.
//!
//! Built for `wasm32-unknown-unknown` and passed through wasm-bindgen (`--target
//! web`), its script goes on with it like this:
//!
//! ```js
//! const nox = await Nox.open("/runtime/worker.js");
//! const result = await nox.ask("Hello", undefined, (piece) => console.log(piece));
//! ```

#![cfg(target_arch = "wasm32")]

use futures::StreamExt;
use js_sys::Function;
use nox_client::{ChatEvent, NoxClient};
use nox_protocol::{HandleChatParams, HelloResult, HostInfo, RequestMessage, RpcError};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

/// A runtime in a worker of its own.
#[wasm_bindgen]
pub struct Nox {
    client: NoxClient,
    runtime: HelloResult,
}

#[wasm_bindgen]
impl Nox {
    /// Starts a runtime and says hello.
    ///
    /// # Errors
    /// The runtime can't start, or speaks another protocol.
    pub async fn open(worker_url: &str) -> Result<Self, JsValue> {
        let client = NoxClient::spawn(worker_url);
        let host = HostInfo {
            name: "page".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let runtime = client.hello(host).await.map_err(|error| to_error(&error))?;
        Ok(Self { client, runtime })
    }

    /// What the runtime said of itself, a `HelloResult`.
    ///
    /// # Errors
    /// None: wire types can be written as objects.
    pub fn runtime(&self) -> Result<JsValue, JsValue> {
        to_object(&self.runtime)
    }

    /// Asks one question; gives the `HandleChatResult`. `on_text` gets the reply piece
    /// by piece, and ends it early by returning `false`.
    ///
    /// # Errors
    /// What the runtime answers instead of a reply, or what `on_text` throws.
    pub async fn ask(
        &self,
        question: String,
        model: Option<String>,
        on_text: Function,
    ) -> Result<JsValue, JsValue> {
        let params = HandleChatParams {
            messages: vec![RequestMessage {
                role: "user".to_owned(),
                content: question.into(),
            }],
            model,
            temperature: Some(0.0),
            stream: Some(true),
            ..HandleChatParams::default()
        };
        let mut call = self
            .client
            .handle_chat(&params)
            .map_err(|error| to_error(&error))?;
        let mut result = JsValue::UNDEFINED;
        while let Some(event) = call.next().await {
            match event.map_err(|error| to_error(&error))? {
                ChatEvent::Progress(_) => {}
                ChatEvent::Delta(delta) => {
                    let answer = on_text.call1(&JsValue::NULL, &delta.text.into())?;
                    if answer == JsValue::FALSE {
                        call.cancel();
                    }
                }
                ChatEvent::Done(reply) => result = to_object(&reply)?,
            }
        }
        Ok(result)
    }
}

fn to_object(value: &impl Serialize) -> Result<JsValue, JsValue> {
    Ok(value.serialize(&Serializer::json_compatible())?)
}

fn to_error(error: &RpcError) -> JsValue {
    js_sys::Error::new(&error.message).into()
}
