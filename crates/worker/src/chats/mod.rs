//! The database of chats in the origin private file system.
//!
//! One worker of all tabs has it, under a Web Lock; the files' handles, which are
//! exclusive, would keep a second one out even so. Who wants it says so to the other
//! [`Tabs`] and stands in line for the lock. Tabs that only wait until it may be free
//! stand in line for a shared hold of the lock, which they give back at once: they
//! never come between a holder and the one that asked.
//!
//! What becomes of a database that can't be opened is the runtime's matter.

#[cfg(feature = "conformance")]
mod check;
mod lock;
mod pool;
mod tabs;

use std::cell::RefCell;
use std::convert::Infallible;

use futures::FutureExt;
use futures::future::{Either, LocalBoxFuture, pending, select};
use nox_protocol::StorageKind;
use nox_runtime::{ChatDatabase, OpenError};
use nox_store::{Host, Store, StoreError};
use wasm_bindgen::JsValue;

#[cfg(feature = "conformance")]
pub(crate) use self::check::integrity_check;
use self::lock::{LockRequest, Mode, WebLock};
use self::pool::{Pool, PoolError};
use self::tabs::Tabs;
use crate::js;
use crate::platform::sleep_ms;

/// The lock's name, and the channel's.
const NAME: &str = "noxics.chats";

/// A worker that was told to end may compute on for two seconds, and keeps the lock
/// meanwhile: one that holds it and says nothing is waited for.
const ENDING_GRACE_MS: f64 = 3000.0;
/// The handles of a worker that has ended are freed a little after its lock.
const HANDLES_GRACE_MS: f64 = 2000.0;
const HANDLES_INTERVAL_MS: f64 = 20.0;
/// How long whoever holds the database may take to let go.
const TAKE_OVER_PATIENCE_MS: f64 = 5000.0;
/// One who has just got the database may not have been there when it was asked.
const ASK_INTERVAL_MS: f64 = 500.0;

/// The database of chats, held by one worker at a time.
pub(crate) struct OpfsChats {
    tabs: Tabs,
    held: RefCell<Option<Held>>,
}

/// What is had while the database is this worker's.
struct Held {
    pool: Option<Pool>,
    _lock: WebLock,
}

impl OpfsChats {
    /// # Errors
    /// This browser has no channel between tabs; the text says so.
    pub(crate) fn new() -> Result<Self, String> {
        Ok(Self {
            tabs: Tabs::new(NAME).map_err(|error| js::message(&error))?,
            held: RefCell::default(),
        })
    }

    /// Opens the database, once the lock is held.
    async fn open_held(&self, host: Box<dyn Host>) -> Result<Store, OpenError> {
        let pool = match self.take_pool() {
            Some(pool) => Ok(pool),
            None => open_pool().await,
        };
        match pool {
            Ok(pool) => {
                let opened = pool.open_store(host);
                // Also where opening failed: it may have to be put aside.
                self.keep_pool(pool);
                Ok(opened?)
            }
            Err(PoolError::Damaged(detail)) => Err(StoreError::Corrupt { detail }.into()),
            Err(error) => {
                self.let_go();
                Err(error.into())
            }
        }
    }

    async fn open_if_free(&self, host: Box<dyn Host>) -> Result<Store, OpenError> {
        if self.held.borrow().is_none() {
            let granted = std::pin::pin!(stand_in_line(ENDING_GRACE_MS));
            let held_elsewhere = std::pin::pin!(self.tabs.held_elsewhere());
            match select(granted, held_elsewhere).await {
                Either::Left((lock, _)) => self.hold(lock?),
                Either::Right(((), _)) => return Err(OpenError::Busy),
            }
        }
        self.open_held(host).await
    }

    async fn ask_and_open(&self, host: Box<dyn Host>) -> Result<Store, OpenError> {
        if self.held.borrow().is_none() {
            let granted = std::pin::pin!(stand_in_line(TAKE_OVER_PATIENCE_MS));
            let asking = std::pin::pin!(self.keep_asking());
            match select(granted, asking).await {
                Either::Left((lock, _)) => self.hold(lock?),
                Either::Right((never, _)) => match never {},
            }
        }
        self.open_held(host).await
    }

    async fn keep_asking(&self) -> Infallible {
        loop {
            self.tabs.want();
            sleep_ms(ASK_INTERVAL_MS).await;
        }
    }

    /// From now on the database is this worker's.
    fn hold(&self, lock: WebLock) {
        self.tabs.set_holds(true);
        self.held.replace(Some(Held {
            pool: None,
            _lock: lock,
        }));
    }

    fn take_pool(&self) -> Option<Pool> {
        self.held.borrow_mut().as_mut()?.pool.take()
    }

    fn keep_pool(&self, pool: Pool) {
        if let Some(held) = &mut *self.held.borrow_mut() {
            held.pool = Some(pool);
        }
    }

    fn let_go(&self) {
        if let Some(pool) = self.take_pool() {
            pool.close();
        }
        self.tabs.set_holds(false);
        self.held.take();
    }

    async fn until_free(&self) {
        let free = match LockRequest::new(NAME, Mode::Shared) {
            Ok(request) => request.granted().await,
            Err(error) => Err(error),
        };
        if free.is_err() {
            // The database is opened when the user asks for it.
            pending::<()>().await;
        }
    }
}

/// Opens the files, when their last holder's handles are gone.
async fn open_pool() -> Result<Pool, PoolError> {
    let mut waited_ms = 0.0;
    loop {
        match Pool::open().await {
            Err(PoolError::Held) if waited_ms < HANDLES_GRACE_MS => {
                sleep_ms(HANDLES_INTERVAL_MS).await;
                waited_ms += HANDLES_INTERVAL_MS;
            }
            outcome => return outcome,
        }
    }
}

/// Gets the lock, if it becomes free within this time.
async fn stand_in_line(ms: f64) -> Result<WebLock, OpenError> {
    let request = LockRequest::new(NAME, Mode::Exclusive).map_err(|error| no_lock(&error))?;
    let granted = request.granted_within(ms).await;
    granted
        .map_err(|error| no_lock(&error))?
        .ok_or(OpenError::Busy)
}

fn no_lock(error: &JsValue) -> OpenError {
    OpenError::Unavailable {
        reason: js::message(error),
    }
}

impl From<PoolError> for OpenError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Held => Self::Busy,
            PoolError::Damaged(detail) => StoreError::Corrupt { detail }.into(),
            PoolError::Full => StoreError::Full.into(),
            PoolError::Unavailable(reason) => Self::Unavailable { reason },
        }
    }
}

impl ChatDatabase for OpfsChats {
    fn kind(&self) -> StorageKind {
        StorageKind::Opfs
    }

    fn open(&self, host: Box<dyn Host>) -> LocalBoxFuture<'_, Result<Store, OpenError>> {
        self.open_if_free(host).boxed_local()
    }

    fn take_over(&self, host: Box<dyn Host>) -> LocalBoxFuture<'_, Result<Store, OpenError>> {
        self.ask_and_open(host).boxed_local()
    }

    fn put_aside(&self) -> LocalBoxFuture<'_, Result<String, OpenError>> {
        async {
            if let Some(pool) = self.take_pool() {
                pool.close();
            }
            Ok(pool::put_aside().await?)
        }
        .boxed_local()
    }

    fn release(&self) -> LocalBoxFuture<'_, ()> {
        self.let_go();
        futures::future::ready(()).boxed_local()
    }

    fn wanted(&self) -> LocalBoxFuture<'_, ()> {
        self.tabs.wanted().boxed_local()
    }

    fn freed(&self) -> LocalBoxFuture<'_, ()> {
        self.until_free().boxed_local()
    }
}
