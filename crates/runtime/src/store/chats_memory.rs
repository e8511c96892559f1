//! A database of chats in memory, for hosts that keep nothing. Everything is gone
//! with the runtime.

use futures::FutureExt;
use futures::future::{LocalBoxFuture, pending, ready};
use nox_protocol::StorageKind;
use nox_store::{Host, Store};

use crate::platform::{ChatDatabase, OpenError};

/// No place for a database, or none that is wanted.
#[derive(Debug, Clone, Default)]
pub struct MemoryChats {
    /// Why nothing is kept, where that is not wanted.
    reason: Option<String>,
}

impl MemoryChats {
    /// A database in memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stands for a database for which there is no place: the runtime goes on in
    /// memory and tells the user why.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
        }
    }

    fn make(&self, host: Box<dyn Host>) -> Result<Store, OpenError> {
        match &self.reason {
            Some(reason) => Err(OpenError::Unavailable {
                reason: reason.clone(),
            }),
            None => Ok(Store::open_in_memory(host)?),
        }
    }
}

impl ChatDatabase for MemoryChats {
    fn kind(&self) -> StorageKind {
        StorageKind::Memory
    }

    fn open(&self, host: Box<dyn Host>) -> LocalBoxFuture<'_, Result<Store, OpenError>> {
        ready(self.make(host)).boxed_local()
    }

    fn take_over(&self, host: Box<dyn Host>) -> LocalBoxFuture<'_, Result<Store, OpenError>> {
        self.open(host)
    }

    /// What is in memory is new each time: there is nothing to keep.
    fn put_aside(&self) -> LocalBoxFuture<'_, Result<String, OpenError>> {
        let reason = "nothing is kept in memory".to_owned();
        ready(Err(OpenError::Unavailable { reason })).boxed_local()
    }

    fn release(&self) -> LocalBoxFuture<'_, ()> {
        ready(()).boxed_local()
    }

    fn wanted(&self) -> LocalBoxFuture<'_, ()> {
        pending().boxed_local()
    }

    fn freed(&self) -> LocalBoxFuture<'_, ()> {
        pending().boxed_local()
    }
}
