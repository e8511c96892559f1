//! Snapshots in memory, for tests and for hosts without storage that unload models
//! now and then. Everything is gone with the runtime.

use std::cell::RefCell;
use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use nox_protocol::StorageKind;

use crate::platform::{SnapshotStore, StorageError, StoredSnapshot};
use crate::warm::SnapshotName;

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemorySnapshots {
    blocks: RefCell<BTreeMap<SnapshotName, (u64, Vec<u8>)>>,
}

impl MemorySnapshots {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the blocks take.
    pub(crate) fn size_bytes(&self) -> u64 {
        let blocks = self.blocks.borrow();
        blocks.values().map(|(_, bytes)| bytes.len() as u64).sum()
    }
}

impl SnapshotStore for MemorySnapshots {
    fn kind(&self) -> StorageKind {
        StorageKind::Memory
    }

    fn list(&self) -> LocalBoxFuture<'_, Result<Vec<StoredSnapshot>, StorageError>> {
        let blocks = self.blocks.borrow();
        let stored = blocks
            .iter()
            .map(|(name, (modified_ms, bytes))| StoredSnapshot {
                name: name.clone(),
                size_bytes: bytes.len() as u64,
                modified_ms: *modified_ms,
            });
        ready(Ok(stored.collect())).boxed_local()
    }

    fn read<'a>(
        &'a self,
        name: &'a SnapshotName,
        size_bytes: usize,
    ) -> LocalBoxFuture<'a, Result<Option<Vec<u8>>, StorageError>> {
        let blocks = self.blocks.borrow();
        let bytes = blocks.get(name).map(|(_, bytes)| bytes.clone());
        ready(Ok(bytes.filter(|bytes| bytes.len() == size_bytes))).boxed_local()
    }

    fn write<'a>(
        &'a self,
        name: &'a SnapshotName,
        bytes: &'a [u8],
    ) -> LocalBoxFuture<'a, Result<(), StorageError>> {
        let mut blocks = self.blocks.borrow_mut();
        let newest = blocks.values().map(|(modified_ms, _)| *modified_ms).max();
        let modified_ms = newest.map_or(0, |newest| newest + 1);
        blocks.insert(name.clone(), (modified_ms, bytes.to_vec()));
        ready(Ok(())).boxed_local()
    }

    fn remove<'a>(
        &'a self,
        name: &'a SnapshotName,
    ) -> LocalBoxFuture<'a, Result<(), StorageError>> {
        self.blocks.borrow_mut().remove(name);
        ready(Ok(())).boxed_local()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn passes_the_tests_of_every_snapshot_store() {
        futures::executor::block_on(conformance::check_snapshots(&MemorySnapshots::new()));
    }
}
