//! Every file of recordings, compared natively. The same functions run in a browser in
//! `tests/browser/conformance.test.mjs`.

use std::path::PathBuf;

use nox_oracle::{RECORDINGS, check};

/// The text of a file of recordings, or `None` (said on standard output) where there is
/// none: such a test counts as skipped.
fn recording(file: &str) -> Option<String> {
    let root = std::env::var_os("NOXICS_FIXTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures"),
        PathBuf::from,
    );
    let path = root.join("oracle").join(file);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("skipped: there is no file {}", path.display());
    }
    text
}

fn compare(file: &str) {
    let Some(jsonl) = recording(file) else { return };
    let report = check(file, &jsonl).expect("a file that is known");
    println!("{report}");
    let n_lines = jsonl.lines().filter(|line| !line.trim().is_empty()).count();
    assert_eq!(report.n_cases(), n_lines, "a case was passed over");
    assert!(report.wrong.is_empty(), "see above");
}

#[test]
fn personal_data_is_replaced_as_recorded() {
    compare("redact.jsonl");
}

#[test]
fn replies_are_cleaned_as_recorded() {
    compare("reply_clean.jsonl");
}

#[test]
fn streamed_replies_come_out_as_recorded() {
    compare("stream.jsonl");
}

#[test]
fn personas_are_as_recorded() {
    compare("persona.jsonl");
}

#[test]
fn personas_of_scales_are_as_recorded() {
    compare("persona_scales.jsonl");
}

#[test]
fn titles_are_as_recorded() {
    compare("titles.jsonl");
}

#[test]
fn slash_commands_are_answered_as_recorded() {
    compare("slash.jsonl");
}

#[test]
fn chats_are_answered_as_recorded() {
    compare("handle_chat.jsonl");
}

#[test]
fn sessions_are_kept_as_recorded() {
    compare("sessions.jsonl");
}

#[test]
fn no_other_file_is_known() {
    assert_eq!(RECORDINGS.len(), 9);
    assert!(check("titles.json", "").is_none());
}
