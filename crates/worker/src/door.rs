//! The postMessage door: JSON-RPC frames as objects or as JSON text.
//!
//! Its listener is installed before gloo-worker's and takes every message that is
//! not gloo-worker's, so that a stray one never gets there. A host is answered in
//! the way in which it spoke last.

use std::cell::Cell;
use std::rc::Rc;

use js_sys::{JSON, Reflect};
use nox_client::GlooCodec;
use nox_protocol::RuntimeFrame;
use nox_runtime::{Attachment, Connection, Runtime};
use serde_json::Value;
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Blob, File, MessageEvent};

use crate::death::{Address, note_address};
use crate::js;
use crate::streams::BlobStream;

/// Opens the door, for as long as the worker lives.
///
/// # Errors
/// The worker's scope takes no listener.
pub(crate) fn open(runtime: &Runtime) -> Result<(), JsValue> {
    let speaks_text = Rc::new(Cell::new(false));
    let door = Door {
        connection: runtime.connect({
            let speaks_text = Rc::clone(&speaks_text);
            move |frame| post(&frame, speaks_text.get())
        }),
        speaks_text,
    };
    let listener = Closure::<dyn FnMut(MessageEvent)>::new(move |event| door.take(&event));
    js::scope().add_event_listener_with_callback("message", listener.as_ref().unchecked_ref())?;
    listener.forget();
    Ok(())
}

struct Door {
    connection: Connection,
    speaks_text: Rc<Cell<bool>>,
}

impl Door {
    fn take(&self, event: &MessageEvent) {
        let message = event.data();
        if GlooCodec::is_gloo(&message) {
            return;
        }
        event.stop_immediate_propagation();
        if let Some(text) = message.as_string() {
            self.speaks_text.set(true);
            self.connection.receive_text(&text);
            return;
        }
        self.speaks_text.set(false);
        match to_json(&message) {
            Ok(frame) => self.connection.receive(&frame, attachment(&message)),
            Err(reason) => self.connection.receive_unreadable(reason),
        }
    }
}

/// Through JSON text, because that stops at cycles, and at values that JSON can't
/// carry, with an error.
fn to_json(message: &JsValue) -> Result<Value, String> {
    let text = JSON::stringify(message).map_err(|error| js::message(&error))?;
    match text.as_string() {
        Some(text) => serde_json::from_str(&text).map_err(|error| error.to_string()),
        None => Err("the message is no JSON value".to_owned()),
    }
}

/// A file under `params.file`.
fn attachment(message: &JsValue) -> Option<Attachment> {
    let params = Reflect::get(message, &"params".into()).ok()?;
    // Of text or of nothing there is no field to be had.
    let file = params
        .is_object()
        .then(|| Reflect::get(&params, &"file".into()))?;
    let blob: Blob = file.ok()?.dyn_into().ok()?;
    Some(Attachment {
        name: blob.dyn_ref::<File>().map(File::name),
        bytes: Box::new(BlobStream::new(blob)),
    })
}

fn post(frame: &RuntimeFrame, as_text: bool) {
    let (instance, nonce) = match frame {
        RuntimeFrame::Response(response) => (&response.instance, &response.nonce),
        RuntimeFrame::Notification(notification) => (&notification.instance, &notification.nonce),
    };
    note_address(Address {
        instance: instance.clone(),
        nonce: nonce.clone(),
        as_text,
    });
    let text = serde_json::to_string(frame).expect("wire types can be written as JSON");
    let message = if as_text {
        JsValue::from(text)
    } else {
        JSON::parse(&text).expect("it was written a line above")
    };
    js::scope()
        .post_message(&message)
        .expect("plain objects and text can be cloned");
}
