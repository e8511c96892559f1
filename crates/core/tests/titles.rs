//! Titles, ids and display names where recorded behaviour was wrong; the trimming of
//! histories.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use nox_core::{
    HistoryLimits, compute_title, fit_history, session_display_name, slugify, trim_history, user_id,
};
use nox_protocol::{Message, Role};

fn dialogue(turns: &[(Role, &str)]) -> Vec<Message> {
    let message = |&(role, content): &(Role, &str)| Message {
        role,
        content: content.to_owned(),
    };
    turns.iter().map(message).collect()
}

fn title(text: &str) -> Option<String> {
    compute_title(&dialogue(&[(Role::User, text)]))
}

#[test]
fn a_title_ends_with_a_whole_word() {
    let long_word = "b".repeat(73);
    assert_eq!(title(&format!("aaaaaaa {long_word} c")).unwrap(), "aaaaaaa");
    let just_fits = "a".repeat(79);
    assert_eq!(title(&format!("{just_fits} b")).unwrap(), just_fits);
    assert_eq!(title(&"x".repeat(81)).unwrap(), "x".repeat(80));
    assert_eq!(title(&format!("{} b", "a".repeat(78))).unwrap().len(), 80);
}

#[test]
fn a_title_holds_no_personal_data() {
    assert_eq!(
        title("user@example.com called 415-555-1212").unwrap(),
        "[REDACTED:EMAIL] called [REDACTED:PHONE]"
    );
    let at_the_cut = format!("{} user@example.com", "word ".repeat(6).trim());
    assert!(!title(&at_the_cut).unwrap().contains("example"));
}

#[test]
fn blank_messages_do_not_hide_later_ones() {
    for blank in ["", "   ", "\n\t"] {
        let messages = dialogue(&[
            (Role::User, blank),
            (Role::Assistant, "x"),
            (Role::User, "second"),
        ]);
        assert_eq!(compute_title(&messages).unwrap(), "second");
    }
    assert_eq!(title(" "), None);
}

#[test]
fn a_message_of_ten_megabytes_gives_a_short_title() {
    for unit in ["x", "word ", "é", " ", "4111 "] {
        let n_chars =
            title(&unit.repeat(10_000_000 / unit.len())).map_or(0, |title| title.chars().count());
        assert!(n_chars <= 80, "{unit}: {n_chars}");
    }
}

#[test]
fn names_without_ascii_letters_have_ids_of_their_own() {
    let names = ["😀", "😎", "中文", "Ω", "ß", "Приве́т", "user"];
    let ids: std::collections::BTreeSet<String> = names.iter().map(|name| user_id(name)).collect();
    assert_eq!(ids.len(), names.len(), "{ids:?}");
    assert_eq!(user_id(" ПРИВЕТ"), user_id("привет"));
    for id in ids {
        assert_eq!(slugify(&id, "none"), id);
    }
}

#[test]
fn the_id_of_a_user_is_the_slug_of_old_data_where_that_tells_names_apart() {
    for (name, id) in [
        ("Sample User", "sample_user"),
        ("../../etc", "etc"),
        ("İstanbul", "i_stanbul"),
        ("..", "user"),
        ("", "user"),
        ("  ", "user"),
    ] {
        assert_eq!(user_id(name), id, "{name}");
    }
}

#[test]
fn the_id_of_a_user_fits_into_a_file_name_and_stays_its_own() {
    let (one, two) = ("a".repeat(100_000), "a".repeat(100_001));
    assert!(user_id(&one).len() <= 64);
    assert_ne!(user_id(&one), user_id(&two));
}

#[test]
fn only_whole_dates_and_times_are_moments() {
    for (id, name) in [
        ("session-20250913-1234", "Session 20250913 1234"),
        ("session-2025091-123456", "Session 2025091 123456"),
        ("session-20250229-000000", "Session 20250229 000000"),
        ("session-20250913-235960", "Session 20250913 235960"),
        ("session-00000101-000000", "Session 00000101 000000"),
        (
            "session-merged-20250102-030405",
            "Merged session 2025-01-02 03:04:05 UTC",
        ),
        (
            "session-early-archive-20250102-030405",
            "Session Early Archive 20250102 030405",
        ),
    ] {
        assert_eq!(session_display_name(id), name);
    }
}

fn conversation(n_turns: usize) -> Vec<Message> {
    let mut messages = dialogue(&[(Role::System, "old"), (Role::System, "now")]);
    for turn in 0..n_turns {
        let (user, assistant) = (format!("q{turn}"), format!("a{turn}"));
        messages.extend(dialogue(&[
            (Role::User, &user),
            (Role::Assistant, &assistant),
        ]));
    }
    messages
}

fn contents(messages: &[Message]) -> String {
    let contents: Vec<&str> = messages
        .iter()
        .map(|message| message.content.as_str())
        .collect();
    contents.join(" ")
}

#[test]
fn a_history_keeps_its_newest_turns_and_one_system_message() {
    for (max_turns, max_messages, kept) in [
        (None, None, "now q0 a0 q1 a1 q2 a2"),
        (Some(2), None, "now q1 a1 q2 a2"),
        (Some(0), None, "now"),
        (Some(9), Some(9), "now q0 a0 q1 a1 q2 a2"),
        (None, Some(4), "now q1 a1 q2 a2"),
        (None, Some(3), "now q2 a2"),
        (Some(2), Some(3), "now q2 a2"),
        (None, Some(1), "now"),
    ] {
        let limits = HistoryLimits {
            max_turns,
            max_messages,
        };
        let trimmed = trim_history(&conversation(3), limits);
        assert_eq!(contents(&trimmed), kept, "{limits:?}");
    }
}

#[test]
fn a_trimmed_history_begins_with_the_user() {
    let messages = dialogue(&[
        (Role::Assistant, "hello"),
        (Role::User, "q"),
        (Role::Assistant, "a"),
        (Role::Assistant, "b"),
    ]);
    let limits = |max_messages| HistoryLimits {
        max_turns: None,
        max_messages,
    };
    assert_eq!(
        contents(&trim_history(&messages, limits(None))),
        "hello q a b"
    );
    assert_eq!(contents(&trim_history(&messages, limits(Some(3)))), "q a b");
    assert_eq!(contents(&trim_history(&messages, limits(Some(2)))), "");
}

#[test]
fn a_history_is_fitted_into_a_budget_by_whole_turns() {
    let messages = conversation(3);
    for (budget, kept) in [
        (100, "now q0 a0 q1 a1 q2 a2"),
        (7, "now q0 a0 q1 a1 q2 a2"),
        (6, "now q1 a1 q2 a2"),
        (4, "now q2 a2"),
        (0, "now q2 a2"),
    ] {
        let fitted = fit_history(&messages, budget, |_| 1);
        assert_eq!(contents(&fitted), kept, "{budget}");
    }
    let fitted = fit_history(&messages, 10, |_| usize::MAX);
    assert_eq!(contents(&fitted), "now q2 a2");
}
