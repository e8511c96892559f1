//! Model files in memory, for hosts that give no storage. Everything is gone with
//! the runtime.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use nox_engine::ModelSource;
use nox_protocol::StorageKind;

use crate::model_id::ModelId;
use crate::platform::{ModelStore, ModelWriter, StorageError, StoreUsage, StoredModel};
use crate::store::MemorySnapshots;

/// A store in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    shared: Rc<Shared>,
    warning: Option<String>,
    quota_bytes: Option<u64>,
    /// What takes of the same room.
    snapshots: Option<Rc<MemorySnapshots>>,
}

#[derive(Debug, Default)]
struct Shared {
    files: RefCell<BTreeMap<ModelId, Rc<Vec<u8>>>>,
    writing: RefCell<HashSet<ModelId>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same store, with a reason why it is used.
    pub fn with_warning(mut self, warning: impl Into<String>) -> Self {
        self.warning = Some(warning.into());
        self
    }

    /// The same store, with room for so many bytes and no more.
    pub fn with_quota_bytes(mut self, quota_bytes: u64) -> Self {
        self.quota_bytes = Some(quota_bytes);
        self
    }

    /// The same store, which has its room together with these snapshots.
    pub fn with_snapshots(mut self, snapshots: Rc<MemorySnapshots>) -> Self {
        self.snapshots = Some(snapshots);
        self
    }

    fn room(&self) -> StoreUsage {
        let files = self.shared.files.borrow();
        let files_bytes: u64 = files.values().map(|bytes| bytes.len() as u64).sum();
        let snapshots = self.snapshots.as_ref();
        let snapshots_bytes = snapshots.map_or(0, |snapshots| snapshots.size_bytes());
        StoreUsage {
            usage_bytes: Some(files_bytes + snapshots_bytes),
            quota_bytes: self.quota_bytes,
            persisted: Some(false),
        }
    }
}

impl ModelStore for MemoryStore {
    fn kind(&self) -> StorageKind {
        StorageKind::Memory
    }

    fn warning(&self) -> Option<String> {
        self.warning.clone()
    }

    fn list(&self) -> LocalBoxFuture<'_, Result<Vec<StoredModel>, StorageError>> {
        let files = self.shared.files.borrow();
        let models = files.iter().map(|(id, bytes)| StoredModel {
            id: id.clone(),
            size_bytes: bytes.len() as u64,
        });
        ready(Ok(models.collect())).boxed_local()
    }

    fn open<'a>(
        &'a self,
        id: &'a ModelId,
    ) -> LocalBoxFuture<'a, Result<Box<dyn ModelSource>, StorageError>> {
        let found = self.shared.files.borrow().get(id).map(Rc::clone);
        let source = found.map(|bytes| Box::new(bytes) as Box<dyn ModelSource>);
        ready(source.ok_or_else(|| StorageError::NotFound { id: id.clone() })).boxed_local()
    }

    fn create<'a>(
        &'a self,
        id: &'a ModelId,
    ) -> LocalBoxFuture<'a, Result<Box<dyn ModelWriter>, StorageError>> {
        let created = if self.shared.writing.borrow_mut().insert(id.clone()) {
            let writer: Box<dyn ModelWriter> = Box::new(MemoryWriter {
                store: self.clone(),
                id: id.clone(),
                bytes: Vec::new(),
            });
            Ok(writer)
        } else {
            Err(StorageError::Busy {
                what: id.to_string(),
            })
        };
        ready(created).boxed_local()
    }

    fn remove<'a>(&'a self, id: &'a ModelId) -> LocalBoxFuture<'a, Result<(), StorageError>> {
        let removed = self.shared.files.borrow_mut().remove(id);
        ready(match removed {
            Some(_) => Ok(()),
            None => Err(StorageError::NotFound { id: id.clone() }),
        })
        .boxed_local()
    }

    fn usage(&self) -> LocalBoxFuture<'_, Result<StoreUsage, StorageError>> {
        ready(Ok(self.room())).boxed_local()
    }
}

struct MemoryWriter {
    store: MemoryStore,
    id: ModelId,
    bytes: Vec<u8>,
}

impl MemoryWriter {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let usage = self.store.room();
        let n_written = (self.bytes.len() as u64).saturating_add(bytes.len() as u64);
        let in_use = usage.usage_bytes.unwrap_or(0).saturating_add(n_written);
        let is_within_quota = usage.quota_bytes.is_none_or(|quota| in_use <= quota);
        if !is_within_quota || self.bytes.try_reserve(bytes.len()).is_err() {
            return Err(StorageError::Full {
                needed_bytes: n_written,
                usage,
            });
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

impl ModelWriter for MemoryWriter {
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> LocalBoxFuture<'a, Result<(), StorageError>> {
        ready(self.append(bytes)).boxed_local()
    }

    fn source(&self) -> &dyn ModelSource {
        &self.bytes
    }

    fn publish(mut self: Box<Self>) -> LocalBoxFuture<'static, Result<(), StorageError>> {
        let bytes = Rc::new(std::mem::take(&mut self.bytes));
        let mut files = self.store.shared.files.borrow_mut();
        files.insert(self.id.clone(), bytes);
        drop(files);
        ready(Ok(())).boxed_local()
    }

    fn discard(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        ready(()).boxed_local()
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        self.store.shared.writing.borrow_mut().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn passes_the_tests_of_every_store() {
        futures::executor::block_on(conformance::check(&MemoryStore::new()));
    }

    #[test]
    fn a_full_store_says_so_with_figures() {
        futures::executor::block_on(async {
            let store = MemoryStore::new().with_quota_bytes(10);
            let id = ModelId::parse("a").unwrap();
            let mut writer = store.create(&id).await.unwrap();
            writer.write(&[1; 8]).await.unwrap();
            let error = writer.write(&[1; 3]).await.unwrap_err();
            assert!(
                matches!(
                    error,
                    StorageError::Full {
                        needed_bytes: 11,
                        ..
                    }
                ),
                "{error}"
            );
            writer.discard().await;
            assert_eq!(store.list().await.unwrap(), []);
        });
    }
}
