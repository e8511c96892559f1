//! Cleans a model's reply while it streams in.
//!
//! A reply passes through one stage after the other. Line ends become line feeds;
//! tokens of chat templates go; reasoning is kept apart; control blocks go and are
//! remembered; labels and hardware lines in front go; white space at both ends goes.
//! Each stage gives out only what is final, and none depends on how its input was
//! cut. What a stage holds back is bounded by a named cap, and every character is
//! looked at a bounded number of times.
//!
//! It knows nothing of what a title or a query is good for: see [`ReplyEffects`].

mod blocks;
mod head;
mod reasoning;
mod scan;
#[cfg(test)]
mod tests;
mod trim;

use blocks::Blocks;
use head::Head;
use reasoning::{Reasoning, Sinks};
use scan::{Scanner, Tags};
use trim::Trimmed;

pub(crate) use blocks::{Kind as BlockKind, TAGS as BLOCK_TAGS, Tag as BlockTag};
pub(crate) use scan::{Event, Scanner as TagScanner, is_space};

/// Tokens of chat templates that a model may write out, and closing tags of roles.
const TEMPLATE_TOKENS: Tags<()> = &[
    ("<|assistant|>", ()),
    ("<|/assistant|>", ()),
    ("<|user|>", ()),
    ("<|/user|>", ()),
    ("[/~assistant~]", ()),
    ("[/~user~]", ()),
    ("[/~dev~]", ()),
    ("</~assistant~>", ()),
    ("</~user~>", ()),
    ("</~dev~>", ()),
];

/// Text that is now certain. Either half may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplyPiece {
    /// More of the reply.
    pub text: String,
    /// More of the reasoning.
    pub reasoning: String,
}

impl ReplyPiece {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.reasoning.is_empty()
    }

    fn append(&mut self, piece: &Self) {
        self.text.push_str(&piece.text);
        self.reasoning.push_str(&piece.reasoning);
    }
}

/// What a reply asks for beside what it says. Only closed blocks count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplyEffects {
    /// What the last `[SET TITLE]` holds: one line of at most 80 characters.
    pub title: Option<String>,
    /// What the first `[INSTRUMENT QUERY]` holds; at most 32 KiB.
    pub instrument_query: Option<String>,
    /// Whether reasoning was kept apart, were it empty.
    pub had_reasoning: bool,
}

/// Splits a stream of text into the cleaned reply and the reasoning.
///
/// The pieces of [`push`](Self::push) and [`finish`](Self::finish), joined, do not
/// depend on how the input was cut, and a piece is never taken back.
#[derive(Debug, Clone)]
pub struct ReplyFilter {
    /// Nothing is cleaned.
    is_verbatim: bool,
    /// The last character was a carriage return.
    after_return: bool,
    tokens: Scanner<()>,
    /// `None` where reasoning is text like any other.
    reasoning: Option<Reasoning>,
    blocks: Blocks,
    head: Head,
    reply: Trimmed,
}

impl ReplyFilter {
    /// A filter for one reply. Without `strip_reasoning` the tags of reasoning are
    /// text like any other.
    pub fn new(strip_reasoning: bool) -> Self {
        Self {
            is_verbatim: false,
            after_return: false,
            tokens: Scanner::for_deletion(TEMPLATE_TOKENS),
            reasoning: strip_reasoning.then(Reasoning::new),
            blocks: Blocks::new(),
            head: Head::new(),
            reply: Trimmed::default(),
        }
    }

    /// A filter that lets everything through: for replies that a program reads.
    pub fn verbatim() -> Self {
        Self {
            is_verbatim: true,
            ..Self::new(false)
        }
    }

    /// For a model whose prompt has already opened a block of reasoning: only then is
    /// a closing tag known to belong to text that came before it.
    #[must_use]
    pub fn starting_in_reasoning(mut self) -> Self {
        if let Some(reasoning) = &mut self.reasoning {
            reasoning.open();
        }
        self
    }

    /// Takes in more text and gives out what has become certain.
    pub fn push(&mut self, text: &str) -> ReplyPiece {
        if self.is_verbatim {
            return ReplyPiece {
                text: text.to_owned(),
                reasoning: String::new(),
            };
        }
        let unified = self.unify_line_ends(text);
        let mut plain = String::new();
        self.tokens
            .push(&unified, &mut |event| push_text(&event, &mut plain));
        let mut piece = ReplyPiece::default();
        self.split(&plain, &mut piece);
        piece
    }

    /// Ends the reply and gives out what was held back.
    pub fn finish(&mut self) -> ReplyPiece {
        let mut plain = String::new();
        self.tokens
            .finish(&mut |event| push_text(&event, &mut plain));
        let mut piece = ReplyPiece::default();
        self.split(&plain, &mut piece);
        let mut shown = String::new();
        if let Some(reasoning) = &mut self.reasoning {
            reasoning.finish(&mut Sinks {
                shown: &mut shown,
                reasoning: &mut piece.reasoning,
            });
        }
        self.clean(&shown, &mut piece);
        let mut public = String::new();
        self.blocks.finish(&mut public);
        self.show(&public, &mut piece);
        self.end_head(&mut piece);
        if !self.reply.has_started() {
            self.unwrap_results(&mut piece);
        }
        piece
    }

    /// What the reply asks for; whole after [`finish`](Self::finish).
    pub fn effects(&self) -> ReplyEffects {
        ReplyEffects {
            title: self.blocks.title().map(str::to_owned),
            instrument_query: self.blocks.query().map(str::to_owned),
            had_reasoning: self.reasoning.as_ref().is_some_and(Reasoning::had_block),
        }
    }

    /// A line feed for each line end, were it written as a carriage return or both.
    fn unify_line_ends(&mut self, text: &str) -> String {
        let mut unified = String::with_capacity(text.len());
        for c in text.chars() {
            let follows_return = std::mem::replace(&mut self.after_return, c == '\r');
            match c {
                '\r' => unified.push('\n'),
                '\n' if follows_return => {}
                c => unified.push(c),
            }
        }
        unified
    }

    /// Keeps reasoning apart.
    fn split(&mut self, text: &str, piece: &mut ReplyPiece) {
        let Some(reasoning) = &mut self.reasoning else {
            self.clean(text, piece);
            return;
        };
        let mut shown = String::new();
        let mut sinks = Sinks {
            shown: &mut shown,
            reasoning: &mut piece.reasoning,
        };
        reasoning.push(text, &mut sinks);
        self.clean(&shown, piece);
    }

    /// Takes control blocks out.
    fn clean(&mut self, text: &str, piece: &mut ReplyPiece) {
        let mut public = String::new();
        self.blocks.push(text, &mut public);
        self.show(&public, piece);
        if self.reply.has_started() {
            self.blocks.drop_results();
        }
    }

    /// Takes off what stands in front, and white space.
    fn show(&mut self, text: &str, piece: &mut ReplyPiece) {
        let mut body = String::new();
        self.head.push(text, &mut body);
        self.reply.push(&body, &mut piece.text);
    }

    fn end_head(&mut self, piece: &mut ReplyPiece) {
        let mut body = String::new();
        self.head.finish(&mut body);
        self.reply.push(&body, &mut piece.text);
    }

    /// A reply that holds nothing but an instrument's results is what they hold.
    fn unwrap_results(&mut self, piece: &mut ReplyPiece) {
        let mut public = String::new();
        if self.blocks.unwrap_results(&mut public) {
            self.head = Head::without_labels();
            self.show(&public, piece);
            self.end_head(piece);
        }
    }
}

/// A whole reply, cleaned, and what it asks for.
pub fn clean_reply(text: &str, strip_reasoning: bool) -> (ReplyPiece, ReplyEffects) {
    let mut filter = ReplyFilter::new(strip_reasoning);
    let mut piece = filter.push(text);
    piece.append(&filter.finish());
    (piece, filter.effects())
}

fn push_text(event: &Event<'_, ()>, out: &mut String) {
    if let Event::Text(text) = event {
        out.push_str(text);
    }
}

/// Counts steps in tests, so that they can tell linear work from quadratic.
mod work {
    #[cfg(test)]
    thread_local! {
        static N_STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    #[cfg(test)]
    pub(super) fn count(n: u64) {
        N_STEPS.set(N_STEPS.get() + n);
    }

    #[cfg(not(test))]
    pub(super) fn count(_: u64) {}

    /// The steps since the last call.
    #[cfg(test)]
    pub(super) fn take() -> u64 {
        N_STEPS.take()
    }
}
