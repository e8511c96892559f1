//! Ids back into text, piece by piece.

use super::Tokenizer;

/// Turns ids into text as they come and holds back a character that is not yet
/// complete: a token may end in the middle of one.
#[derive(Debug, Clone, Default)]
pub struct TextDecoder {
    /// The beginning of a character: at most three bytes.
    pending: Vec<u8>,
}

impl TextDecoder {
    /// A decoder at the beginning of a text.
    pub fn new() -> Self {
        Self::default()
    }

    /// The text that `id` completes; bytes that can't become UTF-8 are shown as U+FFFD.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        self.push_bytes(tokenizer.token_bytes(id))
    }

    /// What is held back at the end of the text.
    pub fn finish(&mut self) -> String {
        let pending = std::mem::take(&mut self.pending);
        String::from_utf8_lossy(&pending).into_owned()
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut complete = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            complete += chunk.valid().len();
            let invalid = chunk.invalid();
            let is_last = complete + invalid.len() == self.pending.len();
            if is_last && is_incomplete(invalid) {
                break;
            }
            if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
            complete += invalid.len();
        }
        self.pending.drain(..complete);
        text
    }
}

/// Whether `bytes`, which are no UTF-8, may become it when more follow.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::Pcg32;

    fn decode(pieces: &[&[u8]]) -> Vec<String> {
        let mut decoder = TextDecoder::new();
        let mut texts: Vec<_> = pieces.iter().map(|p| decoder.push_bytes(p)).collect();
        texts.push(decoder.finish());
        texts
    }

    #[test]
    fn holds_a_character_back_until_it_is_whole() {
        assert_eq!(
            decode(&[b"a\xF0\x9F", b"\xA6", b"\x99b"]),
            ["a", "", "🦙b", ""]
        );
    }

    #[test]
    fn shows_broken_bytes_without_waiting_for_more() {
        assert_eq!(
            decode(&[b"\xFF", b"a\x80b"]),
            ["\u{FFFD}", "a\u{FFFD}b", ""]
        );
        assert_eq!(decode(&[b"\xE2\x82", b"x"]), ["", "\u{FFFD}x", ""]);
    }

    #[test]
    fn says_at_the_end_what_never_became_whole() {
        assert_eq!(decode(&[b"ok\xE2\x82"]), ["ok", "\u{FFFD}"]);
    }

    /// Whatever the bytes and however they come: the text is the one that all of them
    /// have together, so no character was ever shown in halves.
    #[test]
    fn any_bytes_in_any_pieces_give_the_text_of_the_whole() {
        let mut rng = Pcg32::new(9);
        let mut below = |n: usize| rng.next_u32() as usize % n;
        let whole = "aß…€🦙\u{10FFFF}\u{800}".as_bytes();
        for _ in 0..3000 {
            let mut bytes = Vec::new();
            for _ in 0..below(12) {
                match below(3) {
                    // Of a character only a part, or a part of two.
                    0 => {
                        let start = below(whole.len());
                        let end = start + below(whole.len() - start + 1);
                        bytes.extend_from_slice(&whole[start..end]);
                    }
                    1 => bytes.extend_from_slice("é🦙".as_bytes()),
                    _ => bytes.push(below(256) as u8),
                }
            }
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(below(rest.len().min(5)) + 1);
                pieces.push(piece);
                rest = after;
            }
            let texts = decode(&pieces);
            let expected = String::from_utf8_lossy(&bytes);
            assert_eq!(texts.concat(), expected, "{pieces:x?}");
            let held_bytes = texts.last().unwrap().chars().count();
            assert!(held_bytes <= 3, "{held_bytes} characters were held back");
        }
    }

    #[test]
    fn cut_anywhere_the_text_is_the_same() {
        let text = "naïve 🦙 नमस्ते \u{10FFFF}";
        for cut in 0..=text.len() {
            let (head, tail) = text.as_bytes().split_at(cut);
            assert_eq!(decode(&[head, tail]).concat(), text);
        }
    }
}
