//! A fast 64-bit checksum over bytes that come in pieces.
//!
//! It sees damage and tells files apart; it is no defence against someone who makes
//! two inputs with the same sum on purpose. Four lanes of multiply and rotate keep
//! up with storage on every build, where a cryptographic hash would take longer than
//! the reading itself.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;

use crate::source::ModelSource;

const LANES: usize = 4;
const STRIPE_BYTES: usize = LANES * 8;

/// Odd, and without a pattern in their bits: digits of the square roots of 2 and 3.
const MIX: u64 = 0x6a09_e667_f3bc_c909;
const SPREAD: u64 = 0xbb67_ae85_84ca_a73b;

/// The state of a sum.
#[derive(Debug, Clone)]
pub(crate) struct Checksum {
    lanes: [u64; LANES],
    /// Bytes that do not fill a stripe yet.
    rest: [u8; STRIPE_BYTES],
    n_rest: usize,
    n_bytes: u64,
}

impl Checksum {
    pub(crate) fn new() -> Self {
        Self {
            lanes: [SPREAD, MIX, !SPREAD, !MIX],
            rest: [0; STRIPE_BYTES],
            n_rest: 0,
            n_bytes: 0,
        }
    }

    /// The sum of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> u64 {
        let mut sum = Self::new();
        sum.update(bytes);
        sum.finish()
    }

    /// Takes in more; where a text is cut into pieces does not matter.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        self.n_bytes = self.n_bytes.wrapping_add(bytes.len() as u64);
        if self.n_rest > 0 {
            let n_taken = bytes.len().min(STRIPE_BYTES - self.n_rest);
            self.rest[self.n_rest..self.n_rest + n_taken].copy_from_slice(&bytes[..n_taken]);
            self.n_rest += n_taken;
            bytes = &bytes[n_taken..];
            if self.n_rest < STRIPE_BYTES {
                return;
            }
            let stripe = self.rest;
            self.mix(&stripe);
        }
        let (stripes, rest) = bytes.as_chunks::<STRIPE_BYTES>();
        for stripe in stripes {
            self.mix(stripe);
        }
        self.rest[..rest.len()].copy_from_slice(rest);
        self.n_rest = rest.len();
    }

    /// The sum of everything so far.
    pub(crate) fn finish(mut self) -> u64 {
        let mut last = [0; STRIPE_BYTES];
        last[..self.n_rest].copy_from_slice(&self.rest[..self.n_rest]);
        self.mix(&last);
        let mut sum = self.n_bytes;
        for lane in self.lanes {
            sum = (sum ^ lane).wrapping_mul(MIX);
            sum ^= sum >> 32;
        }
        sum
    }

    #[inline(always)]
    fn mix(&mut self, stripe: &[u8; STRIPE_BYTES]) {
        let (words, _) = stripe.as_chunks::<8>();
        for (lane, word) in self.lanes.iter_mut().zip(words) {
            // Each step can be undone, so no two words lead to the same lane.
            let word = u64::from_le_bytes(*word).wrapping_mul(SPREAD);
            *lane = (*lane ^ word).rotate_left(29).wrapping_mul(MIX);
        }
    }
}

/// A source that sums up what is read from it, in the order in which it is read.
pub(crate) struct Summed<'a> {
    source: &'a dyn ModelSource,
    sum: &'a RefCell<Checksum>,
}

impl<'a> Summed<'a> {
    pub(crate) fn new(source: &'a dyn ModelSource, sum: &'a RefCell<Checksum>) -> Self {
        Self { source, sum }
    }
}

impl ModelSource for Summed<'_> {
    fn size_bytes(&self) -> u64 {
        self.source.size_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.source.read_at(offset, buf)?;
        self.sum.borrow_mut().update(buf);
        Ok(())
    }

    fn part_ends(&self) -> Cow<'_, [u64]> {
        self.source.part_ends()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::Pcg32;

    fn bytes(n: usize) -> Vec<u8> {
        let mut rng = Pcg32::new(5);
        (0..n).map(|_| rng.next_u32() as u8).collect()
    }

    #[test]
    fn the_sum_does_not_depend_on_the_cuts() {
        let bytes = bytes(1000);
        let mut rng = Pcg32::new(6);
        for n_bytes in [0, 1, 31, 32, 33, 64, 1000] {
            for _ in 0..20 {
                let mut sum = Checksum::new();
                let mut left = &bytes[..n_bytes];
                while !left.is_empty() {
                    let (piece, rest) =
                        left.split_at((rng.next_u32() as usize % 70).min(left.len()));
                    sum.update(piece);
                    left = rest;
                }
                assert_eq!(sum.finish(), Checksum::of(&bytes[..n_bytes]));
            }
        }
    }

    #[test]
    fn every_bit_and_the_length_count() {
        let bytes = bytes(200);
        let expected = Checksum::of(&bytes);
        let mut seen = std::collections::HashSet::from([expected]);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(seen.insert(Checksum::of(&changed)), "byte {at}, bit {bit}");
            }
        }
        for n_zeros in 1..100 {
            assert!(
                seen.insert(Checksum::of(&vec![0; n_zeros])),
                "{n_zeros} zeros"
            );
        }
    }

    #[test]
    fn stripes_in_another_order_have_another_sum() {
        let bytes = bytes(96);
        let mut swapped = bytes[32..64].to_vec();
        swapped.extend_from_slice(&bytes[..32]);
        swapped.extend_from_slice(&bytes[64..]);
        assert_ne!(Checksum::of(&swapped), Checksum::of(&bytes));
    }

    #[test]
    fn what_is_read_through_a_source_is_summed() {
        let bytes = bytes(100);
        let sum = RefCell::new(Checksum::new());
        let source = Summed::new(&bytes, &sum);
        let mut piece = [0; 60];
        source.read_at(0, &mut piece).unwrap();
        source.read_at(60, &mut piece[..40]).unwrap();
        assert!(source.read_at(90, &mut piece).is_err());
        assert_eq!(sum.into_inner().finish(), Checksum::of(&bytes));
    }
}
