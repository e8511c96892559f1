//! Blocks of 32 with a scale and perhaps a minimum.

use super::Kernel;
use crate::quant::activations::{ActivationKind, Q8Block, Repr};
use crate::quant::blocks::*;
use crate::quant::isa::Isa;
use crate::quant::packed::{Packable, region_start};

/// How the integers of a simple block are unpacked for all rows of a group.
pub(super) trait Lanes: SimpleBlock + Packable {
    /// Which regions hold the scales and the minima.
    const D: usize;
    const M: usize;
    /// Bits of an unsigned integer.
    const N_BITS: u32;

    /// Elements `4 · K` and the next three, and those 16 further on.
    ///
    /// # Safety
    /// As for [`Isa`]; `group` leads to a group and `b` is one of its blocks.
    unsafe fn unpack<S: Isa, const K: usize>(group: *const u8, b: usize) -> (S::Bytes, S::Bytes);
}

/// The region `idx` of block `b` in a group.
///
/// # Safety
/// As for [`Lanes::unpack`].
#[inline(always)]
pub(super) unsafe fn region<B: Packable, S: Isa>(
    group: *const u8,
    b: usize,
    idx: usize,
) -> *const u8 {
    let start = region_start(B::FIELDS, idx);
    // SAFETY: regions lie in their group.
    unsafe { group.add((b * size_of::<B>() + start) * S::LANES) }
}

/// The nibbles of word `K`.
///
/// # Safety
/// As for [`Isa`]; `words` leads to more than `K` words of every row.
#[inline(always)]
unsafe fn nibbles<S: Isa, const K: usize>(words: *const u8) -> (S::Bytes, S::Bytes) {
    // SAFETY: the caller's promise.
    unsafe {
        let word = S::load(words.add(K * 4 * S::LANES));
        (
            S::shift_and_mask::<0>(word, 15),
            S::shift_and_mask::<4>(word, 15),
        )
    }
}

/// Nibbles and fifth bits, the latter at bits `K` and `4 + K`.
///
/// # Safety
/// As for [`nibbles`]; `fifth` leads to a word of every row.
#[inline(always)]
unsafe fn nibbles_and_fifth_bits<S: Isa, const K: usize>(
    words: *const u8,
    fifth: *const u8,
) -> (S::Bytes, S::Bytes) {
    // SAFETY: the caller's promise.
    unsafe {
        let (low, high) = nibbles::<S, K>(words);
        let fifth = S::load(fifth);
        let (a, b) = match K {
            0 => (
                S::shift_and_mask::<-4>(fifth, 16),
                S::shift_and_mask::<0>(fifth, 16),
            ),
            1 => (
                S::shift_and_mask::<-3>(fifth, 16),
                S::shift_and_mask::<1>(fifth, 16),
            ),
            2 => (
                S::shift_and_mask::<-2>(fifth, 16),
                S::shift_and_mask::<2>(fifth, 16),
            ),
            _ => (
                S::shift_and_mask::<-1>(fifth, 16),
                S::shift_and_mask::<3>(fifth, 16),
            ),
        };
        (S::or(low, a), S::or(high, b))
    }
}

macro_rules! lanes {
    ($($block:ident: bits $bits:literal, d $d:literal, m $m:literal, |$S:ident, $K:ident, $region:ident| $unpack:expr;)+) => {$(
        impl Lanes for $block {
            const D: usize = $d;
            const M: usize = $m;
            const N_BITS: u32 = $bits;

            #[inline(always)]
            unsafe fn unpack<$S: Isa, const $K: usize>(
                group: *const u8,
                            b: usize,
            ) -> ($S::Bytes, $S::Bytes) {
                // SAFETY: the caller's promise; the fields are those of `Packable`.
                unsafe {
                    macro_rules! $region {
                        ($idx:literal) => { region::<$block, $S>(group, b, $idx) };
                    }
                    $unpack
                }
            }
        }
    )+};
}

lanes! {
    BlockQ4_0: bits 4, d 1, m 1, |S, K, at| nibbles::<S, K>(at!(0));
    BlockQ4_1: bits 4, d 1, m 2, |S, K, at| nibbles::<S, K>(at!(0));
    BlockQ5_0: bits 5, d 2, m 2, |S, K, at| nibbles_and_fifth_bits::<S, K>(at!(0), at!(1));
    BlockQ5_1: bits 5, d 2, m 3, |S, K, at| nibbles_and_fifth_bits::<S, K>(at!(0), at!(1));
    BlockQ8_0: bits 8, d 1, m 1, |S, K, at| {
        let words = at!(0);
        (
            S::load(words.add(K * 4 * S::LANES)),
            S::load(words.add((K + 4) * 4 * S::LANES)),
        )
    };
}

/// Adds what word `K` of every group contributes.
///
/// # Safety
/// As for [`Kernel::tile`]; `y` leads to the tokens' block.
#[inline(always)]
unsafe fn add_word<B: Lanes, S: Isa, const G: usize, const T: usize, const K: usize>(
    groups: &[*const u8; G],
    b: usize,
    y: *const u8,
    parts: &mut [[S::Part; T]; G],
) {
    // SAFETY: the caller's promise; sixteen integers are half of a token's block.
    unsafe {
        let mut low = [B::unpack::<S, K>(groups[0], b).0; G];
        let mut high = [B::unpack::<S, K>(groups[0], b).1; G];
        for g in 1..G {
            (low[g], high[g]) = B::unpack::<S, K>(groups[g], b);
        }
        for t in 0..T {
            let y = y.add(Q8Block::qs(S::REPR, t) + 4 * K * S::REPR.n_bytes());
            let y_low = S::quad(y);
            let y_high = S::quad(y.add(16 * S::REPR.n_bytes()));
            for g in 0..G {
                parts[g][t] = S::step(parts[g][t], low[g], y_low);
                parts[g][t] = S::step(parts[g][t], high[g], y_high);
            }
        }
    }
}

/// Empties the parts into the sums.
///
/// # Safety
/// As for [`Isa`].
#[inline(always)]
unsafe fn add_parts<S: Isa, const G: usize, const T: usize>(
    sums: &mut [[S::Ints; T]; G],
    parts: &mut [[S::Part; T]; G],
) {
    for g in 0..G {
        for t in 0..T {
            // SAFETY: the caller's promise.
            unsafe {
                sums[g][t] = S::add_part(sums[g][t], parts[g][t]);
                parts[g][t] = S::part();
            }
        }
    }
}

/// The integer sums of a block whose integers are unsigned.
///
/// # Safety
/// As for [`add_word`].
#[inline(always)]
unsafe fn unsigned_sums<B: Lanes, S: Isa, const G: usize, const T: usize>(
    groups: &[*const u8; G],
    b: usize,
    y: *const u8,
) -> [[S::Ints; T]; G] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[S::no_ints(); T]; G];
        if B::OFFSET != 0 {
            for t in 0..T {
                // −8 times the sum of the activations.
                let offset = S::splat(y.add(Q8Block::sum_x8(S::REPR, T, t)).cast());
                let offset = match B::OFFSET {
                    8 => offset,
                    _ => S::shl::<1>(offset),
                };
                for sums in &mut sums {
                    sums[t] = offset;
                }
            }
        }
        let mut parts = [[S::part(); T]; G];
        add_word::<B, S, G, T, 0>(groups, b, y, &mut parts);
        add_word::<B, S, G, T, 1>(groups, b, y, &mut parts);
        if B::N_BITS == 5 && S::STEPS_U5 == 4 {
            add_parts::<S, G, T>(&mut sums, &mut parts);
        }
        add_word::<B, S, G, T, 2>(groups, b, y, &mut parts);
        add_word::<B, S, G, T, 3>(groups, b, y, &mut parts);
        add_parts::<S, G, T>(&mut sums, &mut parts);
        sums
    }
}

/// As [`add_word`], for signed integers.
///
/// # Safety
/// As for [`add_word`].
#[inline(always)]
unsafe fn add_signed_word<B: Lanes, S: Isa, const G: usize, const T: usize, const K: usize>(
    groups: &[*const u8; G],
    b: usize,
    y: *const u8,
    parts: &mut [[S::SignedPart; T]; G],
) {
    // SAFETY: the caller's promise.
    unsafe {
        for t in 0..T {
            let y = y.add(Q8Block::qs(S::SIGNED_REPR, t) + 4 * K * S::SIGNED_REPR.n_bytes());
            let y_low = S::signed_quad(y);
            let y_high = S::signed_quad(y.add(16 * S::SIGNED_REPR.n_bytes()));
            for g in 0..G {
                let (low, high) = B::unpack::<S, K>(groups[g], b);
                parts[g][t] = S::signed_step(parts[g][t], low, y_low);
                parts[g][t] = S::signed_step(parts[g][t], high, y_high);
            }
        }
    }
}

/// The integer sums of a block whose integers are signed.
///
/// # Safety
/// As for [`add_word`].
#[inline(always)]
unsafe fn signed_sums<B: Lanes, S: Isa, const G: usize, const T: usize>(
    groups: &[*const u8; G],
    b: usize,
    y: *const u8,
) -> [[S::Ints; T]; G] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut parts = [[S::signed_part(); T]; G];
        add_signed_word::<B, S, G, T, 0>(groups, b, y, &mut parts);
        add_signed_word::<B, S, G, T, 1>(groups, b, y, &mut parts);
        add_signed_word::<B, S, G, T, 2>(groups, b, y, &mut parts);
        add_signed_word::<B, S, G, T, 3>(groups, b, y, &mut parts);
        let mut sums = [[S::no_ints(); T]; G];
        for g in 0..G {
            for t in 0..T {
                let sum_x8 = y.add(Q8Block::sum_x8(S::SIGNED_REPR, T, t));
                sums[g][t] = S::signed_sums(parts[g][t], sum_x8.cast());
            }
        }
        sums
    }
}

const fn repr<B: Lanes, S: Isa>() -> Repr {
    if B::SIGNED { S::SIGNED_REPR } else { S::REPR }
}

/// # Safety
/// As for [`Kernel::tile`].
#[inline(always)]
unsafe fn tile<B: Lanes, S: Isa, const G: usize, const T: usize>(
    groups: [*const u8; G],
    n_blocks: usize,
    mut y: *const u8,
) -> [[S::Floats; T]; G] {
    let repr = const { repr::<B, S>() };
    // SAFETY: the caller's promise.
    unsafe {
        let mut values = [[S::zero(); T]; G];
        for b in 0..n_blocks {
            let sums = if B::SIGNED {
                signed_sums::<B, S, G, T>(&groups, b, y)
            } else {
                unsigned_sums::<B, S, G, T>(&groups, b, y)
            };
            for g in 0..G {
                let d = S::widen(region::<B, S>(groups[g], b, B::D).cast());
                for t in 0..T {
                    let scale = S::splat_f32(y.add(Q8Block::scale(repr, T, t)).cast());
                    let mut term = S::mul(S::mul(d, scale), S::to_floats(sums[g][t]));
                    if B::HAS_MIN {
                        let m = S::widen(region::<B, S>(groups[g], b, B::M).cast());
                        let sum = y.add(Q8Block::scaled_sum(repr, T, t));
                        term = S::add(term, S::mul(m, S::splat_f32(sum.cast())));
                    }
                    values[g][t] = S::add(values[g][t], term);
                }
            }
            y = y.add(Q8Block::n_bytes(repr, T));
        }
        values
    }
}
macro_rules! kernel {
    ($($block:ident),+) => {$(
        impl Kernel for $block {
            fn activation<S: Isa>() -> ActivationKind {
                ActivationKind::Q8(repr::<$block, S>())
            }

            #[inline(always)]
            unsafe fn tile<S: Isa, const G: usize, const T: usize>(
                groups: [*const u8; G],
                n_blocks: usize,
                y: *const u8,
            ) -> [[S::Floats; T]; G] {
                // SAFETY: the caller's promise.
                unsafe { tile::<$block, S, G, T>(groups, n_blocks, y) }
            }
        }
    )+};
}

kernel!(BlockQ4_0, BlockQ4_1, BlockQ5_0, BlockQ5_1, BlockQ8_0);
