//! [`Isa`] on WebAssembly's simd128: four rows in a vector.
//!
//! What is fast depends on the machine under the browser, so products come in several
//! ways ([`Multiply`]). A browser does not say what that machine is, but where the
//! standard leaves a result open, it shows. All ways are exact.

use core::arch::wasm32::*;
use std::hint::black_box;
use std::marker::PhantomData;

use half::f16;

use super::{Isa, Work};
use crate::f32x4::F32x4;
use crate::math::{Halves, Lanes, N_LANES};
use crate::quant::activations::Repr;

/// Whether the relaxed dot product summed in 32 bits is one instruction here.
///
/// The bytes of its second operand are beyond the 7 bits in which engines agree. ARM's
/// `sdot` takes them as signed, `vpdpbusd` as unsigned; x86 without it goes through
/// `pmaddubsw`, which saturates the sum of two products.
#[cfg(target_feature = "relaxed-simd")]
pub(super) fn has_dot_product() -> bool {
    let (first, second) = black_box((i8x16_splat(i8::MAX), u8x16_splat(u8::MAX)));
    let sums = i32x4_relaxed_dot_i8x16_i7x16_add(first, second, i32x4_splat(0));
    i32x4_extract_lane::<0>(sums) != 2 * i32::from(i16::MAX)
}

/// Whether this is an x86 processor: what its divisions make of 0 / 0 is negative.
#[cfg(not(target_feature = "relaxed-simd"))]
pub(super) fn is_x86() -> bool {
    let (dividend, divisor) = black_box((0.0f32, 0.0f32));
    (dividend / divisor).is_sign_negative()
}

/// How the integers of four rows meet activations.
///
/// # Safety
/// As for [`Isa`].
pub(crate) trait Multiply: Copy {
    const STEPS_U5: usize;
    const STEPS_U6: usize;
    const REPR: Repr;
    const SIGNED_REPR: Repr;
    /// Whether a factor is an i16 twice, not an i32.
    const FACTORS_TWICE: bool = false;
    type SignedQuad: Copy;
    type Part: Copy;

    #[inline(always)]
    unsafe fn quad(activations: *const u8) -> v128 {
        // SAFETY: the caller's promise.
        unsafe { v128_load32_splat(activations.cast()) }
    }

    unsafe fn part() -> Self::Part;
    unsafe fn step(part: Self::Part, q: v128, y: v128) -> Self::Part;
    /// Finishes a part: four i32.
    unsafe fn sums(part: Self::Part) -> v128;

    #[inline(always)]
    unsafe fn add_scaled(sums: v128, part: Self::Part, factors: v128) -> v128 {
        // SAFETY: the caller's promise.
        i32x4_add(sums, i32x4_mul(unsafe { Self::sums(part) }, factors))
    }

    unsafe fn signed_quad(activations: *const u8) -> Self::SignedQuad;
    unsafe fn signed_step(part: TwoSums, q: v128, y: Self::SignedQuad) -> TwoSums;

    #[inline(always)]
    unsafe fn signed_sums(part: TwoSums) -> v128 {
        add_neighbours(part)
    }
}

/// simd128 with one way to multiply.
#[derive(Clone, Copy)]
pub(crate) struct Wasm<M>(PhantomData<M>);

/// Four halves or sixteen at a time, as [`Halves`] asks.
#[derive(Clone, Copy)]
pub(crate) struct Simd128;

/// Unfinished sums in two vectors.
type TwoSums = (v128, v128);

/// From `[a a b b]` and `[c c d d]` to `[a b c d]`, each the sum of its two.
#[inline(always)]
fn add_neighbours((low, high): TwoSums) -> v128 {
    i32x4_add(
        i32x4_shuffle::<0, 2, 4, 6>(low, high),
        i32x4_shuffle::<1, 3, 5, 7>(low, high),
    )
}

/// Adds products of 16-bit integers, two rows in each vector of sums.
#[inline(always)]
fn step_wide((low, high): TwoSums, q: v128, y: v128) -> TwoSums {
    (
        i32x4_add(low, i32x4_dot_i16x8(i16x8_extend_low_i8x16(q), y)),
        i32x4_add(high, i32x4_dot_i16x8(i16x8_extend_high_i8x16(q), y)),
    )
}

#[inline(always)]
fn two_zeros() -> TwoSums {
    (i32x4_splat(0), i32x4_splat(0))
}

/// 16-bit products and 32-bit sums: `pmaddwd` on x86.
#[cfg(not(target_feature = "relaxed-simd"))]
#[derive(Clone, Copy)]
pub(crate) struct Wide;

#[cfg(not(target_feature = "relaxed-simd"))]
#[allow(clippy::undocumented_unsafe_blocks)] // reads are the caller's promise
impl Multiply for Wide {
    const STEPS_U5: usize = 8;
    const STEPS_U6: usize = 4;
    const REPR: Repr = Repr::I16;
    const SIGNED_REPR: Repr = Repr::I16;
    type SignedQuad = v128;
    type Part = TwoSums;

    #[inline(always)]
    unsafe fn quad(activations: *const u8) -> v128 {
        unsafe { v128_load64_splat(activations.cast()) }
    }

    #[inline(always)]
    unsafe fn part() -> TwoSums {
        two_zeros()
    }

    #[inline(always)]
    unsafe fn step(part: TwoSums, q: v128, y: v128) -> TwoSums {
        step_wide(part, q, y)
    }

    #[inline(always)]
    unsafe fn sums(part: TwoSums) -> v128 {
        add_neighbours(part)
    }

    #[inline(always)]
    unsafe fn signed_quad(activations: *const u8) -> v128 {
        unsafe { v128_load64_splat(activations.cast()) }
    }

    #[inline(always)]
    unsafe fn signed_step(part: TwoSums, q: v128, y: v128) -> TwoSums {
        step_wide(part, q, y)
    }
}

/// 8-bit products widened to 16 bits and summed there: `smull` on ARM.
#[cfg(not(target_feature = "relaxed-simd"))]
#[derive(Clone, Copy)]
pub(crate) struct Extended;

#[cfg(not(target_feature = "relaxed-simd"))]
#[allow(clippy::undocumented_unsafe_blocks)] // as above
impl Multiply for Extended {
    // A sum takes one product a step: 8 · 31 · 127 and 4 · 63 · 127 stay below 2¹⁵.
    const STEPS_U5: usize = 8;
    const STEPS_U6: usize = 4;
    const REPR: Repr = Repr::I8;
    const SIGNED_REPR: Repr = Repr::I8;
    type SignedQuad = v128;
    type Part = TwoSums;

    #[inline(always)]
    unsafe fn part() -> TwoSums {
        two_zeros()
    }

    #[inline(always)]
    unsafe fn step((low, high): TwoSums, q: v128, y: v128) -> TwoSums {
        (
            i16x8_add(low, i16x8_extmul_low_i8x16(q, y)),
            i16x8_add(high, i16x8_extmul_high_i8x16(q, y)),
        )
    }

    #[inline(always)]
    unsafe fn sums((low, high): TwoSums) -> v128 {
        add_neighbours((
            i32x4_extadd_pairwise_i16x8(low),
            i32x4_extadd_pairwise_i16x8(high),
        ))
    }

    #[inline(always)]
    unsafe fn signed_quad(activations: *const u8) -> v128 {
        unsafe { v128_load32_splat(activations.cast()) }
    }

    #[inline(always)]
    unsafe fn signed_step((low, high): TwoSums, q: v128, y: v128) -> TwoSums {
        let (a, b) = (i16x8_extmul_low_i8x16(q, y), i16x8_extmul_high_i8x16(q, y));
        (
            i32x4_add(low, i32x4_extadd_pairwise_i16x8(a)),
            i32x4_add(high, i32x4_extadd_pairwise_i16x8(b)),
        )
    }
}

/// The relaxed dot product summed in 16 bits: `pmaddubsw` and `paddw` on x86.
///
/// The relaxed instructions may treat their second operand as signed or unsigned and
/// may saturate sums of two products; with that operand in 0..=127 and the first above
/// −128 (or, once, equal to it) neither can happen: they are exact everywhere.
#[cfg(target_feature = "relaxed-simd")]
#[derive(Clone, Copy)]
pub(crate) struct Relaxed16;

#[cfg(target_feature = "relaxed-simd")]
#[allow(clippy::undocumented_unsafe_blocks)] // as above
impl Multiply for Relaxed16 {
    // A sum takes two products a step: 8 · 2 · 15 · 127, 4 · 2 · 31 · 127 and
    // 2 · 2 · 63 · 127 stay below 2¹⁵.
    const STEPS_U5: usize = 4;
    const STEPS_U6: usize = 2;
    const REPR: Repr = Repr::I8;
    const SIGNED_REPR: Repr = Repr::I16;
    const FACTORS_TWICE: bool = true;
    type SignedQuad = v128;
    type Part = v128;

    #[inline(always)]
    unsafe fn part() -> v128 {
        i16x8_splat(0)
    }

    #[inline(always)]
    unsafe fn step(part: v128, q: v128, y: v128) -> v128 {
        i16x8_add(part, i16x8_relaxed_dot_i8x16_i7x16(y, q))
    }

    #[inline(always)]
    unsafe fn sums(part: v128) -> v128 {
        i32x4_extadd_pairwise_i16x8(part)
    }

    #[inline(always)]
    unsafe fn add_scaled(sums: v128, part: v128, factors: v128) -> v128 {
        i32x4_add(sums, i32x4_dot_i16x8(part, factors))
    }

    #[inline(always)]
    unsafe fn signed_quad(activations: *const u8) -> v128 {
        unsafe { v128_load64_splat(activations.cast()) }
    }

    #[inline(always)]
    unsafe fn signed_step(part: TwoSums, q: v128, y: v128) -> TwoSums {
        step_wide(part, q, y)
    }
}

/// The relaxed dot product summed in 32 bits: one instruction where the processor has
/// a dot product (ARM's `sdot`, AVX-VNNI's `vpdpbusd`). Signed weights meet the positive
/// and the negative activations apart, each in 0..=127.
#[cfg(target_feature = "relaxed-simd")]
#[derive(Clone, Copy)]
pub(crate) struct Relaxed32;

#[cfg(target_feature = "relaxed-simd")]
#[allow(clippy::undocumented_unsafe_blocks)] // as above
impl Multiply for Relaxed32 {
    const STEPS_U5: usize = 8;
    const STEPS_U6: usize = 4;
    const REPR: Repr = Repr::I8;
    const SIGNED_REPR: Repr = Repr::Split;
    type SignedQuad = (v128, v128);
    type Part = v128;

    #[inline(always)]
    unsafe fn part() -> v128 {
        i32x4_splat(0)
    }

    #[inline(always)]
    unsafe fn step(part: v128, q: v128, y: v128) -> v128 {
        i32x4_relaxed_dot_i8x16_i7x16_add(y, q, part)
    }

    #[inline(always)]
    unsafe fn sums(part: v128) -> v128 {
        part
    }

    #[inline(always)]
    unsafe fn signed_quad(activations: *const u8) -> (v128, v128) {
        unsafe {
            (
                v128_load32_splat(activations.cast()),
                v128_load32_splat(activations.add(4).cast()),
            )
        }
    }

    #[inline(always)]
    unsafe fn signed_step(part: TwoSums, q: v128, y: (v128, v128)) -> TwoSums {
        (
            i32x4_relaxed_dot_i8x16_i7x16_add(q, y.0, part.0),
            i32x4_relaxed_dot_i8x16_i7x16_add(q, y.1, part.1),
        )
    }

    #[inline(always)]
    unsafe fn signed_sums((positive, negative): TwoSums) -> v128 {
        i32x4_sub(positive, negative)
    }
}

#[allow(clippy::undocumented_unsafe_blocks)] // as above
impl<M: Multiply> Isa for Wasm<M> {
    const LANES: usize = 4;
    const GEMM_GROUPS: usize = 2;
    const STEPS_U5: usize = M::STEPS_U5;
    const STEPS_U6: usize = M::STEPS_U6;
    const REPR: Repr = M::REPR;
    const SIGNED_REPR: Repr = M::SIGNED_REPR;

    type Bytes = v128;
    type Quad = v128;
    type SignedQuad = M::SignedQuad;
    type Part = M::Part;
    type SignedPart = TwoSums;
    type Ints = v128;
    type Floats = v128;
    type Factors = v128;
    type Pairs = v128;

    #[inline(always)]
    unsafe fn enter<W: Work>(work: &W) -> W::Result {
        /// # Safety
        /// As for [`Isa`].
        #[inline(never)]
        unsafe fn compiled<M: Multiply, W: Work>(work: &W) -> W::Result {
            // SAFETY: the caller's promise.
            unsafe { work.run::<Wasm<M>>() }
        }
        unsafe { compiled::<M, W>(work) }
    }

    #[inline(always)]
    unsafe fn load(words: *const u8) -> v128 {
        unsafe { v128_load(words.cast()) }
    }

    #[inline(always)]
    unsafe fn shift_and_mask<const BY: i32>(bytes: v128, mask: u8) -> v128 {
        let by = BY.unsigned_abs();
        let shifted = match BY {
            0 => bytes,
            1.. => u16x8_shr(bytes, by),
            _ => i16x8_shl(bytes, by),
        };
        v128_and(shifted, u8x16_splat(mask))
    }

    #[inline(always)]
    unsafe fn or(a: v128, b: v128) -> v128 {
        v128_or(a, b)
    }

    #[inline(always)]
    unsafe fn quad(activations: *const u8) -> v128 {
        unsafe { M::quad(activations) }
    }

    #[inline(always)]
    unsafe fn part() -> M::Part {
        unsafe { M::part() }
    }

    #[inline(always)]
    unsafe fn step(part: M::Part, q: v128, y: v128) -> M::Part {
        unsafe { M::step(part, q, y) }
    }

    #[inline(always)]
    unsafe fn add_part(sums: v128, part: M::Part) -> v128 {
        i32x4_add(sums, unsafe { M::sums(part) })
    }

    #[inline(always)]
    unsafe fn add_scaled(sums: v128, part: M::Part, factors: v128) -> v128 {
        unsafe { M::add_scaled(sums, part, factors) }
    }

    #[inline(always)]
    unsafe fn signed_quad(activations: *const u8) -> M::SignedQuad {
        unsafe { M::signed_quad(activations) }
    }

    #[inline(always)]
    unsafe fn signed_part() -> TwoSums {
        two_zeros()
    }

    #[inline(always)]
    unsafe fn signed_step(part: TwoSums, q: v128, y: M::SignedQuad) -> TwoSums {
        unsafe { M::signed_step(part, q, y) }
    }

    #[inline(always)]
    unsafe fn signed_sums(part: TwoSums, _: *const i32) -> v128 {
        unsafe { M::signed_sums(part) }
    }

    #[inline(always)]
    unsafe fn splat(value: *const i32) -> v128 {
        unsafe { v128_load32_splat(value.cast()) }
    }

    #[inline(always)]
    unsafe fn shl<const BY: u32>(ints: v128) -> v128 {
        i32x4_shl(ints, BY)
    }

    #[inline(always)]
    unsafe fn sub_ints(a: v128, b: v128) -> v128 {
        i32x4_sub(a, b)
    }

    #[inline(always)]
    unsafe fn no_ints() -> v128 {
        i32x4_splat(0)
    }

    #[inline(always)]
    unsafe fn factors_i8(bytes: *const i8) -> v128 {
        let four = unsafe { v128_load32_zero(bytes.cast()) };
        let wide = i16x8_extend_low_i8x16(four);
        if M::FACTORS_TWICE {
            i16x8_shuffle::<0, 0, 1, 1, 2, 2, 3, 3>(wide, wide)
        } else {
            i32x4_extend_low_i16x8(wide)
        }
    }

    #[inline(always)]
    unsafe fn pairs(first: *const i8, second: *const i8) -> v128 {
        let (a, b) = unsafe {
            (
                v128_load32_zero(first.cast()),
                v128_load32_zero(second.cast()),
            )
        };
        i16x8_extend_low_i8x16(i8x16_shuffle::<
            0,
            16,
            1,
            17,
            2,
            18,
            3,
            19,
            4,
            4,
            4,
            4,
            4,
            4,
            4,
            4,
        >(a, b))
    }

    #[inline(always)]
    unsafe fn dot_pairs(sums: v128, pairs: v128, pair: *const [i16; 2]) -> v128 {
        let pair = unsafe { v128_load32_splat(pair.cast()) };
        i32x4_add(sums, i32x4_dot_i16x8(pairs, pair))
    }

    #[inline(always)]
    unsafe fn widen(halves: *const u16) -> v128 {
        widen(unsafe { u32x4_load_extend_u16x4(halves) })
    }

    #[inline(always)]
    unsafe fn splat_f32(value: *const f32) -> v128 {
        unsafe { v128_load32_splat(value.cast()) }
    }

    #[inline(always)]
    unsafe fn zero() -> v128 {
        f32x4_splat(0.0)
    }

    #[inline(always)]
    unsafe fn to_floats(ints: v128) -> v128 {
        f32x4_convert_i32x4(ints)
    }

    #[inline(always)]
    unsafe fn mul(a: v128, b: v128) -> v128 {
        f32x4_mul(a, b)
    }

    #[inline(always)]
    unsafe fn add(a: v128, b: v128) -> v128 {
        f32x4_add(a, b)
    }

    #[inline(always)]
    unsafe fn sub(a: v128, b: v128) -> v128 {
        f32x4_sub(a, b)
    }

    #[inline(always)]
    unsafe fn store(values: v128, out: *mut f32) {
        unsafe { v128_store(out.cast(), values) }
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
