//! SQLite's files on OPFS: a pool of sync access handles in a folder of its own.
//!
//! Databases lie in `noxics/chats/<n>`, each in a folder with its journal; the one
//! with the highest number is in use. Files are found by what stands in their first
//! bytes, so that a damaged one can make its whole pool unreadable: a database is put
//! aside by leaving its folder alone and going on in the next.

use nox_store::{Host, Place, Store, StoreError};
use sqlite_wasm_rs::WasmOsCallback;
use sqlite_wasm_vfs::sahpool::{OpfsSAHError, OpfsSAHPoolCfgBuilder, OpfsSAHPoolUtil, install};
use wasm_bindgen::JsValue;
use web_sys::FileSystemDirectoryHandle;

use crate::{folders, js};

const FOLDERS: [&str; 2] = ["noxics", "chats"];
const DATABASE: &str = "chats.sqlite";

/// The database and its journal, and one of each to spare. Temporary files are kept
/// in memory, and nothing else is ever opened.
const CAPACITY: usize = 4;

/// The files of one database, held open.
pub(crate) struct Pool {
    number: u32,
    util: OpfsSAHPoolUtil,
}

/// Why the files can't be had.
pub(crate) enum PoolError {
    /// Another worker has them open.
    Held,
    /// They are not what they should be.
    Damaged(String),
    /// There is no room for them.
    Full,
    /// The browser does not give them.
    Unavailable(String),
}

impl Pool {
    /// Opens the files of the database in use.
    ///
    /// # Errors
    /// See [`PoolError`]. Nothing is held then.
    pub(crate) async fn open() -> Result<Self, PoolError> {
        let number = number_in_use(&folder().await?).await?;
        let options = OpfsSAHPoolCfgBuilder::new()
            .vfs_name(&vfs(number))
            .directory(&directory(number))
            .initial_capacity(CAPACITY)
            .build();
        let util = install::<WasmOsCallback>(&options, false).await?;
        // One that was let go before is still installed.
        util.resume().await?;
        Ok(Self { number, util })
    }

    /// Opens the database, or makes one.
    ///
    /// # Errors
    /// As [`Store::open_with_vfs`].
    pub(crate) fn open_store(&self, host: Box<dyn Host>) -> Result<Store, StoreError> {
        Store::open_with_vfs(DATABASE, &vfs(self.number), Place::Opfs, host)
    }

    /// Closes the files. The database must have been closed before.
    pub(crate) fn close(self) {
        if let Err(error) = self.util.pause() {
            // They stay open until this worker ends; another tab is told that it is busy.
            web_sys::console::error_1(&format!("chats: {error}").into());
        }
    }
}

/// Leaves the database in use as it is, and tells where it lies. The next one is new.
/// Its files must be closed.
///
/// # Errors
/// The browser makes no folder.
pub(crate) async fn put_aside() -> Result<String, PoolError> {
    let folder = folder().await?;
    let number = number_in_use(&folder).await?;
    folders::subfolder(&folder, &(number + 1).to_string()).await?;
    Ok(directory(number))
}

/// The name of the database in use, and of the VFS that has it.
#[cfg(feature = "conformance")]
pub(crate) async fn database_in_use() -> Result<(&'static str, String), PoolError> {
    let number = number_in_use(&folder().await?).await?;
    Ok((DATABASE, vfs(number)))
}

async fn folder() -> Result<FileSystemDirectoryHandle, PoolError> {
    let manager = folders::storage().map_err(PoolError::Unavailable)?;
    Ok(folders::open(&manager, &FOLDERS).await?)
}

async fn number_in_use(folder: &FileSystemDirectoryHandle) -> Result<u32, PoolError> {
    let names = folders::names(folder).await?;
    let numbers = names.iter().filter_map(|name| name.parse().ok());
    Ok(numbers.max().unwrap_or(1))
}

fn directory(number: u32) -> String {
    format!("{}/{number}", FOLDERS.join("/"))
}

/// A VFS belongs to one folder for as long as the worker lives.
fn vfs(number: u32) -> String {
    format!("chats-{number}")
}

impl From<JsValue> for PoolError {
    fn from(error: JsValue) -> Self {
        match js::exception_name(&error).as_str() {
            "NoModificationAllowedError" => Self::Held,
            "QuotaExceededError" => Self::Full,
            _ => Self::Unavailable(js::message(&error)),
        }
    }
}

impl From<OpfsSAHError> for PoolError {
    fn from(error: OpfsSAHError) -> Self {
        match error {
            OpfsSAHError::Opfs { value, .. } => value.into(),
            OpfsSAHError::InvalidHeader { .. }
            | OpfsSAHError::DuplicateFilename(_)
            | OpfsSAHError::InvalidDirectoryEntry => Self::Damaged(error.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}
