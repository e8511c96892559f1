//! Warm starts: what the engine computed for a chat is kept in storage, so that after
//! a reload, or in another chat with the same beginning, it is read instead.
//!
//! # Policy
//! - Only what belongs to a kept chat is written, after its turn is stored, block by
//!   block while nobody needs the engine. Whoever needs it gets it at once; what is not
//!   written then is written after the next turn.
//! - A block belongs to the chat whose turn wrote it, and goes when that chat goes,
//!   however it went: after every change to the chats, and whenever the database has
//!   been opened, blocks of chats that are no more are removed. Only who has the
//!   database can tell; where chats live in memory instead, blocks stay as they are.
//! - Chats that live in memory only leave nothing in storage that lasts.
//! - A block that is damaged, foreign or of another version is removed, and what it
//!   held is computed. No failure of the store is ever the user's.
//! - There is a budget of bytes. Of the blocks that no other follows, the one unused
//!   for longest goes first, so that beginnings stay longer than ends.
//! - Where storage has no room for a model or a turn, all blocks make room for it.
//! - A model's blocks go with its files. Those of a model whose files went another way
//!   are removed together with the blocks of chats that are no more.

mod index;
mod name;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use futures::FutureExt;
use nox_core::CancelToken;
use nox_engine::snapshot::{BLOCK_TOKENS, Restoration, Restored, SnapshotError};
use nox_protocol::StorageKind;
use nox_store::{SessionId, StoreError};

use crate::error::RuntimeError;
use crate::loader::Loaded;
use crate::model_id::ModelId;
use crate::platform::{SnapshotStore, StorageError};
use crate::runtime::Shared;
use index::{Index, Link};
pub use name::SnapshotName;

/// Computing so few tokens is not slower than finding and reading a block.
const MIN_GAIN_TOKENS: usize = 32;
/// A shorter end of a chat is not kept.
const MIN_END_TOKENS: usize = 16;
/// More files take long to list, and hardly any more time is saved by them.
const MAX_BLOCKS: usize = 1024;

/// What is known of stored snapshots.
pub(crate) struct Warm {
    /// `None` where nothing is kept.
    store: Option<Rc<dyn SnapshotStore>>,
    index: RefCell<Index>,
    /// Whether the index has been read.
    is_listed: Cell<bool>,
    /// How often the blocks of a model, or all, were removed: what is being written then
    /// must not stay.
    n_removals: Cell<u64>,
}

/// A block that is to be written.
struct NewBlock {
    name: SnapshotName,
    tokens: Vec<u32>,
    bytes: Vec<u8>,
}

impl Warm {
    pub(crate) fn new(store: Option<Rc<dyn SnapshotStore>>) -> Self {
        Self {
            store,
            index: RefCell::default(),
            is_listed: Cell::new(false),
            n_removals: Cell::new(0),
        }
    }

    /// What the blocks take; those of other tabs too, unless they can't be listed.
    pub(crate) async fn size_bytes(&self) -> u64 {
        let _ = self.list().await;
        self.index.borrow().size_bytes()
    }

    /// Reads anew what is there; others may have written and removed.
    async fn list(&self) -> Result<(), StorageError> {
        if let Some(store) = &self.store {
            let stored = store.list().await?;
            self.index.borrow_mut().refresh(stored);
            self.is_listed.set(true);
        }
        Ok(())
    }

    /// Reads what is there if that was not done before.
    async fn list_once(&self) {
        if !self.is_listed.get() {
            // Without a list there is nothing to be found, and nothing to be said.
            let _ = self.list().await;
        }
    }

    async fn remove(&self, names: impl IntoIterator<Item = SnapshotName>) {
        let Some(store) = &self.store else { return };
        for name in names {
            // One that can't be removed now is found by the next list.
            let _ = store.remove(&name).await;
            self.index.borrow_mut().remove(&name);
        }
    }

    /// Removes everything, to make room for what can't be computed again. Tells whether
    /// there was anything.
    pub(crate) async fn clear(&self) -> bool {
        self.remove_all_of(|_| true).await
    }

    /// Removes blocks until no more than `budget_bytes` are taken, and no more files than
    /// may be, or until only those are left that a block is to be put behind.
    async fn shrink(&self, budget_bytes: u64, spared: Option<&SnapshotName>) {
        while !self.is_within(budget_bytes) {
            let oldest = self.index.borrow().oldest(spared.map(|name| name.parent));
            let Some(oldest) = oldest else { return };
            self.remove([oldest]).await;
        }
    }

    fn is_within(&self, budget_bytes: u64) -> bool {
        let index = self.index.borrow();
        index.size_bytes() <= budget_bytes && index.n_blocks() < MAX_BLOCKS
    }

    /// Removes what was computed with a model.
    pub(crate) async fn remove_model(&self, model: &ModelId) {
        self.remove_all_of(|name| name.model == *model).await;
    }

    /// Removes the blocks that are meant, whoever wrote them and also those that are being
    /// written. Tells whether there were any.
    async fn remove_all_of(&self, is_meant: impl Fn(&SnapshotName) -> bool) -> bool {
        self.n_removals.set(self.n_removals.get() + 1);
        // Without a list, what is known of goes.
        let _ = self.list().await;
        let names = self.index.borrow().names(is_meant);
        let has_any = !names.is_empty();
        self.remove(names).await;
        has_any
    }

    /// Writes a block if there is room for it within the budget.
    async fn write(&self, block: &NewBlock, budget_bytes: u64) -> Result<bool, StorageError> {
        let Some(store) = &self.store else {
            return Ok(false);
        };
        let size_bytes = block.bytes.len() as u64;
        let Some(room) = budget_bytes.checked_sub(size_bytes) else {
            return Ok(false);
        };
        self.shrink(room, Some(&block.name)).await;
        if !self.is_within(room) {
            return Ok(false);
        }
        store.write(&block.name, &block.bytes).await?;
        let superseded = {
            let mut index = self.index.borrow_mut();
            index.insert(block.name.clone(), size_bytes);
            index.superseded(&block.name, &block.tokens)
        };
        self.remove(superseded).await;
        Ok(true)
    }
}

impl Shared {
    /// What blocks may take in all; 0 keeps none.
    fn warm_budget_bytes(&self) -> u64 {
        let stored = self.chats.stored();
        let wished = stored.settings.warm_start_mib().map(|mib| mib << 20);
        wished.unwrap_or(self.options.snapshot_budget_bytes)
    }

    /// Brings back what is kept of the prompt's beginning, as far as that is more than
    /// the context holds.
    ///
    /// # Errors
    /// The call was cancelled.
    pub(crate) async fn bring_back(
        &self,
        loaded: &mut Loaded,
        prompt: &[u32],
        cancel: &CancelToken,
    ) -> Result<Restored, RuntimeError> {
        let warm = &self.warm;
        if warm.store.is_none() || self.warm_budget_bytes() == 0 {
            return Ok(Restored::default());
        }
        warm.list_once().await;
        let Loaded {
            id, model, context, ..
        } = loaded;
        // What is wrong with a prompt is told by who generates.
        let Ok(mut restoration) = model.restore(context, prompt) else {
            return Ok(Restored::default());
        };
        let wanted = &prompt[..prompt.len() - 1];
        let chain = warm.index.borrow().chain(id, model.prefix_key(), wanted);
        let reach = chain.last().map_or(0, Link::end).min(wanted.len());
        if reach < restoration.n_past() + MIN_GAIN_TOKENS {
            return Ok(Restored::default());
        }
        for link in chain {
            if link.end() <= restoration.n_past() {
                continue;
            }
            if link.first_position > restoration.n_past()
                || !warm.bring_back_block(&link, &mut restoration).await
            {
                break;
            }
            self.platform.yield_now().await;
            if cancel.is_cancelled() {
                return Err(RuntimeError::Cancelled);
            }
        }
        Ok(restoration.counts())
    }

    /// Begins to write what was computed for a turn of this chat.
    pub(crate) fn keep_warm(self: &Rc<Self>, chat: &SessionId) {
        if self.warm.store.is_none() {
            return;
        }
        let shared = Rc::clone(self);
        let chat = chat.clone();
        let work = async move { shared.write_blocks(&chat).await };
        self.platform.spawn(work.boxed_local());
    }

    async fn write_blocks(&self, chat: &SessionId) {
        self.warm.list_once().await;
        loop {
            self.platform.yield_now().await;
            let budget_bytes = self.warm_budget_bytes();
            if budget_bytes == 0 || !self.may_keep(chat) {
                return;
            }
            let n_removals = self.warm.n_removals.get();
            let Some(block) = self.next_block(chat) else {
                return;
            };
            let is_written = self.warm.write(&block, budget_bytes).await;
            if !self.has_chat(chat) || self.warm.n_removals.get() != n_removals {
                // The chat was deleted meanwhile, or the model, or the room was needed.
                return self.warm.remove([block.name]).await;
            }
            let now_bytes = self.warm_budget_bytes();
            if now_bytes < budget_bytes {
                // Whoever lowered it could not see this block yet.
                return self.warm.shrink(now_bytes, None).await;
            }
            if !matches!(is_written, Ok(true)) {
                return;
            }
        }
    }

    /// The first block of what the engine holds of this chat that is not kept. The
    /// engine is not held while anything is waited for.
    fn next_block(&self, chat: &SessionId) -> Option<NewBlock> {
        let engine = self.engine.try_take()?;
        let loaded = engine.loaded.as_ref()?;
        if loaded.chat.as_ref() != Some(chat) {
            return None;
        }
        let mut index = self.warm.index.borrow_mut();
        let mut parent = loaded.model.prefix_key();
        for (number, tokens) in loaded.context.tokens().chunks(BLOCK_TOKENS).enumerate() {
            let own = parent.then(tokens);
            let known = index.find(&loaded.id, own).cloned();
            if let Some(known) = known {
                index.touch(&known);
                parent = own;
                continue;
            }
            if tokens.len() < MIN_END_TOKENS {
                return None;
            }
            let bytes = loaded.model.block(&loaded.context, number * BLOCK_TOKENS)?;
            return Some(NewBlock {
                name: SnapshotName {
                    model: loaded.id.clone(),
                    chat: chat.clone(),
                    parent,
                    own,
                    n_tokens: tokens.len(),
                },
                tokens: tokens.to_vec(),
                bytes,
            });
        }
        None
    }

    /// Whether anything of this chat may be in storage.
    fn may_keep(&self, chat: &SessionId) -> bool {
        self.last_equally() && self.has_chat(chat)
    }

    /// Whether chats are where blocks are: what lies in files is not of chats that live in
    /// memory.
    fn last_equally(&self) -> bool {
        let lasts = |kind| kind != StorageKind::Memory;
        let store = self.warm.store.as_ref();
        let store_lasts = store.is_some_and(|store| lasts(store.kind()));
        lasts(self.chats.kind()) || !store_lasts
    }

    /// Whether the chat is there, as far as this runtime can tell.
    fn has_chat(&self, chat: &SessionId) -> bool {
        self.chats.with(|store| store.session(chat)).is_ok()
    }

    /// Removes the blocks of chats and of models that are no more, and what is beyond the
    /// budget, if the database of chats is here to tell.
    pub(crate) fn tidy_warm(self: &Rc<Self>) {
        if self.warm.store.is_none() {
            return;
        }
        let shared = Rc::clone(self);
        let work = async move {
            let models = shared.models_with_files().await;
            // What another tab has written is of chats that this one may delete.
            if shared.warm.list().await.is_err() {
                return;
            }
            // Nothing is waited for between here and the last question to the database.
            if !shared.last_equally() || !shared.chats.is_open() {
                return;
            }
            let budget_bytes = shared.warm_budget_bytes();
            let mut gone = shared.warm.index.borrow().chats();
            gone.retain(|chat| shared.is_gone(chat));
            let is_orphan = |name: &SnapshotName| {
                let models = models.as_ref();
                gone.contains(&name.chat)
                    || models.is_ok_and(|models| !models.contains(&name.model))
            };
            let orphans = shared.warm.index.borrow().names(is_orphan);
            shared.warm.remove(orphans).await;
            shared.warm.shrink(budget_bytes, None).await;
        };
        self.platform.spawn(work.boxed_local());
    }

    /// The ids of models of which a file is there. The built-in one counts as there: when
    /// it is missing it comes back, and is the same.
    async fn models_with_files(&self) -> Result<HashSet<ModelId>, StorageError> {
        let stored = self.store.list().await?;
        let builtin = self.options.builtin.iter();
        let mut models: HashSet<ModelId> = builtin.map(|builtin| builtin.id.clone()).collect();
        for file in stored {
            // A file that is named like a part may be a whole model.
            models.extend(file.id.as_part().map(|name| name.set));
            models.insert(file.id);
        }
        Ok(models)
    }

    fn is_gone(&self, chat: &SessionId) -> bool {
        matches!(
            self.chats.with(|store| store.session(chat)),
            Err(RuntimeError::Store(StoreError::NotFound { .. }))
        )
    }
}

impl Warm {
    /// Whether more may follow.
    async fn bring_back_block(&self, link: &Link, restoration: &mut Restoration<'_>) -> bool {
        let Some(store) = &self.store else {
            return false;
        };
        let Some(size_bytes) = restoration.block_size_bytes(link.name.n_tokens) else {
            return false;
        };
        let added = match store.read(&link.name, size_bytes).await {
            Ok(Some(bytes)) => restoration.add(link.first_position, &bytes),
            // Of another size, or gone.
            Ok(None) => Err(SnapshotError::Damaged),
            // Perhaps another tab has it open.
            Err(_) => return false,
        };
        match added {
            Ok(()) => self.index.borrow_mut().touch(&link.name),
            // There was no memory; the block is in order.
            Err(SnapshotError::Engine(_)) => return false,
            Err(_) => {
                self.remove([link.name.clone()]).await;
                return false;
            }
        }
        true
    }
}
