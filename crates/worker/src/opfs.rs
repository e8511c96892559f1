//! Model files in the origin private file system.
//!
//! They lie in `noxics/models`. `<id>.gguf` is a published file; a writer fills
//! `<id>.gguf.part` and moves it into place. Where a browser can't move files the
//! bytes are copied, under a marker `<id>.gguf.copying` that makes every reader take
//! the file for absent until the copy is complete.
//!
//! Files are read and written through sync access handles. A handle is opened for
//! reading only where the browser knows that mode, so that several tabs can use one
//! model; elsewhere the first tab has it alone.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::rc::Rc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use js_sys::{Array, Object, Reflect};
use nox_engine::ModelSource;
use nox_protocol::StorageKind;
use nox_runtime::{ModelId, ModelStore, ModelWriter, StorageError, StoreUsage, StoredModel};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetFileOptions,
    FileSystemReadWriteOptions, FileSystemSyncAccessHandle, StorageManager,
};

use crate::{folders, js};

const FOLDERS: [&str; 2] = ["noxics", "models"];
const SUFFIX: &str = ".gguf";
const PART_SUFFIX: &str = ".gguf.part";
const COPYING_SUFFIX: &str = ".gguf.copying";

/// Bytes in memory while a file is copied.
const COPY_CHUNK_BYTES: usize = 1 << 20;

/// A store in OPFS.
#[derive(Clone)]
pub(crate) struct OpfsStore {
    manager: StorageManager,
    folder: FileSystemDirectoryHandle,
    /// Ids that this worker is writing.
    writing: Rc<RefCell<HashSet<ModelId>>>,
}

impl OpfsStore {
    /// Opens the folder and clears away what earlier writers left behind.
    ///
    /// # Errors
    /// Why this browser, or this page, has no such storage.
    pub(crate) async fn open() -> Result<Self, String> {
        let manager = folders::storage()?;
        let folder = folders::open(&manager, &FOLDERS)
            .await
            .map_err(|error| js::message(&error))?;
        let store = Self {
            manager,
            folder,
            writing: Rc::default(),
        };
        store.check_access().await?;
        store.clear_leftovers().await;
        Ok(store)
    }

    /// Some hosts have the file system without the handles that workers need.
    async fn check_access(&self) -> Result<(), String> {
        const PROBE: &str = "probe";
        let file = self
            .file(PROBE, true)
            .await
            .map_err(|error| js::message(&error))?;
        let has_handles = js::method(&file, "createSyncAccessHandle").is_some();
        // A probe that stays is empty and in nobody's way.
        let _ = self.remove_entry(PROBE).await;
        if has_handles {
            Ok(())
        } else {
            Err("this browser has no synchronous file access".to_owned())
        }
    }

    /// Removes what was never published. What another tab is writing can't be
    /// removed, and stays.
    async fn clear_leftovers(&self) {
        let names = folders::names(&self.folder).await.unwrap_or_default();
        for name in &names {
            if name.ends_with(PART_SUFFIX) {
                let _ = self.remove_entry(name).await;
            }
            if let Some(stem) = name.strip_suffix(COPYING_SUFFIX) {
                self.discard_copy(stem).await;
            }
        }
    }

    /// Removes a file that was not copied to its end, and then what marks it as such.
    async fn discard_copy(&self, stem: &str) {
        let is_gone = match self.remove_entry(&format!("{stem}{SUFFIX}")).await {
            Ok(()) => true,
            Err(error) => js::exception_name(&error) == "NotFoundError",
        };
        if is_gone {
            let _ = self.remove_entry(&format!("{stem}{COPYING_SUFFIX}")).await;
        }
    }

    async fn create_published(&self, id: &ModelId) -> Result<Handle, JsValue> {
        let file = self.file(&published(id), true).await?;
        Handle::open(&file, Access::Write).await
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

    async fn list_models(&self) -> Result<Vec<StoredModel>, JsValue> {
        let names = folders::names(&self.folder).await?;
        let mut models = Vec::new();
        for name in &names {
            let id = name
                .strip_suffix(SUFFIX)
                .and_then(|id| ModelId::parse(id).ok());
            let Some(id) = id else { continue };
            if names.iter().any(|other| *other == marker(&id)) {
                continue;
            }
            match self.size_bytes(name).await {
                Ok(size_bytes) => models.push(StoredModel { id, size_bytes }),
                // Another tab has removed it since.
                Err(error) if js::exception_name(&error) == "NotFoundError" => {}
                Err(error) => return Err(error),
            }
        }
        Ok(models)
    }

    async fn size_bytes(&self, name: &str) -> Result<u64, JsValue> {
        let file = self.file(name, false).await?;
        let blob: Blob = JsFuture::from(file.get_file()).await?.unchecked_into();
        Ok(to_bytes(blob.size()))
    }

    async fn open_published(&self, id: &ModelId) -> Result<Box<dyn ModelSource>, StorageError> {
        if self.file(&marker(id), false).await.is_ok() {
            return Err(StorageError::NotFound { id: id.clone() });
        }
        let about = |error: JsValue| about_file(id, "open a file", &error);
        let file = self.file(&published(id), false).await.map_err(about)?;
        let handle = Handle::open(&file, Access::Read).await.map_err(about)?;
        Ok(Box::new(handle))
    }

    async fn begin(&self, id: &ModelId) -> Result<Box<dyn ModelWriter>, StorageError> {
        if !self.writing.borrow_mut().insert(id.clone()) {
            return Err(StorageError::Busy {
                what: id.to_string(),
            });
        }
        // From here on its drop takes the id off the list again.
        let claim = Claim {
            writing: Rc::clone(&self.writing),
            id: id.clone(),
        };
        let about = |error: JsValue| about_file(id, "create a file", &error);
        let file = self.file(&part(id), true).await.map_err(about)?;
        let mut handle = Handle::open(&file, Access::Write).await.map_err(about)?;
        // A worker that died may have left a part behind.
        handle.truncate().map_err(about)?;
        Ok(Box::new(OpfsWriter {
            store: self.clone(),
            claim,
            handle,
        }))
    }

    async fn read_usage(&self) -> Result<StoreUsage, JsValue> {
        let estimate = JsFuture::from(self.manager.estimate()?).await?;
        let bytes = |name: &str| {
            let value = Reflect::get(&estimate, &name.into()).ok()?;
            value.as_f64().map(to_bytes)
        };
        let persisted = match self.manager.persisted() {
            Ok(promise) => JsFuture::from(promise).await.ok(),
            Err(_) => None,
        };
        Ok(StoreUsage {
            usage_bytes: bytes("usage"),
            quota_bytes: bytes("quota"),
            persisted: persisted.and_then(|value| value.as_bool()),
        })
    }

    /// The room as far as the platform tells; telling it must not fail a second time.
    async fn room(&self) -> StoreUsage {
        self.read_usage().await.unwrap_or_default()
    }
}

fn published(id: &ModelId) -> String {
    format!("{id}{SUFFIX}")
}

fn part(id: &ModelId) -> String {
    format!("{id}{PART_SUFFIX}")
}

fn marker(id: &ModelId) -> String {
    format!("{id}{COPYING_SUFFIX}")
}

/// Sizes are whole numbers below 2^53.
pub(crate) fn to_bytes(size: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a size is a whole number"
    )]
    let bytes = size as u64;
    bytes
}

fn failed(action: &'static str, error: &JsValue) -> StorageError {
    StorageError::Failed {
        action,
        reason: js::message(error),
    }
}

fn about_file(id: &ModelId, action: &'static str, error: &JsValue) -> StorageError {
    match js::exception_name(error).as_str() {
        "NotFoundError" => StorageError::NotFound { id: id.clone() },
        "NoModificationAllowedError" => StorageError::Busy {
            what: id.to_string(),
        },
        _ => failed(action, error),
    }
}

impl ModelStore for OpfsStore {
    fn kind(&self) -> StorageKind {
        StorageKind::Opfs
    }

    fn warning(&self) -> Option<String> {
        None
    }

    fn list(&self) -> LocalBoxFuture<'_, Result<Vec<StoredModel>, StorageError>> {
        async {
            let models = self.list_models().await;
            models.map_err(|error| failed("list its files", &error))
        }
        .boxed_local()
    }

    fn open<'a>(
        &'a self,
        id: &'a ModelId,
    ) -> LocalBoxFuture<'a, Result<Box<dyn ModelSource>, StorageError>> {
        self.open_published(id).boxed_local()
    }

    fn create<'a>(
        &'a self,
        id: &'a ModelId,
    ) -> LocalBoxFuture<'a, Result<Box<dyn ModelWriter>, StorageError>> {
        self.begin(id).boxed_local()
    }

    fn remove<'a>(&'a self, id: &'a ModelId) -> LocalBoxFuture<'a, Result<(), StorageError>> {
        async {
            let removed = self.remove_entry(&published(id)).await;
            removed.map_err(|error| about_file(id, "remove a file", &error))
        }
        .boxed_local()
    }

    fn usage(&self) -> LocalBoxFuture<'_, Result<StoreUsage, StorageError>> {
        async {
            let usage = self.read_usage().await;
            usage.map_err(|error| failed("tell how much room there is", &error))
        }
        .boxed_local()
    }
}

/// What a handle is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Others may read, too.
    Read,
    /// Nobody else may have the file open.
    Write,
}

/// An open file. Dropping it releases the file.
pub(crate) struct Handle {
    handle: FileSystemSyncAccessHandle,
    size_bytes: u64,
}

impl Handle {
    pub(crate) async fn open(file: &FileSystemFileHandle, access: Access) -> Result<Self, JsValue> {
        let options = Object::new();
        if access == Access::Read {
            // Browsers that don't know the mode ignore it.
            Reflect::set(&options, &"mode".into(), &"read-only".into())?;
        }
        let create = js::method(file, "createSyncAccessHandle")
            .ok_or_else(|| js_sys::Error::new("this browser has no synchronous file access"))?;
        let handle = js::settle(create.call1(file, &options)).await?;
        let handle: FileSystemSyncAccessHandle = handle.unchecked_into();
        // Should asking for the size fail, the drop releases the file.
        let mut opened = Self {
            handle,
            size_bytes: 0,
        };
        opened.size_bytes = to_bytes(opened.handle.get_size()?);
        Ok(opened)
    }

    pub(crate) fn truncate(&mut self) -> Result<(), JsValue> {
        self.handle.truncate_with_u32(0)?;
        self.size_bytes = 0;
        Ok(())
    }

    /// Appends as much as there is room for, and says how much that was.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<usize, JsValue> {
        let options = FileSystemReadWriteOptions::new();
        options.set_at_f64(offset(self.size_bytes));
        let n_written = self
            .handle
            .write_with_u8_array_and_options(bytes, &options)?;
        let n_written = usize::try_from(to_bytes(n_written)).unwrap_or(bytes.len());
        self.size_bytes += n_written as u64;
        Ok(n_written)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.handle.close();
    }
}

/// Offsets in files are below 2^53.
fn offset(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "no file is that long")]
    let offset = bytes as f64;
    offset
}

impl ModelSource for Handle {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = at.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.size_bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut n_done = 0;
        while n_done < buf.len() {
            let options = FileSystemReadWriteOptions::new();
            options.set_at_f64(offset(at + n_done as u64));
            let n_read = self
                .handle
                .read_with_u8_array_and_options(&mut buf[n_done..], &options)
                .map_err(|error| io::Error::other(js::message(&error)))?;
            match usize::try_from(to_bytes(n_read)) {
                Ok(n_read) if n_read > 0 => n_done += n_read,
                // The file has become shorter than it was when it was opened.
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(())
    }
}

/// Keeps an id on the list of those being written.
struct Claim {
    writing: Rc<RefCell<HashSet<ModelId>>>,
    id: ModelId,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.writing.borrow_mut().remove(&self.id);
    }
}

struct OpfsWriter {
    store: OpfsStore,
    claim: Claim,
    handle: Handle,
}

impl OpfsWriter {
    async fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let error = match self.handle.append(bytes) {
            Ok(n_written) if n_written == bytes.len() => return Ok(()),
            Ok(_) => None,
            Err(error) => Some(error),
        };
        // A short write and this exception both mean that there is no more room.
        match error {
            Some(error) if js::exception_name(&error) != "QuotaExceededError" => {
                Err(failed("write a file", &error))
            }
            _ => Err(StorageError::Full {
                needed_bytes: self.handle.size_bytes + bytes.len() as u64,
                usage: self.store.room().await,
            }),
        }
    }

    async fn finish(self) -> Result<(), StorageError> {
        let Self {
            store,
            claim,
            handle,
        } = self;
        let id = &claim.id;
        let flushed = handle.handle.flush();
        let needed_bytes = handle.size_bytes;
        // Files are moved when nobody has them open.
        drop(handle);
        let published = match flushed {
            Ok(()) => move_into_place(&store, id).await,
            Err(error) => Err(error),
        };
        if published.is_err() {
            let _ = store.remove_entry(&part(id)).await;
        }
        match published {
            Ok(()) => Ok(()),
            Err(error) if js::exception_name(&error) == "QuotaExceededError" => {
                Err(StorageError::Full {
                    needed_bytes,
                    usage: store.room().await,
                })
            }
            Err(error) => Err(about_file(id, "publish a file", &error)),
        }
    }

    async fn abandon(self) {
        let Self {
            store,
            claim,
            handle,
        } = self;
        drop(handle);
        // If it can't be removed, the next start will.
        let _ = store.remove_entry(&part(&claim.id)).await;
    }
}

impl ModelWriter for OpfsWriter {
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> LocalBoxFuture<'a, Result<(), StorageError>> {
        self.append(bytes).boxed_local()
    }

    fn source(&self) -> &dyn ModelSource {
        &self.handle
    }

    fn publish(self: Box<Self>) -> LocalBoxFuture<'static, Result<(), StorageError>> {
        self.finish().boxed_local()
    }

    fn discard(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        self.abandon().boxed_local()
    }
}

async fn move_into_place(store: &OpfsStore, id: &ModelId) -> Result<(), JsValue> {
    let from = store.file(&part(id), false).await?;
    if let Some(move_to) = js::method(&from, "move") {
        let moved = move_to.apply(&from, &Array::of1(&published(id).into()));
        return js::settle(moved).await.map(drop);
    }
    copy_into_place(store, id, &from).await?;
    // What remains of the part costs room until the next start, and nothing else.
    let _ = store.remove_entry(&part(id)).await;
    Ok(())
}

/// Until the former file is open for writing nothing has changed: another tab may be
/// reading it, and it stays. From then on there is the whole new one, or none.
async fn copy_into_place(
    store: &OpfsStore,
    id: &ModelId,
    from: &FileSystemFileHandle,
) -> Result<(), JsValue> {
    let source = Handle::open(from, Access::Read).await?;
    let former = match store.file(&published(id), false).await {
        Ok(file) => Some(Handle::open(&file, Access::Write).await?),
        Err(error) if js::exception_name(&error) == "NotFoundError" => None,
        Err(error) => return Err(error),
    };
    // Before anything is there that is not whole.
    store.file(&marker(id), true).await?;
    let target = match former {
        Some(target) => Ok(target),
        None => store.create_published(id).await,
    };
    // The target is closed when it has been copied to, or could not be.
    let copied = target.and_then(|target| copy(&source, target));
    match copied {
        Ok(()) => store.remove_entry(&marker(id)).await,
        Err(error) => {
            store.discard_copy(id.as_str()).await;
            Err(error)
        }
    }
}

fn copy(source: &Handle, mut target: Handle) -> Result<(), JsValue> {
    target.truncate()?;
    let mut chunk = vec![0; COPY_CHUNK_BYTES];
    while target.size_bytes < source.size_bytes {
        let n_left = source.size_bytes - target.size_bytes;
        let n_bytes = usize::try_from(n_left)
            .unwrap_or(usize::MAX)
            .min(chunk.len());
        let piece = &mut chunk[..n_bytes];
        let read = source.read_at(target.size_bytes, piece);
        read.map_err(|error| js_sys::Error::new(&error.to_string()))?;
        if target.append(piece)? < piece.len() {
            return Err(web_sys::DomException::new_with_message_and_name(
                "no more room",
                "QuotaExceededError",
            )?
            .into());
        }
    }
    target.handle.flush()
}
