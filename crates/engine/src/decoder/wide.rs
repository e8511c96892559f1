//! Eight f32 at once, for attention.
//!
//! One register where the processor has such, else two [`F32x4`]. Lanes compute
//! independently and without fusing, so which type runs shows in speed alone.

use half::f16;

use crate::f32x4::F32x4;
#[cfg(not(any(
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
)))]
use crate::math::f16_to_f32;
#[cfg(target_arch = "aarch64")]
use crate::quant::widen;

/// Numbers to a vector.
pub(crate) const N_WIDE: usize = 8;

/// Eight lanes.
///
/// # Safety
/// Every method requires the processor that the implementation names.
pub(crate) trait Wide: Copy {
    /// How many of them a kernel holds in registers, beside what it loads.
    const N_HELD: usize;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(values: &[f32; N_WIDE]) -> Self;
    unsafe fn store(self, values: &mut [f32; N_WIDE]);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// Exact.
    unsafe fn from_f16(values: &[f16; N_WIDE]) -> Self;
    /// Exact.
    unsafe fn from_i8(values: &[i8; N_WIDE]) -> Self;
}

/// AVX2 and F16C.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{N_WIDE, Wide, f16};

    /// One register of AVX.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2Wide(__m256);

    // The intrinsics below are safe to call once AVX2 and F16C are known to be there, which
    // is the contract of the trait's methods; loads go through references of the right size.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Wide for Avx2Wide {
        const N_HELD: usize = 8;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            Self(unsafe { _mm256_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(values: &[f32; N_WIDE]) -> Self {
            Self(unsafe { _mm256_loadu_ps(values.as_ptr()) })
        }

        #[inline(always)]
        unsafe fn store(self, values: &mut [f32; N_WIDE]) {
            unsafe { _mm256_storeu_ps(values.as_mut_ptr(), self.0) }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            Self(unsafe { _mm256_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            Self(unsafe { _mm256_mul_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn from_f16(values: &[f16; N_WIDE]) -> Self {
            Self(unsafe { _mm256_cvtph_ps(_mm_loadu_si128(values.as_ptr().cast())) })
        }

        #[inline(always)]
        unsafe fn from_i8(values: &[i8; N_WIDE]) -> Self {
            Self(unsafe {
                let bytes = _mm_loadl_epi64(values.as_ptr().cast());
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
            })
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2Wide;

/// Two vectors of four.
#[derive(Clone, Copy)]
pub(crate) struct Pair(F32x4, F32x4);

#[inline(always)]
fn halves<T>(values: &[T; N_WIDE]) -> (&[T; 4], &[T; 4]) {
    let [low, high] = values.as_chunks::<4>().0 else {
        unreachable!("eight are two times four");
    };
    (low, high)
}

// Nothing here asks for more than the build has.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Wide for Pair {
    // Two registers each: of 32 on aarch64, else of 16.
    const N_HELD: usize = if cfg!(target_arch = "aarch64") { 8 } else { 4 };

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self(F32x4::splat(value), F32x4::splat(value))
    }

    #[inline(always)]
    unsafe fn load(values: &[f32; N_WIDE]) -> Self {
        let (low, high) = halves(values);
        Self(F32x4::load(low), F32x4::load(high))
    }

    #[inline(always)]
    unsafe fn store(self, values: &mut [f32; N_WIDE]) {
        let [low, high] = values.as_chunks_mut::<4>().0 else {
            unreachable!("eight are two times four");
        };
        self.0.store(low);
        self.1.store(high);
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(self.0.add(other.0), self.1.add(other.1))
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        Self(self.0.mul(other.0), self.1.mul(other.1))
    }

    #[inline(always)]
    unsafe fn from_f16(values: &[f16; N_WIDE]) -> Self {
        widen_halves(values)
    }

    #[inline(always)]
    unsafe fn from_i8(values: &[i8; N_WIDE]) -> Self {
        widen_bytes(values)
    }
}

#[cfg(not(any(
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
)))]
#[inline(always)]
fn widen_halves(values: &[f16; N_WIDE]) -> Pair {
    let (low, high) = halves(values);
    Pair(
        F32x4::new(low.map(|half| f16_to_f32(half.to_bits()))),
        F32x4::new(high.map(|half| f16_to_f32(half.to_bits()))),
    )
}

#[cfg(not(any(
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
)))]
#[inline(always)]
fn widen_bytes(values: &[i8; N_WIDE]) -> Pair {
    let (low, high) = halves(values);
    Pair(
        F32x4::new(low.map(f32::from)),
        F32x4::new(high.map(f32::from)),
    )
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn widen_halves(values: &[f16; N_WIDE]) -> Pair {
    let (low, high) = halves(values);
    // SAFETY: each is four halves.
    unsafe {
        Pair(
            F32x4(widen(low.as_ptr().cast())),
            F32x4(widen(high.as_ptr().cast())),
        )
    }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn widen_bytes(values: &[i8; N_WIDE]) -> Pair {
    use std::arch::aarch64::*;
    // SAFETY: NEON is part of every aarch64 processor; eight bytes behind a reference.
    unsafe {
        let wide = vmovl_s8(vld1_s8(values.as_ptr()));
        Pair(
            F32x4(vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)))),
            F32x4(vcvtq_f32_s32(vmovl_high_s16(wide))),
        )
    }
}

/// A half's bits, moved to where f32 has exponent and fraction, are the number times
/// 2^-112: one product widens all that is finite, which the cache's numbers are.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline(always)]
fn widen_halves(values: &[f16; N_WIDE]) -> Pair {
    use core::arch::wasm32::*;
    const TWO_TO_112: f32 = f32::from_bits((127 + 112) << 23);
    let place = |extended: v128| {
        let bits = v128_and(i32x4_shl(extended, 13), u32x4_splat(0x8fff_e000));
        F32x4(f32x4_mul(bits, f32x4_splat(TWO_TO_112)))
    };
    // SAFETY: eight halves are one vector; alignment is not required.
    let bits = unsafe { v128_load(values.as_ptr().cast()) };
    Pair(
        place(i32x4_extend_low_i16x8(bits)),
        place(i32x4_extend_high_i16x8(bits)),
    )
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline(always)]
fn widen_bytes(values: &[i8; N_WIDE]) -> Pair {
    use core::arch::wasm32::*;
    // SAFETY: eight bytes behind a reference; alignment is not required.
    let wide = unsafe { i16x8_load_extend_i8x8(values.as_ptr()) };
    Pair(
        F32x4(f32x4_convert_i32x4(i32x4_extend_low_i16x8(wide))),
        F32x4(f32x4_convert_i32x4(i32x4_extend_high_i16x8(wide))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// # Safety
    /// As for `W`.
    unsafe fn check<W: Wide>() {
        let mut found = [0f32; N_WIDE];
        for bits in (0..=u16::MAX).step_by(N_WIDE) {
            let halves: [f16; N_WIDE] =
                std::array::from_fn(|lane| f16::from_bits(bits + lane as u16));
            // SAFETY: the caller's promise.
            unsafe { W::from_f16(&halves).store(&mut found) };
            for (found, half) in found.iter().zip(halves) {
                if half.is_finite() {
                    assert_eq!(found.to_bits(), half.to_f32().to_bits(), "{half:e}");
                }
            }
        }
        let bytes: [i8; N_WIDE] = [-128, -127, -1, 0, 1, 2, 126, 127];
        // SAFETY: the caller's promise.
        unsafe { W::from_i8(&bytes).store(&mut found) };
        assert_eq!(found, bytes.map(f32::from));
    }

    #[test]
    fn every_finite_half_and_byte_widens_exactly() {
        // SAFETY: `Pair` asks for nothing.
        unsafe { check::<Pair>() };
        #[cfg(target_arch = "x86_64")]
        if crate::quant::has_avx2() {
            // SAFETY: AVX2 and F16C are there.
            unsafe { check::<Avx2Wide>() };
        }
    }
}
