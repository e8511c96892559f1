//! Finds tokens that are matched as they stand in the text, before it is encoded.

use std::collections::HashMap;
use std::ops::Range;

use super::vocab::{TokenKind, Vocab};

/// A piece of text between special tokens, or one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fragment<'t> {
    Text(&'t str),
    Token(u32),
}

/// Longer ones are not looked for: the longest in use have some tens of bytes, and at
/// each byte of a text each length may have to be tried.
const MAX_SPECIAL_BYTES: usize = 256;

/// A set of texts; at each place the longest one wins.
pub(super) struct Matcher {
    ids: HashMap<Box<str>, u32>,
    /// For each first byte the lengths that occur, longest first.
    lengths: Vec<Vec<usize>>,
    /// Tokens that take the white space before them along. Sorted.
    strips_left: Vec<u32>,
    /// Tokens that take the white space after them along. Sorted.
    strips_right: Vec<u32>,
}

/// What C calls a space, as far as Unicode goes with it.
const WHITE_SPACE: [char; 6] = [' ', '\t', '\n', '\x0B', '\x0C', '\r'];

impl Matcher {
    /// The tokens of `vocab` whose kind satisfies `wanted`.
    pub(super) fn new(vocab: &Vocab, wanted: impl Fn(TokenKind) -> bool) -> Self {
        let mut ids = HashMap::new();
        let mut lengths = vec![Vec::new(); 256];
        for (id, text, kind) in vocab.iter() {
            if !wanted(kind) || text.len() > MAX_SPECIAL_BYTES {
                continue;
            }
            // What is no UTF-8 cannot stand in a text; the empty text stands everywhere.
            let Some((text, &first)) = std::str::from_utf8(text).ok().zip(text.first()) else {
                continue;
            };
            ids.entry(text.into()).or_insert(id);
            lengths[usize::from(first)].push(text.len());
        }
        for lengths in &mut lengths {
            lengths.sort_unstable_by(|a, b| b.cmp(a));
            lengths.dedup();
        }
        Self {
            ids,
            lengths,
            strips_left: vocab.strips_left.clone(),
            strips_right: vocab.strips_right.clone(),
        }
    }

    /// Cuts `text` at the special tokens it contains, those that `is_meant` says are
    /// meant where they are.
    pub(super) fn split<'t>(
        &self,
        text: &'t str,
        is_meant: impl Fn(u32, Range<usize>) -> bool,
    ) -> Vec<Fragment<'t>> {
        let mut fragments = Vec::new();
        let mut plain_start = 0;
        let mut at = 0;
        while at < text.len() {
            let Some((id, n_bytes)) = self.match_at(text, at, &is_meant) else {
                at += 1;
                continue;
            };
            let mut plain = &text[plain_start..at];
            if self.strips_left.binary_search(&id).is_ok() {
                plain = plain.trim_end_matches(WHITE_SPACE);
            }
            if !plain.is_empty() {
                fragments.push(Fragment::Text(plain));
            }
            fragments.push(Fragment::Token(id));
            at += n_bytes;
            if self.strips_right.binary_search(&id).is_ok() {
                at = text.len() - text[at..].trim_start_matches(WHITE_SPACE).len();
            }
            plain_start = at;
        }
        if plain_start < text.len() {
            fragments.push(Fragment::Text(&text[plain_start..]));
        }
        fragments
    }

    /// Every place in `text` where one of the `wanted` tokens is spelled; places that
    /// overlap are one.
    pub(super) fn places(&self, text: &str, wanted: impl Fn(u32) -> bool) -> Vec<Range<usize>> {
        let mut places: Vec<Range<usize>> = Vec::new();
        for at in 0..text.len() {
            // The longest that begins here covers the others.
            let Some((_, n_bytes)) = self.match_at(text, at, &|id, _| wanted(id)) else {
                continue;
            };
            match places.last_mut() {
                Some(last) if at < last.end => last.end = last.end.max(at + n_bytes),
                _ => places.push(at..at + n_bytes),
            }
        }
        places
    }

    fn match_at(
        &self,
        text: &str,
        at: usize,
        is_meant: &impl Fn(u32, Range<usize>) -> bool,
    ) -> Option<(u32, usize)> {
        let lengths = &self.lengths[usize::from(text.as_bytes()[at])];
        lengths.iter().find_map(|&n_bytes| {
            let place = at..at.checked_add(n_bytes)?;
            // `get` also refuses to begin or end inside a character.
            let id = *self.ids.get(text.get(place.clone())?)?;
            is_meant(id, place).then_some((id, n_bytes))
        })
    }
}
