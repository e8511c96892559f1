//! What the worker's script calls.

use std::rc::Rc;

use nox_core::PersonaEnvironment;
use nox_engine::CpuLane;
use nox_engine::quant::lane_check;
use nox_protocol::BuildInfo;
use nox_runtime::store::{MemoryChats, MemoryStore};
use nox_runtime::{
    BuiltinModel, ChatDatabase, DEFAULT_SNAPSHOT_BUDGET_BYTES, ModelId, ModelStore, Runtime,
    RuntimeOptions, SnapshotStore,
};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::chats::OpfsChats;
use crate::kept_threads::KeptThreads;
use crate::opfs::OpfsStore;
use crate::options::{BuildOptions, StartOptions};
use crate::platform::WebPlatform;
use crate::snapshots::OpfsSnapshots;
use crate::threads::start_pool;

use crate::{death, door, gloo_door};

/// The built-in model's id in storage.
const BUILTIN_ID: &str = "nox-builtin";

/// Starts the runtime and opens its doors; see `StartOptions` for what it is told.
/// Messages that came before must be dispatched again once this has ended.
///
/// # Errors
/// This build can't run here, or the options are wrong; the text says why.
#[wasm_bindgen]
pub async fn start(options: JsValue) -> Result<(), JsValue> {
    death::install_panic_hook();
    let options = StartOptions::read(options).map_err(|text| js_sys::Error::new(&text))?;
    let started = start_pool(&options).await;
    let lane = Rc::new(CpuLane::new(started.pool));
    // Before anything is opened: what computes something else here must not answer.
    lane_check(&*lane).map_err(|mismatch| {
        js_sys::Error::new(&format!("this device miscalculates: {mismatch}"))
    })?;
    #[cfg(feature = "conformance")]
    crate::faults::note_lane(&lane);
    let platform = Rc::new(WebPlatform::new()?);
    let shortage = started.shortage.as_deref();
    let (lane_threads, clock) = (Rc::clone(&lane), Rc::clone(&platform));
    let threads = KeptThreads::new(lane_threads, clock, &options, shortage).await;
    let store = open_store().await;
    let builtin = builtin(&options)?;
    let memory_limit_bytes = options.memory_limit_bytes();
    let speculation = options.speculation();
    let BuildOptions { name, why, skipped } = options.build;
    let lane_why = started.shortage.unwrap_or_else(|| why.clone());
    let options = RuntimeOptions {
        build: BuildInfo {
            name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            why,
            skipped,
        },
        lane,
        lane_why,
        threads: Rc::new(threads),
        builtin: Some(builtin),
        memory_limit_bytes,
        speculation,
        snapshots: open_snapshots().await,
        snapshot_budget_bytes: DEFAULT_SNAPSHOT_BUDGET_BYTES,
        persona_environment: PersonaEnvironment::default(),
        // A worker asks nobody but the engine.
        backends: Vec::new(),
    };
    let runtime = Runtime::start(platform, store, chat_database(), options);
    // This order: gloo-worker must not see the frames of other hosts.
    door::open(&runtime)?;
    gloo_door::open(runtime);
    Ok(())
}

/// What a pool thread's script calls with the ticket that it was sent: computes
/// until the pool ends.
#[wasm_bindgen]
pub fn pool_worker_main(ticket: usize) {
    nox_engine::pool::worker_main(ticket);
}

/// Puts OPFS through the tests that every model store and every snapshot store must
/// pass. It must be empty.
#[cfg(feature = "conformance")]
#[wasm_bindgen]
pub async fn check_storage() -> Result<(), JsValue> {
    death::install_panic_hook();
    let store = OpfsStore::open()
        .await
        .map_err(|reason| js_sys::Error::new(&reason))?;
    nox_runtime::store::conformance::check(&store).await;
    let snapshots = OpfsSnapshots::open()
        .await
        .map_err(|reason| js_sys::Error::new(&reason))?;
    nox_runtime::store::conformance::check_snapshots(&snapshots).await;
    Ok(())
}

/// Reads the database of chats, which the runtime of this worker has open, from its
/// first byte to its last.
///
/// # Errors
/// What is wrong with it.
#[cfg(feature = "conformance")]
#[wasm_bindgen]
pub async fn check_chats() -> Result<(), JsValue> {
    let checked = crate::chats::integrity_check().await;
    Ok(checked.map_err(|reason| js_sys::Error::new(&reason))?)
}

/// OPFS, or memory where the browser gives none.
async fn open_store() -> Rc<dyn ModelStore> {
    match OpfsStore::open().await {
        Ok(store) => Rc::new(store),
        Err(reason) => {
            let warning = format!("Models are kept in memory and lost on reload: {reason}.");
            Rc::new(MemoryStore::new().with_warning(warning))
        }
    }
}

/// OPFS, or nowhere: without files, nothing outlives the worker that would be of use.
async fn open_snapshots() -> Option<Rc<dyn SnapshotStore>> {
    let store = OpfsSnapshots::open().await.ok()?;
    Some(Rc::new(store))
}

/// OPFS, or memory where tabs can't agree on who has it. Whether there is an OPFS
/// turns out when the database is opened.
fn chat_database() -> Rc<dyn ChatDatabase> {
    match OpfsChats::new() {
        Ok(chats) => Rc::new(chats),
        Err(reason) => Rc::new(MemoryChats::unavailable(reason)),
    }
}

fn builtin(options: &StartOptions) -> Result<BuiltinModel, JsValue> {
    let id = ModelId::parse(BUILTIN_ID).map_err(|error| js_sys::Error::new(&error.to_string()))?;
    Ok(BuiltinModel {
        id,
        url: options.builtin_url.clone(),
        sha256: options.builtin_sha256.clone(),
    })
}
