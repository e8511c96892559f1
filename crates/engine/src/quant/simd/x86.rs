//! [`Simd`] on AVX2: 32 bytes in one register.

use std::arch::x86_64::*;

use half::f16;

use super::Simd;
use crate::f32x4::F32x4;
use crate::math::{Halves, Lanes, N_LANES};

/// AVX2 and F16C. Whoever calls its methods has found the features at run time.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// Whether this processor has what [`Avx2`] needs.
#[inline(always)]
pub(crate) fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("f16c")
}

// The intrinsics below are safe to call once AVX2 and F16C are known to be there, which is
// the contract of the trait's methods; loads go through references of the right size.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx2 {
    type Ints = __m256i;
    type Sums = __m256i;

    #[inline(always)]
    unsafe fn load(bytes: &[i8; 32]) -> __m256i {
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn load_bytes(bytes: &[u8; 32]) -> __m256i {
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn nibbles(bytes: &[u8; 16]) -> __m256i {
        unsafe {
            let both = _mm_loadu_si128(bytes.as_ptr().cast());
            let split = _mm256_set_m128i(_mm_srli_epi16::<4>(both), both);
            _mm256_and_si256(split, _mm256_set1_epi8(15))
        }
    }

    #[inline(always)]
    unsafe fn shift_and_mask<const SHIFT: i32>(ints: __m256i, mask: u8) -> __m256i {
        unsafe {
            let count = _mm_cvtsi32_si128(SHIFT.abs());
            let shifted = if SHIFT >= 0 {
                _mm256_sll_epi16(ints, count)
            } else {
                _mm256_srl_epi16(ints, count)
            };
            _mm256_and_si256(shifted, _mm256_set1_epi8(mask as i8))
        }
    }

    #[inline(always)]
    unsafe fn fifth_bits(bits: u32) -> __m256i {
        unsafe {
            // Byte i gets the byte of `bits` that holds bit i, then keeps that bit alone.
            let spread = _mm256_shuffle_epi8(
                _mm256_set1_epi32(bits as i32),
                _mm256_set_epi64x(
                    0x0303_0303_0303_0303,
                    0x0202_0202_0202_0202,
                    0x0101_0101_0101_0101,
                    0,
                ),
            );
            let own_bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
            let is_set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, own_bit), own_bit);
            _mm256_and_si256(is_set, _mm256_set1_epi8(16))
        }
    }

    #[inline(always)]
    unsafe fn or(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn dot_u7(sums: __m256i, q: __m256i, y: __m256i) -> __m256i {
        unsafe {
            // Pairs reach 2 · 127 · 127 = 32258, so the i16 sums do not saturate.
            let pairs = _mm256_maddubs_epi16(q, y);
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }

    #[inline(always)]
    unsafe fn dot_i8(sums: __m256i, q: __m256i, y: __m256i) -> __m256i {
        unsafe {
            // |q| · (y with q's sign): pairs reach 2 · 128 · 127 = 32512 at most.
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(y, q));
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }

    #[inline(always)]
    unsafe fn dot_u6_scaled(sums: __m256i, q: __m256i, y: __m256i, low: i16, high: i16) -> __m256i {
        unsafe {
            let pairs = _mm256_maddubs_epi16(q, y);
            let scales = _mm256_set_m128i(_mm_set1_epi16(high), _mm_set1_epi16(low));
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, scales))
        }
    }

    #[inline(always)]
    unsafe fn total(sums: __m256i) -> i32 {
        unsafe {
            let four = _mm_add_epi32(
                _mm256_castsi256_si128(sums),
                _mm256_extracti128_si256::<1>(sums),
            );
            let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b00_00_11_10>(four));
            let one = _mm_add_epi32(two, _mm_shuffle_epi32::<0b00_00_00_01>(two));
            _mm_cvtsi128_si32(one)
        }
    }

    #[inline(always)]
    unsafe fn totals(sums: [__m256i; 4]) -> [i32; 4] {
        unsafe {
            let pairs = _mm256_hadd_epi32(
                _mm256_hadd_epi32(sums[0], sums[1]),
                _mm256_hadd_epi32(sums[2], sums[3]),
            );
            let four = _mm_add_epi32(
                _mm256_castsi256_si128(pairs),
                _mm256_extracti128_si256::<1>(pairs),
            );
            let mut totals = [0; 4];
            _mm_storeu_si128(totals.as_mut_ptr().cast(), four);
            totals
        }
    }
}

#[allow(clippy::undocumented_unsafe_blocks)] // as above
impl Halves for Avx2 {
    #[inline(always)]
    unsafe fn widen_4(bits: [u16; 4]) -> [f32; 4] {
        unsafe {
            let packed = _mm_loadl_epi64(bits.as_ptr().cast());
            let mut wide = [0.0; 4];
            _mm_storeu_ps(wide.as_mut_ptr(), _mm_cvtph_ps(packed));
            wide
        }
    }

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
