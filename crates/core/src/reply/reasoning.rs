//! Keeps `<think>` blocks apart from the rest of a reply while both stream in.
//!
//! Blocks may be nested: the outermost closing tag ends them. Where one opening
//! tag too many stands (reasoning likes to mention the tag), that closing tag never
//! comes, and the text behind the last one is the reply: it is held back until a
//! closing tag, the end, or [`MAX_HELD_BYTES`] says which of both it is.
//!
//! A block that is never closed is reasoning. Only if it holds a closing tag with
//! blanks in it, the reply may well be behind that one: then the block is shown, at
//! the end and as it stands.

use super::scan::{Event, Scanner, Tags, is_space};
use super::trim::Trimmed;

/// How much text behind an inner closing tag is held back: more than this is the
/// reply. And how long a block may be that is shown as it stands.
pub(super) const MAX_HELD_BYTES: usize = 64 * 1024;

#[derive(Debug, Clone, Copy)]
enum Think {
    Open,
    Close,
    /// A closing tag with blanks in it, which closes nothing.
    Misspelt,
}

/// The first that fits counts.
const TAGS: Tags<Think> = &[
    ("<think>", Think::Open),
    ("</think>", Think::Close),
    ("</~think~>", Think::Misspelt),
];

/// Splits text into what is shown and the reasoning.
#[derive(Debug, Clone)]
pub(super) struct Reasoning {
    scanner: Scanner<Think>,
    state: State,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// How many blocks are open around the position, those in `held` left out.
    depth: usize,
    /// The text behind an inner closing tag.
    held: Option<Held>,
    /// Whether white space is dropped, behind a block.
    skipping: bool,
    had_block: bool,
    /// The block as it was written, with its tags; `None` outside one and where it
    /// is too long to be kept.
    block: Option<String>,
    /// Whether the block holds a misspelt closing tag.
    is_misspelt: bool,
    reasoning: Trimmed,
}

#[derive(Debug, Clone, Default)]
struct Held {
    /// How the closing tag in front of it was written.
    closing_tag: String,
    text: String,
    /// Blocks that were opened in it and not closed.
    depth: usize,
}

/// Where the two kinds of text go.
pub(super) struct Sinks<'a> {
    pub(super) shown: &'a mut String,
    pub(super) reasoning: &'a mut String,
}

impl Reasoning {
    pub(super) fn new() -> Self {
        Self {
            scanner: Scanner::new(TAGS),
            state: State::default(),
        }
    }

    /// Begins as if a block had just been opened.
    pub(super) fn open(&mut self) {
        self.state.open("");
        self.state.block = None;
    }

    /// Whether there was a block, even an empty one.
    pub(super) fn had_block(&self) -> bool {
        self.state.had_block
    }

    pub(super) fn push(&mut self, text: &str, sinks: &mut Sinks<'_>) {
        let state = &mut self.state;
        self.scanner
            .push(text, &mut |event| state.take_in(event, sinks));
    }

    /// Ends the text. A block that was never closed is reasoning.
    pub(super) fn finish(&mut self, sinks: &mut Sinks<'_>) {
        let state = &mut self.state;
        self.scanner
            .finish(&mut |event| state.take_in(event, sinks));
        state.show_held(sinks);
        if let Some(block) = state.block.take().filter(|_| state.is_misspelt) {
            sinks.shown.push_str(&block);
        }
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        let held = self.state.held.as_ref().map_or(0, |held| held.text.len());
        let block = self.state.block.as_ref().map_or(0, String::len);
        held + block + self.scanner.held_bytes() + self.state.reasoning.held_bytes()
    }
}

impl State {
    fn take_in(&mut self, event: Event<'_, Think>, sinks: &mut Sinks<'_>) {
        self.keep_block(event);
        if self.held.is_some() {
            self.hold(event, sinks);
            return;
        }
        match event {
            Event::Tag(Think::Open, tag) if self.depth > 0 => {
                self.depth += 1;
                self.reasoning.push(tag, sinks.reasoning);
            }
            Event::Tag(Think::Close, tag) if self.depth > 1 => {
                self.depth -= 1;
                self.held = Some(Held {
                    closing_tag: tag.to_owned(),
                    ..Held::default()
                });
            }
            event => self.take_in_flat(event, sinks),
        }
    }

    /// Takes in an event by the rule that a block ends at the first closing tag.
    fn take_in_flat(&mut self, event: Event<'_, Think>, sinks: &mut Sinks<'_>) {
        match event {
            Event::Tag(Think::Open, tag) if self.depth == 0 => self.open(tag),
            Event::Tag(Think::Close, _) if self.depth > 0 => self.close(),
            Event::Text(text) | Event::Tag(_, text) if self.depth > 0 => {
                self.reasoning.push(text, sinks.reasoning);
            }
            Event::Text(text) | Event::Tag(_, text) => {
                let text = if self.skipping {
                    text.trim_start_matches(is_space)
                } else {
                    text
                };
                self.skipping &= text.is_empty();
                sinks.shown.push_str(text);
            }
        }
    }

    fn open(&mut self, tag: &str) {
        self.depth = 1;
        self.had_block = true;
        self.block = Some(tag.to_owned());
        self.is_misspelt = false;
        self.reasoning.begin_block();
    }

    fn close(&mut self) {
        self.depth = 0;
        self.skipping = true;
        self.block = None;
    }

    /// Adds to the block as it was written.
    fn keep_block(&mut self, event: Event<'_, Think>) {
        self.is_misspelt |= matches!(event, Event::Tag(Think::Misspelt, _));
        let (Event::Text(text) | Event::Tag(_, text)) = event;
        if let Some(block) = &mut self.block {
            block.push_str(text);
            if block.len() > MAX_HELD_BYTES {
                self.block = None;
            }
        }
    }

    fn hold(&mut self, event: Event<'_, Think>, sinks: &mut Sinks<'_>) {
        let Some(held) = &mut self.held else {
            return;
        };
        match event {
            Event::Tag(Think::Close, tag) if held.depth == 0 => {
                self.reasoning.push(&held.closing_tag, sinks.reasoning);
                self.reasoning.push(&held.text, sinks.reasoning);
                self.depth -= 1;
                if self.depth == 0 {
                    self.held = None;
                    self.close();
                } else {
                    held.text.clear();
                    tag.clone_into(&mut held.closing_tag);
                }
                return;
            }
            Event::Tag(Think::Close, _) => held.depth -= 1,
            Event::Tag(Think::Open, _) => held.depth += 1,
            Event::Tag(Think::Misspelt, _) | Event::Text(_) => {}
        }
        let (Event::Text(text) | Event::Tag(_, text)) = event;
        held.text.push_str(text);
        if held.text.len() > MAX_HELD_BYTES {
            self.show_held(sinks);
        }
    }

    /// What is held back is the reply.
    fn show_held(&mut self, sinks: &mut Sinks<'_>) {
        let Some(held) = self.held.take() else {
            return;
        };
        self.close();
        let mut scanner = Scanner::new(TAGS);
        let mut take_in = |event: Event<'_, Think>| {
            self.keep_block(event);
            self.take_in_flat(event, sinks);
        };
        scanner.push(&held.text, &mut take_in);
        scanner.finish(&mut take_in);
    }
}
