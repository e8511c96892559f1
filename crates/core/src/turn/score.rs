//! The model's grade for its own reply: how it is asked for, and how it is read.
//!
//! A grade is a number and nothing else. What says more is no grade: a score is
//! absent rather than guessed.

use nox_protocol::{Message, Role};

use crate::backend::{GenerateRequest, ReplyFormat, SamplingOptions};

/// At this grade and below, an instrument is asked if there is one.
pub(super) const LOW_SCORE: f32 = 5.0;

/// The best grade.
const MAX_SCORE: f32 = 10.0;
/// A number, a fraction and a few tokens around them.
const MAX_TOKENS: u64 = 16;
/// The same for a model that reasons aloud before it says anything.
const MAX_TOKENS_WITH_REASONING: u64 = 512;

const QUESTION: &str = "Grade your last answer from 0 (useless) to 10 (complete and correct). \
                        Reply with the number only.";

/// Words that a model may put in front of the number.
const LABELS: [&str; 4] = ["score", "grade", "rating", "answer"];

/// Makes of the call that gave `reply` the one that grades it.
pub(super) fn ask(mut request: GenerateRequest, reply: &str, reasons: bool) -> GenerateRequest {
    for (role, content) in [(Role::Assistant, reply), (Role::User, QUESTION)] {
        request.messages.push(Message {
            role,
            content: content.to_owned(),
        });
    }
    request.sampling = SamplingOptions {
        temperature: 0.0,
        repeat_penalty: 1.0,
        ..request.sampling
    };
    request.max_tokens = Some(if reasons {
        MAX_TOKENS_WITH_REASONING
    } else {
        MAX_TOKENS
    });
    request.stop.clear();
    request.format = ReplyFormat::Text;
    request
}

/// The grade that an answer gives: a number from 0 to 10, alone, behind a label such
/// as `Score:`, or out of ten (`7/10`).
pub(super) fn parse(answer: &str) -> Option<f32> {
    let answer = answer.trim().trim_matches('*').to_ascii_lowercase();
    let unlabelled = LABELS.iter().find_map(|label| {
        let behind = answer.strip_prefix(label)?;
        let behind = behind.trim_start_matches('*').trim_start();
        behind.strip_prefix([':', '='])
    });
    let number = unlabelled.unwrap_or(&answer).trim().trim_matches('*');
    let number = number.trim().strip_suffix('.').unwrap_or(number.trim());
    let number = match number.split_once(['/', ' ']) {
        None => number,
        Some((number, "10" | "/ 10" | "out of 10")) => number,
        Some(_) => return None,
    };
    let is_plain = |c: char| c.is_ascii_digit() || c == '.';
    if !number.starts_with(|c: char| c.is_ascii_digit()) || !number.chars().all(is_plain) {
        return None;
    }
    let score = number.parse::<f32>().ok()?;
    (0.0..=MAX_SCORE).contains(&score).then_some(score)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_number_from_0_to_10_is_a_grade() {
        for (answer, score) in [
            ("7", 7.0),
            (" 0\n", 0.0),
            ("10", 10.0),
            ("10.0", 10.0),
            ("7.5", 7.5),
            ("7.", 7.0),
            ("07", 7.0),
            ("7/10", 7.0),
            ("7 / 10", 7.0),
            ("7 out of 10.", 7.0),
            ("Score: 7", 7.0),
            ("score = 3/10", 3.0),
            ("**Grade:** 8", 8.0),
            ("**8**", 8.0),
        ] {
            assert_eq!(parse(answer), Some(score), "{answer:?}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for answer in [
            "",
            " ",
            "I'd say ten",
            "ten",
            "11",
            "10.5",
            "-1",
            "+7",
            "7/9",
            "7/10/10",
            "7 or 8",
            "7, I think",
            "Score:",
            "Score 7 of my 10",
            "seven (7)",
            "7e0",
            "NaN",
            "inf",
            "1.2.3",
            "7%",
            "٧",
            "Question 7",
            "99999999999999999999999999999999999999999",
        ] {
            assert_eq!(parse(answer), None, "{answer:?}");
        }
    }
}
