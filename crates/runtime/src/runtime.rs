//! The runtime: what lives as long as it does, and the method table.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use nox_engine::lane::Lane;
use nox_protocol::{BuildInfo, LoadedModel, RuntimeFrame, method};
use serde_json::Value;

use crate::builtin::{BuiltinModel, BuiltinState};
use crate::catalogue::Catalogue;
use crate::chat::ReplyCache;
use crate::connection::{Attachment, Call, Connection, to_value};
use crate::error::RuntimeError;
use crate::loader::Engine;
use crate::model_id::ModelId;
use crate::params::Params;
use crate::platform::{ModelStore, Platform};
use crate::queue::Queue;

/// What a runtime is told when it starts.
pub struct RuntimeOptions {
    /// The build that is running.
    pub build: BuildInfo,
    /// Where the arithmetic runs.
    pub lane: Rc<dyn Lane>,
    /// Why that lane was taken.
    pub lane_why: String,
    /// The model that comes with the product.
    pub builtin: Option<BuiltinModel>,
    /// What one model may take of the memory.
    pub memory_limit_bytes: u64,
}

/// One engine, one set of models, any number of connections.
#[derive(Clone)]
pub struct Runtime {
    shared: Rc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) platform: Rc<dyn Platform>,
    pub(crate) store: Rc<dyn ModelStore>,
    pub(crate) options: RuntimeOptions,
    /// Tells this run from others.
    pub(crate) instance: String,
    pub(crate) started_ms: f64,
    pub(crate) engine: Rc<Queue<Engine>>,
    /// What is in memory, readable while the engine is at work.
    pub(crate) loaded: RefCell<Option<LoadedModel>>,
    pub(crate) catalogue: Catalogue,
    pub(crate) builtin: BuiltinState,
    /// Ids that an import is writing.
    pub(crate) importing: RefCell<HashSet<ModelId>>,
    pub(crate) replies: ReplyCache,
    pub(crate) n_active_chats: Cell<u64>,
    pub(crate) n_completed_chats: Cell<u64>,
}

impl Runtime {
    /// Starts a runtime. Putting the built-in model into storage begins at once, in
    /// the background; calls that need models wait for it.
    pub fn start(
        platform: Rc<dyn Platform>,
        store: Rc<dyn ModelStore>,
        options: RuntimeOptions,
    ) -> Self {
        let shared = Rc::new(Shared {
            instance: format!("{:016x}", platform.random_u64()),
            started_ms: platform.now_ms(),
            engine: Queue::new(Engine::default()),
            loaded: RefCell::default(),
            catalogue: Catalogue::default(),
            builtin: BuiltinState::default(),
            importing: RefCell::default(),
            replies: ReplyCache::default(),
            n_active_chats: Cell::new(0),
            n_completed_chats: Cell::new(0),
            platform,
            store,
            options,
        });
        let starting = Rc::clone(&shared);
        shared
            .platform
            .spawn(async move { starting.prepare_models().await }.boxed_local());
        Self { shared }
    }

    /// Opens a connection whose frames go to `outbox`.
    pub fn connect(&self, outbox: impl Fn(RuntimeFrame) + 'static) -> Connection {
        Connection::new(Rc::clone(&self.shared), Box::new(outbox))
    }

    /// Tells this run from others; every frame carries it.
    pub fn instance(&self) -> &str {
        &self.shared.instance
    }
}

impl Shared {
    /// The method table.
    pub(crate) fn answer<'a>(
        self: &'a Rc<Self>,
        call: &'a Call,
        method: &'a str,
        params: Option<&'a Value>,
        attachment: Option<Attachment>,
    ) -> LocalBoxFuture<'a, Result<Value, RuntimeError>> {
        async move {
            // Chat params are read by nox-core, which knows what hosts of old send.
            if method == method::HANDLE_CHAT {
                let result = self
                    .handle_chat(call, params.unwrap_or(&Value::Null))
                    .await?;
                return Ok(to_value(&*result));
            }
            let params = Params::new(params)?;
            Ok(match method {
                method::HELLO => to_value(&self.hello(call, &params).await?),
                method::MODELS_LIST => to_value(&self.models_list().await?),
                method::MODELS_IMPORT => {
                    to_value(&self.models_import(call, &params, attachment).await?)
                }
                method::MODELS_REMOVE => to_value(&self.models_remove(&params).await?),
                method::MODELS_LOAD => to_value(&self.models_load(call, &params).await?),
                method::MODELS_UNLOAD => to_value(&self.models_unload(call, &params).await?),
                method::STATUS => to_value(&self.status()),
                method::SELF_TEST => to_value(&self.self_test().await),
                method::STORAGE_ESTIMATE => to_value(&self.storage_estimate().await?),
                _ => {
                    return Err(RuntimeError::UnknownMethod {
                        method: method.chars().take(64).collect(),
                    });
                }
            })
        }
        .boxed_local()
    }
}
