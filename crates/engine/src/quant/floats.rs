//! Matrices of plain numbers: rows as in the file, one dot product at a time.

use std::ops::Range;

use super::activations::{ActivationKind, Activations, ForEach, TILE};
use super::blocks::Block;
use super::output::Output;
use super::rows::Rows;
use crate::gguf::GgmlType;
use crate::math::{self, Float, Halves};

/// How many rows are handed out together.
const GROUP_LEN: usize = 4;

/// A number type that rows are made of.
pub(crate) trait FloatKernel: Block + Float {
    /// What rows are multiplied with.
    const ACTIVATION: ActivationKind;
}

impl FloatKernel for f32 {
    const ACTIVATION: ActivationKind = ActivationKind::F32;
}

impl FloatKernel for half::f16 {
    const ACTIVATION: ActivationKind = ActivationKind::F16;
}

impl FloatKernel for half::bf16 {
    const ACTIVATION: ActivationKind = ActivationKind::F32;
}

/// Rows of numbers: `[n_rows, n_cols]`.
pub(crate) struct FloatRows<F> {
    values: Vec<F>,
    n_rows: usize,
    n_cols: usize,
}

impl<F: FloatKernel> FloatRows<F> {
    /// A matrix of zeros, or `None` if there is no memory for it.
    pub(crate) fn zeroed(n_rows: usize, n_cols: usize) -> Option<Self> {
        let n_values = n_rows.checked_mul(n_cols)?;
        let mut values = Vec::new();
        values.try_reserve_exact(n_values).ok()?;
        values.resize(n_values, F::narrow(0.0));
        Some(Self {
            values,
            n_rows,
            n_cols,
        })
    }

    fn row(&self, row: usize) -> &[F] {
        &self.values[row * self.n_cols..][..self.n_cols]
    }

    /// # Safety
    /// As for [`Halves`] and [`Output::set`].
    #[inline(always)]
    unsafe fn matmul_with<H: Halves>(&self, x: &Activations<'_>, rows: Range<usize>, out: Output) {
        for row in rows {
            let mut token = 0;
            while token + TILE <= x.n_tokens() {
                // SAFETY: the caller's promise.
                unsafe { self.dots::<H, TILE>(x, row, token, out) };
                token += TILE;
            }
            while token < x.n_tokens() {
                // SAFETY: the caller's promise.
                unsafe { self.dots::<H, 1>(x, row, token, out) };
                token += 1;
            }
        }
    }

    /// One row times `T` tokens.
    ///
    /// # Safety
    /// As for [`Self::matmul_with`].
    #[inline(always)]
    unsafe fn dots<H: Halves, const T: usize>(
        &self,
        x: &Activations<'_>,
        row: usize,
        token: usize,
        out: Output,
    ) {
        let mut xs: [&[f32]; T] = [&[]; T];
        for (t, xs) in xs.iter_mut().enumerate() {
            *xs = match F::ACTIVATION {
                ActivationKind::F16 => x.f16_row(token + t),
                _ => x.f32_row(token + t),
            };
        }
        // SAFETY: the caller's promise.
        unsafe {
            let values = math::dot::<F, H, T>(self.row(row), xs);
            for (t, value) in values.into_iter().enumerate() {
                out.set(token + t, row, value);
            }
        }
    }

    /// # Safety
    /// AVX2 and F16C are there; and as for [`Output::set`].
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn matmul_avx2(&self, x: &Activations<'_>, rows: Range<usize>, out: Output) {
        // SAFETY: this function is compiled for the instructions; the caller's promise.
        unsafe { self.matmul_with::<super::isa::Avx2>(x, rows, out) }
    }
}

impl<F: FloatKernel> Rows for FloatRows<F> {
    fn quant(&self) -> GgmlType {
        F::QUANT
    }

    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn n_cols(&self) -> usize {
        self.n_cols
    }

    fn activation(&self) -> ActivationKind {
        F::ACTIVATION
    }

    fn block_bytes(&self) -> usize {
        size_of::<F>()
    }

    fn row_bytes(&self) -> usize {
        self.n_cols * size_of::<F>()
    }

    fn memory_bytes(&self) -> usize {
        size_of_val(self.values.as_slice())
    }

    fn put(&mut self, _: &ForEach<'_>, offset: usize, bytes: &[u8]) {
        let n_bytes = self.memory_bytes();
        // SAFETY: numbers have no padding and take any bytes (`Block`'s contract).
        let all = unsafe {
            std::slice::from_raw_parts_mut(self.values.as_mut_ptr().cast::<u8>(), n_bytes)
        };
        all[offset..][..bytes.len()].copy_from_slice(bytes);
    }

    fn file_row(&self, row: usize, bytes: &mut [u8]) {
        for (bytes, value) in bytes.chunks_exact_mut(size_of::<F>()).zip(self.row(row)) {
            bytes.copy_from_slice(super::blocks::bytes_of(value));
        }
    }

    fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        for (out, value) in out.iter_mut().zip(self.row(row)) {
            *out = value.widen();
        }
    }

    fn group_len(&self) -> usize {
        GROUP_LEN
    }

    unsafe fn matmul_groups(&self, x: &Activations<'_>, range: Range<usize>, out: Output) {
        assert_eq!(x.n_cols(), self.n_cols);
        assert_eq!((out.n_tokens(), out.n_rows()), (x.n_tokens(), self.n_rows));
        let rows = range.start * GROUP_LEN..(range.end * GROUP_LEN).min(self.n_rows);
        #[cfg(target_arch = "x86_64")]
        if super::has_avx2() {
            // SAFETY: AVX2 and F16C are there; the rest is the caller's promise.
            return unsafe { self.matmul_avx2(x, rows, out) };
        }
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        type Here = super::isa::Simd128;
        #[cfg(target_arch = "aarch64")]
        type Here = super::isa::NeonHalves;
        #[cfg(not(any(
            target_arch = "aarch64",
            all(target_arch = "wasm32", target_feature = "simd128")
        )))]
        type Here = math::Portable;
        // SAFETY: the build has what the type asks for; the rest is the caller's promise.
        unsafe { self.matmul_with::<Here>(x, rows, out) };
    }
}
