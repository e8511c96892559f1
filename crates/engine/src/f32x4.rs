//! Four f32 at once.
//!
//! Compilers do not reliably turn arrays of sums into vector registers, so the
//! float kernels spell it out. Each lane computes what a single f32 would, without
//! fusing: the type shows in speed alone.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod imp {
    use core::arch::wasm32::*;

    /// Four lanes.
    #[derive(Clone, Copy)]
    pub(crate) struct F32x4(pub(crate) v128);

    impl F32x4 {
        #[inline(always)]
        pub(crate) fn new([a, b, c, d]: [f32; 4]) -> Self {
            Self(f32x4(a, b, c, d))
        }

        #[inline(always)]
        pub(crate) fn splat(value: f32) -> Self {
            Self(f32x4_splat(value))
        }

        #[inline(always)]
        pub(crate) fn load(values: &[f32; 4]) -> Self {
            // SAFETY: four floats behind a reference; alignment is not required.
            Self(unsafe { v128_load(values.as_ptr().cast()) })
        }

        #[inline(always)]
        pub(crate) fn store(self, values: &mut [f32; 4]) {
            // SAFETY: as for `load`.
            unsafe { v128_store(values.as_mut_ptr().cast(), self.0) };
        }

        #[inline(always)]
        pub(crate) fn add(self, other: Self) -> Self {
            Self(f32x4_add(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn mul(self, other: Self) -> Self {
            Self(f32x4_mul(self.0, other.0))
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod imp {
    use std::arch::x86_64::*;

    /// Four lanes.
    #[derive(Clone, Copy)]
    pub(crate) struct F32x4(pub(crate) __m128);

    impl F32x4 {
        #[inline(always)]
        pub(crate) fn new([a, b, c, d]: [f32; 4]) -> Self {
            // SAFETY: SSE is part of every x86-64 processor.
            Self(unsafe { _mm_setr_ps(a, b, c, d) })
        }

        #[inline(always)]
        pub(crate) fn splat(value: f32) -> Self {
            // SAFETY: SSE is part of every x86-64 processor.
            Self(unsafe { _mm_set1_ps(value) })
        }

        #[inline(always)]
        pub(crate) fn load(values: &[f32; 4]) -> Self {
            // SAFETY: four floats behind a reference; alignment is not required.
            Self(unsafe { _mm_loadu_ps(values.as_ptr()) })
        }

        #[inline(always)]
        pub(crate) fn store(self, values: &mut [f32; 4]) {
            // SAFETY: as for `load`.
            unsafe { _mm_storeu_ps(values.as_mut_ptr(), self.0) };
        }

        #[inline(always)]
        pub(crate) fn add(self, other: Self) -> Self {
            // SAFETY: SSE is part of every x86-64 processor.
            Self(unsafe { _mm_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        pub(crate) fn mul(self, other: Self) -> Self {
            // SAFETY: SSE is part of every x86-64 processor.
            Self(unsafe { _mm_mul_ps(self.0, other.0) })
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod imp {
    use std::arch::aarch64::*;

    /// Four lanes.
    #[derive(Clone, Copy)]
    pub(crate) struct F32x4(pub(crate) float32x4_t);

    impl F32x4 {
        #[inline(always)]
        pub(crate) fn new(values: [f32; 4]) -> Self {
            Self::load(&values)
        }

        #[inline(always)]
        pub(crate) fn splat(value: f32) -> Self {
            // SAFETY: NEON is part of every aarch64 processor.
            Self(unsafe { vdupq_n_f32(value) })
        }

        #[inline(always)]
        pub(crate) fn load(values: &[f32; 4]) -> Self {
            // SAFETY: four floats behind a reference.
            Self(unsafe { vld1q_f32(values.as_ptr()) })
        }

        #[inline(always)]
        pub(crate) fn store(self, values: &mut [f32; 4]) {
            // SAFETY: as for `load`.
            unsafe { vst1q_f32(values.as_mut_ptr(), self.0) };
        }

        #[inline(always)]
        pub(crate) fn add(self, other: Self) -> Self {
            // SAFETY: NEON is part of every aarch64 processor.
            Self(unsafe { vaddq_f32(self.0, other.0) })
        }

        #[inline(always)]
        pub(crate) fn mul(self, other: Self) -> Self {
            // SAFETY: NEON is part of every aarch64 processor.
            Self(unsafe { vmulq_f32(self.0, other.0) })
        }
    }
}

#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
)))]
mod imp {
    /// Four lanes.
    #[derive(Clone, Copy)]
    pub(crate) struct F32x4([f32; 4]);

    impl F32x4 {
        #[inline(always)]
        pub(crate) fn new(values: [f32; 4]) -> Self {
            Self(values)
        }

        #[inline(always)]
        pub(crate) fn splat(value: f32) -> Self {
            Self([value; 4])
        }

        #[inline(always)]
        pub(crate) fn load(values: &[f32; 4]) -> Self {
            Self(*values)
        }

        #[inline(always)]
        pub(crate) fn store(self, values: &mut [f32; 4]) {
            *values = self.0;
        }

        #[inline(always)]
        pub(crate) fn add(self, other: Self) -> Self {
            Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
        }

        #[inline(always)]
        pub(crate) fn mul(self, other: Self) -> Self {
            Self(std::array::from_fn(|lane| self.0[lane] * other.0[lane]))
        }
    }
}

pub(crate) use imp::F32x4;

impl F32x4 {
    /// `(l0 + l2) + (l1 + l3)`
    #[inline(always)]
    pub(crate) fn total(self) -> f32 {
        let mut lanes = [0f32; 4];
        self.store(&mut lanes);
        (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
    }
}
