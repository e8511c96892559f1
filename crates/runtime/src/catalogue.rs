//! Which models lie in storage, and what their files say about themselves.
//!
//! A file's header is read once per size; a file whose header can't be read is not
//! listed but named in a warning.

use std::cell::RefCell;
use std::collections::BTreeMap;

use nox_engine::gguf::{Gguf, GgufError, OptionalKey};
use nox_protocol::ModelInfo;

use crate::error::RuntimeError;
use crate::model_id::ModelId;
use crate::platform::{ModelStore, StorageError, StoredModel};

/// What is known about stored files.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    entries: RefCell<BTreeMap<ModelId, Entry>>,
}

#[derive(Debug, Clone)]
struct Entry {
    size_bytes: u64,
    /// What the file says, or what is wrong with it.
    described: Result<ModelInfo, String>,
}

impl Catalogue {
    /// Brings the catalogue in step with the store.
    ///
    /// # Errors
    /// The store can't be listed. A file that can't be read is no error here.
    pub(crate) async fn refresh(
        &self,
        store: &dyn ModelStore,
        is_builtin: impl Fn(&ModelId) -> bool,
    ) -> Result<(), StorageError> {
        let stored = store.list().await?;
        self.entries
            .borrow_mut()
            .retain(|id, _| stored.iter().any(|model| model.id == *id));
        for model in stored {
            if self.is_known(&model) {
                continue;
            }
            let described = match describe(store, &model, is_builtin(&model.id)).await {
                Ok(info) => Ok(info),
                // Nothing is wrong with the file, so ask again next time.
                Err(RuntimeError::Storage(error)) => {
                    self.forget(&model.id);
                    self.note_unreadable(&model, &error);
                    continue;
                }
                Err(error) => Err(error.message()),
            };
            let size_bytes = model.size_bytes;
            let entry = Entry {
                size_bytes,
                described,
            };
            self.entries.borrow_mut().insert(model.id, entry);
        }
        Ok(())
    }

    /// Takes in a file that has just been published.
    pub(crate) fn record(&self, id: &ModelId, info: &ModelInfo) {
        let entry = Entry {
            size_bytes: info.size_bytes,
            described: Ok(info.clone()),
        };
        self.entries.borrow_mut().insert(id.clone(), entry);
    }

    /// Forgets a file, so that the next refresh reads it anew.
    pub(crate) fn forget(&self, id: &ModelId) {
        self.entries.borrow_mut().remove(id);
    }

    /// The sound models, by id.
    pub(crate) fn known(&self) -> Vec<ModelInfo> {
        let entries = self.entries.borrow();
        entries
            .values()
            .filter_map(|entry| entry.described.clone().ok())
            .collect()
    }

    /// The model of that id.
    pub(crate) fn find(&self, id: &ModelId) -> Option<ModelInfo> {
        self.entries.borrow().get(id)?.described.clone().ok()
    }

    /// What is wrong with the file of that id.
    pub(crate) fn damage(&self, id: &ModelId) -> Option<String> {
        self.entries.borrow().get(id)?.described.clone().err()
    }

    /// Names the files that can't be used.
    pub(crate) fn warning(&self) -> Option<String> {
        let entries = self.entries.borrow();
        let damaged: Vec<String> = entries
            .iter()
            .filter_map(|(id, entry)| Some(format!("{id}: {}.", entry.described.as_ref().err()?)))
            .collect();
        (!damaged.is_empty())
            .then(|| format!("Some stored models can't be used. {}", damaged.join(" ")))
    }

    fn is_known(&self, model: &StoredModel) -> bool {
        let entries = self.entries.borrow();
        entries
            .get(&model.id)
            .is_some_and(|entry| entry.size_bytes == model.size_bytes)
    }

    /// A size that no file has makes the next refresh look again.
    fn note_unreadable(&self, model: &StoredModel, error: &StorageError) {
        let entry = Entry {
            size_bytes: u64::MAX,
            described: Err(error.to_string()),
        };
        self.entries.borrow_mut().insert(model.id.clone(), entry);
    }
}

async fn describe(
    store: &dyn ModelStore,
    model: &StoredModel,
    builtin: bool,
) -> Result<ModelInfo, RuntimeError> {
    let source = store.open(&model.id).await?;
    let gguf = Gguf::read(&source).map_err(nox_engine::EngineError::from)?;
    let info = describe_gguf(&gguf, &model.id, builtin);
    Ok(info.map_err(nox_engine::EngineError::from)?)
}

/// What a file says about itself.
pub(crate) fn describe_gguf(
    gguf: &Gguf,
    id: &ModelId,
    builtin: bool,
) -> Result<ModelInfo, GgufError> {
    let metadata = gguf.metadata();
    let architecture = gguf.architecture()?.to_owned();
    let context_length = metadata
        .u32(&format!("{architecture}.context_length"))
        .optional()?;
    let name = metadata.str("general.name").optional()?;
    let license = metadata.str("general.license").optional()?;
    Ok(ModelInfo {
        id: id.to_string(),
        name: name.unwrap_or(id.as_str()).to_owned(),
        quantization: main_quantization(gguf),
        parameters: gguf
            .tensors()
            .iter()
            .map(|tensor| tensor.n_elements() as u64)
            .sum(),
        size_bytes: gguf.file_size_bytes(),
        context_length: u64::from(context_length.unwrap_or(0)),
        builtin,
        loaded: false,
        license: license.map(str::to_owned),
        architecture,
    })
}

/// The type that most weights have.
fn main_quantization(gguf: &Gguf) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for tensor in gguf.tensors() {
        *counts.entry(tensor.quant.name()).or_default() += tensor.n_elements() as u64;
    }
    let most = counts.into_iter().max_by_key(|&(_, count)| count);
    most.map_or_else(String::new, |(name, _)| name.to_owned())
}
