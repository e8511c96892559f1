//! Trees that come in pieces, twice, or with what no honest system writes.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{IMPORT, TestHost, memory, say};
use nox_store::{
    ImportReport, ListQuery, ProblemKind, SessionInfo, Store, TreeFile, UserId, limits, read_zip,
    write_zip,
};
use serde_json::Value;

const NAME: &str = "sessions/2025-01-02/session-20250102-030405";
const LATIN: &[u8] = b"{\"messages\": [{\"role\": \"user\", \"content\": \"caf\xe9\"}]}\n";
const GOOD: &[u8] = b"{\"messages\":[{\"role\":\"user\",\"content\":\"good\"}]}\n";

fn import(store: &mut Store, files: &[(&str, &[u8])]) -> ImportReport {
    let files = files
        .iter()
        .map(|(path, bytes)| TreeFile {
            path: (*path).to_owned(),
            bytes: bytes.to_vec(),
            modified_ms: None,
        })
        .collect();
    store.import(files, &IMPORT).unwrap()
}

/// All of a database, the way it leaves: through an archive, which takes no path twice.
fn export(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let files = store.export(None).unwrap();
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths.len(), files.len(), "{paths:?}");
    let (files, problems) = read_zip(&write_zip(&files).unwrap()).unwrap();
    assert_eq!(problems, []);
    files
        .into_iter()
        .map(|file| (file.path, file.bytes))
        .collect()
}

fn list(store: &Store) -> Vec<SessionInfo> {
    store.sessions(&ListQuery::default()).unwrap().sessions
}

fn kinds(report: &ImportReport) -> Vec<ProblemKind> {
    report.problems.iter().map(|problem| problem.kind).collect()
}

#[test]
fn a_session_takes_the_place_of_the_unreadable_file_of_its_path() {
    let (mut store, _) = memory();
    let path = format!("{NAME}.jsonl");
    import(&mut store, &[(&path, LATIN)]);
    assert_eq!(export(&store)[&path], LATIN);
    import(&mut store, &[(&path, GOOD)]);
    assert_eq!(export(&store)[&path], GOOD);
}

#[test]
fn an_unreadable_file_at_a_sessions_path_is_kept_beside_it() {
    let (mut store, _) = memory();
    let path = format!("{NAME}.jsonl");
    import(&mut store, &[(&path, GOOD)]);
    for kept in [1, 0] {
        let report = import(&mut store, &[(&path, LATIN)]);
        assert_eq!(report.kept_files, kept, "the same file is kept once");
    }
    let out = export(&store);
    assert_eq!(out[&path], GOOD);
    assert_eq!(out[&format!("{NAME}-2.jsonl")], LATIN);
}

#[test]
fn a_new_chat_never_takes_the_path_of_what_came_in() {
    for taken in [".jsonl", ".json"] {
        for bytes in [LATIN, b"[]"] {
            let (mut store, _) = memory();
            let path = format!("{NAME}{taken}");
            import(&mut store, &[(&path, bytes)]);
            let id = say(&mut store, None, "hi", "ok");
            store.rename(&id, Some("Mine")).unwrap();
            let info = store.session(&id).unwrap();
            assert_ne!(info.path, path);
            let out = export(&store);
            let meta = info.path.replace(".jsonl", ".meta.json");
            for path in [&path, &info.path, &meta] {
                assert!(out.contains_key(path), "{path} of {:?}", out.keys());
            }
        }
    }
}

#[test]
fn two_sessions_of_one_name_keep_a_description_each() {
    let (mut store, _) = memory();
    let list_of_one = format!("[{}]", String::from_utf8_lossy(GOOD).trim());
    let paths = [format!("{NAME}.json"), format!("{NAME}.jsonl")];
    import(
        &mut store,
        &[(&paths[0], list_of_one.as_bytes()), (&paths[1], GOOD)],
    );
    for path in &paths {
        let id = store.resolve(path).unwrap().id;
        store.rename(&id, Some(path)).unwrap();
    }
    let out = export(&store);
    assert_eq!(out.len(), 4);
    let mut copy = Store::open_in_memory(Box::new(TestHost::at(9).seeded(77))).unwrap();
    let files: Vec<(&str, &[u8])> = out.iter().map(|(p, b)| (p.as_str(), &b[..])).collect();
    assert_eq!(import(&mut copy, &files).problems, []);
    for path in &paths {
        let title = copy.resolve(path).unwrap().title;
        assert_eq!(title.as_deref(), Some(path.as_str()));
    }
    assert_eq!(export(&copy), out);
}

#[test]
fn a_description_that_waits_for_its_session_stands_back_when_it_has_one() {
    let (mut store, _) = memory();
    let meta = format!("{NAME}.meta.json");
    import(&mut store, &[(&meta, b"{\"title\": \"early\"}")]);
    import(&mut store, &[(&format!("{NAME}.jsonl"), GOOD)]);
    store.rename(&list(&store)[0].id, Some("Mine")).unwrap();
    let out: Value = serde_json::from_slice(&export(&store)[&meta]).unwrap();
    assert_eq!(out["title"], "Mine");
}

#[test]
fn moments_outside_of_all_calendars_are_left_out() {
    let (mut store, _) = memory();
    let meta = b"{\"created\": \"2025-01-01T00:00:00Z\", \"nox\": {\"created_ms\": 9000000000000000000, \"updated_ms\": -9000000000000000000}}";
    let record = b"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"}],\"meta\":{\"nox\":{\"at_ms\":9000000000000000000,\"messages\":[{\"at_ms\":-9000000000000000000},{\"at_ms\":5000}]}}}\n";
    let paths = [format!("{NAME}.jsonl"), format!("{NAME}.meta.json")];
    let report = import(&mut store, &[(&paths[0], record), (&paths[1], meta)]);
    assert_eq!(kinds(&report), [ProblemKind::Description]);
    let info = list(&store).remove(0);
    assert_eq!(info.created_ms, 1_735_689_600_000);
    assert_eq!(info.updated_ms, 1_735_787_045_000, "the name's moment");
    let turn = store.turns(&info.id).unwrap().remove(0);
    assert_eq!(turn.at_ms, info.created_ms);
    let at_ms: Vec<i64> = turn.messages.iter().map(|message| message.at_ms).collect();
    assert_eq!(at_ms, [info.created_ms, 5000]);
    // It goes back as it came.
    let out = export(&store);
    assert_eq!(out[&paths[1]], meta);
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert_eq!(read(&out[&paths[0]]), read(record));
}

#[test]
fn a_files_own_moment_outside_of_all_calendars_is_no_moment() {
    let (mut store, _) = memory();
    let file = TreeFile {
        path: "sessions/plain.jsonl".into(),
        bytes: GOOD.to_vec(),
        modified_ms: Some(i64::MAX),
    };
    store.import(vec![file], &IMPORT).unwrap();
    assert_eq!(list(&store)[0].updated_ms, 1_735_787_045_000);
}

#[test]
fn turns_are_counted_and_not_promised() {
    let (mut store, _) = memory();
    let meta: &[u8] = b"{\"turns\": 99}";
    let paths = [format!("{NAME}.jsonl"), format!("{NAME}.meta.json")];
    let report = import(&mut store, &[(&paths[0], GOOD), (&paths[1], meta)]);
    assert_eq!((report.turns, list(&store)[0].turns), (1, 1));
    assert_eq!(export(&store)[&paths[1]], meta);
}

#[test]
fn descriptions_that_cannot_be_read_go_back_as_they_came() {
    let (mut store, _) = memory();
    let latin: &[u8] = b"{\"title\": \"caf\xe9\"}";
    let (good, odd) = ("sessions/good", "sessions/odd");
    let files: Vec<(String, &[u8])> = vec![
        (format!("{good}.jsonl"), GOOD),
        (format!("{good}.meta.json"), latin),
        (format!("{odd}.jsonl"), LATIN),
        (format!("{odd}.meta.json"), b"{\"title\": \"T\"}"),
        ("users/a/user.json".into(), b"[]"),
        ("users/b/user.json".into(), latin),
    ];
    let given: Vec<(&str, &[u8])> = files.iter().map(|(p, b)| (p.as_str(), *b)).collect();
    let report = import(&mut store, &given);
    assert_eq!(report.problems.len(), 4);
    let out = export(&store);
    assert_eq!(out.len(), files.len());
    for (path, bytes) in &files {
        assert_eq!(out[path], *bytes, "{path}");
    }
    assert_eq!(import(&mut store, &given).kept_files, 0);

    // What can be read takes their places.
    let user: &[u8] = b"{\"display_name\": \"A\"}";
    import(&mut store, &[("users/a/user.json", user)]);
    assert_eq!(export(&store)["users/a/user.json"], user);
    store
        .set_user(&UserId::parse("b").unwrap(), Some("B"))
        .unwrap();
    let user: Value = serde_json::from_slice(&export(&store)["users/b/user.json"]).unwrap();
    assert_eq!(user["display_name"], "B");
}

#[test]
fn a_file_of_more_records_than_an_import_takes_is_left_out() {
    let (mut store, _) = memory();
    let lines = "{}\n".repeat(limits::TREE_RECORDS + 1);
    let elements = format!("[0{}]", ",0".repeat(limits::TREE_RECORDS));
    let many = ",0".repeat(limits::TREE_MESSAGES);
    let messages = format!("{{\"messages\": [0{many}]}}\n");
    let report = import(
        &mut store,
        &[
            ("sessions/2025-01-01/lines.jsonl", lines.as_bytes()),
            ("sessions/2025-01-01/list.json", elements.as_bytes()),
            ("sessions/2025-01-01/messages.jsonl", messages.as_bytes()),
            ("sessions/2025-01-02/good.jsonl", GOOD),
        ],
    );
    assert_eq!(kinds(&report), [ProblemKind::TooLarge; 3]);
    assert_eq!(list(&store).len(), 1);
    assert_eq!(report.turns, 1);
}

#[test]
fn the_records_of_all_files_are_counted_together() {
    let (mut store, _) = memory();
    let most = "0\n".repeat(limits::TREE_RECORDS - 1);
    let report = import(
        &mut store,
        &[
            ("sessions/a.jsonl", most.as_bytes()),
            ("sessions/b.jsonl", GOOD),
            ("sessions/c.jsonl", GOOD),
        ],
    );
    assert_eq!(kinds(&report), [ProblemKind::Syntax, ProblemKind::TooLarge]);
    assert_eq!(report.problems[1].path, "sessions/c.jsonl");
}

#[test]
fn a_file_without_a_record_takes_little_more_room_than_itself() {
    let (mut store, _) = memory();
    let text = "x\n".repeat(200_000);
    let list_of_none = format!("[0{}]", ",0".repeat(200_000));
    let before = store.size_bytes().unwrap();
    import(
        &mut store,
        &[
            ("sessions/a.jsonl", text.as_bytes()),
            ("sessions/b.json", list_of_none.as_bytes()),
        ],
    );
    let grown = store.size_bytes().unwrap() - before;
    assert!(grown < 1_200_000, "{grown} bytes");
    assert_eq!(export(&store)["sessions/a.jsonl"], text.as_bytes());
}

#[test]
fn a_file_without_a_record_stays_whole_when_its_session_goes_on() {
    let (mut store, _) = memory();
    let files: [(&str, &[u8]); 2] = [
        ("sessions/a.jsonl", b"[1]\n\nbroken\n5\n"),
        ("sessions/b.json", b"[1, \"two\", {\"three\": 3}]"),
    ];
    let report = import(&mut store, &files);
    assert_eq!(kinds(&report), [ProblemKind::Syntax; 2]);
    assert_eq!(import(&mut store, &files).unchanged, 2);
    for path in ["sessions/a.jsonl", "sessions/b.json"] {
        let id = store.resolve(path).unwrap().id;
        say(&mut store, Some(&id), "on", "and on");
    }
    let out = export(&store);
    let lines = String::from_utf8_lossy(&out["sessions/a.jsonl"]);
    let lines: Vec<&str> = lines.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!((lines.len(), &lines[..3]), (4, &["[1]", "broken", "5"][..]));
    let elements: Vec<Value> = serde_json::from_slice(&out["sessions/b.json"]).unwrap();
    assert_eq!((elements.len(), &elements[1]), (4, &"two".into()));
}

#[test]
fn a_broken_list_that_differs_is_another_file() {
    let (mut store, _) = memory();
    import(&mut store, &[("sessions/a.json", b"[1, oh")]);
    let report = import(&mut store, &[("sessions/a.json", b"[1, no")]);
    assert_eq!(report.unchanged, 0);
    assert_eq!(export(&store)["sessions/a-2.json"], b"[1, no");
}
