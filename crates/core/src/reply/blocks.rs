//! Takes control blocks out of a reply that streams in: `[SET TITLE]`,
//! `[INSTRUMENT QUERY]` and `[INSTRUMENT RESULT]`, each up to its closing tag.
//!
//! Nothing behind an opening tag is given out before it is known where its block
//! ends. A block that is not closed, or grows beyond its cap, is given up: it has
//! no effect, and what vanishes with its tag is what it was certainly meant to hold:
//! one line of a title, one paragraph of a query, nothing of a result, whose words
//! are for the user.

use super::scan::{Event, Scanner, Tags, is_space};
use super::work;

/// How much a title's block may hold.
pub(super) const MAX_TITLE_BLOCK_BYTES: usize = 1024;
/// How much a query may hold.
pub(super) const MAX_QUERY_BYTES: usize = 32 * 1024;
/// How much a result may hold, and all of them together.
pub(super) const MAX_RESULT_BYTES: usize = 256 * 1024;
/// Where a title is cut.
const MAX_TITLE_CHARS: usize = 80;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Title,
    Query,
    Result,
}

impl Kind {
    fn max_bytes(self) -> usize {
        match self {
            Self::Title => MAX_TITLE_BLOCK_BYTES,
            Self::Query => MAX_QUERY_BYTES,
            Self::Result => MAX_RESULT_BYTES,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Open(Kind),
    Close(Kind),
}

pub(crate) const TAGS: Tags<Tag> = &[
    ("[set~title]", Tag::Open(Kind::Title)),
    ("[/set~title]", Tag::Close(Kind::Title)),
    ("[instrument ~query]", Tag::Open(Kind::Query)),
    ("[/instrument ~query]", Tag::Close(Kind::Query)),
    ("[instrument ~result]", Tag::Open(Kind::Result)),
    ("[/instrument ~result]", Tag::Close(Kind::Result)),
];

/// Deletes control blocks and remembers what they hold.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    scanner: Scanner<Tag>,
    state: State,
}

#[derive(Debug, Clone, Default)]
struct State {
    hold: Option<Hold>,
    /// Closing tags that will come without their opening one being in sight.
    orphans: Orphans,
    /// Tags of results vanish and what they hold is shown.
    unwrapping: bool,
    /// What the results held; the reply, if there is nothing else.
    results: Option<String>,
    has_reply: bool,
    title: Option<String>,
    query: Option<String>,
}

/// A block that is not closed yet.
#[derive(Debug, Clone)]
struct Hold {
    kind: Kind,
    text: String,
    /// How many results are open in one another.
    depth: usize,
    /// Opening tags of the other kinds in `text` without a closing one.
    others: Orphans,
    /// Where the first tag of another kind stands in `text`.
    first_tag: Option<usize>,
    /// Whether it began inside a result that was given up.
    in_unwrapped: bool,
}

/// A count for each kind of tag.
#[derive(Debug, Clone, Copy, Default)]
struct Orphans([usize; 3]);

impl Orphans {
    fn add(&mut self, kind: Kind, n: usize) {
        let count = &mut self.0[kind as usize];
        *count = count.saturating_add(n);
    }

    /// Takes one away, if there is one.
    fn take(&mut self, kind: Kind) -> bool {
        let count = &mut self.0[kind as usize];
        let had_one = *count > 0;
        *count = count.saturating_sub(1);
        had_one
    }
}

impl Blocks {
    pub(super) fn new() -> Self {
        Self {
            scanner: Scanner::new(TAGS),
            state: State::default(),
        }
    }

    pub(super) fn push(&mut self, text: &str, out: &mut String) {
        let state = &mut self.state;
        self.scanner
            .push(text, &mut |event| state.take_in(event, out));
    }

    /// Ends the text.
    pub(super) fn finish(&mut self, out: &mut String) {
        let state = &mut self.state;
        self.scanner.finish(&mut |event| state.take_in(event, out));
        state.give_up_all(out);
    }

    /// Says that there is a reply apart from results, so that they need not be kept.
    pub(super) fn drop_results(&mut self) {
        self.state.has_reply = true;
        self.state.results = None;
    }

    /// Gives out what the results hold, cleaned; false where there were none.
    pub(super) fn unwrap_results(&mut self, out: &mut String) -> bool {
        let Some(results) = self.state.results.take() else {
            return false;
        };
        self.state.unwrapping = true;
        self.state.replay(&results, out);
        self.state.give_up_all(out);
        true
    }

    /// The last title that was set.
    pub(super) fn title(&self) -> Option<&str> {
        self.state.title.as_deref()
    }

    /// The first query.
    pub(super) fn query(&self) -> Option<&str> {
        self.state.query.as_deref()
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        let held = self.state.hold.as_ref().map_or(0, |hold| hold.text.len());
        let results = self.state.results.as_ref().map_or(0, String::len);
        held + results + self.scanner.held_bytes()
    }
}

impl State {
    fn take_in(&mut self, event: Event<'_, Tag>, out: &mut String) {
        if let Some(hold) = &self.hold {
            // A title or a query in itself: the first one was not closed.
            let kind = hold.kind;
            let begins_again = matches!(event, Event::Tag(Tag::Open(same), _) if same == kind);
            if kind == Kind::Result || !begins_again {
                self.hold(event, out);
                return;
            }
            self.give_up(false, out);
            self.take_in(event, out);
            return;
        }
        match event {
            Event::Text(text) => out.push_str(text),
            Event::Tag(Tag::Open(Kind::Result), _) if self.unwrapping => {
                self.orphans.add(Kind::Result, 1);
            }
            Event::Tag(Tag::Open(kind), _) => {
                self.hold = Some(Hold {
                    kind,
                    text: String::new(),
                    depth: 1,
                    others: Orphans::default(),
                    first_tag: None,
                    in_unwrapped: self.unwrapping,
                });
            }
            Event::Tag(Tag::Close(kind), tag) => {
                if !self.orphans.take(kind) {
                    out.push_str(tag);
                }
            }
        }
    }

    fn hold(&mut self, event: Event<'_, Tag>, out: &mut String) {
        let Some(hold) = &mut self.hold else {
            return;
        };
        match event {
            Event::Text(_) => {}
            Event::Tag(Tag::Open(kind), _) if kind == hold.kind => hold.depth += 1,
            Event::Tag(Tag::Close(kind), _) if kind == hold.kind => {
                hold.depth -= 1;
                if hold.depth == 0 {
                    self.close();
                    return;
                }
            }
            Event::Tag(tag, _) => {
                hold.first_tag.get_or_insert(hold.text.len());
                match tag {
                    Tag::Open(kind) => hold.others.add(kind, 1),
                    Tag::Close(kind) => _ = hold.others.take(kind),
                }
            }
        }
        // The cap is met at the same character however the input was cut.
        let (Event::Text(text) | Event::Tag(_, text)) = event;
        let room = hold.kind.max_bytes().saturating_sub(hold.text.len());
        let n_taken = match event {
            Event::Text(text) => text.ceil_char_boundary(room.saturating_add(1)),
            Event::Tag(_, tag) => tag.len(),
        };
        let (taken, behind) = text.split_at(n_taken);
        hold.text.push_str(taken);
        if hold.text.len() > hold.kind.max_bytes() {
            self.give_up(true, out);
        }
        if !behind.is_empty() {
            self.take_in(Event::Text(behind), out);
        }
    }

    /// The block is whole: it vanishes and has its effect.
    fn close(&mut self) {
        let Some(hold) = self.hold.take() else {
            return;
        };
        for kind in [Kind::Title, Kind::Query, Kind::Result] {
            self.orphans.add(kind, hold.others.0[kind as usize]);
        }
        let text = hold.text.trim_matches(is_space);
        match hold.kind {
            Kind::Title => {
                let own = &hold.text[..hold.first_tag.unwrap_or(hold.text.len())];
                self.title = title_from(own).or(self.title.take());
            }
            Kind::Query if self.query.is_none() && !text.is_empty() => {
                self.query = Some(text.to_owned());
            }
            Kind::Query => {}
            Kind::Result if self.has_reply => {}
            Kind::Result => {
                let results = self.results.get_or_insert_default();
                if results.len() + text.len() <= MAX_RESULT_BYTES {
                    if !results.is_empty() && !text.is_empty() {
                        results.push_str("\n\n");
                    }
                    results.push_str(text);
                }
            }
        }
    }

    /// The block is none, at the end of the reply or, where it `is_too_long`, before.
    fn give_up(&mut self, is_too_long: bool, out: &mut String) {
        let Some(hold) = self.hold.take() else {
            return;
        };
        self.orphans.add(hold.kind, 1);
        let was_unwrapping = self.unwrapping;
        self.unwrapping |= hold.kind == Kind::Result || hold.in_unwrapped;
        self.replay(rest_of_unclosed(&hold, is_too_long), out);
        self.unwrapping = was_unwrapping;
    }

    /// Ends the text. A block that is given up may hold others; each replay is of
    /// less than was held.
    fn give_up_all(&mut self, out: &mut String) {
        while self.hold.is_some() {
            self.give_up(false, out);
        }
    }

    /// Takes in again what was held back.
    fn replay(&mut self, text: &str, out: &mut String) {
        let mut scanner = Scanner::new(TAGS);
        let mut take_in = |event: Event<'_, Tag>| self.take_in(event, out);
        scanner.push(text, &mut take_in);
        scanner.finish(&mut take_in);
    }
}

/// What an unclosed block leaves to the reply.
fn rest_of_unclosed(hold: &Hold, is_too_long: bool) -> &str {
    let text = hold.text.as_str();
    work::count(text.len() as u64);
    let own = &text[..hold.first_tag.unwrap_or(text.len())];
    let begin = own.len() - own.trim_start_matches(is_space).len();
    let end = match hold.kind {
        Kind::Result => return text,
        Kind::Title => own[begin..].find('\n'),
        Kind::Query => paragraph_length(&own[begin..]),
    };
    match (end, hold.first_tag) {
        (Some(length), _) => &text[begin + length..],
        (None, Some(tag)) => &text[tag..],
        // Too long to have been meant as one line or paragraph.
        (None, None) if is_too_long => text,
        (None, None) => "",
    }
}

/// How long the first paragraph is, if an empty line ends it.
fn paragraph_length(text: &str) -> Option<usize> {
    let mut at = 0;
    for (idx, line) in text.split_inclusive('\n').enumerate() {
        if idx > 0 && line.ends_with('\n') && line.trim_matches(is_space).is_empty() {
            return Some(at);
        }
        at += line.len();
    }
    None
}

/// One line of bounded length, without control characters; `None` where nothing is
/// left.
fn title_from(text: &str) -> Option<String> {
    let words: Vec<&str> = text
        .split(|c: char| is_space(c) || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let title: String = words.join(" ").chars().take(MAX_TITLE_CHARS).collect();
    let title = title.trim_end();
    (!title.is_empty()).then(|| title.to_owned())
}
