//! Activations, quantised once per matrix product.
//!
//! Weights of the simple types meet activations in blocks of 32, weights of the
//! K types in blocks of 256; both are signed 8-bit integers in −127..=127 with an
//! f32 scale, and carry the sums of their integers, by which offsets and minima
//! of the weights are accounted for. Scales, integers and sums lie in separate
//! arrays, so that the kernels load them as vectors.
//!
//! Weights of half precision meet activations rounded to half precision. In all
//! of this the values are ggml's, so that logits can be compared with llama.cpp's;
//! the rounding is the same on every target (see [`crate::math`]).
//!
//! # Source
//! `quantize_row_q8_0`, `quantize_row_q8_K` and `vec_dot_type` in ggml's CPU backend.

use half::f16;

use super::blocks::{QK, QK_K};
use crate::math::{Float, round};

/// What a weight's rows are multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivationKind {
    /// The f32 values themselves.
    F32,
    /// The values rounded to half precision.
    F16,
    /// Blocks of 32 with a sum for each.
    Q8,
    /// Blocks of 256 with a sum for every 16.
    Q8K,
}

/// One token's activations, borrowed.
#[derive(Clone, Copy)]
pub(crate) struct QuantizedRow<'a> {
    /// The integers: `[n_cols]`.
    pub(crate) qs: &'a [i8],
    /// A scale for each block.
    pub(crate) scales: &'a [f32],
    /// Sums of the integers over 32 (Q8) or 16 (Q8K) elements.
    pub(crate) sums: &'a [i32],
}

/// Several tokens' activations in one quantised form.
#[derive(Debug, Default)]
struct QuantizedRows {
    qs: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

/// Room for quantised activations, kept between products.
#[derive(Debug, Default)]
pub struct ActivationScratch {
    q8: QuantizedRows,
    q8k: QuantizedRows,
    /// Rounded to half precision, kept as f32.
    f16: Vec<f32>,
}

/// The left-hand side of a matrix product, in the forms that its weights ask for.
pub struct Activations<'a> {
    x: &'a [f32],
    n_tokens: usize,
    n_cols: usize,
    scratch: &'a ActivationScratch,
}

impl<'a> Activations<'a> {
    /// Quantises `x` into every form among `kinds`.
    ///
    /// # Shape
    /// `x: [n_tokens, n_cols] f32`; `n_cols` is whole blocks of every kind asked for.
    ///
    /// # Panics
    /// The shape does not hold.
    pub fn new(
        x: &'a [f32],
        n_tokens: usize,
        kinds: impl Iterator<Item = ActivationKind>,
        scratch: &'a mut ActivationScratch,
    ) -> Self {
        assert!(n_tokens > 0 && x.len().is_multiple_of(n_tokens));
        let n_cols = x.len() / n_tokens;
        let mut done = Vec::new();
        for kind in kinds {
            if done.contains(&kind) {
                continue;
            }
            match kind {
                ActivationKind::F32 => {}
                ActivationKind::F16 => {
                    scratch.f16.clear();
                    scratch
                        .f16
                        .extend(x.iter().map(|&x| f16::narrow(x).widen()));
                }
                ActivationKind::Q8 => scratch.q8.fill::<QK, QK>(x, n_cols),
                ActivationKind::Q8K => scratch.q8k.fill::<QK_K, 16>(x, n_cols),
            }
            done.push(kind);
        }
        Self {
            x,
            n_tokens,
            n_cols,
            scratch,
        }
    }

    /// How many tokens there are.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// How many values a token has.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    #[inline(always)]
    pub(crate) fn f16_row(&self, token: usize) -> &[f32] {
        &self.scratch.f16[token * self.n_cols..][..self.n_cols]
    }

    /// The values of token `token`.
    #[inline(always)]
    pub(crate) fn f32_row(&self, token: usize) -> &[f32] {
        &self.x[token * self.n_cols..][..self.n_cols]
    }

    #[inline(always)]
    pub(crate) fn q8_row(&self, token: usize) -> QuantizedRow<'_> {
        self.scratch.q8.row::<QK, QK>(token, self.n_cols)
    }

    #[inline(always)]
    pub(crate) fn q8k_row(&self, token: usize) -> QuantizedRow<'_> {
        self.scratch.q8k.row::<QK_K, 16>(token, self.n_cols)
    }
}

impl QuantizedRows {
    fn fill<const BLOCK: usize, const SUM: usize>(&mut self, x: &[f32], n_cols: usize) {
        assert!(n_cols.is_multiple_of(BLOCK), "{n_cols} is not whole blocks");
        self.qs.resize(x.len(), 0);
        self.scales.resize(x.len() / BLOCK, 0.0);
        self.sums.resize(x.len() / SUM, 0);
        let blocks = x.chunks_exact(BLOCK).zip(self.qs.chunks_exact_mut(BLOCK));
        for ((x, qs), scale) in blocks.zip(&mut self.scales) {
            *scale = quantize(x, qs);
        }
        for (sum, qs) in self.sums.iter_mut().zip(self.qs.chunks_exact(SUM)) {
            *sum = qs.iter().map(|&q| i32::from(q)).sum();
        }
    }

    #[inline(always)]
    fn row<const BLOCK: usize, const SUM: usize>(
        &self,
        token: usize,
        n_cols: usize,
    ) -> QuantizedRow<'_> {
        QuantizedRow {
            qs: &self.qs[token * n_cols..][..n_cols],
            scales: &self.scales[token * (n_cols / BLOCK)..][..n_cols / BLOCK],
            sums: &self.sums[token * (n_cols / SUM)..][..n_cols / SUM],
        }
    }
}

/// Scales `x` into −127..=127, rounds, and returns the scale.
///
/// The largest magnitude is found among the bit patterns, where NaN is above
/// everything: a NaN or an infinity becomes the scale, and so reaches the result
/// of the product instead of vanishing in an integer.
fn quantize(x: &[f32], qs: &mut [i8]) -> f32 {
    let max_bits = x.iter().fold(0, |max: u32, x| max.max(x.abs().to_bits()));
    let max = f32::from_bits(max_bits);
    let inverse = if max > 0.0 { 127.0 / max } else { 0.0 };
    // Below 127 / f32::MAX the inverse overflows; such a block is zero for all purposes.
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    for (q, x) in qs.iter_mut().zip(x) {
        *q = round(x * inverse).1.clamp(-127, 127) as i8;
    }
    if x.len() == QK {
        f16::narrow(max / 127.0).widen()
    } else if inverse > 0.0 {
        1.0 / inverse
    } else {
        max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantized(x: &[f32]) -> (f32, Vec<i8>) {
        let mut qs = vec![0; x.len()];
        (quantize(x, &mut qs), qs)
    }

    #[test]
    fn the_largest_magnitude_becomes_127() {
        let (scale, qs) = quantized(&[0.5, -2.0, 1.0, 0.0]);
        assert_eq!(qs, [32, -127, 64, 0]);
        assert!((scale - 2.0 / 127.0).abs() < 1e-8);
    }

    #[test]
    fn zeros_and_vanishing_values_quantise_to_zero() {
        assert_eq!(quantized(&[0.0, -0.0]), (0.0, vec![0, 0]));
        let (scale, qs) = quantized(&[1e-44, 0.0]);
        assert!(scale < 1e-40);
        assert_eq!(qs, [0, 0]);
    }

    #[test]
    fn nan_and_infinity_reach_the_scale() {
        assert!(quantized(&[1.0, f32::NAN, 2.0]).0.is_nan());
        assert!(quantized(&[f32::INFINITY, 1.0]).0.is_infinite());
    }

    #[test]
    fn sums_belong_to_their_integers() {
        let x: Vec<f32> = (0..512).map(|i| (i as f32 * 0.7).sin()).collect();
        let mut scratch = ActivationScratch::default();
        let kinds = [ActivationKind::Q8, ActivationKind::Q8K, ActivationKind::Q8];
        let activations = Activations::new(&x, 2, kinds.into_iter(), &mut scratch);
        assert_eq!((activations.n_tokens(), activations.n_cols()), (2, 256));
        let (q8, q8k) = (activations.q8_row(1), activations.q8k_row(1));
        for (row, len) in [(q8, 32), (q8k, 16)] {
            assert_eq!(row.sums.len(), 256 / len);
            for (sum, qs) in row.sums.iter().zip(row.qs.chunks(len)) {
                assert_eq!(*sum, qs.iter().map(|&q| i32::from(q)).sum::<i32>());
            }
        }
        for (i, &x) in x[256..].iter().enumerate() {
            let value = q8.scales[i / 32] * f32::from(q8.qs[i]);
            // Half a step, and 127 steps of a scale with 11 bits.
            assert!((value - x).abs() <= q8.scales[i / 32] * 0.57);
        }
    }
}
