//! The runtime's last word.
//!
//! A panic aborts: the module's memory is not to be trusted any more, so the host is
//! told why and the worker ends. Traps that are no panics do not come by here; the
//! worker's script sees them as `error` or `unhandledrejection`, and a pool thread's
//! script tells the pool, whose caller then panics.

use std::cell::RefCell;
use std::panic::PanicHookInfo;

use nox_protocol::{DiedParams, JsonRpc, Notification, method};
use wasm_bindgen::JsValue;

use crate::js;

/// How the host is addressed.
#[derive(Clone, Default)]
pub(crate) struct Address {
    pub(crate) instance: Option<String>,
    pub(crate) nonce: Option<String>,
    /// Whether the host speaks JSON text.
    pub(crate) as_text: bool,
}

thread_local! {
    static ADDRESS: RefCell<Address> = RefCell::default();
}

/// Notes how the host is addressed, for the last word.
pub(crate) fn note_address(address: Address) {
    ADDRESS.with(|noted| noted.replace(address));
}

/// Makes every panic from here on end the worker.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(die));
}

/// Runs on the thread that panicked. A thread of the pool has no address; its words
/// reach the runtime's worker, which passes them on.
fn die(info: &PanicHookInfo<'_>) {
    web_sys::console::error_1(&info.to_string().into());
    say_last_word(&info.to_string());
    js::scope().close();
}

/// Tells the host that this was all.
pub(crate) fn say_last_word(message: &str) {
    // The panic may have struck while the address was being noted.
    let address = ADDRESS.with(|noted| noted.try_borrow().map(|noted| noted.clone()));
    let address = address.unwrap_or_default();
    let params = DiedParams {
        message: message.to_owned(),
        retryable: None,
    };
    let frame = Notification {
        jsonrpc: JsonRpc::V2,
        method: method::DIED.to_owned(),
        params: serde_json::to_value(params).unwrap_or_default(),
        instance: address.instance,
        nonce: address.nonce,
    };
    let text = serde_json::to_string(&frame).unwrap_or_default();
    let message = if address.as_text {
        JsValue::from(text)
    } else {
        js_sys::JSON::parse(&text).unwrap_or_default()
    };
    // There is nobody left to tell that telling failed.
    let _ = js::scope().post_message(&message);
}
