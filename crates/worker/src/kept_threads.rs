//! What a measurement of threads found, kept beside the models.
//!
//! Nothing depends on it: a file that cannot be read or written, another tab having it
//! open, or no file system at all cost a measurement at the next start.

use nox_engine::pool::MAX_THREADS;
use nox_engine::tuning::ThreadChoice;
use nox_engine::{CpuLane, Lane as _};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, FileSystemFileHandle, FileSystemGetFileOptions, FileSystemSyncAccessHandle};

use crate::options::StartOptions;
use crate::{folders, js};

const FOLDER: &[&str] = &["noxics"];
const FILE: &str = "threads.json";

/// Limits `lane` to the best number of its threads, unless the user has said how many.
/// Returns where the number comes from, for a person. `shortage` says why fewer run than
/// were to.
pub(crate) async fn choose(
    lane: &CpuLane,
    options: &StartOptions,
    shortage: Option<&str>,
    now_ms: &dyn Fn() -> f64,
) -> String {
    let n_threads = lane.n_threads();
    if options.threads_asked {
        return match shortage {
            _ if options.threads == Some(n_threads) => "it was asked for".to_owned(),
            Some(shortage) => shortage.to_owned(),
            None if !cfg!(target_feature = "atomics") => "this build has one thread".to_owned(),
            None => format!("a pool has 1 to {MAX_THREADS} threads"),
        };
    }
    let file = file().await.ok();
    let kept = match &file {
        Some(file) => read(file).await.ok(),
        None => None,
    };
    let measured_on = measured_on(options, n_threads);
    let (choice, record) = ThreadChoice::make(lane, kept.as_deref(), &measured_on, now_ms);
    // What too few threads were measured to do is of no use to the next start.
    if let (Some(file), Some(record), None) = (&file, record, shortage) {
        let _ = write(file, &record.to_text()).await;
    }
    choice.why
}

/// The machine and the program, as far as a browser tells, and the threads that run.
fn measured_on(options: &StartOptions, n_threads: usize) -> String {
    let navigator = js::scope().navigator();
    format!(
        "{} {} {} cores, {n_threads} threads {}",
        env!("CARGO_PKG_VERSION"),
        options.build.name,
        navigator.hardware_concurrency(),
        navigator.user_agent().unwrap_or_default(),
    )
}

async fn file() -> Result<FileSystemFileHandle, JsValue> {
    let folder = folders::open(&folders::storage()?, FOLDER).await?;
    let options = FileSystemGetFileOptions::new();
    options.set_create(true);
    let promise = folder.get_file_handle_with_options(FILE, &options);
    JsFuture::from(promise).await.map(JsCast::unchecked_into)
}

async fn read(file: &FileSystemFileHandle) -> Result<String, JsValue> {
    let blob: Blob = JsFuture::from(file.get_file()).await?.unchecked_into();
    let text = JsFuture::from(blob.text()).await?;
    text.as_string().ok_or(JsValue::NULL)
}

async fn write(file: &FileSystemFileHandle, text: &str) -> Result<(), JsValue> {
    let create = js::method(file, "createSyncAccessHandle").ok_or(JsValue::NULL)?;
    let handle = js::settle(create.call0(file)).await?;
    let handle: FileSystemSyncAccessHandle = handle.unchecked_into();
    let written = handle
        .truncate_with_u32(0)
        .and_then(|()| handle.write_with_u8_array(text.as_bytes()));
    handle.close();
    written.map(drop)
}
