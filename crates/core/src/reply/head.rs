//! Takes off what a model writes in front of a reply: its own name as a label, and
//! the lines in which it repeats the hardware it was told about.

use super::scan::{Candidate, Step, Tags, is_space};

#[derive(Debug, Clone, Copy)]
enum Heading {
    Label,
    Hardware,
}

/// Labels come first.
const HEADINGS: Tags<Heading> = &[
    ("nox~:", Heading::Label),
    ("nox~：", Heading::Label),
    ("noctics ~nox~:", Heading::Label),
    ("noctics ~nox~：", Heading::Label),
    ("hardware ~context~:", Heading::Hardware),
];

/// What may follow a hardware line: a label there is part of the reply.
const HARDWARE: Tags<Heading> = &[("hardware ~context~:", Heading::Hardware)];

fn is_line_end(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

#[derive(Debug, Clone)]
enum State {
    /// In front of the reply, perhaps inside a heading.
    Before(Option<Candidate<Heading>>),
    HardwareLine,
    Reply,
}

/// Drops headings and passes the rest on.
#[derive(Debug, Clone)]
pub(super) struct Head {
    headings: Tags<Heading>,
    state: State,
}

impl Head {
    pub(super) fn new() -> Self {
        Self {
            headings: HEADINGS,
            state: State::Before(None),
        }
    }

    /// A head for an instrument's words, where a label is not the model's.
    pub(super) fn without_labels() -> Self {
        Self {
            headings: HARDWARE,
            ..Self::new()
        }
    }

    pub(super) fn push(&mut self, text: &str, out: &mut String) {
        for (at, c) in text.char_indices() {
            match &mut self.state {
                State::Reply => {
                    out.push_str(&text[at..]);
                    return;
                }
                State::HardwareLine if is_line_end(c) => self.state = State::Before(None),
                State::HardwareLine => {}
                State::Before(None) if is_space(c) => {}
                State::Before(candidate @ None) => {
                    *candidate = Candidate::begin(self.headings, c);
                    if candidate.is_none() {
                        out.push(c);
                        self.state = State::Reply;
                    }
                }
                State::Before(Some(candidate)) => match candidate.push(c) {
                    Step::Open => {}
                    Step::Whole(Heading::Label) => self.state = State::Before(None),
                    Step::Whole(Heading::Hardware) => {
                        if candidate.text.contains(is_line_end) {
                            self.end_candidate(out);
                        } else {
                            self.headings = HARDWARE;
                            self.state = State::HardwareLine;
                        }
                    }
                    Step::Dead => {
                        self.end_candidate(out);
                        out.push(c);
                    }
                },
            }
        }
    }

    /// Ends the text.
    pub(super) fn finish(&mut self, out: &mut String) {
        self.end_candidate(out);
    }

    /// What looked like a heading is the beginning of the reply.
    fn end_candidate(&mut self, out: &mut String) {
        if let State::Before(Some(candidate)) = &self.state {
            out.push_str(&candidate.text);
            self.state = State::Reply;
        }
    }
}
