//! `sessions.export` and `sessions.import`: chats as a zip.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Folder, Host, Pieces, Setup, chats, check_error, hello_params, in_file};
use nox_protocol::{ErrorKind, Id, RpcError, RuntimeFrame};
use nox_runtime::{Attachment, Outgoing};
use nox_store::{TreeFile, read_zip, write_zip};
use serde_json::{Value, json};

fn with_chats() -> (Host, Folder) {
    let folder = Folder::new();
    let mut store = chats::open(&folder.chats());
    chats::say(&mut store, "default", None, "one", "a reply");
    let ada = chats::say(&mut store, "ada", None, "two", "another reply");
    store.set_archived(&ada, true).unwrap();
    drop(store);
    (Host::greeted(in_file(&folder.chats())), folder)
}

fn bytes_of(exported: &Value) -> Vec<u8> {
    let text = exported["data_base64"].as_str().unwrap();
    STANDARD.decode(text).unwrap()
}

fn import(host: &Host, zip: &[u8]) -> Result<Value, RpcError> {
    let attachment = Attachment {
        name: Some("chats.zip".to_owned()),
        bytes: Box::new(Pieces::new(zip)),
    };
    host.end(&host.begin_with("sessions.import", &json!({}), Some(attachment)))
}

fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let files: Vec<TreeFile> = files
        .iter()
        .map(|(path, text)| TreeFile {
            path: (*path).to_owned(),
            bytes: text.as_bytes().to_vec(),
            modified_ms: None,
        })
        .collect();
    write_zip(&files).unwrap()
}

const RECORD: &str = r#"{"messages": [{"role": "user", "content": "hi there"}, {"role": "assistant", "content": "yes"}], "meta": {}}"#;

#[test]
fn everything_comes_out_as_a_zip_and_goes_in_elsewhere() {
    let (host, _folder) = with_chats();
    let exported = host.call("sessions.export", &json!({})).unwrap();
    assert_eq!(exported["media_type"], "application/zip");
    assert_eq!(exported["n_sessions"], 2);
    let name = exported["file_name"].as_str().unwrap();
    assert!(
        name.starts_with("noxics-chats-20") && name.ends_with(".zip"),
        "{name}"
    );
    let bytes = bytes_of(&exported);
    assert_eq!(exported["size_bytes"], bytes.len());

    let elsewhere = Host::greeted(Setup::default());
    let taken = import(&elsewhere, &bytes).unwrap();
    assert_eq!(taken["n_sessions"], 2);
    assert_eq!(taken["n_turns"], 2);
    assert_eq!(taken["problems"], json!([]));
    let list = |host: &Host, archived: bool| {
        let params = json!({"user": "*", "archived": archived});
        host.call("sessions.list", &params).unwrap()["sessions"].clone()
    };
    assert_eq!(list(&elsewhere, false), list(&host, false));
    assert_eq!(list(&elsewhere, true), list(&host, true));

    // The same once more changes nothing; as text it is taken too.
    let params = json!({"data_base64": exported["data_base64"]});
    let again = elsewhere.call("sessions.import", &params).unwrap();
    assert_eq!(
        (&again["n_sessions"], &again["n_unchanged"]),
        (&json!(0), &json!(2))
    );
}

#[test]
fn chosen_chats_come_out_alone() {
    let (host, _folder) = with_chats();
    let list = host.call("sessions.list", &json!({})).unwrap();
    let session = &list["sessions"][0];
    let params = json!({"sessions": [session["id"], session["name"]]});
    let exported = host.call("sessions.export", &params).unwrap();
    assert_eq!(exported["n_sessions"], 1, "it was named twice");
    let name = session["name"].as_str().unwrap();
    assert_eq!(exported["file_name"], format!("{name}.zip"));
    let (files, _) = read_zip(&bytes_of(&exported)).unwrap();
    assert!(
        files.iter().all(|file| file.path.contains(name)),
        "{files:?}"
    );
    for (sessions, text) in [
        (json!([]), "sessions must name at least 1"),
        (json!(["nothing"]), "there is no session"),
        (json!("x"), "sessions must be a list of strings"),
    ] {
        check_error(
            host.call("sessions.export", &json!({"sessions": sessions})),
            ErrorKind::InvalidRequest,
            text,
        );
    }
}

#[test]
fn a_door_that_carries_bytes_gets_them_beside_the_frame() {
    let (host, _folder) = with_chats();
    let sent: Rc<RefCell<Vec<Outgoing>>> = Rc::default();
    let outbox = Rc::clone(&sent);
    let door = host
        .runtime
        .connect_with_files(move |out| outbox.borrow_mut().push(out));
    let call = |id: i64, method: &str, params: Value| {
        let frame = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        door.receive(&frame, None);
        let is_answer = |out: &Outgoing| matches!(&out.frame, RuntimeFrame::Response(it) if it.id == Some(Id::Number(id)));
        host.run_until(|_| sent.borrow().iter().any(is_answer));
        let found = sent.borrow().iter().find(|out| is_answer(out)).cloned();
        found.unwrap()
    };
    call(1, "hello", hello_params());
    let exported = call(2, "sessions.export", json!({}));
    let commanded = call(3, "command", json!({"line": "/export all"}));
    for (out, pointer) in [(exported, ""), (commanded, "/effect/file")] {
        let file = out.file.clone().unwrap();
        assert_eq!(file.pointer, pointer);
        assert_eq!(read_zip(&file.bytes).unwrap().0.len(), 5);
        let as_sent = serde_json::to_value(&out.frame).unwrap();
        let described = as_sent["result"].pointer(pointer).unwrap();
        assert_eq!(described["size_bytes"], file.bytes.len());
        assert_eq!(described["data_base64"], Value::Null);
        // The same frame as text carries the file within.
        let as_text = serde_json::to_value(out.into_frame()).unwrap();
        let described = as_text["result"].pointer(pointer).unwrap();
        assert_eq!(bytes_of(described), file.bytes);
    }
}

#[test]
fn an_import_tells_how_far_it_has_come_and_can_be_cancelled() {
    let (host, _folder) = with_chats();
    let zip = zip(&[("sessions/2025-01-02/a.jsonl", RECORD)]);
    let attachment = || Attachment {
        name: None,
        bytes: Box::new(Pieces::new(&zip)),
    };
    let id = host.begin_with("sessions.import", &json!({}), Some(attachment()));
    host.end(&id).unwrap();
    let phases: Vec<Value> = host
        .notifications(&id, "progress")
        .iter()
        .map(|progress| progress["phase"].clone())
        .collect();
    assert_eq!(phases.first().unwrap(), "copying");
    assert_eq!(phases.last().unwrap(), "verifying");

    let before = host.call("sessions.list", &json!({})).unwrap()["total"].clone();
    let id = host.begin_with("sessions.import", &json!({}), Some(attachment()));
    host.step();
    host.cancel(&id);
    check_error(host.end(&id), ErrorKind::Cancelled, "");
    let after = host.call("sessions.list", &json!({})).unwrap()["total"].clone();
    assert_eq!(after, before);
}

#[test]
fn chats_without_a_title_get_one_from_what_was_said() {
    let host = Host::greeted(Setup::default());
    let zip = zip(&[("sessions/2025-01-02/session-20250102-030405.jsonl", RECORD)]);
    import(&host, &zip).unwrap();
    let list = host.call("sessions.list", &json!({})).unwrap();
    assert_eq!(list["sessions"][0]["title"], "hi there");
    assert_eq!(list["sessions"][0]["title_kind"], "imported");
}

#[test]
fn what_is_wrong_with_a_file_is_told_and_the_rest_taken() {
    let host = Host::greeted(Setup::default());
    let mut files = vec![
        ("../../etc/passwd".to_owned(), "root".to_owned()),
        ("/sessions/abs.jsonl".to_owned(), RECORD.to_owned()),
        (
            "sessions/2025-01-02/good.jsonl".to_owned(),
            RECORD.to_owned(),
        ),
        (
            "sessions/2025-01-02/bad.jsonl".to_owned(),
            "{no json".to_owned(),
        ),
    ];
    for n in 0..120 {
        files.push((format!("notes/{n}.txt"), String::new()));
    }
    let borrowed: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let taken = import(&host, &zip(&borrowed)).unwrap();
    assert_eq!(taken["n_problems"], 123);
    let problems = taken["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 100);
    let kind_of = |path: &str| {
        let problem = problems.iter().find(|problem| problem["path"] == path);
        problem.unwrap()["kind"].clone()
    };
    assert_eq!(kind_of("../../etc/passwd"), "bad_path");
    assert_eq!(kind_of("/sessions/abs.jsonl"), "bad_path");
    assert_eq!(kind_of("sessions/2025-01-02/bad.jsonl"), "unreadable");
    assert_eq!(kind_of("notes/0.txt"), "foreign");
    let titles = host
        .call("sessions.search", &json!({"query": "hi there"}))
        .unwrap();
    assert_eq!(titles["hits"].as_array().unwrap().len(), 1);
}

#[test]
fn a_file_that_is_no_zip_or_a_bomb_is_refused() {
    let host = Host::greeted(Setup::default());
    check_error(
        import(&host, b"this is no archive"),
        ErrorKind::InvalidRequest,
        "the archive cannot be read",
    );
    // 64 MiB of blanks in a few KiB.
    let blanks = " ".repeat(64 << 20);
    check_error(
        import(&host, &zip(&[("sessions/2025-01-02/a.jsonl", &blanks)])),
        ErrorKind::InvalidRequest,
        "unpacks to more than",
    );
    let mut broken = Pieces::new(&[0; 100_000]);
    broken.fails_at = Some(50_000);
    let attachment = Attachment {
        name: None,
        bytes: Box::new(broken),
    };
    let id = host.begin_with("sessions.import", &json!({}), Some(attachment));
    check_error(host.end(&id), ErrorKind::Network, "the line is dead");
    for (params, text) in [
        (json!({}), "give the zip as a file"),
        (json!({"data_base64": "*"}), "data_base64 can't be read"),
        (json!({"data_base64": 1}), "data_base64 must be a string"),
    ] {
        check_error(
            host.call("sessions.import", &params),
            ErrorKind::InvalidRequest,
            text,
        );
    }
    let both = Attachment {
        name: None,
        bytes: Box::new(Pieces::new(b"x")),
    };
    let id = host.begin_with(
        "sessions.import",
        &json!({"data_base64": "AA=="}),
        Some(both),
    );
    check_error(host.end(&id), ErrorKind::InvalidRequest, "not both");
    assert_eq!(host.call("sessions.list", &json!({})).unwrap()["total"], 0);
}
