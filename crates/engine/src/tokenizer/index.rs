//! Finds the entries of an array by what stands in them, without a copy of any.
//!
//! A table holds numbers alone; what they stand for is compared where it lies. Files are
//! the work of strangers, who may choose entries that all want the same place: nothing is
//! looked for in more than [`MAX_PROBES`] places, and a file that needs more is refused.

use super::TokenizerError;
use super::vocab::Vocab;

/// How many places may be looked at. At most two thirds of a table are taken, so that with
/// honest entries it is two or three, and hardly ever two hundred among millions.
const MAX_PROBES: usize = 1024;

/// Odd, and without a pattern in their bits: digits of the square roots of 5 and 7.
const MIX: u64 = 0x3c6e_f372_fe94_f82b;
const SPREAD: u64 = 0xa54f_f53a_5f1d_36f1;

/// A hash table of numbers of entries, sized once.
pub(super) struct Slots {
    /// 0 where nothing is, else an entry's number plus one and, above it, bits of its hash.
    slots: Vec<u32>,
    /// The bits that the numbers take.
    number: u32,
    /// What leaves of a hash its first place.
    shift: u32,
}

/// An entry wants places that many others have taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crowded;

impl Slots {
    /// A table for so many entries.
    ///
    /// # Panics
    /// There are 2³¹ or more; arrays in files are far shorter.
    pub(super) fn new(n_entries: usize) -> Self {
        assert!(n_entries < 1 << 31, "{n_entries} entries");
        let n_slots = (n_entries + n_entries / 2 + 2).next_power_of_two();
        Self {
            slots: vec![0; n_slots],
            number: (n_entries as u32 + 1).next_power_of_two() - 1,
            shift: u64::BITS - n_slots.ilog2(),
        }
    }

    /// The entry with this hash that `is_meant`.
    #[inline]
    pub(super) fn get(&self, hash: u64, is_meant: impl Fn(u32) -> bool) -> Option<u32> {
        let at = self.place(hash, is_meant)?;
        (self.slots[at] & self.number).checked_sub(1)
    }

    /// Puts an entry in, unless one that `is_same` is there, and says whether it did.
    pub(super) fn put_first(
        &mut self,
        hash: u64,
        entry: u32,
        is_same: impl Fn(u32) -> bool,
    ) -> Result<bool, Crowded> {
        let at = self.place(hash, is_same).ok_or(Crowded)?;
        let is_free = self.slots[at] == 0;
        if is_free {
            self.slots[at] = self.slot(hash, entry);
        }
        Ok(is_free)
    }

    /// Puts an entry in, in the place of one that `is_same`.
    pub(super) fn put_last(
        &mut self,
        hash: u64,
        entry: u32,
        is_same: impl Fn(u32) -> bool,
    ) -> Result<(), Crowded> {
        let at = self.place(hash, is_same).ok_or(Crowded)?;
        self.slots[at] = self.slot(hash, entry);
        Ok(())
    }

    fn slot(&self, hash: u64, entry: u32) -> u32 {
        assert!(entry < self.number, "more entries than there is room for");
        (hash as u32 & !self.number) | (entry + 1)
    }

    /// Where the entry is, or else the free place where it would be.
    #[inline]
    fn place(&self, hash: u64, is_meant: impl Fn(u32) -> bool) -> Option<usize> {
        let first = (hash >> self.shift) as usize;
        let places = (first..first + MAX_PROBES).map(|at| at & (self.slots.len() - 1));
        let mut places = places.take(self.slots.len());
        places.find(|&at| match self.slots[at] {
            0 => true,
            slot => (slot ^ hash as u32) & !self.number == 0 && is_meant((slot & self.number) - 1),
        })
    }
}

/// Tokens by their texts.
pub(super) struct TextIndex {
    slots: Slots,
}

impl TextIndex {
    /// An index of nothing, with room for `n_tokens`.
    pub(super) fn new(n_tokens: usize) -> Self {
        Self {
            slots: Slots::new(n_tokens),
        }
    }

    /// Lets a token be found, and says whether it will be: of those with the same text the
    /// first one stays.
    ///
    /// # Errors
    /// Too many texts have the same hash.
    pub(super) fn add(&mut self, vocab: &Vocab, id: u32) -> Result<bool, TokenizerError> {
        let text = vocab.text(id);
        self.slots
            .put_first(hash_text(text), id, |other| vocab.text(other) == text)
            .map_err(|Crowded| TokenizerError::Colliding { what: "tokens" })
    }

    /// The token that is written so.
    #[inline]
    pub(super) fn find(&self, vocab: &Vocab, text: &[u8]) -> Option<u32> {
        self.slots.get(hash_text(text), |id| vocab.text(id) == text)
    }
}

/// A text's hash; the texts of a vocabulary are short.
#[inline]
fn hash_text(text: &[u8]) -> u64 {
    let mut hash = SPREAD ^ text.len() as u64;
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        hash = mix(hash ^ u64::from_le_bytes(*word));
    }
    let (halves, rest) = rest.as_chunks::<4>();
    let half = halves.first().map_or(0, |half| u32::from_le_bytes(*half));
    let rest = rest
        .iter()
        .fold(0, |word, &byte| word << 8 | u32::from(byte));
    finish(mix(hash ^ (u64::from(rest) << 32 | u64::from(half))))
}

/// The hash of two ids.
#[inline]
pub(super) fn hash_pair(left: u32, right: u32) -> u64 {
    finish(mix(u64::from(left) << 32 | u64::from(right)))
}

/// Carries low bits up, and high ones down.
#[inline]
fn mix(word: u64) -> u64 {
    let word = word.wrapping_mul(MIX);
    word ^ word >> 32
}

#[inline]
fn finish(word: u64) -> u64 {
    let word = word.wrapping_mul(SPREAD);
    word ^ word >> 29
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::Pcg32;

    #[test]
    fn entries_are_found_again_and_others_are_not() {
        for n in [0, 1, 2, 3, 7, 1000, 100_000u32] {
            let mut slots = Slots::new(n as usize);
            let pair = |i: u32| (i / 300, i % 300);
            for i in 0..n {
                let (left, right) = pair(i);
                slots
                    .put_first(hash_pair(left, right), i, |_| false)
                    .unwrap();
            }
            let find = |left: u32, right: u32| {
                slots.get(hash_pair(left, right), |i| pair(i) == (left, right))
            };
            for i in 0..n {
                assert_eq!(find(pair(i).0, pair(i).1), Some(i));
                assert_eq!(find(pair(i).0, 300 + i), None);
            }
        }
    }

    #[test]
    fn the_first_or_the_last_of_equals_stays() {
        let mut slots = Slots::new(4);
        let (hash, other) = (hash_pair(1, 2), hash_pair(3, 4));
        slots.put_last(hash, 0, |_| true).unwrap();
        slots.put_last(other, 1, |_| true).unwrap();
        slots.put_last(hash, 2, |i| i == 0).unwrap();
        slots.put_first(other, 3, |i| i == 1).unwrap();
        assert_eq!(slots.get(hash, |_| true), Some(2));
        assert_eq!(slots.get(other, |_| true), Some(1));
        assert_eq!(slots.get(hash, |i| i == 0), None);
    }

    /// With a bound the time is short; without one, this is quadratic.
    #[test]
    fn entries_that_all_want_one_place_are_refused() {
        let n = 1 << 20;
        let mut slots = Slots::new(n);
        let results = (0..n as u32).map(|i| slots.put_first(u64::MAX, i, |_| false));
        let n_taken = results.take_while(Result::is_ok).count();
        assert_eq!(n_taken, MAX_PROBES);
        assert_eq!(slots.put_last(u64::MAX, 0, |_| false), Err(Crowded));
        assert_eq!(slots.get(u64::MAX, |_| false), None);
        assert_eq!(slots.get(u64::MAX, |i| i == 1000), Some(1000));
    }

    /// Texts that differ in one bit or in zeros at the end, pairs of neighbours: no two
    /// have a hash in common, nor do they crowd.
    #[test]
    fn like_keys_have_unlike_hashes() {
        let mut hashes = Vec::new();
        let mut rng = Pcg32::new(9);
        for n_bytes in 0..40 {
            let mut text: Vec<u8> = (0..n_bytes).map(|_| rng.next_u32() as u8).collect();
            hashes.push(hash_text(&text));
            for bit in 0..n_bytes * 8 {
                text[bit / 8] ^= 1 << (bit % 8);
                hashes.push(hash_text(&text));
                text[bit / 8] ^= 1 << (bit % 8);
            }
        }
        hashes.extend((1..100).map(|n_zeros| hash_text(&vec![0; n_zeros])));
        let pairs = (0..300).flat_map(|left| (0..300).map(move |right| hash_pair(left, right)));
        hashes.extend(pairs);
        // In one place of a table and with the same bits beside the number, as few as
        // chance would have it.
        let mut places: Vec<u64> = hashes.iter().map(|hash| hash >> 47).collect();
        places.sort_unstable();
        let most = places.chunk_by(|a, b| a == b).map(<[u64]>::len).max();
        assert!(most < Some(12), "{most:?} in one place");
        hashes.sort_unstable();
        assert!(hashes.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
