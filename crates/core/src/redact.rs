//! Replaces personal data in text: e-mail addresses, card numbers, IPv4 addresses
//! and telephone numbers, in this order, by `[REDACTED:EMAIL]` and the like.
//!
//! It goes by form alone. A number that could be anything (an amount, a date, a
//! version) stays; a telephone number written as one run of digits is recognised
//! by the North American plan's rules only.

use std::ops::Range;

/// The text with personal data replaced.
pub fn redact(text: &str) -> String {
    [
        ("EMAIL", find_email as Finder),
        ("CARD", find_card),
        ("IP", find_ipv4),
        ("PHONE", find_phone),
    ]
    .into_iter()
    .fold(text.to_owned(), |text, (label, find)| {
        replace(&text, label, find)
    })
}

/// Finds the first match that begins at or behind a position (in characters).
type Finder = fn(&[char], usize) -> Option<Range<usize>>;

fn replace(text: &str, label: &str, find: Finder) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = find(&chars, at) {
        out.extend(&chars[at..found.start]);
        out.push_str("[REDACTED:");
        out.push_str(label);
        out.push(']');
        at = found.end;
    }
    out.extend(&chars[at..]);
    out
}

fn find_email(chars: &[char], from: usize) -> Option<Range<usize>> {
    let is_local = |c: char| c.is_alphanumeric() || "._%+-".contains(c);
    (from..chars.len())
        .filter(|&at| chars[at] == '@')
        .find_map(|at| {
            let n_local = chars[from..at]
                .iter()
                .rev()
                .take_while(|&&c| is_local(c))
                .count();
            let n_domain = domain_length(&chars[at + 1..])?;
            (n_local > 0).then(|| at - n_local..at + 1 + n_domain)
        })
}

/// The length of a domain name at the beginning, up to its last label of at least
/// two letters.
fn domain_length(chars: &[char]) -> Option<usize> {
    let run = chars
        .iter()
        .take_while(|&&c| c.is_alphanumeric() || c == '.' || c == '-')
        .count();
    let mut end = 0;
    let mut at = 0;
    for (idx, label) in chars[..run].split(|&c| c == '.').enumerate() {
        let is_top = label.len() >= 2 && label[0].is_alphabetic();
        if idx > 0 && is_top {
            end = at
                + label
                    .iter()
                    .rposition(|c| c.is_alphanumeric())
                    .map_or(0, |last| last + 1);
        }
        if label.is_empty() {
            break;
        }
        at += label.len() + 1;
    }
    (end > 0).then_some(end)
}

/// 13 to 19 digits that pass the Luhn check, in groups set apart by one or two
/// blanks, hyphens or dots.
fn find_card(chars: &[char], from: usize) -> Option<Range<usize>> {
    let is_separator = |c: char| c == ' ' || c == '\u{a0}' || c == '-' || c == '.';
    (from..chars.len())
        .filter(|&at| digit(chars[at]).is_some() && !touches_word_before(chars, at))
        .find_map(|start| {
            let groups = digit_groups(chars, start, 2, is_separator);
            // The longest run of groups that is a card number.
            groups.iter().rev().find_map(|last| {
                let digits: Vec<u32> = chars[start..last.end]
                    .iter()
                    .filter_map(|&c| digit(c))
                    .collect();
                let is_card = (13..=19).contains(&digits.len())
                    && digits.iter().any(|&digit| digit != 0)
                    && passes_luhn(&digits)
                    && !chars.get(last.end).is_some_and(|c| c.is_alphanumeric());
                is_card.then_some(start..last.end)
            })
        })
}

/// The Luhn check. Source: ISO/IEC 7812-1, annex B.
fn passes_luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(idx, &digit)| match (idx % 2, digit) {
            (0, _) => digit,
            (_, 0..=4) => 2 * digit,
            _ => 2 * digit - 9,
        })
        .sum();
    sum.is_multiple_of(10)
}

fn find_ipv4(chars: &[char], from: usize) -> Option<Range<usize>> {
    (from..chars.len())
        .filter(|&at| chars[at].is_ascii_digit() && !touches_word_before(chars, at))
        .find_map(|start| {
            let groups = digit_groups(chars, start, 1, |c| c == '.');
            let end = groups.last()?.end;
            let is_byte = |group: &Range<usize>| {
                let text: String = chars[group.clone()].iter().collect();
                text.parse::<u8>().is_ok()
            };
            let is_address = groups.len() == 4
                && groups.iter().all(is_byte)
                && !(start > 0 && chars[start - 1] == '.')
                && !chars.get(end).is_some_and(|c| c.is_alphanumeric());
            is_address.then_some(start..end)
        })
}

fn find_phone(chars: &[char], from: usize) -> Option<Range<usize>> {
    let begins = |at: usize| {
        let c = chars[at];
        (c.is_ascii_digit() || c == '+' || c == '(') && !touches_word_before(chars, at)
    };
    (from..chars.len())
        .filter(|&at| begins(at))
        .find_map(|start| phone_at(chars, start))
}

fn phone_at(chars: &[char], start: usize) -> Option<Range<usize>> {
    let is_separator = |c: char| matches!(c, ' ' | '\u{a0}' | '-' | '.' | '(' | ')');
    let is_international = chars[start] == '+';
    let is_bracketed = chars[start] == '(';
    let first_digit = start + usize::from(is_international || is_bracketed);
    if !chars.get(first_digit)?.is_ascii_digit() {
        return None;
    }
    // A bracket may stand beside a blank.
    let mut groups = digit_groups(chars, first_digit, 2, is_separator);
    // Digits further on in a number that can't begin here belong to something else.
    let continues = !is_international
        && !is_bracketed
        && start > 1
        && ".-/,:".contains(chars[start - 1])
        && chars[start - 2].is_alphanumeric();
    if continues {
        return None;
    }
    while let Some(last) = groups.last() {
        let sizes: Vec<usize> = groups.iter().map(Range::len).collect();
        let n_digits: usize = sizes.iter().sum();
        let is_phone = if is_international {
            (8..=15).contains(&n_digits)
        } else if is_bracketed {
            (7..=13).contains(&n_digits) && closes_bracket(&chars[start..last.end])
        } else {
            is_local_number(chars, &groups, &sizes)
        };
        if is_phone && ends_cleanly(chars, last.end) {
            return Some(start..last.end);
        }
        // A number behind a blank may be another one.
        groups.pop();
    }
    None
}

fn closes_bracket(chars: &[char]) -> bool {
    chars.iter().filter(|&&c| c == ')').count() == 1
}

/// Neither in the middle of a word nor in front of more digits of the same number.
fn ends_cleanly(chars: &[char], end: usize) -> bool {
    match (chars.get(end), chars.get(end + 1)) {
        (Some(c), _) if c.is_alphanumeric() => false,
        (Some('.' | '-' | ',' | ':' | '/'), Some(next)) => !next.is_ascii_alphanumeric(),
        _ => true,
    }
}

/// A number without a country's sign: groups of 3 or 4 digits behind at most one
/// of up to 4, or a single run by the North American plan (an area code and an
/// exchange begin with 2 to 9).
fn is_local_number(chars: &[char], groups: &[Range<usize>], sizes: &[usize]) -> bool {
    let begins_high = |at: usize| matches!(chars[at], '2'..='9');
    let gap = |idx: usize| chars[groups[idx].end];
    let start = groups[0].start;
    match *sizes {
        [7] => begins_high(start),
        [10] => begins_high(start) && begins_high(start + 3),
        [11] => chars[start] == '1' && begins_high(start + 1) && begins_high(start + 4),
        [3, 4] => matches!(gap(0), '-' | '.'),
        [1..=4, 3..=4, 3..=4] => true,
        [1..=3, 2..=4, 3..=4, 3..=4] => true,
        _ => false,
    }
}

/// More groups than anything that is looked for has digits. Without a limit a long row
/// of numbers would be walked through anew from each of them.
const MAX_GROUPS: usize = 20;

/// Runs of digits from `start` on, set apart by one to `max_gap` separators; the first
/// [`MAX_GROUPS`] of them.
fn digit_groups(
    chars: &[char],
    start: usize,
    max_gap: usize,
    is_separator: impl Fn(char) -> bool,
) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut at = start;
    loop {
        let n_digits = chars[at..]
            .iter()
            .take_while(|&&c| digit(c).is_some())
            .count();
        if n_digits == 0 || groups.len() == MAX_GROUPS {
            return groups;
        }
        groups.push(at..at + n_digits);
        at += n_digits;
        let n_gap = chars[at..].iter().take_while(|&&c| is_separator(c)).count();
        if n_gap == 0 || n_gap > max_gap {
            return groups;
        }
        at += n_gap;
    }
}

/// Whether a letter, a digit or an underscore stands directly in front.
fn touches_word_before(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

/// The value of a decimal digit of the scripts in which numbers are commonly typed.
fn digit(c: char) -> Option<u32> {
    const ZEROS: [char; 5] = ['0', '\u{660}', '\u{6f0}', '\u{966}', '\u{ff10}'];
    ZEROS
        .iter()
        .filter_map(|&zero| u32::from(c).checked_sub(u32::from(zero)))
        .find(|&value| value < 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_personal_data_whole() {
        for (input, expected) in [
            ("Write to user@example.com.", "Write to [REDACTED:EMAIL]."),
            ("用户@example.com", "[REDACTED:EMAIL]"),
            ("Card 4111 1111 1111 1111 ends", "Card [REDACTED:CARD] ends"),
            (
                "4111111111111111 5555555555554444",
                "[REDACTED:CARD] [REDACTED:CARD]",
            ),
            ("4111.1111.1111.1111", "[REDACTED:CARD]"),
            ("ping 10.0.0.1/24", "ping [REDACTED:IP]/24"),
            ("(415) 555-1212", "[REDACTED:PHONE]"),
            ("tel:+44 20 7946 0958", "tel:[REDACTED:PHONE]"),
            ("+33 1 23 45 67 89", "[REDACTED:PHONE]"),
            (
                "5551212 5551212 5551212",
                "[REDACTED:PHONE] [REDACTED:PHONE] [REDACTED:PHONE]",
            ),
            (
                "415-555-1212, 5551212",
                "[REDACTED:PHONE], [REDACTED:PHONE]",
            ),
        ] {
            assert_eq!(redact(input), expected, "{input}");
        }
    }

    #[test]
    fn leaves_ordinary_numbers_alone() {
        for text in [
            "room 12345678",
            "2024-01-02 10:20:30",
            "1000000",
            "$1234567.89",
            "0.1234567",
            "1.2.3.4.5",
            "404 500",
            "200 4040",
            "1999 2024",
            "timestamp 1700000000",
            "ISBN 978-3-16-148410-0",
            "uuid 12345678-1234-1234-1234-123456789012",
            "session-20250102-030405",
            "0000000000000",
            "12345678901234567890",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn redacting_twice_changes_nothing_more() {
        let once = redact("a@example.com 4111 1111 1111 1111 10.0.0.1 415-555-1212");
        assert_eq!(redact(&once), once);
    }
}
