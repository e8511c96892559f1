//! The engine's turn-taking, and bringing a model into memory.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;

use futures::future::{Either, select};
use nox_core::CancelToken;
use nox_engine::{
    Context, DecoderKind, JoinedSource, KvType, LoadOptions, LoadStep, Model, ModelLoader,
    ModelSource,
};
use nox_protocol::{Lane, LoadedModel, MemoryEstimate, ModelParts};
use nox_store::SessionId;

use crate::catalogue::Listed;
use crate::error::RuntimeError;
use crate::model_id::ModelId;
use crate::platform::StorageError;
use crate::queue::{Step, Turn};
use crate::runtime::Shared;

/// Calls that may wait for the engine; more are told that it is busy.
const MAX_WAITING: usize = 16;

/// The one engine of a runtime; whoever has it may load, unload and generate.
#[derive(Default)]
pub(crate) struct Engine {
    pub(crate) loaded: Option<Loaded>,
}

/// A model in memory with its conversation.
pub(crate) struct Loaded {
    pub(crate) id: ModelId,
    pub(crate) model: Box<Model>,
    /// What the KV cache holds; a later prompt keeps the prefix that they share.
    pub(crate) context: Context,
    /// The chat that the context's last turn is kept in, if it is kept.
    pub(crate) chat: Option<SessionId>,
}

/// What is to be loaded.
pub(crate) struct LoadSpec<'a> {
    pub(crate) id: &'a ModelId,
    /// By default as the model has it in memory, else whatever fits.
    pub(crate) n_ctx: Option<u64>,
    /// By default as the model has it in memory, else half precision.
    pub(crate) kv_type: Option<KvType>,
}

/// Waits for `future`, but not beyond a cancellation.
///
/// # Cancel safety
/// That of `future`, which is dropped when the token is raised first.
pub(crate) async fn or_cancelled<T>(
    cancel: &CancelToken,
    future: impl Future<Output = T>,
) -> Result<T, RuntimeError> {
    match select(pin!(cancel.cancelled()), pin!(future)).await {
        Either::Left(_) => Err(RuntimeError::Cancelled),
        Either::Right((output, _)) => Ok(output),
    }
}

impl Shared {
    /// Waits in line for the engine. While calls are ahead, `on_wait` is told how
    /// many of them have ended, and how many there were.
    pub(crate) async fn take_engine(
        &self,
        cancel: &CancelToken,
        mut on_wait: impl FnMut(u64, u64),
    ) -> Result<Turn<Engine>, RuntimeError> {
        let entered = self.engine.enter(MAX_WAITING);
        let mut place = entered.map_err(|_| RuntimeError::Busy {
            n_waiting: MAX_WAITING,
        })?;
        let total = place.ahead();
        let mut ahead = total;
        if total > 0 {
            on_wait(0, total as u64);
        }
        loop {
            match or_cancelled(cancel, place.advance(ahead)).await? {
                Step::Turn(turn) => return Ok(turn),
                Step::Ahead(fewer) => {
                    ahead = fewer;
                    on_wait((total - fewer) as u64, total as u64);
                }
            }
        }
    }

    /// Makes the model the one in memory. Returns how long that took; 0 when it was
    /// there. The model that was there before makes room once this one's header has
    /// been found in order.
    pub(crate) async fn load(
        &self,
        engine: &mut Engine,
        spec: &LoadSpec<'_>,
        cancel: &CancelToken,
        mut on_progress: impl FnMut(u64, u64),
    ) -> Result<f64, RuntimeError> {
        if engine
            .loaded
            .as_ref()
            .is_some_and(|loaded| fits(loaded, spec))
        {
            self.settle_threads().await;
            return Ok(0.0);
        }
        let started_ms = self.platform.now_ms();
        let Some(_loading) = self.loading.claim(spec.id) else {
            unreachable!("whoever has the engine is the only one to load");
        };
        let loaded = engine.loaded.as_ref();
        let same = loaded.filter(|loaded| loaded.id == *spec.id);
        let source = self.open_model(spec.id).await?;
        let n_ctx = spec
            .n_ctx
            .map(|n_ctx| usize::try_from(n_ctx).unwrap_or(usize::MAX));
        let kv_type = spec.kv_type.or(same.map(|same| same.model.kv_type()));
        let options = LoadOptions {
            n_ctx: n_ctx.or(same.map(|same| same.model.n_ctx())),
            kv_type: kv_type.unwrap_or_default(),
            lane: Some(Rc::clone(&self.options.lane)),
            memory_limit_bytes: Some(self.options.memory_limit_bytes),
        };
        let mut loader = ModelLoader::new(source, options)?;
        let memory = wire_estimate(loader.memory_estimate());
        self.unload(engine);
        let model = loop {
            self.platform.yield_now().await;
            if cancel.is_cancelled() {
                return Err(RuntimeError::Cancelled);
            }
            match loader.step()? {
                LoadStep::Progress {
                    done_bytes,
                    total_bytes,
                } => on_progress(done_bytes, total_bytes),
                LoadStep::Done(model) => break model,
            }
        };
        self.options.threads.settle().await;
        *self.loaded.borrow_mut() = Some(LoadedModel {
            id: spec.id.to_string(),
            n_ctx: model.n_ctx() as u64,
            kv_type: wire_kv_type(model.kv_type()),
            n_past: 0,
            lane: self.lane_of(&model),
            decoder: wire_decoder(model.decoder_kind()),
            memory,
        });
        engine.loaded = Some(Loaded {
            id: spec.id.clone(),
            context: model.new_context(),
            model,
            chat: None,
        });
        Ok(self.platform.now_ms() - started_ms)
    }

    /// Opens the model's file, or all of them.
    async fn open_model(&self, id: &ModelId) -> Result<Box<dyn ModelSource>, RuntimeError> {
        let files = match self.catalogue.look_up(id) {
            Some(listed) => {
                self.check_complete(id, &listed)?;
                listed.files
            }
            None => vec![id.clone()],
        };
        let mut sources = Vec::new();
        for file in &files {
            let source = self.store.open(file).await.inspect_err(|error| {
                // Another tab has removed it.
                if matches!(error, StorageError::NotFound { .. }) {
                    self.catalogue.forget(file);
                }
            })?;
            sources.push(source);
        }
        join_sources(sources)
    }

    fn check_complete(&self, id: &ModelId, listed: &Listed) -> Result<(), RuntimeError> {
        match &listed.info.parts {
            Some(ModelParts { count, missing }) if !missing.is_empty() => {
                Err(RuntimeError::Incomplete {
                    model: id.clone(),
                    missing: missing.clone(),
                    count: *count,
                })
            }
            _ => Ok(()),
        }
    }

    /// Finds the best number of threads, if it is not known, for the model in memory.
    async fn settle_threads(&self) {
        self.options.threads.settle().await;
        let lane = self.lane();
        if let Some(loaded) = &mut *self.loaded.borrow_mut()
            && loaded.decoder == nox_protocol::DecoderKind::Own
        {
            loaded.lane = lane;
        }
    }

    /// Where the model computes.
    fn lane_of(&self, model: &Model) -> Lane {
        let lane = self.lane();
        match model.decoder_kind() {
            DecoderKind::Own => lane,
            DecoderKind::Candle => Lane {
                threads: u32::try_from(model.n_threads()).unwrap_or(u32::MAX),
                why: "candle-transformers computes this kind of model, which the engine's own \
                      decoder lacks"
                    .to_owned(),
                ..lane
            },
        }
    }

    pub(crate) fn unload(&self, engine: &mut Engine) {
        engine.loaded = None;
        *self.loaded.borrow_mut() = None;
    }

    /// Records how many tokens the KV cache holds.
    pub(crate) fn note_n_past(&self, n_past: usize) {
        if let Some(loaded) = &mut *self.loaded.borrow_mut() {
            loaded.n_past = n_past as u64;
        }
    }
}

/// The parts of a model as one source; a whole file stays what it is.
pub(crate) fn join_sources<'a>(
    mut sources: Vec<Box<dyn ModelSource + 'a>>,
) -> Result<Box<dyn ModelSource + 'a>, RuntimeError> {
    if sources.len() == 1 {
        return Ok(sources.remove(0));
    }
    let joined = JoinedSource::new(sources).map_err(|error| StorageError::Failed {
        action: "open the files of a model",
        reason: error.to_string(),
    })?;
    Ok(Box::new(joined))
}

fn wire_decoder(kind: DecoderKind) -> nox_protocol::DecoderKind {
    match kind {
        DecoderKind::Own => nox_protocol::DecoderKind::Own,
        DecoderKind::Candle => nox_protocol::DecoderKind::Candle,
    }
}

fn wire_kv_type(kv_type: KvType) -> nox_protocol::KvType {
    match kv_type {
        KvType::Q8 => nox_protocol::KvType::Q8,
        // Nobody can ask for single precision here.
        KvType::F16 | KvType::F32 => nox_protocol::KvType::F16,
    }
}

fn fits(loaded: &Loaded, spec: &LoadSpec<'_>) -> bool {
    let n_ctx = loaded.model.n_ctx() as u64;
    let kv_type = loaded.model.kv_type();
    loaded.id == *spec.id
        && spec.n_ctx.is_none_or(|wanted| wanted == n_ctx)
        && spec.kv_type.is_none_or(|wanted| wanted == kv_type)
}

fn wire_estimate(estimate: nox_engine::MemoryEstimate) -> MemoryEstimate {
    MemoryEstimate {
        weights_bytes: estimate.weights_bytes,
        kv_bytes: estimate.kv_bytes,
        scratch_bytes: estimate.scratch_bytes,
        vocabulary_bytes: estimate.vocabulary_bytes,
        total_bytes: estimate.total_bytes,
    }
}
