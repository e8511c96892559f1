//! Model files in a folder of the operating system.
//!
//! `<id>.gguf` is a published file. A writer fills `<id>.gguf.part` and renames it
//! when it is complete and on disk; the file system makes that one step.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use nox_engine::{FileSource, ModelSource};
use nox_protocol::StorageKind;

use crate::model_id::ModelId;
use crate::platform::{ModelStore, ModelWriter, StorageError, StoreUsage, StoredModel};

const SUFFIX: &str = ".gguf";
const PART_SUFFIX: &str = ".gguf.part";

/// A store in a folder.
#[derive(Debug, Clone)]
pub struct FileStore {
    folder: PathBuf,
    writing: Rc<RefCell<HashSet<ModelId>>>,
}

impl FileStore {
    /// Opens the folder, making it where it is missing, and clears away what
    /// earlier writers left behind.
    ///
    /// # Errors
    /// The folder can't be made or read.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let folder = folder.into();
        let opened = fs::create_dir_all(&folder).and_then(|()| clear_parts(&folder));
        opened.map_err(|error| failed("open its folder", &error))?;
        Ok(Self {
            folder,
            writing: Rc::default(),
        })
    }

    fn path(&self, id: &ModelId, suffix: &str) -> PathBuf {
        self.folder.join(format!("{id}{suffix}"))
    }

    fn read_folder(&self) -> io::Result<Vec<StoredModel>> {
        let mut models = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            if let Some(id) = id.and_then(|id| ModelId::parse(id).ok()) {
                models.push(StoredModel {
                    id,
                    size_bytes: entry.metadata()?.len(),
                });
            }
        }
        Ok(models)
    }

    fn open_source(&self, id: &ModelId) -> Result<Box<dyn ModelSource>, StorageError> {
        match FileSource::open(self.path(id, SUFFIX)) {
            Ok(source) => Ok(Box::new(source)),
            Err(error) => Err(about_file(id, "open a file", &error)),
        }
    }

    fn create_writer(&self, id: &ModelId) -> Result<Box<dyn ModelWriter>, StorageError> {
        if !self.writing.borrow_mut().insert(id.clone()) {
            return Err(StorageError::Busy {
                what: id.to_string(),
            });
        }
        // From here on the writer's drop takes the id off the list again.
        let part = self.path(id, PART_SUFFIX);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let opened = options
            .open(&part)
            .and_then(|file| Ok((file, FileSource::open(&part)?)));
        let (file, reader) = opened.map_err(|error| {
            self.writing.borrow_mut().remove(id);
            failed("create a file", &error)
        })?;
        Ok(Box::new(FileWriter {
            store: self.clone(),
            id: id.clone(),
            file,
            written: Written {
                path: part,
                reader,
                size_bytes: 0,
            },
        }))
    }
}

fn clear_parts(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_part = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.ends_with(PART_SUFFIX));
        if is_part {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn failed(action: &'static str, error: &io::Error) -> StorageError {
    StorageError::Failed {
        action,
        reason: error.to_string(),
    }
}

fn about_file(id: &ModelId, action: &'static str, error: &io::Error) -> StorageError {
    match error.kind() {
        ErrorKind::NotFound => StorageError::NotFound { id: id.clone() },
        ErrorKind::ResourceBusy => StorageError::Busy {
            what: id.to_string(),
        },
        _ => failed(action, error),
    }
}

impl ModelStore for FileStore {
    fn kind(&self) -> StorageKind {
        StorageKind::Files
    }

    fn warning(&self) -> Option<String> {
        None
    }

    fn list(&self) -> LocalBoxFuture<'_, Result<Vec<StoredModel>, StorageError>> {
        let models = self.read_folder();
        ready(models.map_err(|error| failed("list its files", &error))).boxed_local()
    }

    fn open<'a>(
        &'a self,
        id: &'a ModelId,
    ) -> LocalBoxFuture<'a, Result<Box<dyn ModelSource>, StorageError>> {
        ready(self.open_source(id)).boxed_local()
    }

    fn create<'a>(
        &'a self,
        id: &'a ModelId,
    ) -> LocalBoxFuture<'a, Result<Box<dyn ModelWriter>, StorageError>> {
        ready(self.create_writer(id)).boxed_local()
    }

    fn remove<'a>(&'a self, id: &'a ModelId) -> LocalBoxFuture<'a, Result<(), StorageError>> {
        let removed = fs::remove_file(self.path(id, SUFFIX));
        ready(removed.map_err(|error| about_file(id, "remove a file", &error))).boxed_local()
    }

    /// The standard library can't tell how much room a disk has; a full one shows
    /// when writing.
    fn usage(&self) -> LocalBoxFuture<'_, Result<StoreUsage, StorageError>> {
        let models = self
            .read_folder()
            .map_err(|error| failed("list its files", &error));
        ready(models.map(|models| StoreUsage {
            usage_bytes: Some(models.iter().map(|model| model.size_bytes).sum()),
            quota_bytes: None,
            persisted: Some(true),
        }))
        .boxed_local()
    }
}

struct FileWriter {
    store: FileStore,
    id: ModelId,
    file: File,
    written: Written,
}

/// The part of a temporary file that has been written so far.
struct Written {
    path: PathBuf,
    reader: FileSource,
    size_bytes: u64,
}

impl ModelSource for Written {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.size_bytes) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.reader.read_at(offset, buf)
    }
}

impl FileWriter {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let end = self.written.size_bytes.saturating_add(bytes.len() as u64);
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.written.size_bytes = end;
                Ok(())
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded
                ) =>
            {
                Err(StorageError::Full {
                    needed_bytes: end,
                    usage: StoreUsage::default(),
                })
            }
            Err(error) => Err(failed("write a file", &error)),
        }
    }

    fn finish(&mut self) -> Result<(), StorageError> {
        let path = self.store.path(&self.id, SUFFIX);
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.written.path, path))
            .and_then(|()| sync_folder(&self.store.folder))
            .map_err(|error| failed("publish a file", &error))
    }
}

/// A rename is durable once the folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}

impl ModelWriter for FileWriter {
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> LocalBoxFuture<'a, Result<(), StorageError>> {
        ready(self.append(bytes)).boxed_local()
    }

    fn source(&self) -> &dyn ModelSource {
        &self.written
    }

    fn publish(mut self: Box<Self>) -> LocalBoxFuture<'static, Result<(), StorageError>> {
        ready(self.finish()).boxed_local()
    }

    fn discard(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        ready(()).boxed_local()
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        // After publishing the name is no longer there, and the error says just that.
        let _ = fs::remove_file(&self.written.path);
        self.store.writing.borrow_mut().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;
    use crate::store::folder::Folder;

    #[test]
    fn passes_the_tests_of_every_store() {
        let folder = Folder::new("conformance");
        let store = FileStore::open(&folder.path).unwrap();
        futures::executor::block_on(conformance::check(&store));
    }

    #[test]
    fn opening_clears_leftovers_and_ignores_foreign_files() {
        let folder = Folder::new("leftovers");
        fs::create_dir_all(&folder.path).unwrap();
        for name in ["a.gguf", "b.gguf.part", "C.gguf", "notes.txt"] {
            fs::write(folder.path.join(name), name).unwrap();
        }
        let store = FileStore::open(&folder.path).unwrap();
        let models = store.read_folder().unwrap();
        assert_eq!(models.len(), 1);
        assert_eq!((models[0].id.as_str(), models[0].size_bytes), ("a", 6));
        assert!(!folder.path.join("b.gguf.part").exists());
        assert!(folder.path.join("notes.txt").exists());
    }
}
