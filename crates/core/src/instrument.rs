//! Asking an instrument, a bigger model elsewhere: whether a reply wants one, what
//! it asks, and what is taken out of a question before it leaves the device.
//!
//! It knows no instrument, and nothing of how one is reached.

use crate::redact::redact;
use crate::reply::{BLOCK_TAGS, BlockKind, BlockTag, Event, TagScanner, is_space};

const QUERY: BlockTag = BlockTag::Open(BlockKind::Query);
const QUERY_END: BlockTag = BlockTag::Close(BlockKind::Query);

/// A wish in plain words.
const WISH: &str = "requires an instrument";

/// Puts a name out of sight.
const REDACTED_NAME: &str = "[REDACTED:NAME]";
/// How what stands for personal data begins; names are not looked for in it.
const PLACEHOLDER: &str = "[REDACTED:";

/// Names that are looked for at most, and the characters of the longest.
const MAX_NAMES: usize = 64;
const MAX_NAME_CHARS: usize = 128;

/// Whether a raw reply asks for an instrument: by a query, closed or not, or in words.
pub fn wants_instrument(reply: &str) -> bool {
    let mut has_query = false;
    scan(reply, &mut |event| {
        has_query |= matches!(event, Event::Tag(QUERY, _));
    });
    has_query || reply.to_lowercase().contains(WISH)
}

/// What the first `[INSTRUMENT QUERY]` block of a raw reply holds, without white
/// space at its ends; `None` where there is no closed block.
pub fn extract_instrument_query(reply: &str) -> Option<String> {
    let mut query: Option<String> = None;
    let mut is_closed = false;
    scan(reply, &mut |event| {
        if is_closed {
            return;
        }
        match (&mut query, event) {
            (None, Event::Tag(QUERY, _)) => query = Some(String::new()),
            (Some(_), Event::Tag(QUERY_END, _)) => is_closed = true,
            (Some(query), Event::Text(text) | Event::Tag(_, text)) => query.push_str(text),
            (None, _) => {}
        }
    });
    let query = query.filter(|_| is_closed)?;
    Some(query.trim_matches(is_space).to_owned())
}

/// A text whose tags of control blocks have round brackets, so that it can stand
/// inside such a block and not end it.
pub(crate) fn defuse_block_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    scan(text, &mut |event| match event {
        Event::Text(text) => out.push_str(text),
        Event::Tag(_, tag) => out.extend(tag.chars().map(|c| match c {
            '[' => '(',
            ']' => ')',
            c => c,
        })),
    });
    out
}

fn scan(text: &str, emit: &mut impl FnMut(Event<'_, BlockTag>)) {
    let mut scanner = TagScanner::new(BLOCK_TAGS);
    scanner.push(text, emit);
    scanner.finish(emit);
}

/// Takes personal data out of a text for an instrument: what [`redact`](crate::redact)
/// finds, then the user's name and the given names, in any case and as whole words.
///
/// "You" and "user" are no user's name. Names beyond the first 64 and names of more
/// than 128 characters are not looked for.
pub fn anonymize_for_instrument(text: &str, user_name: Option<&str>, names: &[&str]) -> String {
    let is_name = |name: &&str| !matches!(name.trim().to_lowercase().as_str(), "you" | "user");
    let mut names: Vec<Vec<char>> = user_name
        .filter(is_name)
        .into_iter()
        .chain(names.iter().copied())
        .map(|name| name.trim().chars().collect())
        .filter(|name: &Vec<char>| (1..=MAX_NAME_CHARS).contains(&name.len()))
        .take(MAX_NAMES)
        .collect();
    // A full name before a part of it.
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));

    let redacted = redact(text);
    let mut out = String::with_capacity(redacted.len());
    let mut rest = redacted.as_str();
    let mut last = None;
    while let Some(first) = rest.chars().next() {
        let n_bytes = if let Some(n_bytes) = placeholder_length(rest) {
            out.push_str(&rest[..n_bytes]);
            n_bytes
        } else if let Some(n_bytes) = names.iter().find_map(|name| name_at(rest, last, name)) {
            out.push_str(REDACTED_NAME);
            n_bytes
        } else {
            out.push(first);
            first.len_utf8()
        };
        last = rest[..n_bytes].chars().next_back();
        rest = &rest[n_bytes..];
    }
    out
}

/// The length of what stands for personal data at the beginning of `text`.
fn placeholder_length(text: &str) -> Option<usize> {
    let label = text.strip_prefix(PLACEHOLDER)?;
    let behind = label.trim_start_matches(|c: char| c.is_ascii_uppercase());
    let behind = behind.strip_prefix(']')?;
    Some(text.len() - behind.len())
}

/// The length of `name` where it stands as a word at the beginning of `text`, behind
/// `last`.
fn name_at(text: &str, last: Option<char>, name: &[char]) -> Option<usize> {
    let mut chars = text.chars();
    let fits = name.iter().all(|&wanted| {
        chars
            .next()
            .is_some_and(|c| c == wanted || c.to_lowercase().eq(wanted.to_lowercase()))
    });
    let goes_on_before = joins(last, name.first().copied());
    let goes_on_behind = joins(name.last().copied(), chars.clone().next());
    let is_word = fits && !goes_on_before && !goes_on_behind;
    is_word.then(|| text.len() - chars.as_str().len())
}

/// Whether two neighbours are of one word. Only scripts with two cases say so for
/// sure: others put particles right beside a name, which has to go all the same.
fn joins(left: Option<char>, right: Option<char>) -> bool {
    let is_of_word = |c: char| c.is_lowercase() || c.is_uppercase() || c.is_numeric();
    left.is_some_and(is_of_word) && right.is_some_and(is_of_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_for_an_instrument_is_seen() {
        for (reply, wants) in [
            ("[INSTRUMENT QUERY]q[/INSTRUMENT QUERY]", true),
            ("[INSTRUMENT  QUERY]", true),
            ("I think this Requires an instrument.", true),
            ("Write `[INSTRUMENT QUERY]` to ask.", false),
            ("[SET TITLE]x[/SET TITLE]", false),
            ("", false),
        ] {
            assert_eq!(wants_instrument(reply), wants, "{reply}");
        }
    }

    #[test]
    fn the_first_closed_query_is_extracted() {
        for (reply, query) in [
            (
                "a [instrument query]\n q\n r [/INSTRUMENT QUERY] b",
                Some("q\n r"),
            ),
            ("[INSTRUMENT QUERY] [/INSTRUMENT QUERY]", Some("")),
            ("[/INSTRUMENT QUERY][INSTRUMENT QUERY]open", None),
        ] {
            assert_eq!(extract_instrument_query(reply).as_deref(), query, "{reply}");
        }
    }

    #[test]
    fn names_go_as_whole_words_only() {
        let anonymize = |text| anonymize_for_instrument(text, Some("Al Kim"), &["al", "田中", ""]);
        for (text, anonymized) in [
            (
                "Al Kim's al. Algae, royal",
                "[REDACTED:NAME]'s [REDACTED:NAME]. Algae, royal",
            ),
            ("AL_KIM al2", "[REDACTED:NAME]_KIM al2"),
            ("田中さん", "[REDACTED:NAME]さん"),
            ("é al é", "é [REDACTED:NAME] é"),
        ] {
            assert_eq!(anonymize(text), anonymized, "{text}");
        }
    }

    #[test]
    fn a_name_does_not_break_a_placeholder() {
        let names = &["email", "redacted", "iban"];
        assert_eq!(
            anonymize_for_instrument("EMAIL a@example.com", None, names),
            "[REDACTED:NAME] [REDACTED:EMAIL]"
        );
        assert_eq!(
            anonymize_for_instrument("Iban GB82 WEST 1234 5698 7654 32", None, names),
            "[REDACTED:NAME] [REDACTED:IBAN]"
        );
    }

    #[test]
    fn names_are_looked_for_up_to_a_number_and_a_length() {
        let long = "n".repeat(MAX_NAME_CHARS + 1);
        let mut names = vec![long.as_str(); 100];
        names.extend(["bo"; MAX_NAMES]);
        names.push("eve");
        let text = format!("{long} bo eve");
        let expected = format!("{long} [REDACTED:NAME] eve");
        assert_eq!(anonymize_for_instrument(&text, None, &names), expected);
    }
}
