//! Chats in a database file, written with the store itself.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use nox_store::{
    Begun, FinishedTurn, Host, NewMessage, NewSession, NewTurn, Role, SessionId, Store, Target,
    TurnTelemetry, UserId,
};

/// Every call is a minute after the one before.
struct Minutes;

static MINUTE: AtomicI64 = AtomicI64::new(0);

impl Host for Minutes {
    fn now_ms(&self) -> i64 {
        1_735_787_045_000 + MINUTE.fetch_add(1, Ordering::Relaxed) * 60_000
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        let mut n = MINUTE.fetch_add(1, Ordering::Relaxed).unsigned_abs();
        for byte in bytes {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (n >> 56) as u8;
        }
    }
}

/// The database at `path`, opened beside whatever runtime.
pub fn open(path: &Path) -> Store {
    Store::open(path, Box::new(Minutes)).unwrap()
}

/// One finished turn of a user's, in a new chat unless one is given.
pub fn say(
    store: &mut Store,
    user: &str,
    session: Option<&SessionId>,
    asked: &str,
    reply: &str,
) -> SessionId {
    let new = NewSession {
        user: Some(UserId::parse(user).unwrap()),
        ..NewSession::default()
    };
    let messages = [NewMessage {
        role: Role::User,
        content: asked,
    }];
    let turn = NewTurn {
        target: session.map_or(Target::New(new), Target::Session),
        system: Some("You are Nox."),
        messages: &messages,
        model: "nox",
        sanitized: false,
        idempotency_key: None,
    };
    let finished = FinishedTurn {
        content: reply,
        telemetry: Some(TurnTelemetry {
            alias: "nox".to_owned(),
            backend: "local".to_owned(),
            model: "tiny".to_owned(),
            lane: Some("native".to_owned()),
            prompt_tokens: Some(10),
            completion_tokens: Some(5),
            decode_ms: Some(50.0),
            first_token_ms: Some(8.0),
            finish_reason: "stop".to_owned(),
            ..TurnTelemetry::default()
        }),
        ..FinishedTurn::default()
    };
    match store.record_turn(&turn, &finished).unwrap() {
        Begun::Started(handle) => handle.session().clone(),
        other => panic!("{other:?}"),
    }
}
