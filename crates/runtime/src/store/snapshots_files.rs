//! Snapshots in a folder of the operating system.
//!
//! `<name>.kv` is a block; it is written as `<name>.kv.part` and renamed. A rename
//! that a failing machine forgets costs nothing but the block, so nothing waits for
//! the disk. Opening the folder clears away parts that a process left behind.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use nox_protocol::StorageKind;

use crate::platform::{SnapshotStore, StorageError, StoreUsage, StoredSnapshot};
use crate::warm::SnapshotName;

const SUFFIX: &str = ".kv";
const PART_SUFFIX: &str = ".kv.part";

/// A store in a folder.
#[derive(Debug)]
pub struct FileSnapshots {
    folder: PathBuf,
}

impl FileSnapshots {
    /// Opens a folder, making it if need be.
    ///
    /// # Errors
    /// It can't be made or read.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let folder = folder.into();
        fs::create_dir_all(&folder)
            .and_then(|()| clear_parts(&folder))
            .map_err(|error| failed("open its folder", &error))?;
        Ok(Self { folder })
    }

    fn path(&self, name: &SnapshotName, suffix: &str) -> PathBuf {
        self.folder.join(format!("{name}{suffix}"))
    }

    fn read_folder(&self) -> io::Result<Vec<StoredSnapshot>> {
        let mut stored = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let file = entry.file_name();
            let name = file.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            let Some(name) = name.and_then(SnapshotName::parse) else {
                continue;
            };
            // Another process may have removed it since.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
            let modified_ms = modified.map_or(0, |since| since.as_millis());
            stored.push(StoredSnapshot {
                name,
                size_bytes: metadata.len(),
                modified_ms: u64::try_from(modified_ms).unwrap_or(u64::MAX),
            });
        }
        Ok(stored)
    }

    fn read_block(&self, name: &SnapshotName, size_bytes: usize) -> io::Result<Option<Vec<u8>>> {
        let mut file = match File::open(self.path(name, SUFFIX)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() != size_bytes as u64 {
            return Ok(None);
        }
        let mut bytes = vec![0; size_bytes];
        file.read_exact(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn write_block(&self, name: &SnapshotName, bytes: &[u8]) -> Result<(), StorageError> {
        let part = self.path(name, PART_SUFFIX);
        let written = File::create(&part)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&part, self.path(name, SUFFIX)));
        written.map_err(|error| {
            let _ = fs::remove_file(&part);
            match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StorageError::Full {
                    needed_bytes: bytes.len() as u64,
                    usage: StoreUsage::default(),
                },
                _ => failed("write a snapshot", &error),
            }
        })
    }
}

fn clear_parts(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name
            .to_str()
            .is_some_and(|name| name.ends_with(PART_SUFFIX))
        {
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

impl SnapshotStore for FileSnapshots {
    fn kind(&self) -> StorageKind {
        StorageKind::Files
    }

    fn list(&self) -> LocalBoxFuture<'_, Result<Vec<StoredSnapshot>, StorageError>> {
        let stored = self.read_folder();
        ready(stored.map_err(|error| failed("list its snapshots", &error))).boxed_local()
    }

    fn read<'a>(
        &'a self,
        name: &'a SnapshotName,
        size_bytes: usize,
    ) -> LocalBoxFuture<'a, Result<Option<Vec<u8>>, StorageError>> {
        let read = self.read_block(name, size_bytes);
        ready(read.map_err(|error| failed("read a snapshot", &error))).boxed_local()
    }

    fn write<'a>(
        &'a self,
        name: &'a SnapshotName,
        bytes: &'a [u8],
    ) -> LocalBoxFuture<'a, Result<(), StorageError>> {
        ready(self.write_block(name, bytes)).boxed_local()
    }

    fn remove<'a>(
        &'a self,
        name: &'a SnapshotName,
    ) -> LocalBoxFuture<'a, Result<(), StorageError>> {
        let removed = match fs::remove_file(self.path(name, SUFFIX)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed("remove a snapshot", &error))
            }
            _ => Ok(()),
        };
        ready(removed).boxed_local()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;
    use crate::store::folder::Folder;

    #[test]
    fn passes_the_tests_of_every_snapshot_store() {
        let folder = Folder::new("snapshots-conformance");
        let store = FileSnapshots::open(&folder.path).unwrap();
        futures::executor::block_on(conformance::check_snapshots(&store));
    }

    #[test]
    fn a_process_that_ended_while_writing_leaves_nothing() {
        let folder = Folder::new("snapshots-parts");
        let store = FileSnapshots::open(&folder.path).unwrap();
        let name = conformance::snapshot_name(1);
        let bytes = vec![7; 1000];
        for n_written in [0, 1, 500, 1000] {
            // What is on the disk when the process ends in the middle.
            fs::write(store.path(&name, PART_SUFFIX), &bytes[..n_written]).unwrap();
            fs::write(folder.path.join("notes.txt"), "not ours").unwrap();
            let again = FileSnapshots::open(&folder.path).unwrap();
            assert_eq!(again.read_folder().unwrap(), []);
            assert_eq!(again.read_block(&name, bytes.len()).unwrap(), None);
            assert!(!store.path(&name, PART_SUFFIX).exists());
            assert!(folder.path.join("notes.txt").exists());
        }
    }
}
