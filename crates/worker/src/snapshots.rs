//! Snapshots in the origin private file system.
//!
//! They lie in `noxics/snapshots`. `<name>.kv` is a block; it is written as
//! `<name>.kv.part` and moved into place. Where a browser can't move files it is written
//! in place: a block that a worker did not finish has another size, or another checksum.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use js_sys::Array;
use nox_engine::ModelSource;
use nox_protocol::StorageKind;
use nox_runtime::{SnapshotName, SnapshotStore, StorageError, StoreUsage, StoredSnapshot};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{File, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetFileOptions};

use crate::opfs::{Access, Handle, to_bytes};
use crate::{folders, js};

const FOLDERS: [&str; 2] = ["noxics", "snapshots"];
const SUFFIX: &str = ".kv";
const PART_SUFFIX: &str = ".kv.part";

/// A store in OPFS.
pub(crate) struct OpfsSnapshots {
    folder: FileSystemDirectoryHandle,
}

impl OpfsSnapshots {
    /// Opens the folder and clears away what a worker left behind that ended while it
    /// wrote.
    ///
    /// # Errors
    /// Why this browser, or this page, has no such storage.
    pub(crate) async fn open() -> Result<Self, String> {
        let manager = folders::storage()?;
        let folder = folders::open(&manager, &FOLDERS)
            .await
            .map_err(|error| js::message(&error))?;
        let store = Self { folder };
        for name in folders::names(&store.folder).await.unwrap_or_default() {
            if name.ends_with(PART_SUFFIX) {
                // What another tab is writing can't be removed, and stays.
                let _ = store.remove_entry(&name).await;
            }
        }
        Ok(store)
    }

    async fn file(&self, name: &str, create: bool) -> Result<FileSystemFileHandle, JsValue> {
        let options = FileSystemGetFileOptions::new();
        options.set_create(create);
        let promise = self.folder.get_file_handle_with_options(name, &options);
        JsFuture::from(promise).await.map(JsCast::unchecked_into)
    }

    async fn remove_entry(&self, name: &str) -> Result<(), JsValue> {
        JsFuture::from(self.folder.remove_entry(name))
            .await
            .map(drop)
    }

    async fn list_blocks(&self) -> Result<Vec<StoredSnapshot>, JsValue> {
        let mut stored = Vec::new();
        for file_name in folders::names(&self.folder).await? {
            let name = file_name.strip_suffix(SUFFIX);
            let Some(name) = name.and_then(SnapshotName::parse) else {
                continue;
            };
            match self.metadata(&file_name).await {
                Ok(file) => stored.push(StoredSnapshot {
                    name,
                    size_bytes: to_bytes(file.size()),
                    modified_ms: to_bytes(file.last_modified()),
                }),
                // Another tab has removed it since.
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(stored)
    }

    async fn metadata(&self, file_name: &str) -> Result<File, JsValue> {
        let file = self.file(file_name, false).await?;
        JsFuture::from(file.get_file())
            .await
            .map(JsCast::unchecked_into)
    }

    async fn read_block(
        &self,
        name: &SnapshotName,
        size_bytes: usize,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        let failed = |error: JsValue| about(name, "read a snapshot", &error);
        let file = match self.file(&block(name), false).await {
            Ok(file) => file,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let handle = Handle::open(&file, Access::Read).await.map_err(failed)?;
        if ModelSource::size_bytes(&handle) != size_bytes as u64 {
            return Ok(None);
        }
        let mut bytes = vec![0; size_bytes];
        let read = handle.read_at(0, &mut bytes);
        read.map_err(|error| StorageError::Failed {
            action: "read a snapshot",
            reason: error.to_string(),
        })?;
        Ok(Some(bytes))
    }

    async fn write_block(&self, name: &SnapshotName, bytes: &[u8]) -> Result<(), StorageError> {
        let written = self.try_write(name, bytes).await;
        if written.is_err() {
            let _ = self.remove_entry(&part(name)).await;
        }
        written.map_err(|error| match js::exception_name(&error).as_str() {
            "QuotaExceededError" => StorageError::Full {
                needed_bytes: bytes.len() as u64,
                usage: StoreUsage::default(),
            },
            _ => about(name, "write a snapshot", &error),
        })
    }

    async fn try_write(&self, name: &SnapshotName, bytes: &[u8]) -> Result<(), JsValue> {
        let part = self.file(&part(name), true).await?;
        let Some(move_to) = js::method(&part, "move") else {
            let file = self.file(&block(name), true).await?;
            let written = fill(&file, bytes).await;
            if written.is_err() {
                let _ = self.remove_entry(&block(name)).await;
            }
            written?;
            return self.remove_entry(&self::part(name)).await;
        };
        fill(&part, bytes).await?;
        let moved = move_to.apply(&part, &Array::of1(&block(name).into()));
        js::settle(moved).await.map(drop)
    }
}

/// Writes all of a file. It is closed afterwards, so that it can be moved.
async fn fill(file: &FileSystemFileHandle, bytes: &[u8]) -> Result<(), JsValue> {
    let mut handle = Handle::open(file, Access::Write).await?;
    handle.truncate()?;
    if handle.append(bytes)? < bytes.len() {
        let full =
            web_sys::DomException::new_with_message_and_name("no more room", "QuotaExceededError")?;
        return Err(full.into());
    }
    Ok(())
}

fn block(name: &SnapshotName) -> String {
    format!("{name}{SUFFIX}")
}

fn part(name: &SnapshotName) -> String {
    format!("{name}{PART_SUFFIX}")
}

fn is_missing(error: &JsValue) -> bool {
    js::exception_name(error) == "NotFoundError"
}

fn about(name: &SnapshotName, action: &'static str, error: &JsValue) -> StorageError {
    if js::exception_name(error) == "NoModificationAllowedError" {
        return StorageError::Busy {
            what: name.to_string(),
        };
    }
    StorageError::Failed {
        action,
        reason: js::message(error),
    }
}

impl SnapshotStore for OpfsSnapshots {
    fn kind(&self) -> StorageKind {
        StorageKind::Opfs
    }

    fn list(&self) -> LocalBoxFuture<'_, Result<Vec<StoredSnapshot>, StorageError>> {
        async {
            let stored = self.list_blocks().await;
            stored.map_err(|error| StorageError::Failed {
                action: "list its snapshots",
                reason: js::message(&error),
            })
        }
        .boxed_local()
    }

    fn read<'a>(
        &'a self,
        name: &'a SnapshotName,
        size_bytes: usize,
    ) -> LocalBoxFuture<'a, Result<Option<Vec<u8>>, StorageError>> {
        self.read_block(name, size_bytes).boxed_local()
    }

    fn write<'a>(
        &'a self,
        name: &'a SnapshotName,
        bytes: &'a [u8],
    ) -> LocalBoxFuture<'a, Result<(), StorageError>> {
        self.write_block(name, bytes).boxed_local()
    }

    fn remove<'a>(
        &'a self,
        name: &'a SnapshotName,
    ) -> LocalBoxFuture<'a, Result<(), StorageError>> {
        async move {
            match self.remove_entry(&block(name)).await {
                Err(error) if !is_missing(&error) => Err(about(name, "remove a snapshot", &error)),
                _ => Ok(()),
            }
        }
        .boxed_local()
    }
}
