//! `models.list`, `models.remove`, `models.load` and `models.unload`, and what an
//! alias stands for.

use nox_core::DEFAULT_ALIAS;
use nox_engine::KvType;
use nox_protocol::{
    ModelInfo, ModelsListResult, ModelsLoadResult, ModelsRemoveResult, ModelsUnloadResult,
    ProgressPhase,
};

use crate::catalogue::missing_parts;
use crate::connection::Call;
use crate::error::{ImportError, ParamError, RuntimeError};
use crate::loader::LoadSpec;
use crate::model_id::ModelId;
use crate::params::{Params, wrong};
use crate::platform::StorageError;
use crate::progress::Meter;
use crate::runtime::Shared;

impl Shared {
    pub(crate) async fn models_list(&self) -> Result<ModelsListResult, RuntimeError> {
        self.builtin.ready().await;
        Ok(ModelsListResult {
            models: self.list_models().await?,
        })
    }

    /// Every sound model: the built-in one first, then by name.
    pub(crate) async fn list_models(&self) -> Result<Vec<ModelInfo>, RuntimeError> {
        self.refresh_catalogue().await?;
        let mut models = self.catalogue.known();
        for model in &mut models {
            model.loaded = self.loaded_id().is_some_and(|id| id.as_str() == model.id);
        }
        models.sort_by(|a, b| {
            let key = |model: &ModelInfo| (!model.builtin, model.name.to_lowercase());
            key(a).cmp(&key(b)).then_with(|| a.id.cmp(&b.id))
        });
        Ok(models)
    }

    pub(crate) async fn refresh_catalogue(&self) -> Result<(), StorageError> {
        let is_builtin = |id: &ModelId| self.is_builtin(id);
        self.catalogue.refresh(&*self.store, is_builtin).await
    }

    /// What is known of an installed model, with its state.
    pub(crate) fn describe_model(&self, id: &ModelId) -> Option<ModelInfo> {
        let mut model = self.catalogue.find(id)?;
        model.loaded = self.loaded_id().is_some_and(|loaded| loaded == *id);
        Some(model)
    }

    /// The id of the model in memory.
    pub(crate) fn loaded_id(&self) -> Option<ModelId> {
        let loaded = self.loaded.borrow();
        loaded
            .as_ref()
            .and_then(|model| ModelId::parse(&model.id).ok())
    }

    pub(crate) fn is_builtin(&self, id: &ModelId) -> bool {
        let builtin = self.options.builtin.as_ref();
        builtin.is_some_and(|builtin| builtin.id == *id)
    }

    /// The model that an alias or id stands for: `nox` is the model in memory, else
    /// the built-in one, else the first that is installed. Storage is looked at only
    /// for what is not known yet.
    pub(crate) async fn resolve(&self, name: &str) -> Result<ModelId, RuntimeError> {
        self.builtin.ready().await;
        if let Some(id) = self.find_known(name) {
            return Ok(id);
        }
        self.refresh_catalogue().await?;
        self.find_known(name).ok_or_else(|| self.not_there(name))
    }

    /// A damaged file counts as known: opening it gives the error that fits.
    fn find_known(&self, name: &str) -> Option<ModelId> {
        if name == DEFAULT_ALIAS {
            return self.loaded_id().or_else(|| self.preferred());
        }
        let id = ModelId::parse(name).ok()?;
        let is_known = self.catalogue.find(&id).is_some() || self.catalogue.damage(&id).is_some();
        is_known.then_some(id)
    }

    fn preferred(&self) -> Option<ModelId> {
        let mut models = self.catalogue.known();
        models.retain(|model| missing_parts(model).is_empty());
        let best = models.iter().min_by_key(|model| !model.builtin);
        let sound = best.and_then(|model| ModelId::parse(&model.id).ok());
        let builtin = self.options.builtin.as_ref().map(|builtin| &builtin.id);
        sound.or_else(|| {
            builtin
                .filter(|id| self.catalogue.damage(id).is_some())
                .cloned()
        })
    }

    fn not_there(&self, name: &str) -> RuntimeError {
        let builtin = self.options.builtin.as_ref();
        let is_builtin = builtin.is_some_and(|builtin| builtin.id.as_str() == name);
        if name == DEFAULT_ALIAS || is_builtin {
            return self.builtin_missing();
        }
        RuntimeError::UnknownModel {
            model: name.chars().take(64).collect(),
            installed: self
                .catalogue
                .known()
                .into_iter()
                .map(|model| model.id)
                .collect(),
        }
    }

    fn builtin_missing(&self) -> RuntimeError {
        let reason = self.builtin.warning();
        RuntimeError::NotInstalled {
            model: DEFAULT_ALIAS.to_owned(),
            reason: reason.unwrap_or_else(|| "import a model first".to_owned()),
        }
    }

    pub(crate) async fn models_remove(
        &self,
        params: &Params<'_>,
    ) -> Result<ModelsRemoveResult, RuntimeError> {
        let name = params.str("model")?;
        if name == DEFAULT_ALIAS {
            return Err(self.builtin_refusal());
        }
        let id = self.resolve(name).await?;
        if self.is_builtin(&id) {
            return Err(ImportError::Builtin { id }.into());
        }
        if self.importing.contains(&id) {
            return Err(ImportError::Running { id }.into());
        }
        if self.loading.contains(&id) {
            return Err(RuntimeError::InUse { model: id });
        }
        let is_loaded = self.loaded_id().as_ref() == Some(&id);
        let mut engine = match (is_loaded, self.engine.try_take()) {
            (true, None) => return Err(RuntimeError::InUse { model: id }),
            (true, Some(engine)) => Some(engine),
            (false, _) => None,
        };
        let files = self.catalogue.files(&id);
        let stored = self.store.list().await?;
        let mine = stored.iter().filter(|model| files.contains(&model.id));
        let freed_bytes = mine.map(|model| model.size_bytes).sum();
        if let Some(engine) = &mut engine {
            self.unload(engine);
        }
        for file in files {
            match self.store.remove(&file).await {
                // Another tab was quicker.
                Ok(()) | Err(StorageError::NotFound { .. }) => self.catalogue.forget(&file),
                Err(error) => return Err(error.into()),
            }
        }
        self.warm.remove_model(&id).await;
        Ok(ModelsRemoveResult {
            removed: id.to_string(),
            freed_bytes,
        })
    }

    fn builtin_refusal(&self) -> RuntimeError {
        match &self.options.builtin {
            Some(builtin) => ImportError::Builtin {
                id: builtin.id.clone(),
            }
            .into(),
            None => self.builtin_missing(),
        }
    }

    pub(crate) async fn models_load(
        &self,
        call: &Call,
        params: &Params<'_>,
    ) -> Result<ModelsLoadResult, RuntimeError> {
        let id = self.resolve(params.str("model")?).await?;
        let n_ctx = params.optional_u64("n_ctx")?;
        if n_ctx == Some(0) {
            return Err(ParamError::OutOfRange {
                field: "n_ctx",
                min: 1,
                max: u64::from(u32::MAX),
                found: 0,
            }
            .into());
        }
        let kv_type = match params.optional_str("kv_type")? {
            None => None,
            Some("f16") => Some(KvType::F16),
            Some("q8") => Some(KvType::Q8),
            Some(_) => return Err(wrong("kv_type", "\"f16\" or \"q8\"").into()),
        };
        let mut engine = self.take_engine(&call.cancel, |_, _| {}).await?;
        let mut meter: Option<Meter<'_>> = None;
        let spec = LoadSpec {
            id: &id,
            n_ctx,
            kv_type,
        };
        let load_ms = self
            .load(&mut engine, &spec, &call.cancel, |done, total| {
                let clock = &*self.platform;
                let phase = ProgressPhase::Loading;
                meter
                    .get_or_insert_with(|| Meter::new(Some(call), clock, phase, Some(total)))
                    .tell(done);
            })
            .await?;
        let loaded = self.loaded.borrow().clone();
        match (self.describe_model(&id), loaded) {
            (Some(model), Some(loaded)) => Ok(ModelsLoadResult {
                model,
                n_ctx: loaded.n_ctx,
                kv_type: loaded.kv_type,
                memory: loaded.memory,
                load_ms,
            }),
            // Another tab took the file away while it was read.
            _ => Err(StorageError::NotFound { id }.into()),
        }
    }

    pub(crate) async fn models_unload(
        &self,
        call: &Call,
        params: &Params<'_>,
    ) -> Result<ModelsUnloadResult, RuntimeError> {
        let id = self.resolve(params.str("model")?).await?;
        if self.loaded_id().as_ref() != Some(&id) {
            return Ok(ModelsUnloadResult { unloaded: false });
        }
        let mut engine = self.take_engine(&call.cancel, |_, _| {}).await?;
        // Another call may have changed models while this one waited.
        let unloaded = self.loaded_id().as_ref() == Some(&id);
        if unloaded {
            self.unload(&mut engine);
        }
        Ok(ModelsUnloadResult { unloaded })
    }
}
