//! Folders for tests.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process;

/// A folder that is gone with the value. It is not there until something makes it.
pub(super) struct Folder {
    pub(super) path: PathBuf,
}

impl Folder {
    /// No two tests may give the same name.
    pub(super) fn new(name: &str) -> Self {
        let name = format!("nox-runtime-{name}-{}", process::id());
        Self {
            path: env::temp_dir().join(name),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
