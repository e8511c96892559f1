//! Keeps a model's reasoning apart from its reply while both stream in.
//!
//! The filter sees text in pieces of any size and gives out text that is final:
//! what it gave out is never taken back. It trims white space at both ends of the
//! reply, and behind a reasoning block.

/// Opens a block of reasoning; in any case.
const OPEN_TAG: &str = "<think>";
/// Closes it.
const CLOSE_TAG: &str = "</think>";

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
}

/// Splits a stream of text into reply and reasoning.
///
/// The pieces of [`push`](Self::push) and [`finish`](Self::finish), joined, do not
/// depend on how the input was cut. A block that is never closed is reasoning; a
/// closing tag without an opening one is text.
#[derive(Debug, Clone)]
pub struct ReplyFilter {
    strip_reasoning: bool,
    in_reasoning: bool,
    /// Input that may be the beginning of a tag.
    undecided: String,
    reply: Trimmed,
    reasoning: Trimmed,
}

impl ReplyFilter {
    /// A filter for one reply. Without `strip_reasoning` tags are text like any other.
    pub fn new(strip_reasoning: bool) -> Self {
        Self {
            strip_reasoning,
            in_reasoning: false,
            undecided: String::new(),
            reply: Trimmed::default(),
            reasoning: Trimmed::default(),
        }
    }

    /// Takes in more text and gives out what has become certain.
    pub fn push(&mut self, text: &str) -> ReplyPiece {
        let mut piece = ReplyPiece::default();
        if !self.strip_reasoning {
            self.reply.push(text, &mut piece.text);
            return piece;
        }
        let mut input = std::mem::take(&mut self.undecided);
        input.push_str(text);
        let mut rest = input.as_str();
        loop {
            let tag = if self.in_reasoning {
                CLOSE_TAG
            } else {
                OPEN_TAG
            };
            let Some((before, at_tag)) = split_at_tag(rest, tag) else {
                break;
            };
            self.emit(before, &mut piece);
            let Some(after) = at_tag.get(tag.len()..) else {
                rest = at_tag;
                self.undecided = rest.to_owned();
                return piece;
            };
            self.switch();
            rest = after;
        }
        self.emit(rest, &mut piece);
        piece
    }

    /// Ends the reply and gives out what was held back.
    pub fn finish(&mut self) -> ReplyPiece {
        let mut piece = ReplyPiece::default();
        let rest = std::mem::take(&mut self.undecided);
        self.emit(&rest, &mut piece);
        piece
    }

    fn emit(&mut self, text: &str, piece: &mut ReplyPiece) {
        if self.in_reasoning {
            self.reasoning.push(text, &mut piece.reasoning);
        } else {
            self.reply.push(text, &mut piece.text);
        }
    }

    /// Passes a tag. White space in front of a block is kept if text follows it;
    /// that behind the block is dropped.
    fn switch(&mut self) {
        self.in_reasoning = !self.in_reasoning;
        if self.in_reasoning {
            self.reasoning.begin_block();
        } else {
            self.reply.skip_white_space();
        }
    }
}

/// Cuts `text` where `tag` stands, or where it may begin at the very end. The
/// second half then holds the whole tag and more, or less than the tag.
fn split_at_tag<'a>(text: &'a str, tag: &str) -> Option<(&'a str, &'a str)> {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().find_map(|(at, &byte)| {
        if byte != b'<' {
            return None;
        }
        let n = tag.len().min(bytes.len() - at);
        let candidate = &bytes[at..at + n];
        candidate
            .eq_ignore_ascii_case(&tag.as_bytes()[..n])
            .then(|| text.split_at(at))
    })
}

/// Gives text on without the white space at its ends: white space is held back
/// until something else follows.
#[derive(Debug, Clone)]
struct Trimmed {
    /// White space that was held back.
    held: String,
    /// Whether white space is dropped until text comes.
    skipping: bool,
    started: bool,
}

impl Default for Trimmed {
    fn default() -> Self {
        Self {
            held: String::new(),
            skipping: true,
            started: false,
        }
    }
}

impl Trimmed {
    fn push(&mut self, text: &str, out: &mut String) {
        let body = if self.skipping {
            text.trim_start()
        } else {
            text
        };
        let kept = body.trim_end();
        if !kept.is_empty() {
            out.push_str(&self.held);
            self.held.clear();
            out.push_str(kept);
            self.skipping = false;
            self.started = true;
        }
        if !self.skipping {
            self.held.push_str(&body[kept.len()..]);
        }
    }

    /// Drops white space until the next text; what was held back before stays.
    fn skip_white_space(&mut self) {
        self.skipping = true;
    }

    /// Sets a later block off from an earlier one by a line break.
    fn begin_block(&mut self) {
        self.held.clear();
        if self.started {
            self.held.push('\n');
        }
        self.skipping = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(strip_reasoning: bool, pieces: &[&str]) -> (String, String) {
        let mut filter = ReplyFilter::new(strip_reasoning);
        let mut whole = ReplyPiece::default();
        let last = pieces.iter().map(|piece| filter.push(piece));
        for piece in last.collect::<Vec<_>>() {
            whole.text.push_str(&piece.text);
            whole.reasoning.push_str(&piece.reasoning);
        }
        let end = filter.finish();
        (whole.text + &end.text, whole.reasoning + &end.reasoning)
    }

    #[test]
    fn reasoning_is_kept_apart() {
        for (input, text, reasoning) in [
            ("x", "x", ""),
            ("<think>a</think>b", "b", "a"),
            ("<THINK>a</tHink>b", "b", "a"),
            ("a <think>b</think> c", "a c", "b"),
            ("  <think> a </think>\n\nb \n", "b", "a"),
            ("<think>a</think>x<think>b</think>y", "xy", "a\nb"),
            ("x<think>open", "x", "open"),
            ("x<think>", "x", ""),
            ("x <thi", "x <thi", ""),
            ("<think>a</thin", "", "a</thin"),
            ("a</think>b", "a</think>b", ""),
            ("<think >a</think>b", "<think >a</think>b", ""),
            ("1 < 2 <<think>é</think>😀", "1 < 2 <😀", "é"),
            ("<think></think>", "", ""),
        ] {
            assert_eq!(
                run(true, &[input]),
                (text.to_owned(), reasoning.to_owned()),
                "{input}"
            );
        }
    }

    #[test]
    fn tags_are_text_when_reasoning_is_not_stripped() {
        assert_eq!(
            run(false, &[" <think>a</think>", " b "]),
            ("<think>a</think> b".to_owned(), String::new())
        );
    }

    #[test]
    fn the_result_does_not_depend_on_the_cuts() {
        let parts = [
            "<think>", "</think>", "<", "</", "think", ">", " ", "\n", "a", "é", "😀", "<THI",
            "NK>",
        ];
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = |n: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % n as u64).expect("small")
        };
        for _ in 0..3000 {
            let input: String = (0..draw(14)).map(|_| parts[draw(parts.len())]).collect();
            let whole = run(true, &[&input]);
            let mut pieces = Vec::new();
            let mut rest = input.as_str();
            while let Some(last) = rest.chars().count().checked_sub(1) {
                let n_chars = 1 + draw(last + 1);
                let cut = rest
                    .char_indices()
                    .nth(n_chars)
                    .map_or(rest.len(), |(at, _)| at);
                pieces.push(&rest[..cut]);
                rest = &rest[cut..];
                if rest.is_empty() {
                    break;
                }
            }
            assert_eq!(run(true, &pieces), whole, "{input:?} as {pieces:?}");
        }
    }
}
