//! [`Simd`] on WebAssembly's simd128: 32 bytes in two registers, with the
//! relaxed dot product where the build has it.

use core::arch::wasm32::*;

use half::f16;

use super::Simd;
use crate::f32x4::F32x4;
use crate::math::{Halves, Lanes, N_LANES};

/// simd128, and `relaxed-simd` if the build was made with it.
#[derive(Clone, Copy)]
pub(crate) struct Simd128;

/// Adds the products of 16 signed bytes with 16 in 0..=127 to four sums.
///
/// The relaxed instruction may treat `q` as signed or unsigned and may saturate
/// its i16 pairs; with `q` in 0..=127 and `y` above −128 neither can happen, so it
/// is exact everywhere.
#[cfg(target_feature = "relaxed-simd")]
#[inline(always)]
fn dot_16_u7(sums: v128, q: v128, y: v128) -> v128 {
    i32x4_relaxed_dot_i8x16_i7x16_add(y, q, sums)
}

#[cfg(not(target_feature = "relaxed-simd"))]
#[inline(always)]
fn dot_16_u7(sums: v128, q: v128, y: v128) -> v128 {
    dot_16_i8(sums, q, y)
}

#[inline(always)]
fn dot_16_i8(sums: v128, q: v128, y: v128) -> v128 {
    let low = i32x4_dot_i16x8(i16x8_extend_low_i8x16(q), i16x8_extend_low_i8x16(y));
    let high = i32x4_dot_i16x8(i16x8_extend_high_i8x16(q), i16x8_extend_high_i8x16(y));
    i32x4_add(sums, i32x4_add(low, high))
}

#[inline(always)]
fn add_pairs(a: v128, b: v128) -> v128 {
    i32x4_add(
        i32x4_shuffle::<0, 2, 4, 6>(a, b),
        i32x4_shuffle::<1, 3, 5, 7>(a, b),
    )
}

#[inline(always)]
fn load_two(bytes: *const u8) -> (v128, v128) {
    // SAFETY: every caller below passes the address of 32 bytes.
    unsafe { (v128_load(bytes.cast()), v128_load(bytes.add(16).cast())) }
}

impl Simd for Simd128 {
    type Ints = (v128, v128);
    type Sums = v128;

    #[inline(always)]
    unsafe fn load(bytes: &[i8; 32]) -> Self::Ints {
        load_two(bytes.as_ptr().cast())
    }

    #[inline(always)]
    unsafe fn load_bytes(bytes: &[u8; 32]) -> Self::Ints {
        load_two(bytes.as_ptr())
    }

    #[inline(always)]
    unsafe fn nibbles(bytes: &[u8; 16]) -> Self::Ints {
        // SAFETY: 16 bytes behind a reference.
        let both = unsafe { v128_load(bytes.as_ptr().cast()) };
        (v128_and(both, u8x16_splat(15)), u8x16_shr(both, 4))
    }

    #[inline(always)]
    unsafe fn shift_and_mask<const SHIFT: i32>(ints: Self::Ints, mask: u8) -> Self::Ints {
        let (by, mask) = (SHIFT.unsigned_abs(), u8x16_splat(mask));
        if SHIFT >= 0 {
            (
                v128_and(i16x8_shl(ints.0, by), mask),
                v128_and(i16x8_shl(ints.1, by), mask),
            )
        } else {
            (
                v128_and(u16x8_shr(ints.0, by), mask),
                v128_and(u16x8_shr(ints.1, by), mask),
            )
        }
    }

    #[inline(always)]
    unsafe fn fifth_bits(bits: u32) -> Self::Ints {
        // Byte i gets the byte of `bits` that holds bit i, then keeps that bit alone.
        let word = u32x4_splat(bits);
        let own_bit = u64x2_splat(0x8040_2010_0804_0201);
        let low = i8x16_shuffle::<0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1>(word, word);
        let high = i8x16_shuffle::<2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3>(word, word);
        let sixteen = u8x16_splat(16);
        (
            v128_and(i8x16_eq(v128_and(low, own_bit), own_bit), sixteen),
            v128_and(i8x16_eq(v128_and(high, own_bit), own_bit), sixteen),
        )
    }

    #[inline(always)]
    unsafe fn or(a: Self::Ints, b: Self::Ints) -> Self::Ints {
        (v128_or(a.0, b.0), v128_or(a.1, b.1))
    }

    #[inline(always)]
    unsafe fn zero() -> v128 {
        i32x4_splat(0)
    }

    #[inline(always)]
    unsafe fn dot_u7(sums: v128, q: Self::Ints, y: Self::Ints) -> v128 {
        dot_16_u7(dot_16_u7(sums, q.0, y.0), q.1, y.1)
    }

    #[inline(always)]
    unsafe fn dot_i8(sums: v128, q: Self::Ints, y: Self::Ints) -> v128 {
        dot_16_i8(dot_16_i8(sums, q.0, y.0), q.1, y.1)
    }

    #[inline(always)]
    unsafe fn dot_u6_scaled(sums: v128, q: Self::Ints, y: Self::Ints, low: i16, high: i16) -> v128 {
        let zero = i32x4_splat(0);
        let first = i32x4_mul(dot_16_u7(zero, q.0, y.0), i32x4_splat(i32::from(low)));
        let second = i32x4_mul(dot_16_u7(zero, q.1, y.1), i32x4_splat(i32::from(high)));
        i32x4_add(sums, i32x4_add(first, second))
    }

    #[inline(always)]
    unsafe fn total(sums: v128) -> i32 {
        let two = i32x4_add(sums, i32x4_shuffle::<2, 3, 0, 1>(sums, sums));
        i32x4_extract_lane::<0>(two).wrapping_add(i32x4_extract_lane::<1>(two))
    }

    #[inline(always)]
    unsafe fn totals(sums: [v128; 4]) -> [i32; 4] {
        let four = add_pairs(add_pairs(sums[0], sums[1]), add_pairs(sums[2], sums[3]));
        [
            i32x4_extract_lane::<0>(four),
            i32x4_extract_lane::<1>(four),
            i32x4_extract_lane::<2>(four),
            i32x4_extract_lane::<3>(four),
        ]
    }
}

/// [`crate::math::f16_to_f32`] for the bits in four u32 lanes.
#[inline(always)]
fn widen(bits: v128) -> v128 {
    let magnitude = u32x4_shl(v128_and(bits, u32x4_splat(0x7fff)), 13);
    let normal = u32x4_add(magnitude, u32x4_splat(112 << 23));
    let smallest_normal = u32x4_splat(113 << 23);
    let subnormal = f32x4_sub(u32x4_add(magnitude, smallest_normal), smallest_normal);
    let is_subnormal = u32x4_lt(magnitude, u32x4_splat(0x0080_0000));
    let is_infinite = u32x4_ge(magnitude, u32x4_splat(0x0f80_0000));
    let sign = u32x4_shl(v128_and(bits, u32x4_splat(0x8000)), 16);
    v128_or(
        v128_bitselect(subnormal, normal, is_subnormal),
        v128_or(v128_and(is_infinite, u32x4_splat(0x7f80_0000)), sign),
    )
}

impl Halves for Simd128 {
    #[inline(always)]
    unsafe fn widen_4(bits: [u16; 4]) -> [f32; 4] {
        let [a, b, c, d] = bits.map(u32::from);
        let wide = widen(u32x4(a, b, c, d));
        [
            f32x4_extract_lane::<0>(wide),
            f32x4_extract_lane::<1>(wide),
            f32x4_extract_lane::<2>(wide),
            f32x4_extract_lane::<3>(wide),
        ]
    }

    #[inline(always)]
    unsafe fn widen_lanes(halves: &[f16; N_LANES]) -> Lanes {
        let source: *const v128 = halves.as_ptr().cast();
        // SAFETY: sixteen halves are two vectors.
        let (low, high) = unsafe { (v128_load(source), v128_load(source.add(1))) };
        [
            F32x4(widen(u32x4_extend_low_u16x8(low))),
            F32x4(widen(u32x4_extend_high_u16x8(low))),
            F32x4(widen(u32x4_extend_low_u16x8(high))),
            F32x4(widen(u32x4_extend_high_u16x8(high))),
        ]
    }
}
