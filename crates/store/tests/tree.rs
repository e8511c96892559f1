//! Trees in and out: nothing is lost, and a bad file harms no other.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use std::collections::BTreeMap;

use common::{IMPORT, TestHost, memory, say};
use nox_store::{
    FinishedTurn, ListQuery, NewMessage, NewSession, NewTurn, ProblemKind, Role, Store, Target,
    TreeFile, TurnTelemetry, UserId, ZipError, limits, read_zip, write_zip,
};
use serde_json::Value;

fn tree(files: &[(&str, &str)]) -> Vec<TreeFile> {
    files
        .iter()
        .map(|(path, text)| TreeFile {
            path: (*path).to_owned(),
            bytes: text.as_bytes().to_vec(),
            modified_ms: Some(5000),
        })
        .collect()
}

fn by_path(files: &[TreeFile]) -> BTreeMap<&str, &[u8]> {
    files
        .iter()
        .map(|file| (file.path.as_str(), file.bytes.as_slice()))
        .collect()
}

/// JSON of a file, or of its lines; text that is neither as it is.
fn read(path: &str, bytes: &[u8]) -> Value {
    let text = String::from_utf8_lossy(bytes);
    if path.ends_with(".jsonl") {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        return lines
            .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| line.into()))
            .collect();
    }
    serde_json::from_str::<Value>(&text).unwrap_or_else(|_| text.into_owned().into())
}

fn fresh() -> Store {
    Store::open_in_memory(Box::new(TestHost::at(9_000_000).seeded(77))).unwrap()
}

/// A tree with all that the recorded system wrote, and some that it read.
fn old_tree() -> Vec<TreeFile> {
    let record = |text: &str| {
        format!(
            "{{\"messages\": [{{\"role\": \"system\", \"content\": \"sys\"}}, {{\"role\": \"user\", \"content\": \"{text}\"}}, {{\"role\": \"assistant\", \"content\": \"a\"}}], \"meta\": {{\"model\": \"m\", \"sanitized\": true, \"turn\": 1, \"ts\": \"2025-01-02T03:04:05Z\", \"file_name\": \"session-20250102-030405.jsonl\", \"display_name\": \"Session 2025-01-02 03:04:05 UTC\"}}}}\n"
        )
    };
    let odd = "{\"messages\": [{\"role\": \"tool\", \"content\": \"t\"}, {\"role\": \"user\", \"content\": [{\"text\": \"x\"}, 5], \"extra\": 1}], \"more\": {\"a\": [1, 2.5, null]}}\n\n{\"messages\": null}\nnot json\n";
    tree(&[
        (
            "sessions/2025-01-02/session-20250102-030405.jsonl",
            &record("q"),
        ),
        (
            "sessions/2025-01-02/session-20250102-030405.meta.json",
            "{\"id\": \"other-id\", \"path\": \"/home/x/sessions/a.jsonl\", \"turns\": 1, \"title\": \"T\", \"custom\": true, \"updated\": \"2025-01-02T03:04:05Z\", \"unknown\": [1]}",
        ),
        ("sessions/2025-01-02/session-20250102-050000.jsonl", odd),
        ("sessions/2025-01-02/session-20250102-060000.jsonl", ""),
        (
            "sessions/2025-01-02/day.json",
            "[{\"id\": \"gone\", \"records\": []}]",
        ),
        (
            "sessions/session-20250101-000000.json",
            &format!("[{}, 7]", record("flat").trim()),
        ),
        ("sessions/session-20250101-000001.json", "{"),
        (
            "sessions/merged-2025-01-03/session-merged-20250103-000000.jsonl",
            &record("merged"),
        ),
        (
            "sessions/merged-2025-01-03/session-merged-20250103-000000.meta.json",
            "{\"sources\": [\"a\", \"b\"]}",
        ),
        (
            "early-archives/merged-2025-01-03/session-early-archive-20250103-000000.json",
            "[]",
        ),
        (
            "early-archives/merged-2025-01-03/session-early-archive-20250103-000000.meta.json",
            "{\"archive\": {\"type\": \"early\"}}",
        ),
        (
            "users/user_one/user.json",
            "{\"id\": \"user_one\", \"display_name\": \"User One\", \"since\": 2020}",
        ),
        (
            "users/user_one/sessions/2025-01-02/session-20250102-030405.jsonl",
            &record("of one"),
        ),
        (
            "users/nameless/sessions/2025-01-02/session-20250102-030405.jsonl",
            &record("of nobody"),
        ),
        ("telemetry/metrics.json", "{\"n\": 1}"),
        (
            "sessions/2025-01-02/session-lost.meta.json",
            "{\"title\": \"no session\"}",
        ),
    ])
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let (mut store, _) = memory();
    let files = old_tree();
    let report = store.import(files.clone(), &IMPORT).unwrap();
    assert_eq!(report.sessions.len(), 9);
    let out = store.export(None).unwrap();
    let (before, after) = (by_path(&files), by_path(&out));
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    for (path, bytes) in &before {
        assert_eq!(read(path, after[path]), read(path, bytes), "{path}");
    }
    // The same tree again changes nothing.
    let again = store.import(files, &IMPORT).unwrap();
    assert_eq!((again.sessions.len(), again.unchanged), (0, 9));
    store.check().unwrap();
}

/// A database with all that can be in one.
fn own() -> Store {
    let (mut store, host) = memory();
    host.now_ms.set(1_735_787_045_678);
    let first = say(&mut store, None, "hi \u{1f40b} \u{0}", "ok");
    let messages = [NewMessage {
        role: Role::User,
        content: "again",
    }];
    let new = |target| NewTurn {
        target,
        system: Some("another prompt"),
        messages: &messages,
        model: "nox",
        sanitized: true,
        idempotency_key: None,
    };
    let nox_store::Begun::Started(handle) =
        store.begin_turn(&new(Target::Session(&first))).unwrap()
    else {
        panic!("no key was given")
    };
    host.now_ms.set(1_735_787_049_012);
    store
        .finish_turn(
            &handle,
            &FinishedTurn {
                content: "half an ans",
                reasoning: Some("because"),
                model: Some("qwen"),
                partial: true,
                automatic_title: Some("Title"),
                telemetry: Some(TurnTelemetry {
                    alias: "nox".into(),
                    finish_reason: "cancelled".into(),
                    decode_ms: Some(1.25),
                    prompt_tokens: Some(7),
                    ..TurnTelemetry::default()
                }),
                ..FinishedTurn::default()
            },
        )
        .unwrap();
    let user = UserId::parse("user_one").unwrap();
    store.set_user(&user, Some("User One")).unwrap();
    let target = Target::New(NewSession {
        user: Some(user),
        ..NewSession::default()
    });
    let nox_store::Begun::Started(handle) = store.begin_turn(&new(target)).unwrap() else {
        panic!("no key was given")
    };
    store.save_partial(&handle, "unfinis", None).unwrap();
    let merged = store
        .merge(std::slice::from_ref(&first), Some("M"), None)
        .unwrap();
    store.rename(&merged.id, Some("Mine")).unwrap();
    store
}

#[test]
fn a_database_of_this_system_survives_the_way_through_a_tree() {
    let store = own();
    let files = store.export(None).unwrap();
    let mut copy = fresh();
    let report = copy.import(files.clone(), &IMPORT).unwrap();
    assert_eq!(report.problems, []);
    let sessions = |store: &Store| {
        let mut sessions = store.sessions(&ListQuery::default()).unwrap().sessions;
        // Two of them changed at the same moment: which comes first is left open.
        sessions.sort_by(|a, b| a.id.cmp(&b.id));
        sessions
    };
    let before = sessions(&store);
    assert_eq!(before.len(), 3);
    let mut after = sessions(&copy);
    for (after, before) in after.iter_mut().zip(&before) {
        // A turn that was open there is interrupted here, and counts.
        after.turns = after.turns.min(before.turns);
    }
    assert_eq!(before, after);
    for session in &before {
        let (mut ours, theirs) = (
            store.turns(&session.id).unwrap(),
            copy.turns(&session.id).unwrap(),
        );
        for turn in &mut ours {
            // What was open there is interrupted here.
            if turn.state == nox_store::TurnState::Open {
                turn.state = nox_store::TurnState::Interrupted;
            }
        }
        assert_eq!(ours, theirs);
    }
    assert_eq!(
        store.telemetry_summary(0).unwrap(),
        copy.telemetry_summary(0).unwrap()
    );
    let again = copy.export(None).unwrap();
    for (path, bytes) in by_path(&files) {
        assert_eq!(
            read(path, by_path(&again)[path]),
            read(path, bytes),
            "{path}"
        );
    }
}

#[test]
fn what_was_put_aside_is_so_after_the_way_through_a_tree() {
    let (mut store, _) = memory();
    let aside = say(&mut store, None, "one", "eins");
    let here = say(&mut store, None, "two", "zwei");
    store.set_archived(&aside, true).unwrap();
    let files = store.export(None).unwrap();
    let mut copy = fresh();
    assert_eq!(copy.import(files.clone(), &IMPORT).unwrap().problems, []);
    assert!(copy.session(&aside).unwrap().archived);
    assert!(!copy.session(&here).unwrap().archived);
    assert_eq!(copy.import(files, &IMPORT).unwrap().unchanged, 2);
}

#[test]
fn a_session_of_a_known_path_is_never_overwritten() {
    let (mut store, _) = memory();
    let id = say(&mut store, None, "here", "ok");
    let path = store.session(&id).unwrap().path;
    let other = "{\"messages\": [{\"role\": \"user\", \"content\": \"there\"}]}\n";
    let report = store.import(tree(&[(&path, other)]), &IMPORT).unwrap();
    assert_eq!(report.problems[0].kind, ProblemKind::Differs);
    assert_eq!(store.turns(&id).unwrap()[0].messages[0].content, "here");
    let came = store.session(&report.sessions[0]).unwrap();
    assert_eq!(came.path, path.replace(".jsonl", "-2.jsonl"));
}

#[test]
fn a_bad_file_harms_no_other() {
    let (mut store, _) = memory();
    let good = "{\"messages\": [{\"role\": \"user\", \"content\": \"good\"}]}\n";
    let long_title = format!("{{\"title\": \"{}\"}}", "x".repeat(10 << 20));
    let mut files = tree(&[
        ("sessions/2025-01-02/session-good.jsonl", good),
        ("sessions/2025-01-02/session-good.meta.json", &long_title),
        ("../../etc/passwd", "x"),
        ("/sessions/a.jsonl", good),
        ("sessions\\b.jsonl", good),
        ("sessions/2025-01-02/notes.txt", "x"),
        ("users/.git/user.json", "{}"),
        ("users/a/user.json", "[]"),
        ("sessions/./2025-01-02/session-good.jsonl", good),
        ("sessions/deep.jsonl", &"[".repeat(100_000)),
        (
            "sessions/nan.jsonl",
            "{\"messages\": [{\"role\": \"user\", \"content\": NaN}]}\n",
        ),
        ("sessions/bom.jsonl", &format!("\u{feff}{good}")),
    ]);
    files.push(TreeFile {
        path: "sessions/latin.jsonl".into(),
        bytes: b"{\"messages\": [{\"role\": \"user\", \"content\": \"caf\xe9\"}]}\n".to_vec(),
        modified_ms: None,
    });
    let huge = format!(
        "{{\"messages\": [{{\"role\": \"user\", \"content\": \"{}\"}}]}}\n{good}",
        "y".repeat(limits::MESSAGE_BYTES + 1)
    );
    files.extend(tree(&[("sessions/huge.jsonl", &huge)]));
    let report = store.import(files, &IMPORT).unwrap();
    let kind_of = |path: &str| {
        let problem = report.problems.iter().find(|problem| problem.path == path);
        problem
            .unwrap_or_else(|| panic!("{path}: {:?}", report.problems))
            .kind
    };
    for (path, kind) in [
        (
            "sessions/2025-01-02/session-good.meta.json",
            ProblemKind::Description,
        ),
        ("../../etc/passwd", ProblemKind::Path),
        ("/sessions/a.jsonl", ProblemKind::Path),
        ("sessions\\b.jsonl", ProblemKind::Path),
        ("sessions/2025-01-02/notes.txt", ProblemKind::Unknown),
        ("users/.git/user.json", ProblemKind::Path),
        ("users/a/user.json", ProblemKind::Syntax),
        (
            "sessions/./2025-01-02/session-good.jsonl",
            ProblemKind::Path,
        ),
        ("sessions/deep.jsonl", ProblemKind::Syntax),
        ("sessions/nan.jsonl", ProblemKind::Syntax),
        ("sessions/latin.jsonl", ProblemKind::Encoding),
        ("sessions/huge.jsonl", ProblemKind::TooLarge),
    ] {
        assert_eq!(kind_of(path), kind, "{path}");
    }
    for (name, turns) in [
        ("session-good", 1),
        ("bom", 1),
        ("huge", 1),
        ("deep", 0),
        ("nan", 0),
    ] {
        assert_eq!(store.resolve(name).unwrap().turns, turns, "{name}");
    }
    let out = store.export(None).unwrap();
    assert!(
        by_path(&out)["sessions/latin.jsonl"].contains(&0xe9),
        "kept as it is"
    );
    store.check().unwrap();
}

#[test]
fn a_folder_around_the_tree_is_looked_through() {
    let (mut store, _) = memory();
    let good = "{\"messages\": [{\"role\": \"user\", \"content\": \"good\"}]}\n";
    let report = store
        .import(
            tree(&[
                ("memory/sessions/a.jsonl", good),
                ("memory/users/x/user.json", "{\"display_name\": \"X\"}"),
            ]),
            &IMPORT,
        )
        .unwrap();
    assert_eq!((report.sessions.len(), report.users), (1, 1));
    assert_eq!(store.resolve("a").unwrap().path, "sessions/a.jsonl");
}

#[test]
fn an_archive_holds_the_tree_and_is_the_same_every_time() {
    let files = own().export(None).unwrap();
    let packed = write_zip(&files).unwrap();
    assert_eq!(packed, write_zip(&files).unwrap());
    let (unpacked, problems) = read_zip(&packed).unwrap();
    assert_eq!(problems, []);
    assert_eq!(by_path(&unpacked), by_path(&files));
    assert!(unpacked.iter().any(|file| file.modified_ms.is_some()));
    let mut copy = fresh();
    assert_eq!(copy.import(unpacked, &IMPORT).unwrap().sessions.len(), 3);
}

#[test]
fn a_hostile_archive_is_refused_or_reported() {
    for bytes in [&b""[..], b"PK", b"PK\x05\x06", &[0xff; 1000]] {
        assert!(matches!(read_zip(bytes), Err(ZipError::Archive(_))));
    }
    let bomb = write_zip(&[TreeFile {
        path: "sessions/bomb.jsonl".into(),
        bytes: vec![b' '; 17 << 20],
        modified_ms: None,
    }])
    .unwrap();
    assert!(bomb.len() < 1 << 20);
    assert!(matches!(read_zip(&bomb), Err(ZipError::TooLarge { .. })));

    let packed = write_zip(&tree(&[
        ("../up.jsonl", "x"),
        ("/root.jsonl", "x"),
        ("a\\b.jsonl", "x"),
        ("sessions/good.jsonl", "{}\n"),
    ]))
    .unwrap();
    let (files, problems) = read_zip(&packed).unwrap();
    assert_eq!(
        files.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(),
        ["sessions/good.jsonl"]
    );
    assert_eq!(problems.len(), 3);
    assert!(
        problems
            .iter()
            .all(|problem| problem.kind == ProblemKind::Path)
    );

    // A name in another encoding, and contents that do not fit their checksum.
    let packed = write_zip(&tree(&[
        ("sessions/n\u{e9}.jsonl", "{}\n"),
        ("sessions/b.jsonl", "{}\n"),
    ]))
    .unwrap();
    let latin: Vec<u8> = replace(&packed, "n\u{e9}".as_bytes(), b"n\xe9x");
    let (files, problems) = read_zip(&latin).unwrap();
    assert_eq!((files.len(), problems[0].kind), (1, ProblemKind::Encoding));

    let whole = write_zip(&own().export(None).unwrap()).unwrap();
    for at in (0..whole.len()).step_by(61) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        // Anything but a panic.
        if let Ok((files, _)) = read_zip(&damaged) {
            fresh().import(files, &IMPORT).unwrap();
        }
        let _ = read_zip(&whole[..at]);
    }
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut out = bytes.to_vec();
    for at in 0..out.len() - from.len() {
        if &out[at..at + from.len()] == from {
            out[at..at + from.len()].copy_from_slice(to);
        }
    }
    out
}
