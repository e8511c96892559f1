//! [`Isa`] on NEON: eight rows in a vector of two registers.
//!
//! Each load of activations serves both registers. Where several tokens share the
//! weights, the sums of a group and of four tokens fill a good part of the 32 registers,
//! so that groups come one at a time.

use std::arch::aarch64::*;
use std::arch::asm;
use std::marker::PhantomData;

use half::f16;

use super::{Isa, Work};
use crate::f32x4::F32x4;
use crate::math::{Halves, Lanes, N_LANES};
use crate::quant::activations::Repr;

/// How the integers of four rows meet activations, which come four times over.
///
/// # Safety
/// As for [`Isa`].
pub(crate) trait Multiply: Copy {
    /// Unfinished sums with integers in 0..=63: of 8 products with integers up to 31, of
    /// 4 with greater ones.
    type Part: Copy;
    /// Unfinished sums with any signed bytes.
    type SignedPart: Copy;

    unsafe fn enter<W: Work>(work: &W) -> W::Result;
    unsafe fn part() -> Self::Part;
    unsafe fn step(part: Self::Part, q: int8x16_t, y: int8x16_t) -> Self::Part;
    unsafe fn sums(part: Self::Part) -> int32x4_t;
    unsafe fn signed_part() -> Self::SignedPart;
    unsafe fn signed_step(part: Self::SignedPart, q: int8x16_t, y: int8x16_t) -> Self::SignedPart;
    unsafe fn signed_sums(part: Self::SignedPart) -> int32x4_t;
}

/// NEON with one way to multiply.
#[derive(Clone, Copy)]
pub(crate) struct Neon<M>(PhantomData<M>);

/// Sixteen halves at a time, as [`Halves`] asks.
#[derive(Clone, Copy)]
pub(crate) struct NeonHalves;

/// 8-bit products added up in 16 bits, on every processor.
#[derive(Clone, Copy)]
pub(crate) struct Smlal;

#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "NEON is part of every aarch64 processor; the rest is the caller's promise"
)]
impl Multiply for Smlal {
    /// Four i16 for each row, two rows in each register. A sum takes one product a step:
    /// 8 · 31 · 127 and 4 · 63 · 127 stay below 2¹⁵.
    type Part = (int16x8_t, int16x8_t);
    /// Two i32 for each row.
    type SignedPart = (int32x4_t, int32x4_t);

    #[inline(always)]
    unsafe fn enter<W: Work>(work: &W) -> W::Result {
        /// # Safety
        /// As for [`Isa`].
        #[inline(never)]
        unsafe fn compiled<W: Work>(work: &W) -> W::Result {
            // SAFETY: the caller's promise.
            unsafe { work.run::<Neon<Smlal>>() }
        }
        unsafe { compiled(work) }
    }

    #[inline(always)]
    unsafe fn part() -> Self::Part {
        unsafe { (vdupq_n_s16(0), vdupq_n_s16(0)) }
    }

    #[inline(always)]
    unsafe fn step((low, high): Self::Part, q: int8x16_t, y: int8x16_t) -> Self::Part {
        unsafe {
            (
                vmlal_s8(low, vget_low_s8(q), vget_low_s8(y)),
                vmlal_high_s8(high, q, y),
            )
        }
    }

    #[inline(always)]
    unsafe fn sums((low, high): Self::Part) -> int32x4_t {
        unsafe { vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)) }
    }

    #[inline(always)]
    unsafe fn signed_part() -> Self::SignedPart {
        unsafe { (vdupq_n_s32(0), vdupq_n_s32(0)) }
    }

    #[inline(always)]
    unsafe fn signed_step(
        (low, high): Self::SignedPart,
        q: int8x16_t,
        y: int8x16_t,
    ) -> Self::SignedPart {
        unsafe {
            (
                vpadalq_s16(low, vmull_s8(vget_low_s8(q), vget_low_s8(y))),
                vpadalq_s16(high, vmull_high_s8(q, y)),
            )
        }
    }

    #[inline(always)]
    unsafe fn signed_sums((low, high): Self::SignedPart) -> int32x4_t {
        unsafe { vpaddq_s32(low, high) }
    }
}

/// The dot product summed in 32 bits. Whoever calls its methods has found the feature at
/// run time.
#[derive(Clone, Copy)]
pub(crate) struct Sdot;

/// Whether this processor has what [`Sdot`] needs.
pub(super) fn has_dotprod() -> bool {
    std::arch::is_aarch64_feature_detected!("dotprod")
}

/// Adds, for each row, the products of four integers with four activations.
#[inline]
#[target_feature(enable = "dotprod")]
fn sdot(mut sums: int32x4_t, q: int8x16_t, y: int8x16_t) -> int32x4_t {
    // SAFETY: the function is compiled for the instruction, which touches these
    // registers alone. Its intrinsic is not stable yet.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {q:v}.16b, {y:v}.16b",
            sums = inout(vreg) sums,
            q = in(vreg) q,
            y = in(vreg) y,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "the feature is the caller's promise"
)]
impl Multiply for Sdot {
    type Part = int32x4_t;
    type SignedPart = int32x4_t;

    #[inline(always)]
    unsafe fn enter<W: Work>(work: &W) -> W::Result {
        /// # Safety
        /// As for [`Isa`].
        #[target_feature(enable = "dotprod")]
        unsafe fn compiled<W: Work>(work: &W) -> W::Result {
            // SAFETY: the caller's promise.
            unsafe { work.run::<Neon<Sdot>>() }
        }
        unsafe { compiled(work) }
    }

    #[inline(always)]
    unsafe fn part() -> int32x4_t {
        unsafe { vdupq_n_s32(0) }
    }

    #[inline(always)]
    unsafe fn step(part: int32x4_t, q: int8x16_t, y: int8x16_t) -> int32x4_t {
        unsafe { sdot(part, q, y) }
    }

    #[inline(always)]
    unsafe fn sums(part: int32x4_t) -> int32x4_t {
        part
    }

    #[inline(always)]
    unsafe fn signed_part() -> int32x4_t {
        unsafe { vdupq_n_s32(0) }
    }

    #[inline(always)]
    unsafe fn signed_step(part: int32x4_t, q: int8x16_t, y: int8x16_t) -> int32x4_t {
        unsafe { sdot(part, q, y) }
    }

    #[inline(always)]
    unsafe fn signed_sums(part: int32x4_t) -> int32x4_t {
        part
    }
}

#[expect(clippy::undocumented_unsafe_blocks, reason = "as for `Smlal`")]
impl<M: Multiply> Isa for Neon<M> {
    const LANES: usize = 8;
    const GEMM_GROUPS: usize = 1;
    const STEPS_U5: usize = 8;
    const STEPS_U6: usize = 4;
    const REPR: Repr = Repr::I8;
    const SIGNED_REPR: Repr = Repr::I8;

    type Bytes = [uint8x16_t; 2];
    type Quad = int8x16_t;
    type SignedQuad = int8x16_t;
    type Part = [M::Part; 2];
    type SignedPart = [M::SignedPart; 2];
    type Ints = [int32x4_t; 2];
    type Floats = [float32x4_t; 2];
    type Factors = [int32x4_t; 2];
    /// The first numbers of all rows, then the second ones.
    type Pairs = [int16x8_t; 2];

    #[inline(always)]
    unsafe fn enter<W: Work>(work: &W) -> W::Result {
        unsafe { M::enter(work) }
    }

    #[inline(always)]
    unsafe fn load(words: *const u8) -> Self::Bytes {
        unsafe { [vld1q_u8(words), vld1q_u8(words.add(16))] }
    }

    #[inline(always)]
    unsafe fn shift_and_mask<const BY: i32>(bytes: Self::Bytes, mask: u8) -> Self::Bytes {
        unsafe {
            let [a, b] = match BY {
                0 => bytes,
                _ => {
                    // To the left; compilers make it a shift by a constant either way.
                    let by = vdupq_n_s8(-BY as i8);
                    [vshlq_u8(bytes[0], by), vshlq_u8(bytes[1], by)]
                }
            };
            let mask = vdupq_n_u8(mask);
            [vandq_u8(a, mask), vandq_u8(b, mask)]
        }
    }

    #[inline(always)]
    unsafe fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        unsafe { [vorrq_u8(a[0], b[0]), vorrq_u8(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn quad(activations: *const u8) -> int8x16_t {
        unsafe { vreinterpretq_s8_s32(vdupq_n_s32(activations.cast::<i32>().read_unaligned())) }
    }

    #[inline(always)]
    unsafe fn part() -> Self::Part {
        unsafe { [M::part(), M::part()] }
    }

    #[inline(always)]
    unsafe fn step([a, b]: Self::Part, q: Self::Bytes, y: int8x16_t) -> Self::Part {
        unsafe {
            [
                M::step(a, vreinterpretq_s8_u8(q[0]), y),
                M::step(b, vreinterpretq_s8_u8(q[1]), y),
            ]
        }
    }

    #[inline(always)]
    unsafe fn add_part(sums: Self::Ints, [a, b]: Self::Part) -> Self::Ints {
        unsafe {
            [
                vaddq_s32(sums[0], M::sums(a)),
                vaddq_s32(sums[1], M::sums(b)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn add_scaled(
        sums: Self::Ints,
        [a, b]: Self::Part,
        factors: Self::Factors,
    ) -> Self::Ints {
        unsafe {
            [
                vmlaq_s32(sums[0], M::sums(a), factors[0]),
                vmlaq_s32(sums[1], M::sums(b), factors[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn signed_quad(activations: *const u8) -> int8x16_t {
        unsafe { Self::quad(activations) }
    }

    #[inline(always)]
    unsafe fn signed_part() -> Self::SignedPart {
        unsafe { [M::signed_part(), M::signed_part()] }
    }

    #[inline(always)]
    unsafe fn signed_step(
        [a, b]: Self::SignedPart,
        q: Self::Bytes,
        y: int8x16_t,
    ) -> Self::SignedPart {
        unsafe {
            [
                M::signed_step(a, vreinterpretq_s8_u8(q[0]), y),
                M::signed_step(b, vreinterpretq_s8_u8(q[1]), y),
            ]
        }
    }

    #[inline(always)]
    unsafe fn signed_sums([a, b]: Self::SignedPart, _: *const i32) -> Self::Ints {
        unsafe { [M::signed_sums(a), M::signed_sums(b)] }
    }

    #[inline(always)]
    unsafe fn splat(value: *const i32) -> Self::Ints {
        unsafe { [vdupq_n_s32(value.read_unaligned()); 2] }
    }

    #[inline(always)]
    unsafe fn shl<const BY: u32>([a, b]: Self::Ints) -> Self::Ints {
        unsafe {
            let by = vdupq_n_s32(BY as i32);
            [vshlq_s32(a, by), vshlq_s32(b, by)]
        }
    }

    #[inline(always)]
    unsafe fn sub_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints {
        unsafe { [vsubq_s32(a[0], b[0]), vsubq_s32(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn no_ints() -> Self::Ints {
        unsafe { [vdupq_n_s32(0); 2] }
    }

    #[inline(always)]
    unsafe fn factors_i8(bytes: *const i8) -> Self::Factors {
        unsafe {
            let wide = vmovl_s8(vld1_s8(bytes));
            [vmovl_s16(vget_low_s16(wide)), vmovl_high_s16(wide)]
        }
    }

    #[inline(always)]
    unsafe fn pairs(first: *const i8, second: *const i8) -> Self::Pairs {
        unsafe { [vmovl_s8(vld1_s8(first)), vmovl_s8(vld1_s8(second))] }
    }

    #[inline(always)]
    unsafe fn dot_pairs(
        [mut a, mut b]: Self::Ints,
        pairs: Self::Pairs,
        pair: *const [i16; 2],
    ) -> Self::Ints {
        unsafe {
            let pair = pair.read_unaligned();
            for i in 0..2 {
                a = vmlal_n_s16(a, vget_low_s16(pairs[i]), pair[i]);
                b = vmlal_high_n_s16(b, pairs[i], pair[i]);
            }
            [a, b]
        }
    }

    #[inline(always)]
    unsafe fn widen(halves: *const u16) -> Self::Floats {
        unsafe { [widen(halves), widen(halves.add(4))] }
    }

    #[inline(always)]
    unsafe fn splat_f32(value: *const f32) -> Self::Floats {
        unsafe { [vdupq_n_f32(value.read_unaligned()); 2] }
    }

    #[inline(always)]
    unsafe fn zero() -> Self::Floats {
        unsafe { [vdupq_n_f32(0.0); 2] }
    }

    #[inline(always)]
    unsafe fn to_floats([a, b]: Self::Ints) -> Self::Floats {
        unsafe { [vcvtq_f32_s32(a), vcvtq_f32_s32(b)] }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { [vmulq_f32(a[0], b[0]), vmulq_f32(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { [vaddq_f32(a[0], b[0]), vaddq_f32(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { [vsubq_f32(a[0], b[0]), vsubq_f32(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn store([a, b]: Self::Floats, out: *mut f32) {
        unsafe {
            vst1q_f32(out, a);
            vst1q_f32(out.add(4), b);
        }
    }
}

/// Four IEEE halves.
///
/// # Safety
/// They are there, at any alignment.
#[inline(always)]
pub(crate) unsafe fn widen(halves: *const u16) -> float32x4_t {
    // SAFETY: NEON is part of every aarch64 processor; the caller's promise.
    unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves))) }
}

impl Halves for NeonHalves {
    #[inline(always)]
    unsafe fn widen_lanes(halves: &[f16; N_LANES]) -> Lanes {
        let first: *const u16 = halves.as_ptr().cast();
        // SAFETY: sixteen halves are four times four.
        unsafe {
            [
                F32x4(widen(first)),
                F32x4(widen(first.add(4))),
                F32x4(widen(first.add(8))),
                F32x4(widen(first.add(12))),
            ]
        }
    }
}
