//! Small helpers around JavaScript values.

use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{DedicatedWorkerGlobalScope, DomException};

/// The worker that this code runs in.
pub(crate) fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// What an exception says.
pub(crate) fn message(error: &JsValue) -> String {
    let text = Reflect::get(error, &"message".into()).ok();
    text.and_then(|text| text.as_string())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| format!("{error:?}"))
}

/// The name of a DOM exception, e.g. `QuotaExceededError`; empty for anything else.
pub(crate) fn exception_name(error: &JsValue) -> String {
    error
        .dyn_ref::<DomException>()
        .map(DomException::name)
        .unwrap_or_default()
}

/// The method `name` of `object`, where the browser has it.
pub(crate) fn method(object: &JsValue, name: &str) -> Option<Function> {
    Reflect::get(object, &name.into()).ok()?.dyn_into().ok()
}

/// Waits for what a call returns, whether that is a promise or not.
pub(crate) async fn settle(outcome: Result<JsValue, JsValue>) -> Result<JsValue, JsValue> {
    JsFuture::from(Promise::resolve(&outcome?)).await
}
