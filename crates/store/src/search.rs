//! Full-text search over messages and titles.
//!
//! The indexes hold words. Scripts that put no blanks between words are indexed by
//! the character, and what is searched in them is a run of characters. What the
//! index does not find, a bounded scan for the very text may: parts of words, signs.

use std::borrow::Cow;
use std::collections::HashSet;

use rusqlite::{Connection, params};

use crate::error::check_bytes;
use crate::session::{SessionInfo, SessionRow, row_of_key, rows};
use crate::{Store, StoreError, What, limits, users};

/// Words of a query that are looked up; the rest of a longer one is left out.
const QUERY_WORDS: usize = 16;
/// Messages of the wanted sessions that a query looks at in the index, newest first. A
/// word that stands in more of them is found in the newest.
const HITS_EXAMINED: usize = 4000;
/// Messages that a query passes on its way to those, other sessions' included.
const HITS_PASSED: i64 = 200_000;
/// Messages of the wanted sessions that are scanned for the very text when the index
/// gives too little.
const MESSAGES_SCANNED: i64 = 10_000;
/// Messages among which those are looked for, newest first.
const MESSAGES_PASSED: i64 = 200_000;
/// Characters that the beginning of a word has at least.
const BEGUN_CHARS: usize = 3;
/// Sessions that a look at titles and names gives.
const SESSIONS_FOUND: i64 = 2000;
/// Characters of context on each side of what was found.
const SNIPPET_CONTEXT: usize = 60;

/// What to search for.
#[derive(Debug, Clone, Default)]
pub struct SearchQuery<'a> {
    /// What was typed: words that must all be there, the last of them perhaps only
    /// begun. There is no syntax.
    pub text: &'a str,
    /// One user's sessions; everybody's if not given. An id, or a display name.
    pub user: Option<&'a str>,
    /// The ones put aside instead of the others.
    pub archived: bool,
    /// How many sessions to give; 0 means as many as one page may hold.
    pub limit: usize,
}

/// A piece of text around what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// The text, on one line.
    pub text: String,
    /// What was found in it: ranges of bytes, in order.
    pub matches: Vec<std::ops::Range<usize>>,
}

impl Snippet {
    /// The ranges in UTF-16 code units, as JavaScript counts.
    pub fn utf16_matches(&self) -> Vec<std::ops::Range<usize>> {
        let mut converted = Vec::with_capacity(self.matches.len());
        // The ranges are in order, so the text is gone through once.
        let (mut at_byte, mut at_unit) = (0, 0);
        let mut units_at = |byte: usize| {
            let passed = self.text.get(at_byte..byte).unwrap_or_default();
            at_unit += passed.chars().map(char::len_utf16).sum::<usize>();
            at_byte = byte;
            at_unit
        };
        for range in &self.matches {
            converted.push(units_at(range.start)..units_at(range.end));
        }
        converted
    }
}

/// A session in which something was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchHit {
    /// The session.
    pub session: SessionInfo,
    /// Where: in a message, or else in the title.
    pub snippet: Option<Snippet>,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPage {
    /// The sessions, last changed first.
    pub hits: Vec<SearchHit>,
    /// Whether there may be more: the limit was reached, or the word is so common
    /// that only its newest places were looked at.
    pub more: bool,
}

/// Whether a script writes its words without blanks between them.
fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c),
        0x0E00..=0x0EFF        // Thai, Lao
        | 0x1000..=0x109F      // Myanmar
        | 0x1780..=0x17FF      // Khmer
        | 0x3040..=0x30FF      // Hiragana, Katakana
        | 0x31F0..=0x31FF
        | 0x3400..=0x4DBF      // Han
        | 0x4E00..=0x9FFF
        | 0xAC00..=0xD7AF      // Hangul
        | 0xF900..=0xFAFF
        | 0x20000..=0x3FFFF)
}

/// The text as the tokenizer is to see it: characters of unspaced scripts stand
/// alone.
fn spaced(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unspaced) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        if is_unspaced(c) {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Expressions for the index: every word quoted, so that nothing in it is syntax.
/// The first asks for the words as they are; the second, if there is one, takes the
/// last word for the beginning of one. Empty when there is no letter or digit in the
/// text.
fn expressions(text: &str) -> Vec<String> {
    let words: Vec<&str> = text
        .split_whitespace()
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .take(QUERY_WORDS)
        .collect();
    let Some(last) = words.last() else {
        return Vec::new();
    };
    // A NUL would end the expression.
    let quoted: Vec<String> = words
        .iter()
        .map(|word| {
            let word = spaced(word).replace('"', "\"\"").replace('\0', " ");
            format!("\"{word}\"")
        })
        .collect();
    let exact = quoted.join(" AND ");
    // What is shorter begins so many words that collecting them takes long.
    let begun = last.chars().count() >= BEGUN_CHARS && !last.ends_with(is_unspaced);
    let mut expressions = vec![exact];
    if begun {
        expressions.push(format!("{}*", expressions[0]));
    }
    expressions
}

pub(crate) fn index_message(conn: &Connection, key: i64, text: &str) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT INTO message_index (rowid, body) VALUES (?1, ?2)")?
        .execute(params![key, spaced(text)])?;
    Ok(())
}

pub(crate) fn forget_message(conn: &Connection, key: i64) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM message_index WHERE rowid = ?1")?
        .execute([key])?;
    Ok(())
}

/// Puts a title into the index in place of the one before.
pub(crate) fn index_title(
    conn: &Connection,
    key: i64,
    title: Option<&str>,
) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM title_index WHERE rowid = ?1")?
        .execute([key])?;
    if let Some(title) = title {
        conn.prepare_cached("INSERT INTO title_index (rowid, title) VALUES (?1, ?2)")?
            .execute(params![key, spaced(title)])?;
    }
    Ok(())
}

/// The byte ranges of `haystack` at which a word of the query begins, in any case.
fn places(haystack: &str, words: &[String]) -> Vec<std::ops::Range<usize>> {
    // Lower-casing may change lengths, so each byte of the lowered text remembers
    // where it came from.
    let mut lowered = String::with_capacity(haystack.len());
    let mut origins = Vec::with_capacity(haystack.len());
    for (at, c) in haystack.char_indices() {
        for low in c.to_lowercase() {
            lowered.push(low);
            origins.resize(lowered.len(), (at, at + c.len_utf8()));
        }
    }
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    for word in words.iter().filter(|word| !word.is_empty()) {
        for (at, _) in lowered.match_indices(word.as_str()).take(100) {
            found.push(origins[at].0..origins[at + word.len() - 1].1);
        }
    }
    found.sort_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
    let mut merged: Vec<std::ops::Range<usize>> = Vec::new();
    for range in found {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// Cuts a snippet around the first place at which something was found.
fn snippet(text: &str, words: &[String]) -> Snippet {
    let found = places(text, words);
    let first = found.first().map_or(0, |range| range.start);
    let start = text[..first]
        .char_indices()
        .rev()
        .take(SNIPPET_CONTEXT)
        .last()
        .map_or(first, |(at, _)| at);
    let end = text[first..]
        .char_indices()
        .nth(SNIPPET_CONTEXT * 2)
        .map_or(text.len(), |(at, _)| first + at);
    let mut cut = String::with_capacity(end - start + 6);
    let mut matches = Vec::new();
    if start > 0 {
        cut.push('…');
    }
    let shift = cut.len();
    // Control characters become blanks of the same number of bytes.
    cut.extend(
        text[start..end]
            .chars()
            .map(|c| if c.is_ascii_control() { ' ' } else { c }),
    );
    for range in found {
        if range.start >= start && range.end <= end {
            matches.push(range.start - start + shift..range.end - start + shift);
        }
    }
    if end < text.len() {
        cut.push('…');
    }
    Snippet { text: cut, matches }
}

/// What has been found so far.
struct Gathered<'a> {
    conn: &'a Connection,
    words: Vec<String>,
    user: Option<String>,
    archived: bool,
    limit: usize,
    seen: HashSet<i64>,
    hits: Vec<(SessionRow, Option<Snippet>)>,
}

impl Gathered<'_> {
    fn is_full(&self) -> bool {
        self.hits.len() >= self.limit
    }

    fn add_message(&mut self, session: i64, text: &str) -> Result<(), StoreError> {
        if self.seen.insert(session) {
            let row = row_of_key(self.conn, session)?;
            let snippet = snippet(text, &self.words);
            self.hits.push((row, Some(snippet)));
        }
        Ok(())
    }

    fn add_session(&mut self, row: SessionRow) {
        if self.seen.insert(row.key) {
            let snippet = row
                .info
                .title
                .as_deref()
                .map(|title| snippet(title, &self.words))
                .filter(|snippet| !snippet.matches.is_empty());
            self.hits.push((row, snippet));
        }
    }
}

impl Store {
    /// Searches titles and messages, and the names of sessions and users.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] for a text over its cap.
    pub fn search(&self, query: &SearchQuery<'_>) -> Result<SearchPage, StoreError> {
        let text = query.text.trim();
        check_bytes(What::Query, text, limits::QUERY_BYTES)?;
        let user = query
            .user
            .filter(|user| !user.is_empty())
            .map(|user| users::find(&self.conn, user))
            .transpose()?;
        if text.is_empty() || user == Some(None) {
            return Ok(SearchPage {
                hits: Vec::new(),
                more: false,
            });
        }
        let mut found = Gathered {
            conn: &self.conn,
            words: text
                .split_whitespace()
                .take(QUERY_WORDS)
                .map(str::to_lowercase)
                .collect(),
            user: user.flatten().map(|user| user.to_string()),
            archived: query.archived,
            limit: match query.limit {
                0 => limits::PAGE_ENTRIES,
                limit => limit.min(limits::PAGE_ENTRIES),
            },
            seen: HashSet::new(),
            hits: Vec::new(),
        };
        let mut more = false;
        for expression in expressions(text) {
            if !found.is_full() {
                self.search_titles(&expression, &mut found)?;
                // Where the whole words were too many, so are the begun ones, which
                // are found in the same places.
                if !more {
                    more = self.search_messages(&expression, &mut found)?;
                }
            }
        }
        if !found.is_full() {
            self.scan_sessions(text, &mut found)?;
        }
        if found.hits.is_empty() {
            self.scan_messages(text, &mut found)?;
        }
        more |= found.is_full();
        let mut hits = found.hits;
        hits.sort_by_key(|(row, _)| std::cmp::Reverse((row.info.updated_ms, row.key)));
        Ok(SearchPage {
            hits: hits
                .into_iter()
                .map(|(row, snippet)| SearchHit {
                    session: row.info,
                    snippet,
                })
                .collect(),
            more,
        })
    }

    fn search_titles(&self, expression: &str, found: &mut Gathered<'_>) -> Result<(), StoreError> {
        let mut keys = self.conn.prepare_cached(
            // The index comes first: what it finds is few.
            "SELECT i.rowid FROM title_index i CROSS JOIN sessions s ON s.key = i.rowid
             WHERE title_index MATCH ?1 AND (s.kind = 2 OR s.archived) = ?2
                 AND (?3 IS NULL OR s.user = ?3)
             ORDER BY i.rowid DESC LIMIT ?4",
        )?;
        let mut hits = keys.query(params![
            expression,
            found.archived,
            found.user,
            SESSIONS_FOUND
        ])?;
        while let Some(hit) = hits.next()? {
            if found.is_full() {
                break;
            }
            found.add_session(row_of_key(&self.conn, hit.get(0)?)?);
        }
        Ok(())
    }

    /// Walks through what the index gives, newest first; tells whether it stopped
    /// before the end.
    fn search_messages(
        &self,
        expression: &str,
        found: &mut Gathered<'_>,
    ) -> Result<bool, StoreError> {
        let mut places = self.conn.prepare_cached(
            "SELECT i.rowid, t.session,
                 (s.kind = 2 OR s.archived) = ?2 AND (?3 IS NULL OR s.user = ?3)
             FROM message_index i CROSS JOIN messages m ON m.key = i.rowid
                 CROSS JOIN turns t ON t.key = m.turn
                 CROSS JOIN sessions s ON s.key = t.session
             WHERE message_index MATCH ?1 ORDER BY i.rowid DESC LIMIT ?4",
        )?;
        let mut content = self
            .conn
            .prepare_cached("SELECT content FROM messages WHERE key = ?1")?;
        let mut hits =
            places.query(params![expression, found.archived, found.user, HITS_PASSED])?;
        let (mut passed, mut examined) = (0, 0);
        while let Some(hit) = hits.next()? {
            if found.is_full() || examined == HITS_EXAMINED {
                return Ok(true);
            }
            passed += 1;
            let is_wanted: bool = hit.get(2)?;
            if !is_wanted {
                continue;
            }
            examined += 1;
            let session: i64 = hit.get(1)?;
            if !found.seen.contains(&session) {
                let message: i64 = hit.get(0)?;
                let text: String = content.query_row([message], |row| row.get(0))?;
                found.add_message(session, &text)?;
            }
        }
        Ok(passed >= HITS_PASSED)
    }

    /// Looks for the very text in titles, names, models and users.
    fn scan_sessions(&self, text: &str, found: &mut Gathered<'_>) -> Result<(), StoreError> {
        // What is left of a path without the characters before its last slash is the
        // file's name. Folders are no names of sessions.
        let sessions = rows(
            &self.conn,
            "WHERE (replace(s.path, rtrim(s.path, replace(s.path, '/', '')), '') LIKE ?1 ESCAPE '\\'
                 OR s.title LIKE ?1 ESCAPE '\\' OR s.model LIKE ?1 ESCAPE '\\'
                 OR u.display LIKE ?1 ESCAPE '\\')
                 AND (s.kind = 2 OR s.archived) = ?2 AND (?3 IS NULL OR s.user = ?3)
             ORDER BY s.updated_ms DESC, s.key DESC LIMIT ?4",
            &[
                &pattern(text),
                &found.archived,
                &found.user,
                &SESSIONS_FOUND,
            ],
        )?;
        for row in sessions {
            if found.is_full() {
                break;
            }
            found.add_session(row);
        }
        Ok(())
    }

    /// Looks for the very text in the newest messages.
    fn scan_messages(&self, text: &str, found: &mut Gathered<'_>) -> Result<(), StoreError> {
        found.words = vec![text.to_lowercase()];
        let mut statement = self.conn.prepare_cached(
            "SELECT m.content LIKE ?1 ESCAPE '\\' OR m.content LIKE ?2 ESCAPE '\\',
                 m.content, t.session
             FROM messages m CROSS JOIN turns t ON t.key = m.turn
                 CROSS JOIN sessions s ON s.key = t.session
             WHERE m.key > (SELECT coalesce(max(key), 0) FROM messages) - ?3
                 AND (s.kind = 2 OR s.archived) = ?4 AND (?5 IS NULL OR s.user = ?5)
             ORDER BY m.key DESC LIMIT ?6",
        )?;
        // SQLite folds the case of ASCII only: other letters are looked for as they
        // were typed, and in lower case.
        let mut messages = statement.query(params![
            pattern(text),
            pattern(&text.to_lowercase()),
            MESSAGES_PASSED,
            found.archived,
            found.user,
            MESSAGES_SCANNED
        ])?;
        while let Some(row) = messages.next()? {
            if found.is_full() {
                break;
            }
            if row.get(0)? {
                found.add_message(row.get(2)?, row.get_ref(1)?.as_str().unwrap_or_default())?;
            }
        }
        Ok(())
    }
}

/// A pattern for what holds this very text.
fn pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_query_is_syntax() {
        for (text, exact, begun) in [
            ("two words", "\"two\" AND \"words\"", true),
            ("to b", "\"to\" AND \"b\"", false),
            (
                "a \"b\" OR c*d",
                "\"a\" AND \"\"\"b\"\"\" AND \"OR\" AND \"c*d\"",
                true,
            ),
            ("title:x NEAR(y", "\"title:x\" AND \"NEAR(y\"", true),
            ("東京都", "\" 東  京  都 \"", false),
        ] {
            let mut expected = vec![exact.to_owned()];
            if begun {
                expected.push(format!("{exact}*"));
            }
            assert_eq!(expressions(text), expected, "{text}");
        }
        assert!(expressions("-- !! ()").is_empty() && expressions("").is_empty());
    }

    #[test]
    fn a_snippet_shows_where_the_words_stand() {
        let text = format!("{}The Quick\nbrown fox{}", "x ".repeat(50), " y".repeat(90));
        let cut = snippet(&text, &["quick".into(), "fox".into()]);
        assert!(cut.text.starts_with('…') && cut.text.ends_with('…'));
        let shown: Vec<&str> = cut.matches.iter().map(|at| &cut.text[at.clone()]).collect();
        assert_eq!(shown, ["Quick", "fox"]);
        assert!(!cut.text.contains('\n'));
        // Lower-casing makes this letter longer; the range is of the text as it is.
        let cut = snippet("in İstanbul", &["stanbul".into()]);
        assert_eq!(&cut.text[cut.matches[0].clone()], "stanbul");
        assert_eq!(snippet("", &["a".into()]).text, "");
    }

    #[test]
    fn ranges_are_converted_to_the_units_of_javascript() {
        let cut = snippet("𝄞 né fée 𝄞fée", &["fée".into()]);
        let bytes: Vec<&str> = cut.matches.iter().map(|at| &cut.text[at.clone()]).collect();
        assert_eq!(bytes, ["fée", "fée"]);
        // Each clef is a surrogate pair.
        assert_eq!(cut.utf16_matches(), [6..9, 12..15]);
        let units: Vec<u16> = cut.text.encode_utf16().collect();
        for range in cut.utf16_matches() {
            assert_eq!(String::from_utf16_lossy(&units[range]), "fée");
        }
    }

    #[test]
    fn nothing_in_a_pattern_stands_for_something_else() {
        assert_eq!(pattern("50%_\\x"), "%50\\%\\_\\\\x%");
    }
}
