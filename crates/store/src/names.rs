//! How files of sessions are called, and what that reads like.

use rusqlite::Connection;

use crate::session::SessionKind;
use crate::timestamp::Civil;
use crate::{StoreError, UserId, limits};

/// Directory of a user's sessions, relative to the tree's root.
fn user_root(user: &UserId) -> String {
    if user.as_str() == UserId::DEFAULT {
        String::new()
    } else {
        format!("users/{user}/")
    }
}

/// The path of the `n`th session of one kind, user and second; `n` starts at 1.
pub(crate) fn session_path(kind: SessionKind, user: &UserId, at_ms: i64, n: u32) -> String {
    let civil = Civil::from_ms(at_ms);
    let (root, date, second) = (user_root(user), civil.date(), civil.compact());
    let nth = if n > 1 {
        format!("-{n}")
    } else {
        String::new()
    };
    match kind {
        SessionKind::Chat => format!("{root}sessions/{date}/session-{second}{nth}.jsonl"),
        SessionKind::Merged => {
            format!("{root}sessions/merged-{date}/session-merged-{second}{nth}.jsonl")
        }
        SessionKind::Archive => {
            format!("{root}early-archives/merged-{date}/session-early-archive-{second}{nth}.json")
        }
    }
}

/// The last part of a path.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The file name without its extension.
pub(crate) fn stem(path: &str) -> &str {
    let name = file_name(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// The path of the file that describes the session at `path`.
pub(crate) fn meta_path(path: &str) -> String {
    let end = path.len() - file_name(path).len() + stem(path).len();
    format!("{}.meta.json", &path[..end])
}

/// Where the description of the session at `path` lies when another session's lies
/// at its [`meta_path`]: a `.json` and a `.jsonl` may have one name.
pub(crate) fn full_meta_path(path: &str) -> String {
    format!("{path}.meta.json")
}

/// Whether a session can be put at `path`: no other is there or would be described by
/// the same file, and no file is kept there.
pub(crate) fn is_free(conn: &Connection, path: &str) -> Result<bool, StoreError> {
    let end = path.len() - file_name(path).len() + stem(path).len();
    let base = &path[..end];
    let taken = conn
        .prepare_cached(
            "SELECT 1 FROM sessions WHERE path IN (?1, ?2, ?3)
             UNION ALL SELECT 1 FROM kept_files WHERE path IN (?1, ?4)",
        )?
        .exists([
            path,
            &format!("{base}.json"),
            &format!("{base}.jsonl"),
            &meta_path(path),
        ])?;
    Ok(!taken)
}

/// A session's file name as a person reads it: `session-20250913-123456` is
/// `Session 2025-09-13 12:34:56 UTC`.
pub fn display_name(stem: &str) -> String {
    for (prefix, label) in [
        ("session-merged-", "Merged session"),
        ("session-", "Session"),
    ] {
        if let Some(civil) = stem.strip_prefix(prefix).and_then(second_of) {
            return format!(
                "{label} {}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
                civil.year, civil.month, civil.day, civil.hour, civil.minute, civil.second
            );
        }
    }
    let mut words = String::with_capacity(stem.len());
    let mut in_word = false;
    for c in stem.chars() {
        match c {
            '-' | '_' => words.push(' '),
            c if in_word => words.extend(c.to_lowercase()),
            c => words.extend(c.to_uppercase()),
        }
        in_word = c.is_alphabetic();
    }
    match words.trim() {
        "" => "Session".to_owned(),
        words => words.chars().take(limits::NAME_BYTES / 4).collect(),
    }
}

/// The moment in `20250913-123456`; nothing shorter or longer is one.
fn second_of(text: &str) -> Option<Civil> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if text.len() != 15 || digits.len() != 14 || text.as_bytes()[8] != b'-' {
        return None;
    }
    let number = |from: usize, to: usize| digits[from..to].parse::<i64>().ok();
    let civil = Civil {
        year: number(0, 4)?,
        month: number(4, 6)?,
        day: number(6, 8)?,
        hour: number(8, 10)?,
        minute: number(10, 12)?,
        second: number(12, 14)?,
    };
    // Year 0 is no year of the calendar that people read.
    (civil.year > 0 && civil.to_ms().is_some()).then_some(civil)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_read_as_moments_or_words() {
        for (stem, reads) in [
            ("session-20250913-123456", "Session 2025-09-13 12:34:56 UTC"),
            (
                "session-merged-20250102-030405",
                "Merged session 2025-01-02 03:04:05 UTC",
            ),
            (
                "session-early-archive-20250102-030405",
                "Session Early Archive 20250102 030405",
            ),
            ("session-20251301-000000", "Session 20251301 000000"),
            ("session-20250913-123456-2", "Session 20250913 123456 2"),
            // A date or time with a digit missing is no moment.
            ("session-20250913-1234", "Session 20250913 1234"),
            ("session-2025091-123456", "Session 2025091 123456"),
            ("session-00010101-000000", "Session 1-01-01 00:00:00 UTC"),
            ("20250913-123456", "20250913 123456"),
            ("session-", "Session"),
            ("foo-bar", "Foo Bar"),
            ("é-ö", "É Ö"),
            ("", "Session"),
        ] {
            assert_eq!(display_name(stem), reads, "{stem}");
        }
    }

    #[test]
    fn a_session_and_its_description_lie_side_by_side() {
        let user = UserId::default();
        let path = session_path(SessionKind::Chat, &user, 0, 1);
        assert_eq!(path, "sessions/1970-01-01/session-19700101-000000.jsonl");
        assert_eq!(
            meta_path(&path),
            "sessions/1970-01-01/session-19700101-000000.meta.json"
        );
        assert_eq!(meta_path("a.b/c"), "a.b/c.meta.json");
        assert_eq!(
            stem(&session_path(SessionKind::Archive, &user, 0, 3)),
            "session-early-archive-19700101-000000-3"
        );
    }
}
