//! A host and a platform for tests: a runtime on a local task pool, frames in and
//! out, storage that can be made to fail.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test file has its own copy, uses a part of it, and may fail"
)]

pub mod chats;
pub mod faults;
pub mod gguf;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::{LocalBoxFuture, poll_fn};
use futures::stream::FuturesUnordered;
use futures::task::noop_waker_ref;
use futures::{FutureExt, StreamExt};
use nox_core::{Clock, PersonaEnvironment};
use nox_engine::{CpuLane, Speculation};
use nox_protocol::{
    BuildInfo, ErrorKind, HandleChatResult, Id, MemoryUsage, Notification, Response,
    ResponseOutcome, RpcError, RuntimeFrame,
};
use nox_runtime::store::{FileChats, MemoryChats, MemoryStore};
use nox_runtime::{
    Attachment, BuiltinModel, ByteStream, ChatDatabase, Connection, DEFAULT_SNAPSHOT_BUDGET_BYTES,
    FixedThreads, HostBackend, ModelId, ModelStore, Platform, Runtime, RuntimeOptions,
    SnapshotStore, StreamError, ThreadTuner,
};
use serde_json::{Value, json};

use gguf::TinyModel;

static N_HOSTS: AtomicU32 = AtomicU32::new(1);

/// The address of the built-in model's file.
pub const BUILTIN_URL: &str = "http://here/models/nox-builtin.gguf";

pub struct TestPlatform {
    /// Tasks that have not been polled yet.
    spawned: RefCell<Vec<LocalBoxFuture<'static, ()>>>,
    started: Instant,
    /// Time that a test has let pass at once.
    skipped_ms: Cell<f64>,
    /// What addresses answer; any other one is missing.
    pub files: RefCell<HashMap<String, Rc<Vec<u8>>>>,
    /// How long the next request takes.
    pub next_fetch_ms: Cell<f64>,
    random: Cell<u64>,
    /// Counts the turns of the event loop.
    turn: Cell<u64>,
}

impl Clock for TestPlatform {
    fn now_ms(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1000.0 + self.skipped_ms.get()
    }

    fn local_unix_seconds(&self) -> i64 {
        1_700_000_000
    }
}

impl Platform for TestPlatform {
    fn spawn(&self, future: LocalBoxFuture<'static, ()>) {
        self.spawned.borrow_mut().push(future);
    }

    fn yield_now(&self) -> LocalBoxFuture<'_, ()> {
        let turn = self.turn.get();
        poll_fn(move |context| {
            if self.turn.get() == turn {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .boxed_local()
    }

    fn sleep_ms(&self, ms: f64) -> LocalBoxFuture<'_, ()> {
        async move {
            let end_ms = self.now_ms() + ms;
            while self.now_ms() < end_ms {
                self.yield_now().await;
            }
        }
        .boxed_local()
    }

    fn random_u64(&self) -> u64 {
        self.random.replace(self.random.get() + 1)
    }

    fn memory_usage(&self) -> MemoryUsage {
        nox_runtime::process_memory()
    }

    fn unix_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        i64::try_from(since.unwrap().as_millis()).unwrap()
    }

    fn fetch<'a>(
        &'a self,
        url: &'a str,
    ) -> LocalBoxFuture<'a, Result<Box<dyn ByteStream>, StreamError>> {
        let found = self.files.borrow().get(url).cloned();
        let end_ms = self.now_ms() + self.next_fetch_ms.take();
        async move {
            self.yield_now().await;
            while self.now_ms() < end_ms {
                self.yield_now().await;
            }
            match found {
                Some(bytes) => Ok(Box::new(Pieces::new(&bytes)) as Box<dyn ByteStream>),
                None => Err(StreamError::Status {
                    url: url.to_owned(),
                    status: 404,
                }),
            }
        }
        .boxed_local()
    }
}

/// Bytes in pieces of an odd size, with a pause before each.
pub struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    /// Breaks off after so many bytes.
    pub fails_at: Option<usize>,
    /// Whether how many there are is not said beforehand.
    pub hides_size: bool,
}

impl Pieces {
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            at: 0,
            fails_at: None,
            hides_size: false,
        }
    }

    fn piece(&mut self) -> Result<Option<Vec<u8>>, StreamError> {
        if self.fails_at.is_some_and(|fails_at| self.at >= fails_at) {
            return Err(StreamError::Network {
                reason: "the line is dead".to_owned(),
            });
        }
        let end = (self.at + 10_007).min(self.bytes.len());
        let piece = self.bytes[self.at..end].to_vec();
        self.at = end;
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }
}

impl ByteStream for Pieces {
    fn size_bytes(&self) -> Option<u64> {
        (!self.hides_size).then_some(self.bytes.len() as u64)
    }

    fn next(&mut self) -> LocalBoxFuture<'_, Result<Option<Vec<u8>>, StreamError>> {
        let mut is_first = true;
        poll_fn(move |context| {
            if std::mem::take(&mut is_first) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(self.piece())
        })
        .boxed_local()
    }
}

/// Makes a database of chats for a platform.
pub type MakeChats = Box<dyn FnOnce(&Rc<TestPlatform>) -> Rc<dyn ChatDatabase>>;

/// What a test may want to be different.
pub struct Setup {
    pub store: Rc<dyn ModelStore>,
    pub lane: Rc<CpuLane>,
    pub threads: Rc<dyn ThreadTuner>,
    pub memory_limit_bytes: u64,
    /// Where snapshots lie.
    pub snapshots: Option<Rc<dyn SnapshotStore>>,
    pub snapshot_budget_bytes: u64,
    /// The file at the built-in model's address.
    pub builtin: Option<Vec<u8>>,
    pub builtin_sha256: Option<String>,
    /// Where chats lie.
    pub chats: MakeChats,
    pub persona_environment: PersonaEnvironment,
    /// Backends beside the engine.
    pub backends: Vec<(String, Rc<HostBackend>)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            store: Rc::new(MemoryStore::new()),
            lane: Rc::new(CpuLane::single_threaded()),
            threads: Rc::new(FixedThreads::new("a test has one")),
            memory_limit_bytes: 1 << 30,
            snapshots: None,
            snapshot_budget_bytes: DEFAULT_SNAPSHOT_BUDGET_BYTES,
            builtin: Some(TinyModel::default().bytes()),
            builtin_sha256: None,
            chats: Box::new(|_| Rc::new(MemoryChats::new())),
            persona_environment: PersonaEnvironment::default(),
            backends: Vec::new(),
        }
    }
}

/// A folder that is gone with the value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let n = N_HOSTS.fetch_add(1, Ordering::Relaxed);
        let name = format!("nox-runtime-tests-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // A process of this number that was killed may have left it behind.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Where its database of chats lies.
    pub fn chats(&self) -> PathBuf {
        self.0.join("chats.sqlite")
    }

    /// Where its snapshots lie.
    pub fn snapshots(&self) -> PathBuf {
        self.0.join("snapshots")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A setup whose chats lie in a file.
pub fn in_file(path: &Path) -> Setup {
    let path = path.to_owned();
    Setup {
        chats: Box::new(move |platform| {
            let platform: Rc<dyn Platform> = Rc::clone(platform) as _;
            Rc::new(FileChats::new(path, platform))
        }),
        ..Setup::default()
    }
}

/// How long a test waits for what must happen: by steps, and by the clock as well, since
/// some things take real time, which may hold any number of steps.
pub struct Patience {
    n_steps: u32,
    started: Instant,
}

impl Patience {
    pub fn new() -> Self {
        Self {
            n_steps: 0,
            started: Instant::now(),
        }
    }

    /// Whether to take one more step.
    pub fn lasts(&mut self) -> bool {
        self.n_steps = self.n_steps.saturating_add(1);
        self.n_steps <= 2_000_000 || self.started.elapsed() < Duration::from_secs(60)
    }
}

/// A host with a runtime of its own.
pub struct Host {
    tasks: RefCell<FuturesUnordered<LocalBoxFuture<'static, ()>>>,
    pub platform: Rc<TestPlatform>,
    pub runtime: Runtime,
    connection: RefCell<Option<Connection>>,
    frames: Rc<RefCell<Vec<RuntimeFrame>>>,
    next_id: Cell<i64>,
}

impl Host {
    /// A host that has not said hello.
    pub fn new(setup: Setup) -> Self {
        let platform = Rc::new(TestPlatform {
            spawned: RefCell::default(),
            started: Instant::now(),
            skipped_ms: Cell::new(0.0),
            files: RefCell::default(),
            next_fetch_ms: Cell::new(0.0),
            // Two runtimes draw other numbers, as they do outside of tests.
            random: Cell::new(u64::from(N_HOSTS.fetch_add(1, Ordering::Relaxed)) << 32),
            turn: Cell::new(0),
        });
        if let Some(bytes) = setup.builtin {
            let mut files = platform.files.borrow_mut();
            files.insert(BUILTIN_URL.to_owned(), Rc::new(bytes));
        }
        let options = RuntimeOptions {
            build: BuildInfo {
                name: "native".to_owned(),
                version: "0".to_owned(),
                why: "a test".to_owned(),
                skipped: Vec::new(),
            },
            lane: setup.lane,
            lane_why: "a test".to_owned(),
            threads: setup.threads,
            builtin: Some(BuiltinModel {
                id: ModelId::parse("nox-builtin").unwrap(),
                url: BUILTIN_URL.to_owned(),
                sha256: setup.builtin_sha256,
            }),
            memory_limit_bytes: setup.memory_limit_bytes,
            speculation: Speculation::Auto,
            snapshots: setup.snapshots,
            snapshot_budget_bytes: setup.snapshot_budget_bytes,
            persona_environment: setup.persona_environment,
            backends: setup.backends,
        };
        let database = (setup.chats)(&platform);
        let runtime = Runtime::start(Rc::clone(&platform) as _, setup.store, database, options);
        let frames: Rc<RefCell<Vec<RuntimeFrame>>> = Rc::default();
        let outbox = Rc::clone(&frames);
        let connection = runtime.connect(move |frame| outbox.borrow_mut().push(frame));
        Self {
            tasks: RefCell::default(),
            platform,
            runtime,
            connection: RefCell::new(Some(connection)),
            frames,
            next_id: Cell::new(1000),
        }
    }

    /// A host that has said hello.
    pub fn greeted(setup: Setup) -> Self {
        let host = Self::new(setup);
        host.call("hello", &hello_params()).unwrap();
        host
    }

    /// Sends a frame as it is.
    pub fn send_frame(&self, frame: &Value) {
        self.connection
            .borrow()
            .as_ref()
            .unwrap()
            .receive(frame, None);
    }

    pub fn send_text(&self, text: &str) {
        self.connection
            .borrow()
            .as_ref()
            .unwrap()
            .receive_text(text);
    }

    /// Begins a call and returns its id.
    pub fn begin(&self, method: &str, params: &Value) -> Id {
        self.begin_with(method, params, None)
    }

    pub fn begin_with(&self, method: &str, params: &Value, attachment: Option<Attachment>) -> Id {
        let id = self.next_id.replace(self.next_id.get() + 1);
        let frame = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let connection = self.connection.borrow();
        connection.as_ref().unwrap().receive(&frame, attachment);
        Id::Number(id)
    }

    pub fn cancel(&self, id: &Id) {
        self.send_frame(&json!({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": id}}));
    }

    /// Gives every task about one turn, so that a test can act between any two steps.
    pub fn step(&self) {
        self.platform.turn.set(self.platform.turn.get() + 1);
        let mut tasks = self.tasks.borrow_mut();
        tasks.extend(self.platform.spawned.take());
        let _ = tasks.poll_next_unpin(&mut Context::from_waker(noop_waker_ref()));
    }

    /// Lets tasks run until `is_reached` says so.
    pub fn run_until(&self, mut is_reached: impl FnMut(&[RuntimeFrame]) -> bool) {
        let mut patience = Patience::new();
        while !is_reached(&self.frames.borrow()) {
            assert!(
                patience.lasts(),
                "it does not happen; frames so far: {:#?}",
                self.frames.borrow()
            );
            self.step();
        }
    }

    /// Waits for the end of a call.
    pub fn end(&self, id: &Id) -> Result<Value, RpcError> {
        self.run_until(|frames| response(frames, id).is_some());
        let ended = response(&self.frames.borrow(), id);
        match ended.unwrap().outcome {
            ResponseOutcome::Result(result) => Ok(result),
            ResponseOutcome::Error(error) => Err(error),
        }
    }

    pub fn has_ended(&self, id: &Id) -> bool {
        response(&self.frames.borrow(), id).is_some()
    }

    pub fn call(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        self.end(&self.begin(method, params))
    }

    pub fn chat(&self, params: &Value) -> Result<HandleChatResult, RpcError> {
        self.end_chat(&self.begin("handle_chat", params))
    }

    pub fn end_chat(&self, id: &Id) -> Result<HandleChatResult, RpcError> {
        self.end(id)
            .map(|result| serde_json::from_value(result).unwrap())
    }

    pub fn import(&self, params: &Value, name: &str, bytes: &[u8]) -> Result<Value, RpcError> {
        self.end(&self.begin_import(params, name, Pieces::new(bytes)))
    }

    pub fn begin_import(&self, params: &Value, name: &str, bytes: Pieces) -> Id {
        let attachment = Attachment {
            name: Some(name.to_owned()),
            bytes: Box::new(bytes),
        };
        self.begin_with("models.import", params, Some(attachment))
    }

    /// The ids that `models.list` names.
    pub fn model_ids(&self) -> Vec<String> {
        let list = self.call("models.list", &json!({})).unwrap();
        let models = list["models"].as_array().unwrap();
        models
            .iter()
            .map(|model| model["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Lets time pass at once.
    pub fn skip_ms(&self, ms: f64) {
        let skipped = &self.platform.skipped_ms;
        skipped.set(skipped.get() + ms);
    }

    /// The states in which the database of chats was told to be since `hello`.
    pub fn told_states(&self) -> Vec<String> {
        let frames = self.frames.borrow();
        let states = frames.iter().filter_map(|frame| match frame {
            RuntimeFrame::Notification(told) if told.method == "storage.changed" => {
                Some(told.params["chats"]["state"].as_str().unwrap().to_owned())
            }
            _ => None,
        });
        states.collect()
    }

    pub fn disconnect(&self) {
        self.connection.take();
    }

    /// Everything that has been sent, in order.
    pub fn frames(&self) -> Vec<RuntimeFrame> {
        self.frames.borrow().clone()
    }

    /// The params of a call's notifications of one kind.
    pub fn notifications(&self, id: &Id, method: &str) -> Vec<Value> {
        let frames = self.frames.borrow();
        let params = frames.iter().filter_map(|frame| match frame {
            RuntimeFrame::Notification(Notification {
                method: found,
                params,
                ..
            }) if found == method && params["id"] == json!(id) => Some(params.clone()),
            _ => None,
        });
        params.collect()
    }

    /// The joined text of a call's deltas.
    pub fn streamed_text(&self, id: &Id) -> String {
        let deltas = self.notifications(id, "chat.delta");
        deltas
            .iter()
            .map(|delta| delta["text"].as_str().unwrap())
            .collect()
    }
}

fn response(frames: &[RuntimeFrame], id: &Id) -> Option<Response> {
    frames.iter().find_map(|frame| match frame {
        RuntimeFrame::Response(response) if response.id.as_ref() == Some(id) => {
            Some(response.clone())
        }
        _ => None,
    })
}

pub fn has_notification(frames: &[RuntimeFrame], id: &Id, method: &str, phase: &str) -> bool {
    frames.iter().any(|frame| match frame {
        RuntimeFrame::Notification(notification) => {
            notification.method == method
                && notification.params["id"] == json!(id)
                && (phase.is_empty() || notification.params["phase"] == phase)
        }
        RuntimeFrame::Response(_) => false,
    })
}

pub fn hello_params() -> Value {
    json!({"protocol": [1, 1], "host": {"name": "test", "version": "1"}})
}

/// A greedy chat with one message.
pub fn say(text: &str, max_tokens: i64) -> Value {
    json!({
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": max_tokens,
    })
}

/// Checks an error's kind, and that its text holds `text`.
pub fn check_error<T: std::fmt::Debug>(
    outcome: Result<T, RpcError>,
    kind: ErrorKind,
    text: &str,
) -> RpcError {
    let error = outcome.unwrap_err();
    assert_eq!(error.data.kind, kind, "{error:?}");
    assert_eq!(error.code, kind.code());
    assert_eq!(error.data.retryable, kind.is_retryable());
    assert!(
        error.message.contains(text),
        "{text:?} is not in {:?}",
        error.message
    );
    error
}
