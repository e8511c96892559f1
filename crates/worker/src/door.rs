//! The postMessage door: JSON-RPC frames as objects or as JSON text. Files travel in
//! objects as bytes, in text as base64.
//!
//! Its listener is installed before gloo-worker's and takes every message that is
//! not gloo-worker's, so that a stray one never gets there. A host is answered in
//! the way in which it spoke last.

use std::cell::Cell;
use std::rc::Rc;

use js_sys::{Array, ArrayBuffer, JSON, Reflect, Uint8Array};
use nox_client::GlooCodec;
use nox_protocol::RuntimeFrame;
use nox_runtime::{Attachment, Connection, Outgoing, OutgoingFile, Runtime};
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
        connection: runtime.connect_with_files({
            let speaks_text = Rc::clone(&speaks_text);
            move |outgoing| post(outgoing, speaks_text.get())
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

fn post(outgoing: Outgoing, as_text: bool) {
    note_address(address(&outgoing.frame, as_text));
    if as_text {
        let message = to_text(&outgoing.into_frame());
        return send(&message.into(), &Array::new());
    }
    let Outgoing { frame, file } = outgoing;
    let message = JSON::parse(&to_text(&frame)).expect("it was written in this line");
    let bytes = file.map(|file| attach(&message, &file));
    // The bytes are handed over, not copied a second time.
    send(&message, &bytes.iter().collect());
}

fn address(frame: &RuntimeFrame, as_text: bool) -> Address {
    let (instance, nonce) = match frame {
        RuntimeFrame::Response(response) => (&response.instance, &response.nonce),
        RuntimeFrame::Notification(notification) => (&notification.instance, &notification.nonce),
    };
    Address {
        instance: instance.clone(),
        nonce: nonce.clone(),
        as_text,
    }
}

fn to_text(frame: &RuntimeFrame) -> String {
    serde_json::to_string(frame).expect("wire types can be written as JSON")
}

/// Puts a file's bytes into the frame, where it is described; gives their buffer.
fn attach(message: &JsValue, file: &OutgoingFile) -> ArrayBuffer {
    let bytes = Uint8Array::from(file.bytes.as_slice());
    let keys = file.pointer.split('/').skip(1);
    let described = std::iter::once("result").chain(keys);
    let place = described.fold(message.clone(), |place, key| {
        Reflect::get(&place, &key.into()).expect("what describes a file is an object")
    });
    Reflect::set(&place, &"file".into(), &bytes).expect("what describes a file is an object");
    bytes.buffer()
}

fn send(message: &JsValue, transfer: &Array) {
    js::scope()
        .post_message_with_transfer(message, transfer)
        .expect("plain objects, text and bytes can be cloned");
}
