//! Super-blocks of 256 with small integer scales, and perhaps minima, of 16 or 32 elements.

use super::Kernel;
use super::simple::region;
use crate::quant::activations::{ActivationKind, Q8KBlock};
use crate::quant::blocks::*;
use crate::quant::isa::Isa;
use crate::quant::packed::{MAX_LANES, Packable};

/// Scales and minima of one super-block of every row of a group: a byte for each row,
/// [`Isa::LANES`] to each.
pub(super) struct Decoded {
    scales: [i8; QK_K / 16 * MAX_LANES],
    mins: [i8; QK_K / 16 * MAX_LANES],
}

/// How a super-block is unpacked for all rows of a group.
///
/// It consists of chunks, and a chunk of passes of 32 elements, which share bytes: one
/// chunk is unpacked like the other, with constant shifts.
pub(super) trait Lanes: SuperBlock + Packable {
    /// Passes of 32 elements in a chunk: 2 or 4.
    const N_PASSES: usize;
    /// Words of each row in a chunk of region 0, and of region 1 where it holds more bits.
    const WORDS: [usize; 2];
    /// The region of the scale of the scales; the minima's is the next.
    const D: usize;
    /// Bits of an integer.
    const N_BITS: u32;
    /// Elements with a scale of their own: 16 or 32.
    const SCALE_LEN: usize;

    /// Elements `4 · K` and the next three of pass `PASS`.
    ///
    /// # Safety
    /// As for [`Isa`]; the pointers lead to the chunk's words in regions 0 and 1.
    unsafe fn unpack<S: Isa, const PASS: usize, const K: usize>(words: [*const u8; 2]) -> S::Bytes;

    /// Unpacks scales and minima of block `b`.
    ///
    /// # Safety
    /// As for [`Isa`]; `group` leads to a group and `b` is one of its blocks.
    unsafe fn decode<S: Isa>(group: *const u8, b: usize, decoded: &mut Decoded);
}

/// The two bits at `2 · PASS` of each byte.
///
/// # Safety
/// As for [`Isa`].
#[inline(always)]
unsafe fn two_bits<S: Isa, const PASS: usize>(bytes: S::Bytes) -> S::Bytes {
    // SAFETY: the caller's promise.
    unsafe {
        match PASS {
            0 => S::shift_and_mask::<0>(bytes, 3),
            1 => S::shift_and_mask::<2>(bytes, 3),
            2 => S::shift_and_mask::<4>(bytes, 3),
            _ => S::shift_and_mask::<6>(bytes, 3),
        }
    }
}

/// Bit `from` of each byte moved to bit `TO`.
///
/// # Safety
/// As for [`Isa`].
#[inline(always)]
unsafe fn one_bit<S: Isa, const TO: i32>(bytes: S::Bytes, from: usize) -> S::Bytes {
    // SAFETY: the caller's promise.
    unsafe {
        match from as i32 - TO {
            -4 => S::shift_and_mask::<-4>(bytes, 1 << TO),
            -3 => S::shift_and_mask::<-3>(bytes, 1 << TO),
            -2 => S::shift_and_mask::<-2>(bytes, 1 << TO),
            -1 => S::shift_and_mask::<-1>(bytes, 1 << TO),
            0 => S::shift_and_mask::<0>(bytes, 1 << TO),
            1 => S::shift_and_mask::<1>(bytes, 1 << TO),
            2 => S::shift_and_mask::<2>(bytes, 1 << TO),
            3 => S::shift_and_mask::<3>(bytes, 1 << TO),
            4 => S::shift_and_mask::<4>(bytes, 1 << TO),
            _ => S::shift_and_mask::<5>(bytes, 1 << TO),
        }
    }
}

/// Unpacks the 6-bit scales and minima of `Q4_K` and `Q5_K`, as [`scales_and_mins`] does for one.
///
/// # Safety
/// As for [`Lanes::decode`]; `idx` is the region of the packed scales.
#[inline(always)]
unsafe fn decode_6_bits<B: Packable, S: Isa>(
    group: *const u8,
    b: usize,
    idx: usize,
    decoded: &mut Decoded,
) {
    let quarter = 4 * S::LANES;
    // SAFETY: twelve bytes of every row.
    let packed = unsafe { std::slice::from_raw_parts(region::<B, S>(group, b, idx), 3 * quarter) };
    let (first, rest) = packed.split_at(quarter);
    let (second, third) = rest.split_at(quarter);
    let (scales, more_scales) = decoded.scales[..2 * quarter].split_at_mut(quarter);
    let (mins, more_mins) = decoded.mins[..2 * quarter].split_at_mut(quarter);
    for i in 0..quarter {
        scales[i] = (first[i] & 63) as i8;
        mins[i] = (second[i] & 63) as i8;
        more_scales[i] = (third[i] & 15 | first[i] >> 6 << 4) as i8;
        more_mins[i] = (third[i] >> 4 | second[i] >> 6 << 4) as i8;
    }
}

impl Lanes for BlockQ2_K {
    const N_PASSES: usize = 4;
    const WORDS: [usize; 2] = [8, 0];
    const D: usize = 2;
    const N_BITS: u32 = 2;
    const SCALE_LEN: usize = 16;

    #[inline(always)]
    unsafe fn unpack<S: Isa, const PASS: usize, const K: usize>(words: [*const u8; 2]) -> S::Bytes {
        // SAFETY: the caller's promise.
        unsafe { two_bits::<S, PASS>(S::load(words[0].add(K * 4 * S::LANES))) }
    }

    #[inline(always)]
    unsafe fn decode<S: Isa>(group: *const u8, b: usize, decoded: &mut Decoded) {
        let n = QK_K / 16 * S::LANES;
        // SAFETY: sixteen bytes of every row.
        let packed = unsafe { std::slice::from_raw_parts(region::<Self, S>(group, b, 1), n) };
        for i in 0..n {
            decoded.scales[i] = (packed[i] & 15) as i8;
            decoded.mins[i] = (packed[i] >> 4) as i8;
        }
    }
}

impl Lanes for BlockQ3_K {
    const N_PASSES: usize = 4;
    const WORDS: [usize; 2] = [8, 4];
    const D: usize = 3;
    const N_BITS: u32 = 3;
    const SCALE_LEN: usize = 16;

    #[inline(always)]
    unsafe fn unpack<S: Isa, const PASS: usize, const K: usize>(words: [*const u8; 2]) -> S::Bytes {
        // SAFETY: the caller's promise.
        unsafe {
            let low = two_bits::<S, PASS>(S::load(words[0].add(K * 4 * S::LANES)));
            let high = S::load(words[1].add(K % 4 * 4 * S::LANES));
            S::or(low, one_bit::<S, 2>(high, K / 4 * 4 + PASS))
        }
    }

    #[inline(always)]
    unsafe fn decode<S: Isa>(group: *const u8, b: usize, decoded: &mut Decoded) {
        let quarter = 4 * S::LANES;
        // SAFETY: twelve bytes of every row.
        let packed =
            unsafe { std::slice::from_raw_parts(region::<Self, S>(group, b, 2), 3 * quarter) };
        // As `scales_of_q3` does for one row.
        for fourth in 0..4 {
            let low = &packed[fourth % 2 * quarter..][..quarter];
            let high = &packed[2 * quarter..][..quarter];
            let scales = &mut decoded.scales[fourth * quarter..][..quarter];
            for i in 0..quarter {
                let scale = low[i] >> (fourth / 2 * 4) & 15 | (high[i] >> (fourth * 2) & 3) << 4;
                scales[i] = scale as i8 - 32;
            }
        }
    }
}

impl Lanes for BlockQ4_K {
    const N_PASSES: usize = 2;
    const WORDS: [usize; 2] = [8, 0];
    const D: usize = 2;
    const N_BITS: u32 = 4;
    const SCALE_LEN: usize = 32;

    #[inline(always)]
    unsafe fn unpack<S: Isa, const PASS: usize, const K: usize>(words: [*const u8; 2]) -> S::Bytes {
        // SAFETY: the caller's promise.
        unsafe {
            let word = S::load(words[0].add(K * 4 * S::LANES));
            match PASS {
                0 => S::shift_and_mask::<0>(word, 15),
                _ => S::shift_and_mask::<4>(word, 15),
            }
        }
    }

    #[inline(always)]
    unsafe fn decode<S: Isa>(group: *const u8, b: usize, decoded: &mut Decoded) {
        // SAFETY: the caller's promise.
        unsafe { decode_6_bits::<Self, S>(group, b, 1, decoded) }
    }
}

impl Lanes for BlockQ5_K {
    const N_PASSES: usize = 2;
    const WORDS: [usize; 2] = [8, 2];
    const D: usize = 3;
    const N_BITS: u32 = 5;
    const SCALE_LEN: usize = 32;

    #[inline(always)]
    unsafe fn unpack<S: Isa, const PASS: usize, const K: usize>(words: [*const u8; 2]) -> S::Bytes {
        // SAFETY: the caller's promise.
        unsafe {
            let word = S::load(words[0].add(K * 4 * S::LANES));
            let low = match PASS {
                0 => S::shift_and_mask::<0>(word, 15),
                _ => S::shift_and_mask::<4>(word, 15),
            };
            let high = S::load(words[1].add(K / 4 * 4 * S::LANES));
            S::or(low, one_bit::<S, 4>(high, PASS * 4 + K % 4))
        }
    }

    #[inline(always)]
    unsafe fn decode<S: Isa>(group: *const u8, b: usize, decoded: &mut Decoded) {
        // SAFETY: the caller's promise.
        unsafe { decode_6_bits::<Self, S>(group, b, 2, decoded) }
    }
}

impl Lanes for BlockQ6_K {
    const N_PASSES: usize = 4;
    const WORDS: [usize; 2] = [16, 8];
    const D: usize = 3;
    const N_BITS: u32 = 6;
    const SCALE_LEN: usize = 16;

    #[inline(always)]
    unsafe fn unpack<S: Isa, const PASS: usize, const K: usize>(words: [*const u8; 2]) -> S::Bytes {
        // SAFETY: the caller's promise.
        unsafe {
            let word = S::load(words[0].add((PASS % 2 * 8 + K) * 4 * S::LANES));
            let low = match PASS / 2 {
                0 => S::shift_and_mask::<0>(word, 15),
                _ => S::shift_and_mask::<4>(word, 15),
            };
            let high = S::load(words[1].add(K * 4 * S::LANES));
            let high = match PASS {
                0 => S::shift_and_mask::<-4>(high, 0x30),
                1 => S::shift_and_mask::<-2>(high, 0x30),
                2 => S::shift_and_mask::<0>(high, 0x30),
                _ => S::shift_and_mask::<2>(high, 0x30),
            };
            S::or(low, high)
        }
    }

    #[inline(always)]
    unsafe fn decode<S: Isa>(group: *const u8, b: usize, decoded: &mut Decoded) {
        let n = QK_K / 16 * S::LANES;
        // SAFETY: sixteen bytes of every row, and as many places.
        unsafe {
            let packed = region::<Self, S>(group, b, 2);
            std::ptr::copy_nonoverlapping(packed.cast(), decoded.scales.as_mut_ptr(), n);
        }
    }
}

/// What is known while a chunk is multiplied.
struct Chunk<'a, const G: usize> {
    words: [[*const u8; 2]; G],
    decoded: &'a [Decoded; G],
    /// The chunk's first element in the super-block.
    first: usize,
    /// The tokens' super-block.
    y: *const u8,
}

/// Adds four elements of pass `PASS` of every row, and empties the parts when it must.
///
/// # Safety
/// As for [`Kernel::tile`].
#[inline(always)]
unsafe fn add_word<
    B: Lanes,
    S: Isa,
    const G: usize,
    const T: usize,
    const PASS: usize,
    const K: usize,
>(
    chunk: &Chunk<'_, G>,
    sums: &mut [[S::Ints; T]; G],
    parts: &mut [[S::Part; T]; G],
) {
    let first = chunk.first + PASS * 32;
    // SAFETY: the caller's promise.
    unsafe {
        let mut q = [B::unpack::<S, PASS, K>(chunk.words[0]); G];
        for g in 1..G {
            q[g] = B::unpack::<S, PASS, K>(chunk.words[g]);
        }
        for t in 0..T {
            let at = Q8KBlock::qs(S::REPR, t) + (first + 4 * K) * S::REPR.n_bytes();
            let y = S::quad(chunk.y.add(at));
            for g in 0..G {
                parts[g][t] = S::step(parts[g][t], q[g], y);
            }
        }
        let n_steps = match B::N_BITS {
            6 => S::STEPS_U6,
            5 => S::STEPS_U5,
            _ => 8,
        };
        let n_steps = if n_steps < B::SCALE_LEN / 4 {
            n_steps
        } else {
            B::SCALE_LEN / 4
        };
        if (K + 1).is_multiple_of(n_steps) {
            for g in 0..G {
                let scale = (first + 4 * K) / B::SCALE_LEN;
                let scales = chunk.decoded[g].scales.as_ptr().add(scale * S::LANES);
                let factors = S::factors_i8(scales);
                for t in 0..T {
                    sums[g][t] = S::add_scaled(sums[g][t], parts[g][t], factors);
                    parts[g][t] = S::part();
                }
            }
        }
    }
}

/// # Safety
/// As for [`Kernel::tile`].
#[inline(always)]
unsafe fn add_pass<B: Lanes, S: Isa, const G: usize, const T: usize, const PASS: usize>(
    chunk: &Chunk<'_, G>,
    sums: &mut [[S::Ints; T]; G],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut parts = [[S::part(); T]; G];
        add_word::<B, S, G, T, PASS, 0>(chunk, sums, &mut parts);
        add_word::<B, S, G, T, PASS, 1>(chunk, sums, &mut parts);
        add_word::<B, S, G, T, PASS, 2>(chunk, sums, &mut parts);
        add_word::<B, S, G, T, PASS, 3>(chunk, sums, &mut parts);
        add_word::<B, S, G, T, PASS, 4>(chunk, sums, &mut parts);
        add_word::<B, S, G, T, PASS, 5>(chunk, sums, &mut parts);
        add_word::<B, S, G, T, PASS, 6>(chunk, sums, &mut parts);
        add_word::<B, S, G, T, PASS, 7>(chunk, sums, &mut parts);
    }
}

/// `Σ min · sum of the activations` over the elements that share a minimum; the scales
/// stand for minima where integers have an offset.
///
/// # Safety
/// As for [`Kernel::tile`].
#[inline(always)]
unsafe fn min_sums<B: Lanes, S: Isa, const G: usize, const T: usize>(
    decoded: &[Decoded; G],
    y: *const u8,
) -> [[S::Ints; T]; G] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[S::no_ints(); T]; G];
        for pair in 0..QK_K / B::SCALE_LEN / 2 {
            for g in 0..G {
                let mins = if B::HAS_MIN {
                    &decoded[g].mins
                } else {
                    &decoded[g].scales
                };
                let first = mins.as_ptr().add(2 * pair * S::LANES);
                let pairs = S::pairs(first, first.add(S::LANES));
                for t in 0..T {
                    let of_y = if B::SCALE_LEN == 32 {
                        Q8KBlock::sums_of_32(S::REPR, T, t)
                    } else {
                        Q8KBlock::sums_of_16(S::REPR, T, t)
                    };
                    let y = y.add(of_y + 4 * pair);
                    sums[g][t] = S::dot_pairs(sums[g][t], pairs, y.cast());
                }
            }
        }
        sums
    }
}

/// # Safety
/// As for [`Kernel::tile`].
#[inline(always)]
unsafe fn tile<B: Lanes, S: Isa, const G: usize, const T: usize>(
    groups: [*const u8; G],
    n_blocks: usize,
    mut y: *const u8,
) -> [[S::Floats; T]; G] {
    let mut decoded = [const {
        Decoded {
            scales: [0; QK_K / 16 * MAX_LANES],
            mins: [0; QK_K / 16 * MAX_LANES],
        }
    }; G];
    // SAFETY: the caller's promise.
    unsafe {
        let mut values = [[S::zero(); T]; G];
        for b in 0..n_blocks {
            for g in 0..G {
                B::decode::<S>(groups[g], b, &mut decoded[g]);
            }
            let mut sums = [[S::no_ints(); T]; G];
            for first in (0..QK_K).step_by(B::N_PASSES * 32) {
                let idx = first / (B::N_PASSES * 32);
                let mut words = [[groups[0]; 2]; G];
                for g in 0..G {
                    for r in 0..2 {
                        let words_start = region::<B, S>(groups[g], b, r);
                        words[g][r] = words_start.add(idx * B::WORDS[r] * 4 * S::LANES);
                    }
                }
                let chunk = Chunk {
                    words,
                    decoded: &decoded,
                    first,
                    y,
                };
                add_pass::<B, S, G, T, 0>(&chunk, &mut sums);
                add_pass::<B, S, G, T, 1>(&chunk, &mut sums);
                if B::N_PASSES == 4 {
                    add_pass::<B, S, G, T, 2>(&chunk, &mut sums);
                    add_pass::<B, S, G, T, 3>(&chunk, &mut sums);
                }
            }
            let mins = min_sums::<B, S, G, T>(&decoded, y);
            for g in 0..G {
                let d = S::widen(region::<B, S>(groups[g], b, B::D).cast());
                for t in 0..T {
                    let scale = S::splat_f32(y.add(Q8KBlock::scale(S::REPR, T, t)).cast());
                    let mut dot = sums[g][t];
                    match B::OFFSET {
                        0 => {}
                        4 => dot = S::sub_ints(dot, S::shl::<2>(mins[g][t])),
                        _ => dot = S::sub_ints(dot, S::shl::<5>(mins[g][t])),
                    }
                    let mut term = S::mul(S::mul(d, scale), S::to_floats(dot));
                    if B::HAS_MIN {
                        let at = region::<B, S>(groups[g], b, B::D + 1);
                        let dmin = S::mul(S::widen(at.cast()), scale);
                        term = S::sub(term, S::mul(dmin, S::to_floats(mins[g][t])));
                    }
                    values[g][t] = S::add(values[g][t], term);
                }
            }
            y = y.add(Q8KBlock::n_bytes(S::REPR, T));
        }
        values
    }
}

macro_rules! kernel {
    ($($block:ident),+) => {$(
        impl Kernel for $block {
            fn activation<S: Isa>() -> ActivationKind {
                ActivationKind::Q8K(S::REPR)
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

kernel!(BlockQ2_K, BlockQ3_K, BlockQ4_K, BlockQ5_K, BlockQ6_K);
