//! Which tokens are joined to which, and in what order.
//!
//! # Source
//! `llm_tokenizer_bpe` in `llama-vocab.cpp` of the llama.cpp project, and `Word::merge_all`
//! of the `tokenizers` crate: the merge of the lowest rank first, the leftmost of equals.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::TokenizerError;
use super::index::{Crowded, Slots, hash_pair};

/// Two tokens and what becomes of them.
struct Merge {
    left: u32,
    right: u32,
    whole: u32,
}

/// Merges by their two tokens.
pub(super) struct Merges {
    /// By rank.
    merges: Vec<Merge>,
    by_pair: Slots,
}

impl Merges {
    /// Room for `n_merges`.
    pub(super) fn new(n_merges: usize) -> Self {
        Self {
            merges: Vec::with_capacity(n_merges),
            by_pair: Slots::new(n_merges),
        }
    }

    /// Adds the merge of the next rank. Where two tokens are merged twice, the later rank
    /// counts, as it does for the `tokenizers` crate.
    ///
    /// # Errors
    /// Too many pairs have the same hash.
    pub(super) fn push(&mut self, left: u32, right: u32, whole: u32) -> Result<(), TokenizerError> {
        let rank = self.merges.len() as u32;
        let merges = &self.merges;
        self.by_pair
            .put_last(hash_pair(left, right), rank, |other| {
                let other = &merges[other as usize];
                (other.left, other.right) == (left, right)
            })
            .map_err(|Crowded| TokenizerError::Colliding { what: "merges" })?;
        self.merges.push(Merge { left, right, whole });
        Ok(())
    }

    #[inline]
    fn rank(&self, left: u32, right: u32) -> Option<u32> {
        self.by_pair.get(hash_pair(left, right), |rank| {
            let merge = &self.merges[rank as usize];
            (merge.left, merge.right) == (left, right)
        })
    }
}

/// A token in a word. One that was joined to its left neighbour is [`Symbol::NONE`].
#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    prev: usize,
    /// The word's length where this is the last.
    next: usize,
}

impl Symbol {
    /// No token: vocabularies are shorter.
    const NONE: u32 = u32::MAX;
}

/// A word while it is merged; its memory serves the next one.
#[derive(Default)]
pub(super) struct Word {
    symbols: Vec<Symbol>,
    /// Merges that may be possible: rank and left symbol.
    queue: BinaryHeap<Reverse<(u32, usize)>>,
}

impl Word {
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
    }

    pub(super) fn push(&mut self, id: u32) {
        let at = self.symbols.len();
        self.symbols.push(Symbol {
            id,
            prev: at.wrapping_sub(1),
            next: at + 1,
        });
    }

    /// Joins neighbours until no merge applies.
    pub(super) fn merge(&mut self, merges: &Merges) {
        self.queue.clear();
        for left in 1..self.symbols.len() {
            self.queue_merge(merges, left - 1);
        }
        while let Some(Reverse((rank, left))) = self.queue.pop() {
            let merge = &merges.merges[rank as usize];
            let Symbol { id, next, .. } = self.symbols[left];
            // One of the two has been joined to something else since, unless both are
            // what they were.
            let is_there = id == merge.left
                && (self.symbols.get(next)).is_some_and(|right| right.id == merge.right);
            if !is_there {
                continue;
            }
            let after = self.symbols[next].next;
            self.symbols[next].id = Symbol::NONE;
            self.symbols[left].id = merge.whole;
            self.symbols[left].next = after;
            if let Some(after) = self.symbols.get_mut(after) {
                after.prev = left;
            }
            let before = self.symbols[left].prev;
            if before < left {
                self.queue_merge(merges, before);
            }
            self.queue_merge(merges, left);
        }
    }

    /// Queues the merge of a symbol and the next one, if there is any.
    fn queue_merge(&mut self, merges: &Merges, left: usize) {
        let Symbol { id, next, .. } = self.symbols[left];
        if let Some(right) = self.symbols.get(next)
            && let Some(rank) = merges.rank(id, right.id)
        {
            self.queue.push(Reverse((rank, left)));
        }
    }

    /// The tokens that are left, in order.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        let ids = self.symbols.iter().map(|symbol| symbol.id);
        ids.filter(|&id| id != Symbol::NONE)
    }
}
