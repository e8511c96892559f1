//! [`Isa`] on AVX2: eight rows in a vector.

use std::arch::x86_64::*;

use half::f16;

use super::{Isa, Work};
use crate::f32x4::F32x4;
use crate::math::{Halves, Lanes, N_LANES};
use crate::quant::activations::Repr;

/// AVX2 and F16C. Whoever calls its methods has found the features at run time.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// Whether this processor has what [`Avx2`] needs.
#[inline(always)]
pub(crate) fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("f16c")
}

// The intrinsics below are safe to call once AVX2 and F16C are known to be there, which is
// the contract of the trait's methods, as the validity of what pointers lead to is.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Isa for Avx2 {
    const LANES: usize = 8;
    const GEMM_GROUPS: usize = 2;
    // A sum takes two products a step: 8 · 2 · 15 · 127, 4 · 2 · 31 · 127 and
    // 2 · 2 · 63 · 127 stay below 2¹⁵.
    const STEPS_U5: usize = 4;
    const STEPS_U6: usize = 2;
    const REPR: Repr = Repr::I8;
    const SIGNED_REPR: Repr = Repr::I8;

    type Bytes = __m256i;
    type Quad = __m256i;
    type SignedQuad = __m256i;
    /// Two i16 for each row.
    type Part = __m256i;
    type SignedPart = __m256i;
    type Ints = __m256i;
    type Floats = __m256;
    /// An i16 for each row, twice.
    type Factors = __m256i;
    type Pairs = __m256i;

    #[inline(always)]
    unsafe fn enter<W: Work>(work: &W) -> W::Result {
        /// # Safety
        /// As for [`Isa`].
        #[target_feature(enable = "avx2,f16c")]
        unsafe fn compiled<W: Work>(work: &W) -> W::Result {
            // SAFETY: the caller's promise.
            unsafe { work.run::<Avx2>() }
        }
        unsafe { compiled(work) }
    }

    #[inline(always)]
    unsafe fn load(words: *const u8) -> __m256i {
        unsafe { _mm256_loadu_si256(words.cast()) }
    }

    #[inline(always)]
    unsafe fn shift_and_mask<const BY: i32>(bytes: __m256i, mask: u8) -> __m256i {
        unsafe {
            let count = _mm_cvtsi32_si128(BY.abs());
            let shifted = match BY {
                0 => bytes,
                1.. => _mm256_srl_epi16(bytes, count),
                _ => _mm256_sll_epi16(bytes, count),
            };
            _mm256_and_si256(shifted, _mm256_set1_epi8(mask as i8))
        }
    }

    #[inline(always)]
    unsafe fn or(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    unsafe fn quad(activations: *const u8) -> __m256i {
        unsafe { _mm256_set1_epi32(activations.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn part() -> __m256i {
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn step(part: __m256i, q: __m256i, y: __m256i) -> __m256i {
        unsafe { _mm256_add_epi16(part, _mm256_maddubs_epi16(q, y)) }
    }

    #[inline(always)]
    unsafe fn add_part(sums: __m256i, part: __m256i) -> __m256i {
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(part, _mm256_set1_epi16(1))) }
    }

    #[inline(always)]
    unsafe fn add_scaled(sums: __m256i, part: __m256i, factors: __m256i) -> __m256i {
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(part, factors)) }
    }

    #[inline(always)]
    unsafe fn signed_quad(activations: *const u8) -> __m256i {
        unsafe { Self::quad(activations) }
    }

    #[inline(always)]
    unsafe fn signed_part() -> __m256i {
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn signed_step(part: __m256i, q: __m256i, y: __m256i) -> __m256i {
        unsafe {
            // |q| · (y with q's sign): two products reach 2 · 128 · 127 = 32512 at most.
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(y, q));
            _mm256_add_epi32(part, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }

    #[inline(always)]
    unsafe fn signed_sums(part: __m256i, _: *const i32) -> __m256i {
        part
    }

    #[inline(always)]
    unsafe fn splat(value: *const i32) -> __m256i {
        unsafe { _mm256_set1_epi32(value.read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn shl<const BY: u32>(ints: __m256i) -> __m256i {
        unsafe { _mm256_sll_epi32(ints, _mm_cvtsi32_si128(BY as i32)) }
    }

    #[inline(always)]
    unsafe fn sub_ints(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_sub_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn no_ints() -> __m256i {
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn factors_i8(bytes: *const i8) -> __m256i {
        unsafe {
            let eight = _mm_loadl_epi64(bytes.cast());
            _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(eight, eight))
        }
    }

    #[inline(always)]
    unsafe fn pairs(first: *const i8, second: *const i8) -> __m256i {
        unsafe {
            let (a, b) = (
                _mm_loadl_epi64(first.cast()),
                _mm_loadl_epi64(second.cast()),
            );
            _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b))
        }
    }

    #[inline(always)]
    unsafe fn dot_pairs(sums: __m256i, pairs: __m256i, pair: *const [i16; 2]) -> __m256i {
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, Self::splat(pair.cast()))) }
    }

    #[inline(always)]
    unsafe fn widen(halves: *const u16) -> __m256 {
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(halves.cast())) }
    }

    #[inline(always)]
    unsafe fn splat_f32(value: *const f32) -> __m256 {
        unsafe { _mm256_set1_ps(value.read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn to_floats(ints: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(ints) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn store(values: __m256, out: *mut f32) {
        unsafe { _mm256_storeu_ps(out, values) }
    }
}

#[allow(clippy::undocumented_unsafe_blocks)] // as above
impl Halves for Avx2 {
    #[inline(always)]
    unsafe fn widen_lanes(halves: &[f16; N_LANES]) -> Lanes {
        unsafe {
            let first: *const __m128i = halves.as_ptr().cast();
            let low = _mm256_cvtph_ps(_mm_loadu_si128(first));
            let high = _mm256_cvtph_ps(_mm_loadu_si128(first.add(1)));
            [
                F32x4(_mm256_castps256_ps128(low)),
                F32x4(_mm256_extractf128_ps::<1>(low)),
                F32x4(_mm256_castps256_ps128(high)),
                F32x4(_mm256_extractf128_ps::<1>(high)),
            ]
        }
    }
}
