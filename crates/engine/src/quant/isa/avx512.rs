//! [`Isa`] on AVX-512 with VNNI: sixteen rows in a vector.

use std::arch::x86_64::*;

use super::{Isa, Work};
use crate::quant::activations::Repr;

/// AVX-512 F, BW and VNNI. Whoever calls its methods has found them at run time.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

/// Whether this processor has what [`Avx512`] needs.
pub(super) fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512vnni")
        && super::has_avx2()
}

// As in `avx2`.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Isa for Avx512 {
    const LANES: usize = 16;
    const GEMM_GROUPS: usize = 2;
    const STEPS_U5: usize = 8;
    const STEPS_U6: usize = 4;
    const REPR: Repr = Repr::I8;
    const SIGNED_REPR: Repr = Repr::I8;

    type Bytes = __m512i;
    type Quad = __m512i;
    type SignedQuad = __m512i;
    type Part = __m512i;
    type SignedPart = __m512i;
    type Ints = __m512i;
    type Floats = __m512;
    type Factors = __m512i;
    /// Two i16 for each row.
    type Pairs = __m512i;

    #[inline(always)]
    unsafe fn enter<W: Work>(work: &W) -> W::Result {
        /// # Safety
        /// As for [`Isa`].
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,f16c")]
        unsafe fn compiled<W: Work>(work: &W) -> W::Result {
            // SAFETY: the caller's promise.
            unsafe { work.run::<Avx512>() }
        }
        unsafe { compiled(work) }
    }

    #[inline(always)]
    unsafe fn load(words: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(words.cast()) }
    }

    #[inline(always)]
    unsafe fn shift_and_mask<const BY: i32>(bytes: __m512i, mask: u8) -> __m512i {
        unsafe {
            let count = _mm_cvtsi32_si128(BY.abs());
            let shifted = match BY {
                0 => bytes,
                1.. => _mm512_srl_epi16(bytes, count),
                _ => _mm512_sll_epi16(bytes, count),
            };
            _mm512_and_si512(shifted, _mm512_set1_epi8(mask as i8))
        }
    }

    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    unsafe fn quad(activations: *const u8) -> __m512i {
        unsafe { _mm512_set1_epi32(activations.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn part() -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn step(part: __m512i, q: __m512i, y: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(part, q, y) }
    }

    #[inline(always)]
    unsafe fn add_part(sums: __m512i, part: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(sums, part) }
    }

    #[inline(always)]
    unsafe fn add_scaled(sums: __m512i, part: __m512i, factors: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(sums, _mm512_mullo_epi32(part, factors)) }
    }

    #[inline(always)]
    unsafe fn signed_quad(activations: *const u8) -> __m512i {
        unsafe { Self::quad(activations) }
    }

    #[inline(always)]
    unsafe fn signed_part() -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn signed_step(part: __m512i, q: __m512i, y: __m512i) -> __m512i {
        unsafe {
            // q + 128 in 0..=255; what that adds is taken off by `signed_sums`.
            let q = _mm512_xor_si512(q, _mm512_set1_epi8(-128));
            _mm512_dpbusd_epi32(part, q, y)
        }
    }

    #[inline(always)]
    unsafe fn signed_sums(part: __m512i, sum_x8: *const i32) -> __m512i {
        unsafe { _mm512_add_epi32(part, Self::shl::<4>(Self::splat(sum_x8))) }
    }

    #[inline(always)]
    unsafe fn splat(value: *const i32) -> __m512i {
        unsafe { _mm512_set1_epi32(value.read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn shl<const BY: u32>(ints: __m512i) -> __m512i {
        unsafe { _mm512_sll_epi32(ints, _mm_cvtsi32_si128(BY as i32)) }
    }

    #[inline(always)]
    unsafe fn sub_ints(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_sub_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn no_ints() -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn factors_i8(bytes: *const i8) -> __m512i {
        unsafe { _mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.cast())) }
    }

    #[inline(always)]
    unsafe fn pairs(first: *const i8, second: *const i8) -> __m512i {
        unsafe {
            let (a, b) = (
                _mm_loadu_si128(first.cast()),
                _mm_loadu_si128(second.cast()),
            );
            let (low, high) = (_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b));
            _mm512_cvtepi8_epi16(_mm256_set_m128i(high, low))
        }
    }

    #[inline(always)]
    unsafe fn dot_pairs(sums: __m512i, pairs: __m512i, pair: *const [i16; 2]) -> __m512i {
        unsafe { _mm512_dpwssd_epi32(sums, pairs, Self::splat(pair.cast())) }
    }

    #[inline(always)]
    unsafe fn widen(halves: *const u16) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(halves.cast())) }
    }

    #[inline(always)]
    unsafe fn splat_f32(value: *const f32) -> __m512 {
        unsafe { _mm512_set1_ps(value.read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn to_floats(ints: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(ints) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn store(values: __m512, out: *mut f32) {
        unsafe { _mm512_storeu_ps(out, values) }
    }
}
