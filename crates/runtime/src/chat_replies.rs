//! Replies by idempotency key: the ones being made, and the last ones made in chats
//! that are not kept. Those of kept chats stand in the database.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use futures::channel::oneshot;
use nox_protocol::HandleChatResult;
use serde_json::{Map, Value};

use crate::error::ParamError;

/// Replies that are kept for a repeated key.
const MAX_KEPT_REPLIES: usize = 64;

/// Params that do not make it another request: how the reply is told, and the key.
const PASSED_OVER: [&str; 2] = ["stream", "idempotency_key"];

/// A key, and what tells its request from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestKey {
    pub(crate) key: String,
    pub(crate) fingerprint: u64,
}

impl RequestKey {
    /// The fingerprint is of the params as they came: settings that change between
    /// two attempts don't make the second one another request.
    pub(crate) fn new(key: &str, params: &Map<String, Value>) -> Self {
        let mut fields: Vec<(&String, &Value)> = params
            .iter()
            .filter(|(name, _)| !PASSED_OVER.contains(&name.as_str()))
            .collect();
        fields.sort_by_key(|&(name, _)| name);
        let mut hash = Fnv1a::default();
        for (name, value) in fields {
            hash.take_in(format!("{name:?}:{value},").as_bytes());
        }
        Self {
            key: key.to_owned(),
            fingerprint: hash.0,
        }
    }

    /// That the key was used for another request.
    pub(crate) fn reused(&self) -> ParamError {
        ParamError::KeyReused {
            key: self.key.clone(),
        }
    }
}

/// FNV-1a in 64 bits: the same on every platform and in every version. Source:
/// draft-eastlake-fnv, section 5.
struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv1a {
    fn take_in(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[derive(Default)]
pub(crate) struct ReplyCache {
    entries: RefCell<HashMap<String, CacheEntry>>,
    next_age: Cell<u64>,
}

struct CacheEntry {
    fingerprint: u64,
    state: CacheState,
}

enum CacheState {
    /// Whoever waits is told by dropping the senders.
    Running(Vec<oneshot::Sender<()>>),
    Kept {
        result: Rc<HandleChatResult>,
        age: u64,
    },
}

pub(crate) enum Lookup {
    New,
    /// Completes when the running call has ended.
    Running(oneshot::Receiver<()>),
    Kept(Rc<HandleChatResult>),
}

impl ReplyCache {
    pub(crate) fn look_up(&self, key: &RequestKey) -> Result<Lookup, ParamError> {
        let mut entries = self.entries.borrow_mut();
        let Some(entry) = entries.get_mut(&key.key) else {
            return Ok(Lookup::New);
        };
        if entry.fingerprint != key.fingerprint {
            return Err(key.reused());
        }
        Ok(match &mut entry.state {
            CacheState::Running(waiting) => {
                let (sender, receiver) = oneshot::channel();
                waiting.push(sender);
                Lookup::Running(receiver)
            }
            CacheState::Kept { result, age } => {
                *age = self.next_age.replace(self.next_age.get() + 1);
                Lookup::Kept(Rc::clone(result))
            }
        })
    }

    pub(crate) fn begin(&self, key: &RequestKey) -> RunningReply<'_> {
        let entry = CacheEntry {
            fingerprint: key.fingerprint,
            state: CacheState::Running(Vec::new()),
        };
        self.entries.borrow_mut().insert(key.key.clone(), entry);
        RunningReply {
            cache: self,
            key: key.key.clone(),
        }
    }

    fn forget_oldest(&self) {
        let mut entries = self.entries.borrow_mut();
        let kept = |entry: &CacheEntry| match entry.state {
            CacheState::Kept { age, .. } => Some(age),
            CacheState::Running(_) => None,
        };
        if entries.values().filter_map(kept).count() <= MAX_KEPT_REPLIES {
            return;
        }
        let oldest = entries
            .iter()
            .filter_map(|(key, entry)| Some((kept(entry)?, key.clone())))
            .min();
        if let Some((_, key)) = oldest {
            entries.remove(&key);
        }
    }
}

/// A keyed reply that is being made. Dropped without [`keep`](Self::keep), it is
/// forgotten.
pub(crate) struct RunningReply<'a> {
    cache: &'a ReplyCache,
    key: String,
}

impl RunningReply<'_> {
    pub(crate) fn keep(&mut self, result: &Rc<HandleChatResult>) {
        let age = self.cache.next_age.replace(self.cache.next_age.get() + 1);
        if let Some(entry) = self.cache.entries.borrow_mut().get_mut(&self.key) {
            entry.state = CacheState::Kept {
                result: Rc::clone(result),
                age,
            };
        }
        self.cache.forget_oldest();
    }
}

impl Drop for RunningReply<'_> {
    fn drop(&mut self) {
        let mut entries = self.cache.entries.borrow_mut();
        let is_running = entries
            .get(&self.key)
            .is_some_and(|entry| matches!(entry.state, CacheState::Running(_)));
        if is_running {
            entries.remove(&self.key);
        }
    }
}
