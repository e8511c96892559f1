//! What is done where the recorded system was wrong: one test for each kind of
//! defect that its session store had.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use common::{IMPORT, memory, say};
use nox_store::{
    ArchiveEarly, ImportReport, ListQuery, NewSession, ProblemKind, SessionInfo, Store, StoreError,
    TitleKind, TreeFile, UserId,
};

const DAY: &str = "sessions/2025-01-02";
const NAME: &str = "sessions/2025-01-02/session-20250102-030405";

fn line(user: &str, reply: &str) -> String {
    format!(
        "{{\"messages\": [{{\"role\": \"user\", \"content\": \"{user}\"}}, {{\"role\": \"assistant\", \"content\": \"{reply}\"}}]}}\n"
    )
}

fn import(store: &mut Store, files: &[(&str, &str)]) -> ImportReport {
    let files = files
        .iter()
        .map(|(path, text)| TreeFile {
            path: (*path).to_owned(),
            bytes: text.as_bytes().to_vec(),
            modified_ms: None,
        })
        .collect();
    store.import(files, &IMPORT).unwrap()
}

fn list(store: &Store) -> Vec<SessionInfo> {
    store.sessions(&ListQuery::default()).unwrap().sessions
}

fn file(store: &Store, path: &str) -> Option<String> {
    let files = store.export(None).unwrap();
    let file = files.into_iter().find(|file| file.path == path)?;
    Some(String::from_utf8(file.bytes).unwrap())
}

/// The original wrote the sessions of `../escaped` outside of the users' folder.
#[test]
fn a_user_id_never_leads_out_of_the_users_folder() {
    let (mut store, _) = memory();
    for name in ["../escaped", "..", "a/b", "a\\b", ""] {
        assert!(UserId::parse(name).is_err(), "{name}");
    }
    let text = line("hi", "ok");
    let report = import(
        &mut store,
        &[(
            "users/../escaped/sessions/2025-01-02/session-x.jsonl",
            &text,
        )],
    );
    assert_eq!(report.problems[0].kind, ProblemKind::Path);
    assert!(list(&store).is_empty());
}

/// Sessions of one second shared a file, and so did merges, and a second start reset
/// the description of the first.
#[test]
fn what_begins_in_the_same_second_stays_apart() {
    let (mut store, _) = memory();
    let one = store.create_session(&NewSession::default()).unwrap();
    let two = store.create_session(&NewSession::default()).unwrap();
    say(&mut store, Some(&one.id), "from one", "ok");
    store.rename(&one.id, Some("One")).unwrap();
    say(&mut store, Some(&two.id), "from two", "ok");
    assert_eq!(store.turns(&one.id).unwrap().len(), 1);
    assert_eq!(
        store.session(&one.id).unwrap().title.as_deref(),
        Some("One")
    );
    assert_ne!(one.path, two.path);
    let merges: Vec<String> = (0..2)
        .map(|_| {
            store
                .merge(std::slice::from_ref(&one.id), None, None)
                .unwrap()
                .path
        })
        .collect();
    assert_ne!(merges[0], merges[1]);
    assert_eq!(list(&store).len(), 4);
}

/// A broken line counted as a turn when listing, and not when writing.
#[test]
fn a_broken_line_is_no_turn_and_is_not_lost() {
    let (mut store, _) = memory();
    let path = format!("{NAME}.jsonl");
    let text = format!("{}broken\n\n{}[1]\n", line("a", "b"), line("c", "d"));
    let report = import(&mut store, &[(&path, &text)]);
    assert_eq!(
        (report.turns, report.problems[0].kind),
        (2, ProblemKind::Syntax)
    );
    assert_eq!(list(&store)[0].turns, 2);
    let id = list(&store)[0].id.clone();
    say(&mut store, Some(&id), "e", "f");
    assert_eq!(list(&store)[0].turns, 3);
    let out = file(&store, &path).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines.len(), lines[1], lines[3]), (5, "broken", "[1]"));
    assert!(lines[4].contains("\"turn\":3"), "{}", lines[4]);
}

/// Without a usable description an entry had no title and no times; one that was no
/// object broke the whole list.
#[test]
fn a_session_with_a_broken_description_is_listed_like_one_without() {
    for broken in ["{", "[]", "null", "\"x\"", ""] {
        let (mut store, _) = memory();
        let files = [
            (format!("{NAME}.jsonl"), line("a question", "b")),
            (format!("{NAME}.meta.json"), broken.to_owned()),
        ];
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(p, t)| (p.as_str(), t.as_str()))
            .collect();
        let report = import(&mut store, &files);
        assert_eq!(
            report.problems[0].kind,
            ProblemKind::Description,
            "{broken}"
        );
        let info = &list(&store)[0];
        assert_eq!(info.title.as_deref(), Some("a question"));
        assert_eq!(info.title_kind, TitleKind::Derived);
        assert_eq!((info.created_ms, info.turns), (1_735_787_045_000, 1));
        // It goes back as it came, as long as nothing changes the session.
        assert_eq!(file(&store, files[1].0).as_deref(), Some(broken));
    }
}

/// Of a `.json` and a `.jsonl` of one name only the second was seen, and as soon as
/// there was one day's folder, files beside it were not seen at all.
#[test]
fn every_session_of_a_tree_is_seen() {
    let (mut store, _) = memory();
    let array = format!("[{}]", line("from json", "b").trim());
    let report = import(
        &mut store,
        &[
            (&format!("{NAME}.jsonl"), &line("from jsonl", "a")),
            (&format!("{NAME}.json"), &array),
            (
                "sessions/session-20250101-000000.jsonl",
                &line("beside", "c"),
            ),
        ],
    );
    assert_eq!((report.sessions.len(), list(&store).len()), (3, 3));
    assert_eq!(store.resolve("session-20250101-000000").unwrap().turns, 1);
    assert!(matches!(
        store.resolve("session-20250102-030405"),
        Err(StoreError::Ambiguous { .. })
    ));
    assert_eq!(store.resolve(&format!("{NAME}.json")).unwrap().turns, 1);
}

/// A list of an empty folder showed the default one instead.
#[test]
fn a_list_of_nothing_is_empty() {
    let (mut store, _) = memory();
    say(&mut store, None, "hi", "ok");
    let nobody = ListQuery {
        user: Some("nobody"),
        ..ListQuery::default()
    };
    assert!(store.sessions(&nobody).unwrap().sessions.is_empty());
}

/// Any existing path was accepted as a session, and the path in a description
/// decided what archiving deleted.
#[test]
fn paths_name_sessions_of_the_database_and_nothing_else() {
    let (mut store, host) = memory();
    for text in ["/etc/passwd", "sessions", "Cargo.toml", "../..", "users"] {
        assert!(
            matches!(store.resolve(text), Err(StoreError::NotFound { .. })),
            "{text}"
        );
    }
    let kept = line("keep", "me");
    import(
        &mut store,
        &[
            (
                &format!("{DAY}/session-20250102-000001.jsonl"),
                &line("a", "b"),
            ),
            (
                &format!("{DAY}/session-20250102-000001.meta.json"),
                "{\"path\": \"telemetry/metrics.json\", \"updated\": \"2025-01-02T00:00:01Z\"}",
            ),
            (&format!("{DAY}/session-20250102-000002.jsonl"), &kept),
            ("telemetry/metrics.json", "{\"precious\": 1}"),
        ],
    );
    host.now_ms.set(host.now_ms.get() + 1000);
    let archived = store
        .archive_early(&ArchiveEarly::default())
        .unwrap()
        .unwrap();
    assert_eq!(archived.sources, 1);
    assert_eq!(
        file(&store, "telemetry/metrics.json").as_deref(),
        Some("{\"precious\": 1}")
    );
    assert!(
        store.resolve("session-20250102-000001").is_err(),
        "it is in the archive"
    );
    assert_eq!(archived.archive.turns, 1);
}

/// A system message that came up later stood in the middle of the list.
#[test]
fn the_system_prompt_comes_first_wherever_it_came_up() {
    let (mut store, _) = memory();
    let late = "{\"messages\": [{\"role\": \"system\", \"content\": \"late\"}, {\"role\": \"user\", \"content\": \"c\"}]}\n";
    let path = format!("{NAME}.jsonl");
    let text = format!("{}{late}", line("a", "b"));
    import(&mut store, &[(&path, &text)]);
    let id = &list(&store)[0].id;
    assert_eq!(store.first_system(id).unwrap().as_deref(), Some("late"));
    let turns = store.turns(id).unwrap();
    assert_eq!(
        turns.iter().map(|turn| turn.messages.len()).sum::<usize>(),
        3
    );
}

/// A line that was no object made reading fail, and a file of such lines counted as
/// empty and was deleted.
#[test]
fn a_file_of_unreadable_lines_is_not_empty() {
    let (mut store, _) = memory();
    for text in ["[1]\n\"x\"\n5\n", "not json\n"] {
        let path = format!("{NAME}.jsonl");
        import(&mut store, &[(&path, text)]);
        let id = list(&store)[0].id.clone();
        assert!(store.turns(&id).unwrap().is_empty());
        assert!(!store.delete_if_empty(&id).unwrap());
        assert_eq!(store.delete_empty().unwrap(), 0);
        assert_eq!(file(&store, &path).as_deref(), Some(text));
        store.delete(&id).unwrap();
    }
}

/// Archives held the newest session first, and those of all users.
#[test]
fn an_archive_is_one_users_and_in_the_order_of_time() {
    let (mut store, host) = memory();
    for n in 0..3 {
        host.now_ms.set(n * 60_000);
        say(&mut store, None, &format!("q{n}"), "a");
    }
    let other = store
        .create_session(&NewSession {
            user: Some(UserId::parse("other").unwrap()),
            ..NewSession::default()
        })
        .unwrap();
    let archived = store
        .archive_early(&ArchiveEarly::default())
        .unwrap()
        .unwrap();
    let said: Vec<String> = store
        .turns(&archived.archive.id)
        .unwrap()
        .into_iter()
        .map(|turn| turn.messages[0].content.clone())
        .collect();
    assert_eq!(said, ["q0", "q1"]);
    assert!(store.session(&other.id).is_ok());
}

/// The title of an open session could not be cleared, and the open session undid a
/// rename from outside.
#[test]
fn a_rename_holds_for_a_session_that_goes_on() {
    let (mut store, _) = memory();
    let id = say(&mut store, None, "hi", "ok");
    store.rename(&id, Some("Outside")).unwrap();
    say(&mut store, Some(&id), "again", "ok");
    assert_eq!(
        store.session(&id).unwrap().title.as_deref(),
        Some("Outside")
    );
    store.rename(&id, None).unwrap();
    say(&mut store, Some(&id), "again", "ok");
    assert_eq!(store.session(&id).unwrap().title, None);
}

/// A broken day's log was overwritten.
#[test]
fn a_days_log_that_cannot_be_read_is_left_alone() {
    let (mut store, _) = memory();
    let log = format!("{DAY}/day.json");
    import(&mut store, &[(&log, "[{\"id\": \"half")]);
    let id = say(&mut store, None, "hi", "ok");
    assert!(matches!(
        store.note_day(&id),
        Err(StoreError::Invalid { .. })
    ));
    assert_eq!(file(&store, &log).as_deref(), Some("[{\"id\": \"half"));
}

/// Taking an old session over left an empty one behind, and wrote the name of the
/// new one into the old.
#[test]
fn going_on_with_an_old_session_makes_no_other() {
    let (mut store, host) = memory();
    let id = say(&mut store, None, "hi", "ok");
    let before = store.session(&id).unwrap();
    host.now_ms.set(host.now_ms.get() + 86_400_000);
    say(&mut store, Some(&id), "next day", "ok");
    let after = store.session(&id).unwrap();
    assert_eq!(list(&store).len(), 1);
    assert_eq!(before.display_name(), after.display_name());
    let out = file(&store, &after.path).unwrap();
    assert_eq!(out.matches("Session 2025-01-02 03:04:05 UTC").count(), 2);
}
