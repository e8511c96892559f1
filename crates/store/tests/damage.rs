//! Databases that are newer, foreign, damaged, full or held by others, and
//! processes that die.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{Folder, TestHost, say};
use nox_store::{
    Begun, FinishedTurn, ListQuery, NewMessage, NewSession, NewTurn, Place, Role, SearchQuery,
    Store, StoreError, Target, TurnState,
};

fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, Box::new(TestHost::at(1_735_787_045_000)))
}

#[test]
fn a_database_survives_being_closed() {
    let folder = Folder::new("reopen");
    let id = say(&mut open(&folder.database()).unwrap(), None, "hi", "whale");
    let store = open(&folder.database()).unwrap();
    assert_eq!(store.turns(&id).unwrap()[0].messages[1].content, "whale");
    store.check().unwrap();
}

#[test]
fn a_newer_or_foreign_database_is_refused_and_not_touched() {
    let folder = Folder::new("newer");
    let path = folder.database();
    drop(open(&path).unwrap());
    let set = |pragma: &str| {
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute_batch(&format!("PRAGMA {pragma}")).unwrap();
    };
    set("user_version = 99");
    let before = std::fs::read(&path).unwrap();
    let error = open(&path).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Newer {
                found: 99,
                known: 1
            }
        ),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
    set("user_version = 1");
    open(&path).unwrap();

    set("application_id = 7");
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(
        open(&path),
        Err(StoreError::Foreign { application_id: 7 })
    ));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_no_database_is_reported_and_not_overwritten() {
    let folder = Folder::new("corrupt");
    let path = folder.database();
    std::fs::write(&path, "a diary, not a database. ".repeat(100)).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn damage_is_found_when_opening_or_reading_and_is_never_a_panic() {
    let folder = Folder::new("damage");
    let path = folder.database();
    {
        let mut store = open(&path).unwrap();
        for n in 0..200 {
            say(
                &mut store,
                None,
                &format!("question {n}"),
                &"answer ".repeat(30),
            );
        }
        store.compact().unwrap();
    }
    let whole = std::fs::read(&path).unwrap();
    let (mut found, mut n_runs) = (0, 0);
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        let mut damaged = whole.clone();
        let end = (at + 700).min(damaged.len());
        damaged[at..end].fill(0xa5);
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
        std::fs::write(&path, &damaged).unwrap();
        n_runs += 1;
        let all = open(&path).and_then(|store| {
            let page = store.sessions(&ListQuery::default())?;
            for session in page.sessions {
                store.turns(&session.id)?;
            }
            store.search(&SearchQuery {
                text: "answer",
                ..SearchQuery::default()
            })?;
            store.check()
        });
        match all {
            Ok(()) => {}
            Err(
                StoreError::Corrupt { .. } | StoreError::Foreign { .. } | StoreError::Newer { .. },
            ) => found += 1,
            Err(other) => panic!("{other}"),
        }
        if at == 0 {
            assert_eq!(std::fs::read(&path).unwrap(), damaged, "left as it was");
        }
    }
    println!("{found} of {n_runs} damaged databases were found out");
    // Damage to bytes that no row uses is no damage.
    assert!(found * 4 > n_runs, "{found} of {n_runs}");
}

#[test]
fn a_truncated_database_is_reported() {
    let folder = Folder::new("truncated");
    let path = folder.database();
    {
        let mut store = open(&path).unwrap();
        for n in 0..50 {
            say(
                &mut store,
                None,
                &format!("question {n}"),
                &"answer ".repeat(30),
            );
        }
    }
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(open(&path), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let folder = Folder::new("full");
    let mut store = open(&folder.database()).unwrap();
    let id = say(&mut store, None, "hi", "kept");
    store
        .set_max_bytes(store.size_bytes().unwrap() + 8192)
        .unwrap();
    let text = "long ".repeat(200_000);
    let messages = [NewMessage {
        role: Role::User,
        content: &text,
    }];
    let new = NewTurn {
        target: Target::New(NewSession::default()),
        system: None,
        messages: &messages,
        model: "m",
        sanitized: false,
        idempotency_key: None,
    };
    let error = store.begin_turn(&new).unwrap_err();
    assert!(
        matches!(error, StoreError::Full) && error.is_retryable(),
        "{error}"
    );
    assert_eq!(store.sessions(&ListQuery::default()).unwrap().total, 1);
    assert_eq!(store.turns(&id).unwrap()[0].messages[1].content, "kept");
    store.check().unwrap();
    store.set_max_bytes(1 << 30).unwrap();
    assert!(matches!(store.begin_turn(&new).unwrap(), Begun::Started(_)));
    store.check().unwrap();
}

#[test]
fn two_connections_see_each_others_turns() {
    let folder = Folder::new("two");
    let (mut one, mut two) = (
        open(&folder.database()).unwrap(),
        open(&folder.database()).unwrap(),
    );
    let id = say(&mut one, None, "hi", "from one");
    say(&mut two, Some(&id), "again", "from two");
    assert_eq!(one.turns(&id).unwrap().len(), 2);
    assert_eq!(two.session(&id).unwrap().turns, 2);
}

#[test]
fn where_one_connection_holds_the_file_a_second_one_is_told() {
    let folder = Folder::new("exclusive");
    let connect = || {
        let conn = rusqlite::Connection::open(folder.database()).unwrap();
        conn.busy_timeout(Duration::ZERO).unwrap();
        Store::from_connection(conn, Place::Opfs, Box::new(TestHost::at(0).seeded(3)))
    };
    let mut first = connect().unwrap();
    let id = say(&mut first, None, "hi", "ok");
    let error = connect().unwrap_err();
    assert!(
        matches!(error, StoreError::Busy) && error.is_retryable(),
        "{error}"
    );
    drop(first);
    assert_eq!(connect().unwrap().turns(&id).unwrap().len(), 1);
}

#[test]
fn simultaneous_writers_share_no_session() {
    let folder = Folder::new("writers");
    let path = folder.database();
    drop(open(&path).unwrap());
    let made: Vec<String> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|n: u64| {
                let path = path.clone();
                scope.spawn(move || {
                    let host = TestHost::at(1_735_787_045_000).seeded(n + 1);
                    let conn = rusqlite::Connection::open(&path).unwrap();
                    // SQLite lets in whoever asks at the right moment: on a slow disk one
                    // of four may be passed over for long.
                    conn.busy_timeout(Duration::from_secs(60)).unwrap();
                    let mut store =
                        Store::from_connection(conn, Place::File, Box::new(host)).unwrap();
                    (0..25)
                        .map(|at| {
                            let text = format!("writer {n} turn {at}");
                            say(&mut store, None, &text, "ok").to_string()
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect()
    });
    let store = open(&path).unwrap();
    let mut unique = made.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), 100);
    assert_eq!(store.sessions(&ListQuery::default()).unwrap().total, 100);
    store.check().unwrap();
}

#[test]
fn an_unfinished_turn_is_found_interrupted() {
    let folder = Folder::new("interrupted");
    let messages = [NewMessage {
        role: Role::User,
        content: "tell me",
    }];
    let new = |key| NewTurn {
        target: Target::New(NewSession::default()),
        system: None,
        messages: &messages,
        model: "m",
        sanitized: false,
        idempotency_key: key,
    };
    let session = {
        let mut store = open(&folder.database()).unwrap();
        let Begun::Started(handle) = store.begin_turn(&new(Some("k"))).unwrap() else {
            panic!("a new key")
        };
        store.save_partial(&handle, "once upon", None).unwrap();
        handle.session().clone()
    };
    let mut store = open(&folder.database()).unwrap();
    let turns = store.turns(&session).unwrap();
    assert_eq!(turns[0].state, TurnState::Interrupted);
    assert_eq!(turns[0].messages[1].content, "once upon");
    assert!(turns[0].messages[1].partial);
    assert_eq!(store.session(&session).unwrap().turns, 1);
    // The same call again takes the place of the attempt that died.
    let Begun::Started(handle) = store.begin_turn(&new(Some("k"))).unwrap() else {
        panic!("the key is free again")
    };
    store
        .finish_turn(
            &handle,
            &FinishedTurn {
                content: "end",
                ..FinishedTurn::default()
            },
        )
        .unwrap();
    assert_eq!(store.sessions(&ListQuery::default()).unwrap().total, 1);
    store.check().unwrap();
}

/// Not a test of its own: the process that the next test kills. It acknowledges a
/// turn only after it was stored.
#[test]
fn writer_that_is_killed() {
    let Some(path) = std::env::var_os("NOX_STORE_WRITER") else {
        return;
    };
    let first = std::env::var("NOX_STORE_FIRST")
        .unwrap()
        .parse::<u64>()
        .unwrap();
    let host = TestHost::at(first as i64 * 1000).seeded(first + 1);
    let mut store = Store::open(Path::new(&path), Box::new(host)).unwrap();
    let (mut session, mut n) = (None, first);
    loop {
        let question = format!("question number{n}");
        let messages = [NewMessage {
            role: Role::User,
            content: &question,
        }];
        let target = match &session {
            Some(session) if n % 7 != 0 => Target::Session(session),
            _ => Target::New(NewSession::default()),
        };
        let begun = store
            .begin_turn(&NewTurn {
                target,
                system: Some("sys"),
                messages: &messages,
                model: "m",
                sanitized: false,
                idempotency_key: None,
            })
            .unwrap();
        let Begun::Started(handle) = begun else {
            panic!("no key was given")
        };
        store.save_partial(&handle, "so far", None).unwrap();
        let text = format!(
            "answer number{n} {}",
            "and so on ".repeat((n % 50) as usize)
        );
        store
            .finish_turn(
                &handle,
                &FinishedTurn {
                    content: &text,
                    ..FinishedTurn::default()
                },
            )
            .unwrap();
        println!("stored {} {n}", handle.session());
        session = Some(handle.session().clone());
        n += 1;
    }
}

#[test]
fn a_writer_that_is_killed_loses_no_acknowledged_turn() {
    let folder = Folder::new("killed");
    let path = folder.database();
    let mut acknowledged: Vec<(String, u64)> = Vec::new();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..25_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_that_is_killed", "--nocapture"])
            .env("NOX_STORE_WRITER", &path)
            .env("NOX_STORE_FIRST", (round * 1_000_000).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (send, stored) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Some((_, line)) = line.split_once("stored ") else {
                    continue;
                };
                let (session, n) = line.split_once(' ').unwrap();
                send.send((session.to_owned(), n.parse::<u64>().unwrap()))
                    .unwrap();
            }
        });
        // Some turns first, however slow the disk is: they tell how long one takes.
        let n_awaited = 1 + round % 4;
        let mut turn = Duration::ZERO;
        for _ in 0..n_awaited {
            let asked = Instant::now();
            let Ok(line) = stored.recv_timeout(Duration::from_secs(60)) else {
                // It would go on without an end.
                let _ = child.kill();
                panic!("the writer has not stored a turn in a minute");
            };
            acknowledged.push(line);
            turn = asked.elapsed();
        }
        // A point of time within the next two turns, that none is in step with.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let window_us = (2 * turn.as_micros() as u64).max(1);
        std::thread::sleep(Duration::from_micros(seed % window_us));
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        acknowledged.extend(stored);

        let store = open(&path).unwrap();
        store.check().unwrap();
    }
    let store = open(&path).unwrap();
    let page = store.sessions(&ListQuery::default()).unwrap();
    assert!(page.total > 0);
    for (session, n) in &acknowledged {
        let id = nox_store::SessionId::parse(session).unwrap();
        let turns = store.turns(&id).unwrap();
        let wanted = format!("answer number{n} ");
        assert!(
            turns.iter().any(|turn| turn.state == TurnState::Finished
                && turn
                    .messages
                    .iter()
                    .any(|message| message.content.starts_with(&wanted))),
            "turn {n} of {session} was acknowledged and is gone"
        );
    }
    let n_interrupted = page
        .sessions
        .iter()
        .flat_map(|session| store.turns(&session.id).unwrap())
        .filter(|turn| turn.state == TurnState::Interrupted)
        .count();
    println!(
        "{} turns were acknowledged, {n_interrupted} interrupted, in 25 killed processes",
        acknowledged.len()
    );
    assert!(acknowledged.len() >= 25);
}
