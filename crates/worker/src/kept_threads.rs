//! What a measurement of threads found, kept beside the models.
//!
//! Nothing depends on it: a file that cannot be read or written, another tab having it
//! open, or no file system at all cost a measurement at the next start.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use nox_core::Clock as _;
use nox_engine::pool::MAX_THREADS;
use nox_engine::tuning::ThreadChoice;
use nox_engine::{CpuLane, Lane as _};
use nox_runtime::ThreadTuner;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, FileSystemFileHandle, FileSystemGetFileOptions, FileSystemSyncAccessHandle};

use crate::options::StartOptions;
use crate::platform::WebPlatform;
use crate::{folders, js};

const FOLDER: &[&str] = &["noxics"];
const FILE: &str = "threads.json";

/// So many disturbed measurements, and the last one stands: the machine is always busy.
const MAX_MEASUREMENTS: u32 = 6;

/// So many measurements in a row must find that fewer threads than there are do best. The
/// browser compiles on other cores while it is young, which the calling thread does not
/// notice: there, it looks as if a second thread were of no use.
const MIN_AGREEING: u32 = 3;

/// Decides by measuring, once there is a model to be used: a page that has just been
/// opened keeps the processor busy with itself.
pub(crate) struct KeptThreads {
    lane: Rc<CpuLane>,
    platform: Rc<WebPlatform>,
    file: Option<FileSystemFileHandle>,
    measured_on: String,
    /// The threads there are.
    n_all: usize,
    /// What the last measurement found, and how many in a row found that.
    found: Cell<(usize, u32)>,
    /// Fewer threads run than were to.
    is_short: bool,
    why: RefCell<String>,
    n_measurements_left: Cell<u32>,
}

impl KeptThreads {
    /// Limits `lane` to the best number of its threads, where that is known: the user has
    /// said how many, or an earlier start has measured it. `shortage` says why fewer run
    /// than were to.
    pub(crate) async fn new(
        lane: Rc<CpuLane>,
        platform: Rc<WebPlatform>,
        options: &StartOptions,
        shortage: Option<&str>,
    ) -> Self {
        let n_all = lane.n_threads();
        let measured_on = measured_on(options, n_all);
        let asked = options
            .threads_asked
            .then(|| why_asked(&lane, options, shortage));
        let file = match asked {
            Some(_) => None,
            None => file().await.ok(),
        };
        let known = match (asked, &file) {
            (Some(asked), _) => Some(asked),
            (None, file) => {
                let kept = match file {
                    Some(file) => read(file).await.ok(),
                    None => None,
                };
                let choice = ThreadChoice::known(&lane, kept.as_deref(), &measured_on);
                choice.map(|choice| choice.why)
            }
        };
        let n_measurements_left = match known {
            Some(_) => 0,
            None => MAX_MEASUREMENTS,
        };
        Self {
            lane,
            platform,
            file,
            measured_on,
            n_all,
            found: Cell::new((0, 0)),
            is_short: shortage.is_some(),
            why: RefCell::new(known.unwrap_or_else(|| "measured with the first model".to_owned())),
            n_measurements_left: Cell::new(n_measurements_left),
        }
    }

    async fn measure(&self) {
        let Some(n_left) = self.n_measurements_left.get().checked_sub(1) else {
            return;
        };
        let now_ms = || self.platform.now_ms();
        let (choice, record) = ThreadChoice::measure(&self.lane, &self.measured_on, &now_ms);
        let (n_before, n_agreeing) = self.found.get();
        let n_agreeing = match n_before == choice.n_threads {
            true => n_agreeing + 1,
            false => 1,
        };
        self.found.set((choice.n_threads, n_agreeing));
        let is_sure = choice.n_threads == self.n_all || n_agreeing >= MIN_AGREEING;
        let record = record.filter(|_| is_sure);
        let n_left = if record.is_some() { 0 } else { n_left };
        self.n_measurements_left.set(n_left);
        let again = if n_left > 0 {
            "; to be measured again"
        } else {
            ""
        };
        self.why.replace(format!("{}{again}", choice.why));
        // What too few threads were measured to do is of no use to the next start.
        if let (Some(file), Some(record), false) = (&self.file, record, self.is_short) {
            let _ = write(file, &record.to_text()).await;
        }
    }
}

impl ThreadTuner for KeptThreads {
    fn why(&self) -> String {
        self.why.borrow().clone()
    }

    fn settle(&self) -> LocalBoxFuture<'_, ()> {
        self.measure().boxed_local()
    }
}

fn why_asked(lane: &CpuLane, options: &StartOptions, shortage: Option<&str>) -> String {
    match shortage {
        _ if options.threads == Some(lane.n_threads()) => "it was asked for".to_owned(),
        Some(shortage) => shortage.to_owned(),
        None if !cfg!(target_feature = "atomics") => "this build has one thread".to_owned(),
        None => format!("a pool has 1 to {MAX_THREADS} threads"),
    }
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
