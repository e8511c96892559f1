//! What tests and benchmarks do natively, done in a browser; the builds that are shipped
//! have none of it.
//!
//! A test calls these in a worker whose runtime has started; see
//! `tests/browser/conformance.mjs`.

use nox_oracle::scale::{Ground, measure_scale};
use nox_store::{Host, Place, Store, StoreError};
use sqlite_wasm_rs::WasmOsCallback;
use sqlite_wasm_vfs::sahpool::{OpfsSAHError, OpfsSAHPoolCfgBuilder, install};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::js;

/// Where the database that is measured lies, apart from the user's.
const SCALE_FOLDER: &str = "noxics/scale";
const SCALE_VFS: &str = "scale";
/// The database and its journal.
const SCALE_CAPACITY: usize = 2;

/// Compares a file of recordings, given its text, and tells the account. A promise, so
/// that an error is the caller's and does not end the runtime.
///
/// # Errors
/// No function knows the file.
#[wasm_bindgen]
pub async fn compare_recording(file: String, jsonl: String) -> Result<String, JsValue> {
    let report = nox_oracle::check(&file, &jsonl)
        .ok_or_else(|| js_sys::Error::new(&format!("{file} is not known")))?;
    Ok(report.to_string())
}

/// Measures a database with so many chats on OPFS; gives the report as JSON text.
///
/// # Errors
/// OPFS or the database says no.
#[wasm_bindgen]
pub async fn store_scale(n_sessions: u32) -> Result<String, JsValue> {
    let options = OpfsSAHPoolCfgBuilder::new()
        .vfs_name(SCALE_VFS)
        .directory(SCALE_FOLDER)
        .clear_on_init(true)
        .initial_capacity(SCALE_CAPACITY)
        .build();
    install::<WasmOsCallback>(&options, false)
        .await
        .map_err(|error: OpfsSAHError| js_sys::Error::new(&error.to_string()))?;
    let report = measure_scale(&Opfs, n_sessions.into())
        .map_err(|error| js_sys::Error::new(&error.to_string()))?;
    Ok(report.to_json().to_string())
}

/// Files whose handles stay open: opening the database does not wait for the browser.
struct Opfs;

impl Ground for Opfs {
    fn open(&self, host: Box<dyn Host>) -> Result<Store, StoreError> {
        Store::open_with_vfs("scale.sqlite", SCALE_VFS, Place::Opfs, host)
    }

    fn clock_ms(&self) -> f64 {
        let performance = js::scope().performance().expect("a worker has a clock");
        performance.now()
    }
}
