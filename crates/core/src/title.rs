//! Names of conversations: a title from what was said, and a readable name from a
//! session's id.
//!
//! It knows no storage. Whether a title may replace one that the user chose is the
//! caller's business.

use nox_protocol::{Message, Role};
use time::{Date, Month, Time};

use crate::redact::redact;

/// Words of an automatic title.
const MAX_TITLE_WORDS: usize = 8;
/// Characters of an automatic title.
const MAX_TITLE_CHARS: usize = 80;
/// Characters of a message that are looked at. Far more than a title shows, so that
/// personal data at its end is seen whole.
const MAX_SCANNED_CHARS: usize = 1000;
/// What the client itself puts into the user's place.
const RESULT_MARKS: [&str; 2] = ["[INSTRUMENT RESULT]", "[HELPER RESULT]"];

/// A title from the first thing that the user said: its first eight words, as many
/// of them as fit into 80 characters, without personal data. Blank messages and
/// results of instruments are passed over. Only a first word that is too long by
/// itself is cut.
pub fn compute_title(messages: &[Message]) -> Option<String> {
    messages
        .iter()
        .filter(|message| message.role == Role::User)
        .map(|message| message.content.trim())
        .filter(|text| !RESULT_MARKS.iter().any(|mark| text.starts_with(mark)))
        .find_map(title_of_text)
}

fn title_of_text(text: &str) -> Option<String> {
    let scanned = match text.char_indices().nth(MAX_SCANNED_CHARS) {
        Some((end, _)) => &text[..end],
        None => text,
    };
    let text = redact(scanned);
    let mut words = text.split_whitespace().take(MAX_TITLE_WORDS);
    let mut title: String = words.next()?.chars().take(MAX_TITLE_CHARS).collect();
    let mut n_chars = title.chars().count();
    for word in words {
        n_chars += 1 + word.chars().count();
        if n_chars > MAX_TITLE_CHARS {
            break;
        }
        title.push(' ');
        title.push_str(word);
    }
    Some(title)
}

/// What a session without a title is called: its moment where the id tells one
/// (`session-20250102-030405`), else the id's words.
pub fn session_display_name(session_id: &str) -> String {
    let id = session_id.trim();
    let dated = [
        ("session-merged-", "Merged session"),
        ("session-", "Session"),
    ]
    .into_iter()
    .find_map(|(prefix, label)| {
        let moment = moment(id.strip_prefix(prefix)?)?;
        Some(format!("{label} {moment} UTC"))
    });
    dated.unwrap_or_else(|| {
        let words = title_case(id.replace('-', " ").trim());
        if words.is_empty() {
            "Session".to_owned()
        } else {
            words
        }
    })
}

/// `YYYYMMDD-HHMMSS` as a date and a time, when it is one.
fn moment(stamp: &str) -> Option<String> {
    let (date, time) = stamp.split_once('-')?;
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if date.len() != 8 || time.len() != 6 || !is_digits(date) || !is_digits(time) {
        return None;
    }
    let number = |digits: &str| digits.parse::<u8>().ok();
    let year = date[..4].parse().ok().filter(|year| *year >= 1)?;
    let month = Month::try_from(number(&date[4..6])?).ok()?;
    let day = number(&date[6..])?;
    Date::from_calendar_date(year, month, day).ok()?;
    let (hour, minute, second) = (&time[..2], &time[2..4], &time[4..]);
    Time::from_hms(number(hour)?, number(minute)?, number(second)?).ok()?;
    let month = u8::from(month);
    Some(format!(
        "{year}-{month:02}-{day:02} {hour}:{minute}:{second}"
    ))
}

/// Every word with a capital at its front and small letters behind it; a word ends
/// where the letters do.
pub(crate) fn title_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        if in_word {
            out.extend(c.to_lowercase());
        } else {
            // A letter such as ß has two capitals; only the first is one here.
            let mut capitals = c.to_uppercase();
            out.extend(capitals.next());
            out.extend(capitals.flat_map(char::to_lowercase));
        }
        in_word = c.is_lowercase() || c.is_uppercase();
    }
    out
}
