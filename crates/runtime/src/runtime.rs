//! The runtime: what lives as long as it does, and the method table.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use nox_core::PersonaEnvironment;
use nox_engine::Speculation;
use nox_engine::lane::Lane;
use nox_protocol::{BuildInfo, LoadedModel, RuntimeFrame, method};
use serde::Serialize;
use serde_json::Value;

use crate::builtin::{BuiltinModel, BuiltinState};
use crate::catalogue::Catalogue;
use crate::chat_order::SessionOrder;
use crate::chat_replies::ReplyCache;
use crate::chat_routes::HostBackend;
use crate::chats::Chats;
use crate::claim::Claims;
use crate::connection::{Attachment, Call, Connection, ConnectionState, Outgoing, Reply};
use crate::error::RuntimeError;
use crate::loader::Engine;
use crate::methods;
use crate::params::Params;
use crate::platform::{ChatDatabase, ModelStore, Platform, SnapshotStore, ThreadTuner};
use crate::queue::Queue;
use crate::warm::Warm;

/// What snapshots may take where the user has not said: a dozen long chats with a model
/// of a billion parameters.
pub const DEFAULT_SNAPSHOT_BUDGET_BYTES: u64 = 256 << 20;

/// What a runtime is told when it starts.
pub struct RuntimeOptions {
    /// The build that is running.
    pub build: BuildInfo,
    /// Where the arithmetic runs.
    pub lane: Rc<dyn Lane>,
    /// Why that lane was taken.
    pub lane_why: String,
    /// Who decides how many of its threads compute.
    pub threads: Rc<dyn ThreadTuner>,
    /// The model that comes with the product.
    pub builtin: Option<BuiltinModel>,
    /// What one model may take of the memory.
    pub memory_limit_bytes: u64,
    /// Whether the engine guesses tokens and computes them ahead. The text is the same
    /// either way.
    pub speculation: Speculation,
    /// Where snapshots of what was computed lie, if they are kept.
    pub snapshots: Option<Rc<dyn SnapshotStore>>,
    /// What they may take where the user has not said.
    pub snapshot_budget_bytes: u64,
    /// What the host's environment says about the persona; nothing in a browser.
    pub persona_environment: PersonaEnvironment,
    /// Backends beside the engine, by the names that `runtime.json` has for them.
    pub backends: Vec<(String, Rc<HostBackend>)>,
}

/// One engine, one set of models, any number of connections.
#[derive(Clone)]
pub struct Runtime {
    shared: Rc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) platform: Rc<dyn Platform>,
    pub(crate) store: Rc<dyn ModelStore>,
    pub(crate) chats: Rc<Chats>,
    /// Those that live.
    connections: RefCell<Vec<Weak<ConnectionState>>>,
    pub(crate) options: RuntimeOptions,
    /// Tells this run from others.
    pub(crate) instance: String,
    pub(crate) started_ms: f64,
    pub(crate) engine: Rc<Queue<Engine>>,
    /// What is in memory, readable while the engine is at work.
    pub(crate) loaded: RefCell<Option<LoadedModel>>,
    pub(crate) catalogue: Catalogue,
    pub(crate) builtin: BuiltinState,
    pub(crate) warm: Warm,
    /// Models that an import is at work on.
    pub(crate) importing: Claims,
    /// The model that is being read into memory.
    pub(crate) loading: Claims,
    pub(crate) replies: ReplyCache,
    pub(crate) session_order: Rc<SessionOrder>,
    pub(crate) n_active_chats: Cell<u64>,
    pub(crate) n_completed_chats: Cell<u64>,
}

impl Runtime {
    /// Starts a runtime. Putting the built-in model into storage and opening the
    /// database of chats begin at once, in the background; calls that need either
    /// wait for it.
    pub fn start(
        platform: Rc<dyn Platform>,
        store: Rc<dyn ModelStore>,
        database: Rc<dyn ChatDatabase>,
        options: RuntimeOptions,
    ) -> Self {
        let shared = Rc::new(Shared {
            instance: format!("{:016x}", platform.random_u64()),
            started_ms: platform.now_ms(),
            engine: Queue::new(Engine::default()),
            loaded: RefCell::default(),
            catalogue: Catalogue::default(),
            builtin: BuiltinState::default(),
            warm: Warm::new(options.snapshots.clone()),
            importing: Claims::default(),
            loading: Claims::default(),
            replies: ReplyCache::default(),
            session_order: Rc::default(),
            n_active_chats: Cell::new(0),
            n_completed_chats: Cell::new(0),
            chats: Rc::new(Chats::new(database)),
            connections: RefCell::default(),
            platform,
            store,
            options,
        });
        let starting = Rc::clone(&shared);
        let keeping = Rc::clone(&shared);
        let platform = &shared.platform;
        platform.spawn(async move { starting.prepare_models().await }.boxed_local());
        platform.spawn(async move { keeping.keep_chats().await }.boxed_local());
        Self { shared }
    }

    /// Opens a connection whose frames go to `outbox`. Files stand in them as base64.
    pub fn connect(&self, outbox: impl Fn(RuntimeFrame) + 'static) -> Connection {
        self.connect_with_files(move |outgoing| outbox(outgoing.into_frame()))
    }

    /// Opens a connection whose frames go to `outbox`, files beside them.
    pub fn connect_with_files(&self, outbox: impl Fn(Outgoing) + 'static) -> Connection {
        let connection = Connection::new(Rc::clone(&self.shared), Box::new(outbox));
        let mut connections = self.shared.connections.borrow_mut();
        connections.retain(|known| known.strong_count() > 0);
        connections.push(connection.state());
        drop(connections);
        connection
    }

    /// Tells this run from others; every frame carries it.
    pub fn instance(&self) -> &str {
        &self.shared.instance
    }
}

impl Shared {
    /// Sends a notification to every host that has said hello.
    pub(crate) fn notify_all(&self, method: &str, params: &impl Serialize) {
        let connections = self.connections.borrow();
        let living: Vec<Rc<ConnectionState>> =
            connections.iter().filter_map(Weak::upgrade).collect();
        // An outbox may open or close connections.
        drop(connections);
        for connection in living.iter().filter(|connection| connection.is_welcome()) {
            connection.notify(method, params);
        }
    }

    /// The method table.
    pub(crate) fn answer<'a>(
        self: &'a Rc<Self>,
        call: &'a Call,
        method: &'a str,
        params: Option<&'a Value>,
        attachment: Option<Attachment>,
    ) -> LocalBoxFuture<'a, Result<Reply, RuntimeError>> {
        async move {
            // Chat params are read by nox-core, which knows what hosts of old send.
            if method == method::HANDLE_CHAT {
                let result = self
                    .handle_chat(call, params.unwrap_or(&Value::Null))
                    .await?;
                return Ok(Reply::new(&*result));
            }
            let params = Params::new(params)?;
            Ok(match method {
                method::HELLO => Reply::new(&self.hello(call, &params).await?),
                method::MODELS_LIST => Reply::new(&self.models_list().await?),
                method::MODELS_IMPORT => {
                    Reply::new(&self.models_import(call, &params, attachment).await?)
                }
                method::MODELS_REMOVE => Reply::new(&self.models_remove(&params).await?),
                method::MODELS_LOAD => Reply::new(&self.models_load(call, &params).await?),
                method::MODELS_UNLOAD => Reply::new(&self.models_unload(call, &params).await?),
                method::STATUS => Reply::new(&self.status()),
                method::SELF_TEST => Reply::new(&self.self_test().await),
                method::STORAGE_ESTIMATE => Reply::new(&self.storage_estimate().await?),
                method::STORAGE_PERSIST => Reply::new(&self.storage_persist().await?),
                method::STORAGE_TAKE_OVER => {
                    Reply::new(&self.storage_take_over(&call.cancel).await?)
                }
                method::COMMANDS_LIST => Reply::new(&methods::commands_list()),
                _ => return self.answer_stored(call, method, &params, attachment).await,
            })
        }
        .boxed_local()
    }
}
