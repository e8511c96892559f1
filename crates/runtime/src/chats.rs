//! The database of chats: opened in the background, shared with nobody, handed over
//! when another asks for it.
//!
//! One task owns all of its changes ([`Shared::keep_chats`]). Everyone else waits
//! until it is [`ready`](Chats::ready) and then works on it [`with`](Chats::with) a
//! closure, which can't be interrupted.
//!
//! # Policy
//! - Held by another: state `busy`, calls that need it fail with `storage_busy`. It
//!   is opened as soon as it is free, or taken over when the user says so.
//! - Damaged, or another program's: put aside under another name, and begun anew.
//! - Written by a newer version, or no place for it: left as it is. Chats then live
//!   in memory, and a warning says that they will be lost.
//! - Wanted by another: running turns are cancelled and store what they have, then
//!   it is closed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use futures::future::select;
use nox_core::CancelToken;
use nox_protocol::{
    ChatsInfo, ChatsState, StorageChanged, StorageKind, StorageTakeOverResult, method,
};
use nox_store::{Host, Store, StoreError, TurnHandle};

use crate::error::{ChatsError, RuntimeError};
use crate::loader::or_cancelled;
use crate::platform::{ChatDatabase, OpenError, Platform};
use crate::runtime::Shared;
use crate::stored::Stored;

/// How long turns may take to store what they have when the database is wanted.
const LET_GO_PATIENCE_MS: f64 = 2000.0;

/// How long the reply under an idempotency key is kept. Hosts repeat a call after
/// minutes, if at all.
const KEYS_KEPT_MS: i64 = 24 * 60 * 60 * 1000;

/// The database, whether it can be used, and what is known from it.
pub(crate) struct Chats {
    database: Rc<dyn ChatDatabase>,
    state: RefCell<State>,
    /// Where chats are kept now: another place than the database's when that failed.
    kind: Cell<StorageKind>,
    /// What the user should know.
    warning: RefCell<Option<String>>,
    /// Somebody asks for the database to be taken over.
    take_over: Cell<bool>,
    stored: RefCell<Rc<Stored>>,
    /// Turns that are being written, by number.
    writing: RefCell<BTreeMap<u64, CancelToken>>,
    next_writing: Cell<u64>,
    /// Turns that could not be ended.
    left_open: RefCell<Vec<TurnHandle>>,
    /// Who waits for any of this to change.
    waiting: RefCell<Vec<Waker>>,
}

enum State {
    Opening,
    Open {
        store: Store,
        /// It is being handed over: only turns that are running may still write.
        is_closing: bool,
    },
    Busy,
    Failed {
        reason: String,
    },
}

/// What opening came to.
enum Opened {
    /// The database itself.
    Database(Store, Option<String>),
    /// Something to go on with, and why.
    Memory(Store, String),
    Busy,
    Failed(String),
}

impl Chats {
    pub(crate) fn new(database: Rc<dyn ChatDatabase>) -> Self {
        Self {
            kind: Cell::new(database.kind()),
            database,
            state: RefCell::new(State::Opening),
            warning: RefCell::default(),
            take_over: Cell::new(false),
            stored: RefCell::default(),
            writing: RefCell::default(),
            next_writing: Cell::new(0),
            left_open: RefCell::default(),
            waiting: RefCell::default(),
        }
    }

    /// Completes when the database can be used.
    ///
    /// # Errors
    /// It can't: another holds it, or it could not be opened.
    pub(crate) async fn ready(&self) -> Result<(), ChatsError> {
        self.settled().await;
        self.usable()
    }

    /// Completes when the database has been opened, or could not be.
    pub(crate) async fn settled(&self) {
        self.until(|| !matches!(*self.state.borrow(), State::Opening))
            .await;
    }

    /// Where chats are kept now.
    pub(crate) fn kind(&self) -> StorageKind {
        self.kind.get()
    }

    /// Whether the database can be used now.
    pub(crate) fn is_open(&self) -> bool {
        self.usable().is_ok()
    }

    fn usable(&self) -> Result<(), ChatsError> {
        match &*self.state.borrow() {
            State::Open {
                is_closing: false, ..
            } => Ok(()),
            State::Open { .. } | State::Busy | State::Opening => Err(ChatsError::Busy),
            State::Failed { reason } => Err(ChatsError::Failed {
                reason: reason.clone(),
            }),
        }
    }

    /// Works on the database. `action` must not come here again.
    ///
    /// # Errors
    /// What `action` gives; or the database is not open, because nobody waited until
    /// it was [`ready`](Self::ready), or because it was handed over since.
    pub(crate) fn with<T>(
        &self,
        action: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, RuntimeError> {
        let mut state = self.state.borrow_mut();
        let State::Open { store, .. } = &mut *state else {
            drop(state);
            return Err(self.usable().err().unwrap_or(ChatsError::Busy).into());
        };
        let outcome = action(store);
        drop(state);
        if let Err(error @ StoreError::Corrupt { .. }) = &outcome {
            self.warn_of_damage(error);
        }
        Ok(outcome?)
    }

    /// What is stored beside the chats, as it was last read. Before the database is
    /// open it is what a new one holds, and when it was handed over it is
    /// [`without_database`](Stored::without_database).
    pub(crate) fn stored(&self) -> Rc<Stored> {
        Rc::clone(&self.stored.borrow())
    }

    /// Changes what is stored beside the chats, and reads it again.
    pub(crate) fn change_stored<T>(
        &self,
        action: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, RuntimeError> {
        let (outcome, stored) = self.with(|store| {
            let outcome = action(store)?;
            Ok((outcome, Stored::read(store)?.0))
        })?;
        *self.stored.borrow_mut() = Rc::new(stored);
        Ok(outcome)
    }

    /// Notes a turn that is being written. When the database has to be handed over
    /// its token is raised, and the database stays open until the result is dropped
    /// (or patience ends).
    pub(crate) fn begin_writing(self: &Rc<Self>, cancel: &CancelToken) -> Writing {
        let number = self.next_writing.get();
        self.next_writing.set(number + 1);
        self.writing.borrow_mut().insert(number, cancel.clone());
        Writing {
            chats: Rc::clone(self),
            number,
        }
    }

    /// Ends a turn that can't be finished with what is stored of it. Where not even
    /// that can be stored it is tried again when
    /// [`interrupt_left`](Self::interrupt_left) is called, and by the next start.
    pub(crate) fn interrupt(&self, handle: TurnHandle) {
        match self.with(|store| store.interrupt_turn(&handle)) {
            Ok(()) | Err(RuntimeError::Store(StoreError::NotFound { .. })) => {}
            Err(_) => self.left_open.borrow_mut().push(handle),
        }
    }

    /// Ends the turns that could not be ended before; while one is open, a call with
    /// its key is refused.
    pub(crate) fn interrupt_left(&self) {
        for handle in self.left_open.take() {
            self.interrupt(handle);
        }
    }

    /// As a host is told.
    pub(crate) fn info(&self) -> ChatsInfo {
        let state = self.state.borrow();
        let (state, size_bytes) = match &*state {
            State::Opening => (ChatsState::Opening, None),
            State::Open {
                store,
                is_closing: false,
            } => (ChatsState::Open, store.size_bytes().ok()),
            State::Open { .. } | State::Busy => (ChatsState::Busy, None),
            State::Failed { .. } => (ChatsState::Failed, None),
        };
        ChatsInfo {
            state,
            kind: self.kind.get(),
            size_bytes,
            warning: self.warning.borrow().clone(),
        }
    }

    /// Damage that opening did not see. What can still be read is not taken away.
    fn warn_of_damage(&self, error: &StoreError) {
        let text = format!(
            "The database of chats is damaged. Export the chats that can still be read. ({error})"
        );
        self.warning.borrow_mut().get_or_insert(text);
    }

    fn enter(&self, state: State) {
        *self.state.borrow_mut() = state;
        self.wake();
    }

    fn wake(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    async fn until(&self, mut is_so: impl FnMut() -> bool) {
        poll_fn(|context| {
            if is_so() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    async fn open(&self, platform: &Rc<dyn Platform>, takes_over: bool) -> Opened {
        let host = || -> Box<dyn Host> { Box::new(PlatformHost(Rc::clone(platform))) };
        let opened = if takes_over {
            self.database.take_over(host()).await
        } else {
            self.database.open(host()).await
        };
        let damage = match opened {
            Err(OpenError::Store(
                error @ (StoreError::Corrupt { .. } | StoreError::Foreign { .. }),
            )) => error,
            opened => return self.accept(opened, host()).await,
        };
        match self.database.put_aside().await {
            Ok(name) => {
                let warning = format!(
                    "The database of chats could not be read, so it was put aside as {name}, \
                     unchanged, and a new one was begun. ({damage})"
                );
                let opened = self.database.open(host()).await;
                match self.accept(opened, host()).await {
                    Opened::Database(store, _) => Opened::Database(store, Some(warning)),
                    Opened::Memory(store, more) => {
                        Opened::Memory(store, format!("{warning} {more}"))
                    }
                    other => other,
                }
            }
            Err(OpenError::Busy) => Opened::Busy,
            Err(error) => {
                let reason = format!("{damage}; it could not be put aside: {error}");
                self.go_on_in_memory(&reason, host()).await
            }
        }
    }

    async fn accept(&self, opened: Result<Store, OpenError>, host: Box<dyn Host>) -> Opened {
        match opened {
            Ok(store) => Opened::Database(store, None),
            Err(OpenError::Busy | OpenError::Store(StoreError::Busy)) => Opened::Busy,
            Err(error) => self.go_on_in_memory(&error.to_string(), host).await,
        }
    }

    /// The database stays as it is, for another version or another day.
    async fn go_on_in_memory(&self, reason: &str, host: Box<dyn Host>) -> Opened {
        self.database.release().await;
        match Store::open_in_memory(host) {
            Ok(store) => Opened::Memory(
                store,
                format!("Chats are kept in memory and lost at the end: {reason}."),
            ),
            Err(error) => Opened::Failed(error.to_string()),
        }
    }

    /// Takes in what opening came to.
    fn settle(&self, opened: Opened, now_ms: i64) {
        let (mut store, kind, warning) = match opened {
            Opened::Database(store, warning) => (store, self.database.kind(), warning),
            Opened::Memory(store, warning) => (store, StorageKind::Memory, Some(warning)),
            Opened::Busy => return self.enter(State::Busy),
            Opened::Failed(reason) => {
                *self.warning.borrow_mut() = Some(format!("Chats can't be kept: {reason}."));
                return self.enter(State::Failed { reason });
            }
        };
        let mut warnings: Vec<String> = warning.into_iter().collect();
        if kind == StorageKind::Memory && warnings.is_empty() {
            warnings.push("Chats are kept in memory and lost at the end.".to_owned());
        }
        let forgotten = store.forget_idempotency_keys(now_ms.saturating_sub(KEYS_KEPT_MS));
        match forgotten.and_then(|_| Stored::read(&store)) {
            Ok((stored, problems)) => {
                *self.stored.borrow_mut() = Rc::new(stored);
                warnings.extend(problems);
            }
            Err(error) => warnings.push(format!("The settings can't be read: {error}.")),
        }
        // Opening has interrupted what was open.
        self.left_open.take();
        self.kind.set(kind);
        *self.warning.borrow_mut() = Some(warnings.join(" ")).filter(|text| !text.is_empty());
        self.enter(State::Open {
            store,
            is_closing: false,
        });
    }

    /// Ends what is being written, closes the database and lets another open it.
    async fn let_go(&self, platform: &dyn Platform) {
        if let State::Open { is_closing, .. } = &mut *self.state.borrow_mut() {
            *is_closing = true;
        }
        let tokens: Vec<CancelToken> = self.writing.borrow().values().cloned().collect();
        for token in tokens {
            token.cancel();
        }
        let ended = std::pin::pin!(self.until(|| self.writing.borrow().is_empty()));
        let patience = platform.sleep_ms(LET_GO_PATIENCE_MS);
        // A turn that is slower finds the database closed; what it stored so far stays.
        let _ = select(ended, patience).await;
        let stored = self.stored().without_database();
        *self.stored.borrow_mut() = Rc::new(stored);
        self.enter(State::Busy);
        self.database.release().await;
    }

    /// Completes when opening is worth another try; tells whether by taking over.
    async fn next_try(&self) -> bool {
        let asked = std::pin::pin!(self.until(|| self.take_over.get()));
        let is_busy = matches!(*self.state.borrow(), State::Busy);
        if is_busy {
            let _ = select(asked, self.database.freed()).await;
        } else {
            asked.await;
        }
        self.take_over.take()
    }
}

/// A turn that is being written; see [`Chats::begin_writing`].
pub(crate) struct Writing {
    chats: Rc<Chats>,
    number: u64,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.chats.writing.borrow_mut().remove(&self.number);
        self.chats.wake();
    }
}

/// The clock and the randomness of the platform, for the database.
struct PlatformHost(Rc<dyn Platform>);

impl Host for PlatformHost {
    fn now_ms(&self) -> i64 {
        self.0.unix_ms()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.0.random_u64().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}

impl Shared {
    /// Opens the database, hands it over when it is wanted, and opens it again when
    /// it is free. Ends only when there is no more to be done about it.
    pub(crate) async fn keep_chats(self: &Rc<Self>) {
        let chats = &self.chats;
        let mut takes_over = false;
        loop {
            let opened = chats.open(&self.platform, takes_over).await;
            let is_in_memory = matches!(opened, Opened::Memory(..));
            chats.settle(opened, self.platform.unix_ms());
            self.tell_chats();
            if chats.usable().is_ok() {
                // Whatever deleted a chat may have ended before its snapshots were gone.
                self.tidy_warm();
            }
            if is_in_memory {
                return;
            }
            if chats.usable().is_ok() {
                chats.database.wanted().await;
                chats.let_go(&*self.platform).await;
                self.tell_chats();
            }
            takes_over = chats.next_try().await;
            chats.enter(State::Opening);
        }
    }

    fn tell_chats(&self) {
        let chats = self.chats.info();
        self.notify_all(method::STORAGE_CHANGED, &StorageChanged { chats });
    }

    /// Takes the database over, if another has it.
    pub(crate) async fn storage_take_over(
        &self,
        cancel: &CancelToken,
    ) -> Result<StorageTakeOverResult, RuntimeError> {
        let chats = &self.chats;
        or_cancelled(cancel, chats.settled()).await?;
        if chats.usable().is_err() {
            chats.take_over.set(true);
            chats.wake();
            // The task that owns the database takes the wish back as it begins.
            let is_tried = || {
                let is_opening = matches!(*chats.state.borrow(), State::Opening);
                !chats.take_over.get() && !is_opening
            };
            or_cancelled(cancel, chats.until(is_tried)).await?;
        }
        match chats.usable() {
            Ok(()) => Ok(StorageTakeOverResult {
                chats: chats.info(),
            }),
            Err(ChatsError::Busy) => Err(ChatsError::NotLetGo.into()),
            Err(error) => Err(error.into()),
        }
    }
}
