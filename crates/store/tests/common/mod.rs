//! What the tests share: a host whose clock stands still, a folder, and a turn in a line.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses a part"
)]

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;

use nox_store::{
    Begun, FinishedTurn, Host, ImportOptions, Message, NewMessage, NewSession, NewTurn, Role,
    SessionId, Store, Target,
};

/// A host with a clock that is set, and randomness that counts.
#[derive(Clone, Default)]
pub struct TestHost {
    pub now_ms: Rc<Cell<i64>>,
    drawn: Rc<Cell<u64>>,
}

impl TestHost {
    pub fn at(now_ms: i64) -> Self {
        let host = TestHost::default();
        host.now_ms.set(now_ms);
        host
    }

    /// Draws other numbers than a host with another seed.
    pub fn seeded(self, seed: u64) -> Self {
        self.drawn.set(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        self
    }
}

impl Host for TestHost {
    fn now_ms(&self) -> i64 {
        self.now_ms.get()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        for byte in bytes {
            // SplitMix64: enough to differ from draw to draw.
            let n = self.drawn.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
            self.drawn.set(n);
            let mixed = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = (mixed >> 56) as u8;
        }
    }
}

/// A folder that is gone with the value.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nox-store-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn database(&self) -> PathBuf {
        self.0.join("nox.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn memory() -> (Store, TestHost) {
    let host = TestHost::at(1_735_787_045_000);
    let store = Store::open_in_memory(Box::new(host.clone())).unwrap();
    (store, host)
}

/// One finished turn, in a new session unless one is given.
pub fn say(store: &mut Store, session: Option<&SessionId>, user: &str, reply: &str) -> SessionId {
    let messages = [NewMessage {
        role: Role::User,
        content: user,
    }];
    let begun = store
        .record_turn(
            &NewTurn {
                target: session.map_or(Target::New(NewSession::default()), Target::Session),
                system: Some("sys"),
                messages: &messages,
                model: "test-model",
                sanitized: false,
                idempotency_key: None,
            },
            &FinishedTurn {
                content: reply,
                ..FinishedTurn::default()
            },
        )
        .unwrap();
    let Begun::Started(handle) = begun else {
        panic!("no key was given")
    };
    handle.session().clone()
}

/// A title as simple as a test needs: the first eight words of the user's.
pub fn title_of(messages: &[Message]) -> Option<String> {
    let first = messages.iter().find(|message| message.role == Role::User)?;
    let words: Vec<&str> = first.content.split_whitespace().take(8).collect();
    Some(words.join(" ")).filter(|title| !title.is_empty())
}

pub const IMPORT: ImportOptions<'static> = ImportOptions {
    title_of: &title_of,
};
