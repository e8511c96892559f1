//! Trees in folders: what is written is what is read, and nothing else is touched.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use common::{Folder, IMPORT, TestHost, memory, say};
use nox_store::{FolderError, ProblemKind, Store, TreeFile, read_folder, write_folder};

fn file(path: &str, text: &str) -> TreeFile {
    TreeFile {
        path: path.to_owned(),
        bytes: text.as_bytes().to_vec(),
        modified_ms: Some(1_735_787_045_000),
    }
}

#[test]
fn a_folder_gives_back_what_was_written_into_it() {
    let (mut store, host) = memory();
    for text in ["hi \u{1f40b}", "again", "third"] {
        host.now_ms.set(host.now_ms.get() + 61_000);
        say(&mut store, None, text, "ok");
    }
    let folder = Folder::new("round-trip");
    let root = folder.0.join("out");
    let mut exported = store.export(None).unwrap();
    exported.sort_by(|a, b| a.path.cmp(&b.path));
    write_folder(&root, &exported).unwrap();
    let (read, problems) = read_folder(&root).unwrap();
    assert_eq!(problems, []);
    assert_eq!(read.len(), exported.len());
    for (read, exported) in read.iter().zip(&exported) {
        assert_eq!((&read.path, &read.bytes), (&exported.path, &exported.bytes));
        if exported.modified_ms.is_some() {
            assert_eq!(read.modified_ms, exported.modified_ms, "{}", read.path);
        }
    }

    let host = Box::new(TestHost::at(9_000_000).seeded(77));
    let mut copy = Store::open_in_memory(host).unwrap();
    assert_eq!(copy.import(read, &IMPORT).unwrap().sessions.len(), 3);
    let again = copy.export(None).unwrap();
    let paths = |files: &[TreeFile]| -> Vec<String> {
        let mut paths: Vec<_> = files.iter().map(|file| file.path.clone()).collect();
        paths.sort();
        paths
    };
    assert_eq!(paths(&again), paths(&exported));
}

#[test]
fn a_folder_that_is_there_is_left_as_it_is() {
    let folder = Folder::new("taken");
    std::fs::write(folder.0.join("mine"), "dear").unwrap();
    let error = write_folder(&folder.0, &[file("a.jsonl", "x")]).unwrap_err();
    assert!(matches!(error, FolderError::Exists { .. }), "{error}");
    assert!(error.to_string().contains("name a folder that is not"));
    let names: Vec<_> = std::fs::read_dir(&folder.0).unwrap().collect();
    assert_eq!(names.len(), 1);
}

#[test]
fn a_write_that_was_cut_short_leaves_no_folder_of_that_name() {
    let folder = Folder::new("cut");
    let root = folder.0.join("out");
    let files = [file("a.jsonl", "x"), file("../up.jsonl", "x")];
    let error = write_folder(&root, &files).unwrap_err();
    assert!(matches!(error, FolderError::Path { .. }), "{error}");
    assert!(!root.exists());
    assert!(!folder.0.join("up.jsonl").exists());
    // What it left behind is not in the way, and not in the result.
    write_folder(&root, &[file("b.jsonl", "y")]).unwrap();
    let (read, _) = read_folder(&root).unwrap();
    assert_eq!(read, [file("b.jsonl", "y")]);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[test]
fn links_and_odd_names_are_reported_and_left_out() {
    let folder = Folder::new("odd");
    let secret = Folder::new("secret");
    std::fs::write(secret.0.join("key"), "secret").unwrap();
    std::fs::create_dir(folder.0.join("sessions")).unwrap();
    std::fs::write(folder.0.join("sessions/good.jsonl"), "{}\n").unwrap();
    symlink(secret.0.join("key"), folder.0.join("sessions/link.jsonl")).unwrap();
    symlink(&secret.0, folder.0.join("users")).unwrap();
    // A circle would never end if it were followed.
    symlink(&folder.0, folder.0.join("sessions/again")).unwrap();
    std::fs::write(folder.0.join(OsStr::from_bytes(b"n\xe9.jsonl")), "{}\n").unwrap();
    std::fs::write(folder.0.join("a\\b.jsonl"), "{}\n").unwrap();

    let (read, mut problems) = read_folder(&folder.0).unwrap();
    let paths: Vec<&str> = read.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["sessions/good.jsonl"]);
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    let found: Vec<_> = problems
        .iter()
        .map(|problem| (problem.path.as_str(), problem.kind))
        .collect();
    assert_eq!(
        found,
        [
            ("a\\b.jsonl", ProblemKind::Path),
            ("n\u{fffd}.jsonl", ProblemKind::Encoding),
            ("sessions/again", ProblemKind::Path),
            ("sessions/link.jsonl", ProblemKind::Path),
            ("users", ProblemKind::Path),
        ]
    );
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = Folder::new("absent");
    let error = read_folder(&folder.0.join("nowhere")).unwrap_err();
    assert!(
        error.to_string().contains("nowhere cannot be read"),
        "{error}"
    );
}
