//! Which models lie in storage, and what their files say about themselves.
//!
//! A file's header is read once per size; a file whose header can't be read is not
//! listed but named in a warning. The files of a split model are one model here, whose
//! id is theirs without the end that numbers them; while some are missing it is listed
//! with those that are.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use nox_engine::gguf::{Gguf, GgufError, OptionalKey, Split};
use nox_protocol::{ModelInfo, ModelParts};

use crate::error::{ImportError, RuntimeError};
use crate::model_id::ModelId;
use crate::platform::{ModelStore, StorageError, StoredModel};

/// What is known about stored files.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    /// By the files' ids.
    entries: RefCell<BTreeMap<ModelId, Entry>>,
}

#[derive(Debug, Clone)]
struct Entry {
    size_bytes: u64,
    /// What the file says, or what is wrong with it.
    described: Result<FileFacts, String>,
}

/// What a file says about itself, be it a model or a part of one.
#[derive(Debug, Clone)]
pub(crate) struct FileFacts {
    /// As if the file were the whole model. That of a part which is not the first has
    /// figures, and no words.
    info: ModelInfo,
    /// Elements by type.
    elements: BTreeMap<&'static str, u64>,
    split: Option<Split>,
}

/// A model and where its files lie.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) info: ModelInfo,
    /// In the order of the parts.
    pub(crate) files: Vec<ModelId>,
}

impl Listed {
    /// The numbers of parts that are not there.
    pub(crate) fn missing(&self) -> &[u32] {
        missing_parts(&self.info)
    }
}

/// The numbers of parts that are not there; without any the model can be loaded.
pub(crate) fn missing_parts(info: &ModelInfo) -> &[u32] {
    info.parts.as_ref().map_or(&[], |parts| &parts.missing)
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
                Ok(facts) => Ok(facts),
                // Nothing is wrong with the file, so ask again next time.
                Err(RuntimeError::Storage(error)) => {
                    self.entries.borrow_mut().remove(&model.id);
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
    pub(crate) fn record(&self, file: &ModelId, facts: FileFacts) {
        let entry = Entry {
            size_bytes: facts.info.size_bytes,
            described: Ok(facts),
        };
        self.entries.borrow_mut().insert(file.clone(), entry);
    }

    /// Forgets a model, or a file, so that the next refresh reads it anew.
    pub(crate) fn forget(&self, id: &ModelId) {
        let files = self.files(id);
        let mut entries = self.entries.borrow_mut();
        for file in files {
            entries.remove(&file);
        }
    }

    /// The sound models, by id, with those that have parts missing.
    pub(crate) fn known(&self) -> Vec<ModelInfo> {
        let listed = self.listed().into_values();
        listed
            .filter_map(|listed| Some(listed.ok()?.info))
            .collect()
    }

    /// Whether any can be loaded.
    pub(crate) fn has_any(&self) -> bool {
        self.known()
            .iter()
            .any(|info| missing_parts(info).is_empty())
    }

    /// The model of that id.
    pub(crate) fn find(&self, id: &ModelId) -> Option<ModelInfo> {
        self.look_up(id).map(|listed| listed.info)
    }

    /// The model of that id with its files.
    pub(crate) fn look_up(&self, id: &ModelId) -> Option<Listed> {
        self.listed().remove(id)?.ok()
    }

    /// What is wrong with the model of that id.
    pub(crate) fn damage(&self, id: &ModelId) -> Option<String> {
        self.listed().remove(id)?.err()
    }

    /// The files that are or belong to that id, sound or not.
    pub(crate) fn files(&self, id: &ModelId) -> Vec<ModelId> {
        let is_whole =
            |entry: &Entry| matches!(&entry.described, Ok(facts) if facts.split.is_none());
        let is_part = |file: &ModelId| file.as_part().is_some_and(|name| name.set == *id);
        let entries = self.entries.borrow();
        let mine = entries
            .iter()
            .filter(|(file, entry)| *file == id || (is_part(file) && !is_whole(entry)));
        mine.map(|(file, _)| file.clone()).collect()
    }

    /// Names the files that can't be used.
    pub(crate) fn warning(&self) -> Option<String> {
        let listed = self.listed();
        let damaged: Vec<String> = listed
            .iter()
            .filter_map(|(id, listed)| Some(format!("{id}: {}.", listed.as_ref().err()?)))
            .collect();
        (!damaged.is_empty())
            .then(|| format!("Some stored models can't be used. {}", damaged.join(" ")))
    }

    /// Every model: one per whole file, one per set of parts. A whole file has its id
    /// before a set; a damaged part is listed by itself.
    fn listed(&self) -> BTreeMap<ModelId, Result<Listed, String>> {
        let entries = self.entries.borrow();
        let mut listed = BTreeMap::new();
        let mut sets: BTreeMap<ModelId, Vec<(&ModelId, &FileFacts)>> = BTreeMap::new();
        for (file, entry) in entries.iter() {
            let facts = match &entry.described {
                Ok(facts) => facts,
                Err(damage) => {
                    listed.insert(file.clone(), Err(damage.clone()));
                    continue;
                }
            };
            match facts.split.and_then(|_| file.as_part()) {
                Some(name) => sets.entry(name.set).or_default().push((file, facts)),
                None => {
                    let whole = Listed {
                        info: facts.info.clone(),
                        files: vec![file.clone()],
                    };
                    listed.insert(file.clone(), Ok(whole));
                }
            }
        }
        for (id, parts) in sets {
            let set = join(&id, &parts);
            listed.entry(id).or_insert(set);
        }
        listed
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

/// One model of parts, in the order of their names, which is that of their numbers.
fn join(id: &ModelId, parts: &[(&ModelId, &FileFacts)]) -> Result<Listed, String> {
    let splits: Vec<Split> = parts.iter().filter_map(|(_, facts)| facts.split).collect();
    let of_set = |split: &Split| (split.count, split.n_tensors);
    let expected = splits[0];
    if splits
        .iter()
        .any(|split| of_set(split) != of_set(&expected))
    {
        return Err(
            "its files are parts of different models; remove it, and import them anew".to_owned(),
        );
    }
    let there: BTreeSet<usize> = splits.iter().map(|split| split.part).collect();
    let missing = (1..=expected.count).filter(|part| !there.contains(part));
    // The first part's words are the model's; another part has its id alone.
    let words = parts[0].1.info.clone();
    let mut elements: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, facts) in parts {
        for (&quant, n_elements) in &facts.elements {
            *elements.entry(quant).or_default() += n_elements;
        }
    }
    let infos = || parts.iter().map(|(_, facts)| &facts.info);
    let info = ModelInfo {
        id: id.to_string(),
        quantization: most(&elements),
        parameters: infos().map(|info| info.parameters).sum(),
        size_bytes: infos().map(|info| info.size_bytes).sum(),
        parts: Some(ModelParts {
            count: wire_number(expected.count),
            missing: missing.map(wire_number).collect(),
        }),
        ..words
    };
    let files = parts.iter().map(|&(file, _)| file.clone()).collect();
    Ok(Listed { info, files })
}

/// The engine's cap keeps these small.
fn wire_number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

async fn describe(
    store: &dyn ModelStore,
    model: &StoredModel,
    builtin: bool,
) -> Result<FileFacts, RuntimeError> {
    let source = store.open(&model.id).await?;
    let gguf = Gguf::read_part(&source).map_err(nox_engine::EngineError::from)?;
    describe_gguf(&gguf, &model.id, builtin)
}

/// What a file says about itself.
///
/// # Errors
/// It says that it is a part, and its id says something else; or it says too little.
pub(crate) fn describe_gguf(
    gguf: &Gguf,
    file: &ModelId,
    builtin: bool,
) -> Result<FileFacts, RuntimeError> {
    let split = gguf.split();
    if let Some(Split { part, count, .. }) = split
        && file.as_part().map(|name| (name.part, name.count)) != Some((part, count))
    {
        return Err(ImportError::PartName { part, count }.into());
    }
    let info = match split {
        Some(Split { part: 2.., .. }) => ModelInfo::default(),
        _ => words(gguf).map_err(nox_engine::EngineError::from)?,
    };
    let elements = count_elements(gguf);
    let set = split.and_then(|_| Some(file.as_part()?.set));
    let id = set.as_ref().unwrap_or(file);
    let info = ModelInfo {
        id: id.to_string(),
        name: match &*info.name {
            "" => id.to_string(),
            _ => info.name,
        },
        quantization: most(&elements),
        parameters: elements.values().sum(),
        size_bytes: gguf.file_size_bytes(),
        builtin,
        ..info
    };
    Ok(FileFacts {
        info,
        elements,
        split,
    })
}

impl FileFacts {
    /// What is told of the file by itself.
    pub(crate) fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Of which split model the file is a part, if it is one.
    pub(crate) fn split(&self) -> Option<Split> {
        self.split
    }
}

fn words(gguf: &Gguf) -> Result<ModelInfo, GgufError> {
    let metadata = gguf.metadata();
    let architecture = gguf.architecture()?.to_owned();
    let context_length = metadata
        .u32(&format!("{architecture}.context_length"))
        .optional()?;
    let name = metadata.str("general.name").optional()?;
    let license = metadata.str("general.license").optional()?;
    Ok(ModelInfo {
        name: name.unwrap_or_default().to_owned(),
        context_length: u64::from(context_length.unwrap_or(0)),
        license: license.map(str::to_owned),
        architecture,
        ..ModelInfo::default()
    })
}

fn count_elements(gguf: &Gguf) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for tensor in gguf.tensors() {
        *counts.entry(tensor.quant.name()).or_default() += tensor.n_elements() as u64;
    }
    counts
}

/// The type that most weights have.
fn most(elements: &BTreeMap<&str, u64>) -> String {
    let most = elements.iter().max_by_key(|&(_, &count)| count);
    most.map_or_else(String::new, |(name, _)| (*name).to_owned())
}
