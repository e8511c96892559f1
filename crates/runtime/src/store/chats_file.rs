//! The database of chats in a file of the operating system.
//!
//! Two locks of the operating system stand beside it, which end with their process:
//! `<file>.lock` is held by whoever has the database open, `<file>.wanted` by whoever
//! asks for it. There is no message from one process to another, so both are looked
//! at from time to time.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use nox_protocol::StorageKind;
use nox_store::{Host, Store};

use crate::platform::{ChatDatabase, OpenError, Platform};

/// How often the locks are looked at while nobody waits for the answer.
const WATCH_INTERVAL_MS: f64 = 250.0;
/// How often while a user waits.
const TAKE_OVER_INTERVAL_MS: f64 = 20.0;
/// How long whoever holds the database may take to let go.
const TAKE_OVER_PATIENCE_MS: f64 = 5000.0;
/// What SQLite puts beside a database.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A database file, held by one runtime at a time.
pub struct FileChats {
    path: PathBuf,
    platform: Rc<dyn Platform>,
    /// The lock, while it is held here.
    held: RefCell<Option<File>>,
}

impl FileChats {
    /// A database at `path`. Its folder is made when it is opened.
    pub fn new(path: impl Into<PathBuf>, platform: Rc<dyn Platform>) -> Self {
        Self {
            path: path.into(),
            platform,
            held: RefCell::default(),
        }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        with_suffix(&self.path, suffix)
    }

    fn lock_file(&self, suffix: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.open(self.beside(suffix))
    }

    /// A lock's file, locked; `None` where another has locked it.
    fn lock(&self, suffix: &str) -> io::Result<Option<File>> {
        let file = self.lock_file(suffix)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether another has locked it. Any number may look at the same time, so none
    /// takes another's look for a lock. What can't be told is taken for no.
    fn is_locked(&self, suffix: &str) -> bool {
        let looked = self.lock_file(suffix).map(|file| file.try_lock_shared());
        matches!(looked, Ok(Err(TryLockError::WouldBlock)))
    }

    /// Makes the database this runtime's, if nobody has it.
    fn hold(&self) -> Result<(), OpenError> {
        let mut held = self.held.borrow_mut();
        if held.is_some() {
            return Ok(());
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(|error| unavailable(&error))?;
        }
        let lock = self.lock(".lock").map_err(|error| unavailable(&error))?;
        *held = Some(lock.ok_or(OpenError::Busy)?);
        Ok(())
    }

    fn try_open(&self, host: Box<dyn Host>) -> Result<Store, OpenError> {
        self.hold()?;
        Ok(Store::open(&self.path, host)?)
    }

    async fn ask_and_open(&self, host: Box<dyn Host>) -> Result<Store, OpenError> {
        let end_ms = self.platform.now_ms() + TAKE_OVER_PATIENCE_MS;
        let mut asks = None;
        loop {
            if asks.is_none() {
                // Somebody may look at it just now, or ask too.
                asks = self.lock(".wanted").map_err(|error| unavailable(&error))?;
            }
            match self.hold() {
                Err(OpenError::Busy) if self.platform.now_ms() < end_ms => {
                    self.platform.sleep_ms(TAKE_OVER_INTERVAL_MS).await;
                }
                Err(error) => return Err(error),
                Ok(()) => return Ok(Store::open(&self.path, host)?),
            }
        }
    }

    fn rename_away(&self) -> io::Result<String> {
        let mut n = 1_u32;
        let aside = loop {
            let aside = self.beside(&format!(".damaged-{n}"));
            if !aside.try_exists()? {
                break aside;
            }
            n += 1;
        };
        // The database last: while it is there, this can be tried again.
        for suffix in COMPANIONS {
            match fs::rename(self.beside(suffix), with_suffix(&aside, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, &aside)?;
        Ok(aside.display().to_string())
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        while !is_so() {
            self.platform.sleep_ms(WATCH_INTERVAL_MS).await;
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn unavailable(error: &io::Error) -> OpenError {
    OpenError::Unavailable {
        reason: error.to_string(),
    }
}

impl ChatDatabase for FileChats {
    fn kind(&self) -> StorageKind {
        StorageKind::Files
    }

    fn open(&self, host: Box<dyn Host>) -> LocalBoxFuture<'_, Result<Store, OpenError>> {
        ready(self.try_open(host)).boxed_local()
    }

    fn take_over(&self, host: Box<dyn Host>) -> LocalBoxFuture<'_, Result<Store, OpenError>> {
        self.ask_and_open(host).boxed_local()
    }

    fn put_aside(&self) -> LocalBoxFuture<'_, Result<String, OpenError>> {
        ready(self.rename_away().map_err(|error| unavailable(&error))).boxed_local()
    }

    fn release(&self) -> LocalBoxFuture<'_, ()> {
        self.held.take();
        ready(()).boxed_local()
    }

    fn wanted(&self) -> LocalBoxFuture<'_, ()> {
        self.until(|| self.is_locked(".wanted")).boxed_local()
    }

    /// While someone asks for the database, it is theirs when it becomes free.
    fn freed(&self) -> LocalBoxFuture<'_, ()> {
        self.until(|| !self.is_locked(".wanted") && !self.is_locked(".lock"))
            .boxed_local()
    }
}
