//! `models.import`: bytes from outside become a stored model, or leave nothing behind.
//!
//! The way: check the id and the room, copy and hash into a file that nobody sees,
//! check that the engine can run it, publish it in one step. The parts of a split
//! model come one after the other, in any order: each is checked by itself and against
//! those that are there, and the one that completes the model with all the others.

use std::fmt::Write as _;
use std::io;

use nox_core::CancelToken;
use nox_engine::gguf::{Gguf, Split};
use nox_engine::template::{ChatMessage, ChatTemplate, RenderOptions, TemplateError};
use nox_engine::{EngineError, LoadOptions, ModelLoader, ModelSource, check_architecture};
use nox_protocol::{ModelInfo, ModelsImportResult, ProgressPhase};
use sha2::{Digest, Sha256};

use crate::catalogue::{FileFacts, describe_gguf};
use crate::claim::Claim;
use crate::connection::{Attachment, Call};
use crate::error::{ImportError, ParamError, RuntimeError};
use crate::loader::{Engine, join_sources, or_cancelled};
use crate::model_id::ModelId;
use crate::params::Params;
use crate::platform::{ByteStream, ModelWriter, Platform, StorageError, StoreUsage};
use crate::progress::Meter;
use crate::queue::Turn;
use crate::runtime::Shared;

/// No model that a device like this can run is larger.
const MAX_MODEL_BYTES: u64 = 64 << 30;

/// Bytes that are hashed between two turns of the event loop.
const HASH_CHUNK_BYTES: usize = 1 << 20;

/// One import.
pub(crate) struct ImportJob<'a> {
    /// The file's id; that of a part ends in its number.
    pub(crate) file: &'a ModelId,
    pub(crate) bytes: Box<dyn ByteStream>,
    /// In hexadecimal, where it is known.
    pub(crate) expected_sha256: Option<&'a str>,
    /// Whom to tell about progress.
    pub(crate) call: Option<&'a Call>,
    pub(crate) cancel: &'a CancelToken,
    /// Keeps other imports away from the model.
    pub(crate) _claim: Claim<'a>,
}

/// Where the bytes come from, before they are asked for.
enum Origin {
    Attached(Attachment),
    Url(String),
}

impl Shared {
    pub(crate) async fn models_import(
        &self,
        call: &Call,
        params: &Params<'_>,
        attachment: Option<Attachment>,
    ) -> Result<ModelsImportResult, RuntimeError> {
        let url = params.optional_str("url")?;
        let replace = params.optional_bool("replace")?.unwrap_or(false);
        let origin = match (attachment, url) {
            (Some(attachment), None) => Origin::Attached(attachment),
            (None, Some(url)) => Origin::Url(url.to_owned()),
            (None, None) => return Err(ImportError::NoSource.into()),
            (Some(_), Some(_)) => return Err(ImportError::TwoSources.into()),
        };
        let file = match params.optional_str("id")? {
            Some(id) => given_id(id, &origin)?,
            None => default_id(&origin)?,
        };
        or_cancelled(&call.cancel, self.builtin.ready()).await?;
        // From before the id is found free until it is taken.
        let claim = self.claim_import(&file)?;
        self.check_id_is_free(&file, replace).await?;
        let bytes = match origin {
            Origin::Attached(attachment) => attachment.bytes,
            Origin::Url(url) => or_cancelled(&call.cancel, self.platform.fetch(&url)).await??,
        };
        let (model, sha256) = self
            .import(ImportJob {
                file: &file,
                bytes,
                expected_sha256: None,
                call: Some(call),
                cancel: &call.cancel,
                _claim: claim,
            })
            .await?;
        Ok(ModelsImportResult { model, sha256 })
    }

    async fn check_id_is_free(&self, file: &ModelId, replace: bool) -> Result<(), RuntimeError> {
        let id = model_of(file);
        if self.is_builtin(&id) || id.as_str() == nox_core::DEFAULT_ALIAS {
            return Err(ImportError::Builtin { id }.into());
        }
        let stored = self.store.list().await?;
        let is_taken = |taken: &ModelId| stored.iter().any(|model| model.id == *taken);
        // A model in one file can't become one of parts, nor the other way round.
        let is_other = |model: &ModelId| *model != *file && model_of(model) == id;
        let others = || {
            stored
                .iter()
                .map(|model| &model.id)
                .filter(|id| is_other(id))
        };
        let is_other_kind = match file.as_part() {
            Some(_) => is_taken(&id),
            None => others().next().is_some(),
        };
        if is_other_kind || (!replace && is_taken(file)) {
            let id = match is_other_kind {
                true => id,
                false => file.clone(),
            };
            return Err(ImportError::Exists { id }.into());
        }
        Ok(())
    }

    /// Runs an import. Returns the model, as far as it is there, and the SHA-256 of the
    /// file.
    ///
    /// # Cancel safety
    /// Raise the job's token rather than drop the future: a dropped one may leave a
    /// temporary file until the next start.
    pub(crate) async fn import(
        &self,
        mut job: ImportJob<'_>,
    ) -> Result<(ModelInfo, String), RuntimeError> {
        self.check_room(job.bytes.size_bytes()).await?;
        self.write_and_publish(&mut job).await
    }

    /// Claims the model that a file is or belongs to: of its parts, too, one is imported at
    /// a time, so that the last one sees all the others.
    pub(crate) fn claim_import(&self, file: &ModelId) -> Result<Claim<'_>, ImportError> {
        let id = model_of(file);
        let claim = self.importing.claim(&id);
        claim.ok_or(ImportError::Running { id })
    }

    /// A refusal now is kinder than one after minutes of copying.
    async fn check_room(&self, size_bytes: Option<u64>) -> Result<(), RuntimeError> {
        let Some(needed_bytes) = size_bytes else {
            return Ok(());
        };
        if needed_bytes > MAX_MODEL_BYTES {
            return Err(ImportError::TooLarge {
                found_bytes: needed_bytes,
                cap_bytes: MAX_MODEL_BYTES,
            }
            .into());
        }
        let mut usage = self.store.usage().await?;
        if !has_room(&usage, needed_bytes) && self.warm.clear().await {
            usage = self.store.usage().await?;
        }
        if !has_room(&usage, needed_bytes) {
            return Err(StorageError::Full {
                needed_bytes,
                usage,
            }
            .into());
        }
        Ok(())
    }

    async fn write_and_publish(
        &self,
        job: &mut ImportJob<'_>,
    ) -> Result<(ModelInfo, String), RuntimeError> {
        let id = model_of(job.file);
        let mut writer = self.store.create(job.file).await?;
        let outcome = match self.fill(&mut *writer, job).await {
            // A model in memory must not have its file changed under it.
            Ok(filled) => self.free_from_memory(&id).map(|engine| (filled, engine)),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(((facts, sha256), _engine)) => {
                let is_replaced = self.describe_model(&id).is_some();
                writer.publish().await?;
                // The file is there whatever happens now, so nothing may fail any more.
                let alone = facts.info().clone();
                self.catalogue.record(job.file, facts);
                if is_replaced {
                    self.warm.remove_model(&id).await;
                }
                // A file named like a part that is none is a model by its whole name.
                let described = self.describe_model(&id);
                let described = described.or_else(|| self.describe_model(job.file));
                Ok((described.unwrap_or(alone), sha256))
            }
            Err(error) => {
                writer.discard().await;
                Err(error)
            }
        }
    }

    /// Unloads the model if it is loaded, and keeps the engine from loading it anew
    /// while the result lives.
    fn free_from_memory(&self, id: &ModelId) -> Result<Option<Turn<Engine>>, RuntimeError> {
        if self.loading.contains(id) {
            return Err(RuntimeError::InUse { model: id.clone() });
        }
        if self.loaded_id().as_ref() != Some(id) {
            return Ok(None);
        }
        let Some(mut engine) = self.engine.try_take() else {
            return Err(RuntimeError::InUse { model: id.clone() });
        };
        self.unload(&mut engine);
        Ok(Some(engine))
    }

    /// Copies, hashes and checks.
    async fn fill(
        &self,
        writer: &mut dyn ModelWriter,
        job: &mut ImportJob<'_>,
    ) -> Result<(FileFacts, String), RuntimeError> {
        let sha256 = self.copy(writer, job).await?;
        if let Some(expected) = job.expected_sha256
            && !expected.eq_ignore_ascii_case(&sha256)
        {
            return Err(ImportError::WrongHash {
                expected: expected.to_owned(),
                found: sha256,
            }
            .into());
        }
        let source = writer.source();
        let size_bytes = source.size_bytes();
        let clock = &*self.platform;
        let phase = ProgressPhase::Verifying;
        let mut meter = Meter::new(job.call, clock, phase, Some(size_bytes));
        let gguf = Gguf::read_part(source).map_err(EngineError::from)?;
        let facts = describe_gguf(&gguf, job.file, self.is_builtin(job.file))?;
        match facts.split() {
            None => self.check_runnable(source, job.cancel).await?,
            Some(split) => self.check_part(split, &gguf, source, job).await?,
        }
        meter.tell(size_bytes);
        Ok((facts, sha256))
    }

    /// Whether a part fits those that are there, and, if it is the last one, whether
    /// the engine will load them together.
    async fn check_part(
        &self,
        split: Split,
        gguf: &Gguf,
        source: &dyn ModelSource,
        job: &ImportJob<'_>,
    ) -> Result<(), RuntimeError> {
        if split.part == 1 {
            check_architecture(gguf).map_err(EngineError::from)?;
        }
        let id = model_of(job.file);
        self.refresh_catalogue().await?;
        if let Some(reason) = self.catalogue.damage(&id) {
            return Err(ImportError::DamagedSet { id, reason }.into());
        }
        let mut sources: Vec<Box<dyn ModelSource + '_>> = vec![Box::new(source)];
        for file in self.catalogue.files(&id) {
            if file == *job.file {
                continue;
            }
            let other = self.store.open(&file).await?;
            let found = Gguf::read_part(&other).map_err(|error| ImportError::DamagedSet {
                id: id.clone(),
                reason: format!("{file}: {error}"),
            })?;
            let of_set = |split: Split| (split.count, split.n_tensors);
            if found.split().map(of_set) != Some(of_set(split)) {
                let part = split.part;
                return Err(ImportError::ForeignPart { id, part }.into());
            }
            sources.push(other);
        }
        if sources.len() < split.count {
            return Ok(());
        }
        let joined = join_sources(sources)?;
        self.check_runnable(&*joined, job.cancel).await
    }

    /// Whether the engine will load this model and chat with it, as far as can be told
    /// without reading the weights.
    async fn check_runnable(
        &self,
        source: &dyn ModelSource,
        cancel: &CancelToken,
    ) -> Result<(), RuntimeError> {
        // How much memory there is does not say whether the file is sound.
        let options = LoadOptions {
            memory_limit_bytes: Some(u64::MAX),
            ..LoadOptions::default()
        };
        self.pause(cancel).await?;
        let mut loader = ModelLoader::new(source, options)?;
        // But the vocabulary is built now.
        let limit_bytes = self.options.memory_limit_bytes;
        let needed_bytes = loader.memory_estimate().vocabulary_bytes;
        if needed_bytes > limit_bytes {
            let n_ctx = loader.n_ctx();
            return Err(EngineError::NotEnoughMemory {
                needed_bytes,
                limit_bytes,
                n_ctx,
            }
            .into());
        }
        while !loader.check_step()? {
            self.pause(cancel).await?;
        }
        let (_, template) = loader.into_checked();
        let template = template.ok_or(EngineError::from(TemplateError::Missing))?;
        // The shortest conversations, with and without a system message.
        let user = ChatMessage::new("user", "hi");
        let system = ChatMessage::new("system", "hi");
        let mut refusal = None;
        for messages in [vec![system, user.clone()], vec![user]] {
            self.pause(cancel).await?;
            refusal = try_template(&template, &messages)?;
            if refusal.is_none() {
                break;
            }
        }
        match refusal {
            Some(reason) => Err(ImportError::TemplateRefuses { reason }.into()),
            None => Ok(()),
        }
    }

    /// Lets the event loop have a turn.
    async fn pause(&self, cancel: &CancelToken) -> Result<(), RuntimeError> {
        self.platform.yield_now().await;
        if cancel.is_cancelled() {
            return Err(RuntimeError::Cancelled);
        }
        Ok(())
    }

    /// Copies to the end and returns the SHA-256 of everything.
    async fn copy(
        &self,
        writer: &mut dyn ModelWriter,
        job: &mut ImportJob<'_>,
    ) -> Result<String, RuntimeError> {
        let clock = &*self.platform;
        let total = job.bytes.size_bytes();
        let mut meter = Meter::new(job.call, clock, ProgressPhase::Copying, total);
        let mut hash = Sha256::new();
        let mut n_bytes: u64 = 0;
        while let Some(chunk) = or_cancelled(job.cancel, job.bytes.next()).await?? {
            n_bytes = n_bytes.saturating_add(chunk.len() as u64);
            if n_bytes > MAX_MODEL_BYTES {
                return Err(ImportError::TooLarge {
                    found_bytes: n_bytes,
                    cap_bytes: MAX_MODEL_BYTES,
                }
                .into());
            }
            if let Err(error) = writer.write(&chunk).await {
                if matches!(error, StorageError::Full { .. }) {
                    // This file can't go on, but the next attempt may fit.
                    self.warm.clear().await;
                }
                return Err(needs(error, total).into());
            }
            hash.update(&chunk);
            meter.tell(n_bytes);
        }
        Ok(hex(&hash.finalize()))
    }
}

/// Whether so much more fits, as far as the platform tells.
fn has_room(usage: &StoreUsage, needed_bytes: u64) -> bool {
    let used_bytes = usage.usage_bytes.unwrap_or(0);
    let free_bytes = usage
        .quota_bytes
        .map(|quota| quota.saturating_sub(used_bytes));
    free_bytes.is_none_or(|free_bytes| needed_bytes <= free_bytes)
}

/// The whole size says more than the bytes that came so far.
fn needs(error: StorageError, total: Option<u64>) -> StorageError {
    match error {
        StorageError::Full {
            needed_bytes,
            usage,
        } => StorageError::Full {
            needed_bytes: total.unwrap_or(needed_bytes).max(needed_bytes),
            usage,
        },
        error => error,
    }
}

/// The id of the model that a file is or belongs to, by its name.
fn model_of(file: &ModelId) -> ModelId {
    file.as_part().map_or_else(|| file.clone(), |name| name.set)
}

impl Origin {
    fn file_name(&self) -> &str {
        match self {
            Self::Attached(attachment) => attachment.name.as_deref().unwrap_or_default(),
            Self::Url(url) => url.split(['?', '#']).next().unwrap_or_default(),
        }
    }
}

/// The id that was asked for; of a part, with the number that the file's name tells.
fn given_id(id: &str, origin: &Origin) -> Result<ModelId, ParamError> {
    let id = ModelId::parse(id)?;
    let of_file = ModelId::from_file_name(origin.file_name());
    match (id.as_part(), of_file.and_then(|file| file.as_part())) {
        (None, Some(name)) => Ok(id.of_part(name.part, name.count)?),
        _ => Ok(id),
    }
}

fn default_id(origin: &Origin) -> Result<ModelId, ImportError> {
    let name = origin.file_name();
    ModelId::from_file_name(name).ok_or_else(|| ImportError::NoId {
        name: name.chars().take(128).collect(),
    })
}

/// Why the template refuses these messages, if it does.
fn try_template(
    template: &ChatTemplate,
    messages: &[ChatMessage],
) -> Result<Option<String>, EngineError> {
    let options = RenderOptions {
        add_generation_prompt: true,
        now_unix_s: Some(0),
        ..RenderOptions::default()
    };
    match template.render(messages, &options) {
        Ok(_) => Ok(None),
        Err(TemplateError::Refused(reason)) => Ok(Some(reason)),
        Err(error) => Err(error.into()),
    }
}

/// SHA-256 of a whole source, in hexadecimal.
pub(crate) async fn hash_source(
    source: &dyn ModelSource,
    platform: &dyn Platform,
) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; HASH_CHUNK_BYTES];
    let mut offset = 0;
    while offset < source.size_bytes() {
        let left = source.size_bytes() - offset;
        let n_bytes = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        let piece = &mut chunk[..n_bytes];
        source.read_at(offset, piece)?;
        hash.update(&piece);
        offset += n_bytes as u64;
        platform.yield_now().await;
    }
    Ok(hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
