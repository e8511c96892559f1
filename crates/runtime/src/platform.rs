//! What the runtime asks of the world. A platform implements [`Platform`],
//! [`ModelStore`] and [`ChatDatabase`], [`SnapshotStore`] where what was computed may be
//! kept, and [`ThreadTuner`] where threads may be too many; `conformance` holds the tests that every model store and every
//! snapshot store must pass.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use nox_core::Clock;
use nox_engine::ModelSource;
use nox_protocol::{MemoryUsage, StorageKind};
use nox_store::{Host, Store, StoreError};

use crate::model_id::ModelId;
use crate::warm::SnapshotName;

/// Time, tasks, randomness and the network.
pub trait Platform: Clock {
    /// Runs a future on the event loop. It is never polled inside this call.
    fn spawn(&self, future: LocalBoxFuture<'static, ()>);

    /// Completes after the event loop has had a turn: whatever had arrived before
    /// has been handled.
    fn yield_now(&self) -> LocalBoxFuture<'_, ()>;

    /// Completes after about so many milliseconds.
    fn sleep_ms(&self, ms: f64) -> LocalBoxFuture<'_, ()>;

    /// A random number, unpredictable enough to tell runs apart.
    fn random_u64(&self) -> u64;

    /// What the program takes of the memory, where the platform tells.
    fn memory_usage(&self) -> MemoryUsage {
        MemoryUsage::default()
    }

    /// Milliseconds since 1970-01-01 UTC. Unlike [`now_ms`](Clock::now_ms) this may
    /// go backwards, when the user sets the clock.
    fn unix_ms(&self) -> i64;

    /// Asks for the bytes at an address that the host named. The platform allows
    /// its own origin only, redirects included.
    ///
    /// # Cancel safety
    /// Dropping the future or the stream ends the transfer.
    fn fetch<'a>(
        &'a self,
        url: &'a str,
    ) -> LocalBoxFuture<'a, Result<Box<dyn ByteStream>, StreamError>>;
}

/// Who decides how many of the lane's threads compute.
pub trait ThreadTuner {
    /// Why there are as many as there are, for a person.
    fn why(&self) -> String;

    /// Finds out how many are best, if that is not known. The runtime calls it whenever a
    /// model is in memory and is about to be used, and nothing else is computed; it takes
    /// a tenth of a second at most, and nothing once the answer is known.
    fn settle(&self) -> LocalBoxFuture<'_, ()>;
}

/// Threads whose number nobody decides anew.
pub struct FixedThreads {
    why: String,
}

impl FixedThreads {
    /// As many as the lane has, for this reason.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into() }
    }
}

impl ThreadTuner for FixedThreads {
    fn why(&self) -> String {
        self.why.clone()
    }

    fn settle(&self) -> LocalBoxFuture<'_, ()> {
        std::future::ready(()).boxed_local()
    }
}

/// Bytes that arrive one piece after the other.
pub trait ByteStream {
    /// The number of bytes in all, where it is known beforehand.
    fn size_bytes(&self) -> Option<u64>;

    /// The next piece, never empty; `None` at the end.
    fn next(&mut self) -> LocalBoxFuture<'_, Result<Option<Vec<u8>>, StreamError>>;
}

/// Why bytes did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The address is not one that this runtime reads from.
    #[error("{url} is not of this site; only addresses of the same origin are read")]
    ForeignOrigin {
        /// The address.
        url: String,
    },
    /// The text is no address.
    #[error("{url:?} is not a valid address")]
    InvalidUrl {
        /// The text.
        url: String,
    },
    /// The server answered with something else.
    #[error("{url} answered with status {status}")]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The network or the server broke off.
    #[error("the network failed: {reason}")]
    Network {
        /// What the platform says.
        reason: String,
    },
    /// A file that the user chose can no longer be read.
    #[error("the file can't be read: {reason}")]
    File {
        /// What the platform says.
        reason: String,
    },
}

/// A stored model file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredModel {
    /// Its id.
    pub id: ModelId,
    /// Its size.
    pub size_bytes: u64,
}

/// What the platform tells about the room for files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Bytes in use.
    pub usage_bytes: Option<u64>,
    /// Bytes that may be used; writes can fail before.
    pub quota_bytes: Option<u64>,
    /// Whether the platform promised not to evict files.
    pub persisted: Option<bool>,
}

/// Where model files lie. A store is used by one runtime; several runtimes may
/// share the place behind it.
///
/// Promised: after [`ModelWriter::publish`] the whole file is there, also after a
/// crash; before it, the former file of that id, or none, is. Nothing is promised
/// about the order in which [`list`](Self::list) names files.
pub trait ModelStore {
    /// The kind of storage.
    fn kind(&self) -> StorageKind;

    /// Why it is not the best kind, if it is not.
    fn warning(&self) -> Option<String>;

    /// The published files.
    fn list(&self) -> LocalBoxFuture<'_, Result<Vec<StoredModel>, StorageError>>;

    /// Opens a published file for reading. The file stays readable while the source
    /// lives, and the source's drop releases it.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] if there is none.
    fn open<'a>(
        &'a self,
        id: &'a ModelId,
    ) -> LocalBoxFuture<'a, Result<Box<dyn ModelSource>, StorageError>>;

    /// Begins a file that nobody sees until it is published.
    ///
    /// # Errors
    /// [`StorageError::Busy`] if another writer is at work on the same id.
    fn create<'a>(
        &'a self,
        id: &'a ModelId,
    ) -> LocalBoxFuture<'a, Result<Box<dyn ModelWriter>, StorageError>>;

    /// Deletes a published file.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] if there is none; [`StorageError::Busy`] while it
    /// is open somewhere and the platform minds that.
    fn remove<'a>(&'a self, id: &'a ModelId) -> LocalBoxFuture<'a, Result<(), StorageError>>;

    /// How much room there is.
    fn usage(&self) -> LocalBoxFuture<'_, Result<StoreUsage, StorageError>>;

    /// Asks the platform to promise that nothing stored is evicted, and tells
    /// whether it did; `None` where it knows no such promise. It may ask the user.
    fn persist(&self) -> LocalBoxFuture<'_, Result<Option<bool>, StorageError>> {
        Box::pin(async { Ok(self.usage().await?.persisted) })
    }
}

/// A file that is being written. Exactly one of [`publish`](Self::publish) and
/// [`discard`](Self::discard) ends it; a writer that is dropped instead leaves at
/// most a temporary file, which the next start clears away.
pub trait ModelWriter {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`StorageError::Full`] when there is no room. After an error the file can
    /// only be discarded.
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> LocalBoxFuture<'a, Result<(), StorageError>>;

    /// What has been written, for reading it back.
    fn source(&self) -> &dyn ModelSource;

    /// Makes the file the one of its id, at once and for good. On an error nothing
    /// is left of it, and the former file of that id stays; but where the platform can't
    /// move files and a copy ends half-way, for want of room, the former one is gone.
    fn publish(self: Box<Self>) -> LocalBoxFuture<'static, Result<(), StorageError>>;

    /// Removes all trace of it.
    fn discard(self: Box<Self>) -> LocalBoxFuture<'static, ()>;
}

/// A stored snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSnapshot {
    /// Its name.
    pub name: SnapshotName,
    /// Its size.
    pub size_bytes: u64,
    /// When it was written. Only the order counts.
    pub modified_ms: u64,
}

/// Where blocks of what the engine computed lie. They can be computed again, so
/// nothing depends on them: a store may lose any of them at any time.
///
/// Promised: after [`write`](Self::write) the whole block is there; a process that
/// ends meanwhile leaves nothing under its name, or bytes of another size or with a
/// wrong checksum. Several runtimes may share the place behind a store. What a name
/// stands for never changes, so it does not matter which of them wrote it.
pub trait SnapshotStore {
    /// The kind of storage.
    fn kind(&self) -> StorageKind;

    /// What is there, in any order.
    fn list(&self) -> LocalBoxFuture<'_, Result<Vec<StoredSnapshot>, StorageError>>;

    /// All bytes of a block, if there is one of this name and size.
    fn read<'a>(
        &'a self,
        name: &'a SnapshotName,
        size_bytes: usize,
    ) -> LocalBoxFuture<'a, Result<Option<Vec<u8>>, StorageError>>;

    /// Keeps a block. On an error nothing is left of it.
    ///
    /// # Errors
    /// [`StorageError::Full`] when there is no room.
    fn write<'a>(
        &'a self,
        name: &'a SnapshotName,
        bytes: &'a [u8],
    ) -> LocalBoxFuture<'a, Result<(), StorageError>>;

    /// Removes a block; one that is not there is no error.
    fn remove<'a>(&'a self, name: &'a SnapshotName)
    -> LocalBoxFuture<'a, Result<(), StorageError>>;
}

/// Where the database of chats lies on this platform. What to do when it can't be
/// opened is the runtime's business, once for all platforms.
///
/// Promised: of all [`Store`]s that were opened here, in this process or another, at
/// most one lives at a time. The runtime drops its store before it calls
/// [`put_aside`](Self::put_aside) and [`release`](Self::release), and calls one
/// method that opens, puts aside or releases at a time.
pub trait ChatDatabase {
    /// The kind of storage.
    fn kind(&self) -> StorageKind;

    /// Opens the database, or makes one. After an [`OpenError::Store`] the database
    /// is still held, so that it can be put aside or released.
    ///
    /// # Errors
    /// [`OpenError::Busy`] while another holds it.
    fn open(&self, host: Box<dyn Host>) -> LocalBoxFuture<'_, Result<Store, OpenError>>;

    /// Asks whoever holds it to let go, waits for that a bounded time, and opens.
    ///
    /// # Errors
    /// [`OpenError::Busy`] when they did not.
    fn take_over(&self, host: Box<dyn Host>) -> LocalBoxFuture<'_, Result<Store, OpenError>>;

    /// Keeps the database under another name, byte for byte as it is, and tells that
    /// name. The next [`open`](Self::open) makes a new one.
    fn put_aside(&self) -> LocalBoxFuture<'_, Result<String, OpenError>>;

    /// Lets others open it.
    fn release(&self) -> LocalBoxFuture<'_, ()>;

    /// Completes when another asks for the database that is held here.
    ///
    /// # Cancel safety
    /// Dropping the future forgets nothing: who asks is seen by the next one.
    fn wanted(&self) -> LocalBoxFuture<'_, ()>;

    /// Completes when a database that another held may have become free.
    ///
    /// # Cancel safety
    /// As [`wanted`](Self::wanted).
    fn freed(&self) -> LocalBoxFuture<'_, ()>;
}

/// Why the database of chats could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another tab or process holds it.
    #[error("another tab or process holds the database of chats")]
    Busy,
    /// There is no place for a database here.
    #[error("there is no place for a database: {reason}")]
    Unavailable {
        /// What the platform says.
        reason: String,
    },
    /// The database itself is the matter.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What can go wrong with storage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// No such file.
    #[error("{id} is not in storage")]
    NotFound {
        /// The id.
        id: ModelId,
    },
    /// Someone else holds the file.
    #[error("{what} is held by another tab or process; close it and try again")]
    Busy {
        /// The file or folder.
        what: String,
    },
    /// There is no room.
    #[error("storage is full{}", room(*.needed_bytes, .usage))]
    Full {
        /// Bytes that were to be written.
        needed_bytes: u64,
        /// What the platform says about room.
        usage: StoreUsage,
    },
    /// The platform failed.
    #[error("storage failed to {action}: {reason}")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// What the platform says.
        reason: String,
    },
}

fn room(needed_bytes: u64, usage: &StoreUsage) -> String {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let needed = mib(needed_bytes);
    match (usage.usage_bytes, usage.quota_bytes) {
        // What browsers tell about room is an upper bound.
        (Some(used), Some(quota)) if used.saturating_add(needed_bytes) <= quota => {
            format!(": {needed} MiB were refused, though more room was announced")
        }
        (Some(used), Some(quota)) => format!(
            ": {needed} MiB are needed, and {} of {} MiB are in use",
            mib(used),
            mib(quota)
        ),
        _ => format!(": {needed} MiB are needed"),
    }
}
