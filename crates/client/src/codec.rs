//! How gloo-worker's messages travel: as `{ gloo: … }`, so that they can't be taken
//! for the JSON-RPC frames of other hosts.

use std::cell::RefCell;

use gloo_worker::Codec;
use js_sys::{Object, Reflect};
use serde::{Deserialize, Serialize};
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::JsValue;

/// The one key of a message.
const KEY: &str = "gloo";

/// Plain objects by serde-wasm-bindgen.
///
/// gloo-worker's decoding can't fail, but a worker and its page post other messages
/// too. What is not gloo-worker's goes to [`GlooCodec::on_stray`]'s handler, and
/// gloo-worker gets a message that changes nothing.
#[derive(Debug, Clone, Copy)]
pub struct GlooCodec;

type StrayHandler = Box<dyn Fn(&JsValue)>;

thread_local! {
    static STRAY: RefCell<Option<StrayHandler>> = const { RefCell::new(None) };
}

impl GlooCodec {
    /// Whether a message is one of gloo-worker's.
    pub fn is_gloo(message: &JsValue) -> bool {
        message.is_object() && Reflect::has(message, &KEY.into()).unwrap_or(false)
    }

    /// Sets who gets the messages that are not gloo-worker's.
    pub(crate) fn on_stray(handler: impl Fn(&JsValue) + 'static) {
        STRAY.with(|stray| stray.replace(Some(Box::new(handler))));
    }
}

impl Codec for GlooCodec {
    fn encode<I: Serialize>(input: I) -> JsValue {
        let message = Object::new();
        // Only a number beyond 2^53 can't be written, and no wire type holds one.
        let value = input
            .serialize(&Serializer::json_compatible())
            .unwrap_or(JsValue::NULL);
        // Setting a key of a new object can't fail.
        let _ = Reflect::set(&message, &KEY.into(), &value);
        message.into()
    }

    fn decode<O: for<'de> Deserialize<'de>>(message: JsValue) -> O {
        let content = Reflect::get(&message, &KEY.into()).unwrap_or(JsValue::UNDEFINED);
        if let Ok(decoded) = serde_wasm_bindgen::from_value(content) {
            return decoded;
        }
        STRAY.with_borrow(|stray| {
            if let Some(handler) = stray {
                handler(&message);
            }
        });
        no_op()
    }
}

/// A message of gloo-worker that changes nothing: to a page, that the worker has
/// loaded; to a worker, that a page which never was has left.
///
/// # Panics
/// For a type that is not gloo-worker's.
fn no_op<O: for<'de> Deserialize<'de>>() -> O {
    const NOBODY: f64 = 4_294_967_295.0;
    let left = Object::new();
    let _ = Reflect::set(&left, &"Disconnected".into(), &NOBODY.into());
    serde_wasm_bindgen::from_value("WorkerLoaded".into())
        .or_else(|_| serde_wasm_bindgen::from_value(left.into()))
        .expect("gloo-worker's own messages have these variants")
}
