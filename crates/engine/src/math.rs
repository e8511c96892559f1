//! Float kernels whose results have the same bits on every target.
//!
//! Greedy text must not depend on where it is computed, so nothing here leaves
//! an order or a rounding to the platform:
//! - a sum runs over [`N_LANES`] partial sums, element `i` in lane `i % N_LANES`,
//!   folded at the end in the fixed order of [`fold`]; whatever vector width the
//!   compiler picks, each lane sees the same additions;
//! - there is no fused multiply-add;
//! - `exp` is a polynomial of our own, sines and cosines come from `libm`.
//!
//! Vectors ([`F32x4`]) only spell out lanes that compute independently: there is no
//! second version that could differ. This module knows neither tensors nor models.

use crate::f32x4::F32x4;

/// Partial sums of a float reduction.
pub(crate) const N_LANES: usize = 16;

/// The lanes of a reduction, four to a vector.
pub(crate) type Lanes = [F32x4; N_LANES / 4];

/// Adds up the lanes pairwise: halves first, down to one.
#[inline(always)]
fn fold(lanes: Lanes) -> f32 {
    let [a, b, c, d] = lanes;
    a.add(c).add(b.add(d)).total()
}

/// A stored float type that widens exactly to f32.
pub(crate) trait Float: Copy + Send + Sync + 'static {
    /// The value as f32.
    fn widen(self) -> f32;
    /// The nearest value of this type, ties to even.
    fn narrow(value: f32) -> Self;

    /// [`Self::widen`] for a lane each.
    ///
    /// # Safety
    /// As for [`Halves`].
    #[inline(always)]
    unsafe fn widen_lanes<H: Halves>(values: &[Self; N_LANES]) -> Lanes {
        widen_one_by_one(values)
    }
}

#[inline(always)]
fn widen_one_by_one<F: Float>(values: &[F; N_LANES]) -> Lanes {
    let mut lanes = [F32x4::splat(0.0); N_LANES / 4];
    for (lanes, values) in lanes.iter_mut().zip(values.as_chunks::<4>().0) {
        *lanes = F32x4::new(values.map(F::widen));
    }
    lanes
}

/// How IEEE halves are widened many at a time. The result is exact, so which way
/// is taken cannot show; compilers do not find a vector form of it by themselves.
///
/// # Safety
/// Every method requires the processor that the implementation names.
pub(crate) trait Halves: Copy {
    /// Halves that lie together.
    unsafe fn widen_lanes(halves: &[half::f16; N_LANES]) -> Lanes;
}

/// One by one, on any processor.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Halves for Portable {
    #[inline(always)]
    unsafe fn widen_lanes(halves: &[half::f16; N_LANES]) -> Lanes {
        widen_one_by_one(halves)
    }
}

impl Float for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    unsafe fn widen_lanes<H: Halves>(values: &[Self; N_LANES]) -> Lanes {
        load_lanes(values)
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
    }
}

impl Float for half::f16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f16_to_f32(self.to_bits())
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        Self::from_f32(value)
    }

    #[inline(always)]
    unsafe fn widen_lanes<H: Halves>(values: &[Self; N_LANES]) -> Lanes {
        // SAFETY: the caller's promise.
        unsafe { H::widen_lanes(values) }
    }
}

impl Float for half::bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        Self::from_f32(value)
    }
}

/// Widens the bits of an IEEE half; without branches, so that loops over it vectorise.
///
/// Both alternatives work on normal f32 numbers only: arithmetic on subnormal
/// ones is exact too, but a hundred times slower on some processors.
#[inline(always)]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    const EXPONENT_SHIFT: u32 = 112 << 23;
    let bits = u32::from(bits);
    let magnitude = (bits & 0x7fff) << 13;
    let normal = magnitude + EXPONENT_SHIFT;
    let smallest_normal = EXPONENT_SHIFT + (1 << 23);
    let subnormal =
        (f32::from_bits(magnitude + smallest_normal) - f32::from_bits(smallest_normal)).to_bits();
    let widened = if magnitude < 0x0080_0000 {
        subnormal
    } else {
        normal
    };
    let infinite_or_nan = if magnitude >= 0x0f80_0000 {
        0x7f80_0000
    } else {
        0
    };
    f32::from_bits(widened | infinite_or_nan | ((bits & 0x8000) << 16))
}

/// The bits of the nearest IEEE half, ties to even; for finite numbers, those beyond
/// its range become the greatest that it has. Without branches, so that loops over it
/// vectorise.
#[inline(always)]
pub(crate) fn f32_to_f16(value: f32) -> u16 {
    const MAX: f32 = 65_504.0;
    let magnitude = value.abs();
    let bits = (if magnitude < MAX { magnitude } else { MAX }).to_bits();
    // The lower 13 bits go: half of them rounds, less one where that makes a tie even.
    let rounded = bits + 0x0fff + (bits >> 13 & 1);
    let normal = (rounded >> 13).wrapping_sub(112 << 10);
    // One half's unit in the last place is the step of the halves below 2^-14.
    let subnormal = (magnitude + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let is_subnormal = bits < 113 << 23;
    let unsigned = if is_subnormal { subnormal } else { normal };
    (unsigned | value.to_bits() >> 16 & 0x8000) as u16
}

/// The dot products of one stored row with `T` f32 rows.
///
/// # Shape
/// `row: [n]`, each of `xs: [n] f32`.
///
/// # Safety
/// As for [`Halves`].
#[inline(always)]
pub(crate) unsafe fn dot<F: Float, H: Halves, const T: usize>(
    row: &[F],
    xs: [&[f32]; T],
) -> [f32; T] {
    let (chunks, rest) = row.as_chunks::<N_LANES>();
    let mut x_chunks: [&[[f32; N_LANES]]; T] = [&[]; T];
    for t in 0..T {
        x_chunks[t] = &xs[t].as_chunks().0[..chunks.len()];
    }
    let mut sums = [[F32x4::splat(0.0); N_LANES / 4]; T];
    for (i, chunk) in chunks.iter().enumerate() {
        // SAFETY: the caller's promise.
        let wide = unsafe { F::widen_lanes::<H>(chunk) };
        for t in 0..T {
            let x = load_lanes(&x_chunks[t][i]);
            for k in 0..N_LANES / 4 {
                sums[t][k] = sums[t][k].add(wide[k].mul(x[k]));
            }
        }
    }
    let mut dots = [0f32; T];
    for t in 0..T {
        let x_rest = &xs[t][chunks.len() * N_LANES..];
        dots[t] = fold(add_rest(sums[t], rest, x_rest));
    }
    dots
}

#[inline(always)]
fn load_lanes(values: &[f32; N_LANES]) -> Lanes {
    let [a, b, c, d] = values.as_chunks::<4>().0 else {
        unreachable!("sixteen are four times four");
    };
    [a, b, c, d].map(F32x4::load)
}

/// Adds the products beyond the last whole chunk, a lane each.
#[inline(always)]
fn add_rest<F: Float>(mut sums: Lanes, rest: &[F], x_rest: &[f32]) -> Lanes {
    if rest.is_empty() {
        return sums;
    }
    let mut lanes = [[0f32; 4]; N_LANES / 4];
    for (lanes, sums) in lanes.iter_mut().zip(sums) {
        sums.store(lanes);
    }
    let products = rest.iter().zip(x_rest).map(|(value, x)| value.widen() * x);
    for (lane, product) in lanes.as_flattened_mut().iter_mut().zip(products) {
        *lane += product;
    }
    for (sums, lanes) in sums.iter_mut().zip(&lanes) {
        *sums = F32x4::load(lanes);
    }
    sums
}

/// `e^x` to within two units in the last place; 0 below −87, and `e^88` above 88.
///
/// # Source
/// The reduction and the polynomial of Cephes' `expf`.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-87.0, 88.0);
    let (n, n_bits) = round(clamped * std::f32::consts::LOG2_E);
    let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        5e-1,
    ] {
        p = p * r + coefficient;
    }
    let mantissa = p * (r * r) + r + 1.0;
    let power = f32::from_bits((n_bits.wrapping_add(127) as u32) << 23);
    if x < -87.0 { 0.0 } else { mantissa * power }
}

/// Rounds to the nearest whole number, ties to even, as a float and as an integer.
///
/// Valid for `|x| < 2^22`, where adding 1.5 · 2^23 leaves no fraction bits; any
/// other `x`, NaN included, gives an unspecified pair. One instruction sequence
/// on every target, unlike `round_ties_even`, which is a call on older x86.
#[inline(always)]
pub(crate) fn round(x: f32) -> (f32, i32) {
    const MAGIC: f32 = 12_582_912.0;
    let shifted = x + MAGIC;
    (
        shifted - MAGIC,
        (shifted.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32),
    )
}

/// `x · sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `tanh(x)` through [`exp`]; absolute error below 1e-6.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp(2.0 * x))
}

/// The Gaussian error linear unit in its tanh approximation.
#[inline(always)]
pub(crate) fn gelu_tanh(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    0.5 * x * (1.0 + tanh(SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x)))
}

/// `out = x / rms(x) * weight`
///
/// # Shape
/// `x`, `weight`, `out: [n] f32`
#[inline(always)]
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let scale = rms_scale(x, eps);
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * weight;
    }
}

/// [`rms_norm`] in place.
#[inline(always)]
pub(crate) fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    let scale = rms_scale(x, eps);
    for (x, weight) in x.iter_mut().zip(weight) {
        *x = *x * scale * weight;
    }
}

#[inline(always)]
fn rms_scale(x: &[f32], eps: f32) -> f32 {
    const N: usize = 8;
    let mut sums = [0f64; N];
    let (chunks, rest) = x.as_chunks::<N>();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(x * x);
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += f64::from(x * x);
    }
    let sum: f64 = sums.iter().sum();
    1.0 / ((sum / x.len() as f64) as f32 + eps).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_widens_as_the_half_crate_does() {
        for bits in 0..=u16::MAX {
            let expected = half::f16::from_bits(bits).to_f32();
            let found = f16_to_f32(bits);
            assert!(
                found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()),
                "{bits:#06x}: {found} instead of {expected}"
            );
        }
    }

    #[test]
    fn numbers_narrow_as_the_half_crate_does() {
        // Every exponent, with fractions on both sides of every kind of tie.
        for exponent in 0..255u32 {
            for fraction in (0..1 << 23)
                .step_by(0x3ff)
                .chain([0x1000, 0x3000, 0x7f_ffff])
            {
                for sign in [0, 1 << 31] {
                    let value = f32::from_bits(sign | exponent << 23 | fraction);
                    let expected = half::f16::from_f32(value.clamp(-65_504.0, 65_504.0));
                    assert_eq!(f32_to_f16(value), expected.to_bits(), "{value:e}");
                }
            }
        }
    }

    #[test]
    fn exp_stays_within_two_units_in_the_last_place() {
        let mut x = -87.0f32;
        while x < 88.0 {
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 2.4e-7, "exp({x}) is off by {error:e}");
            x += 0.003_7;
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-100.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(1e9) > 1e38);
    }

    #[test]
    fn rounding_takes_ties_to_even() {
        for (x, expected) in [
            (0.5, 0),
            (1.5, 2),
            (-0.5, 0),
            (-2.5, -2),
            (126.7, 127),
            (-126.7, -127),
        ] {
            assert_eq!(round(x), (expected as f32, expected));
        }
    }

    #[test]
    fn activations_follow_their_definitions() {
        for i in -400..400 {
            let x = i as f32 * 0.05;
            let wide = f64::from(x);
            let silu_expected = wide / (1.0 + (-wide).exp());
            let inner = 0.797_884_560_8 * (wide + 0.044_715 * wide.powi(3));
            let gelu_expected = 0.5 * wide * (1.0 + inner.tanh());
            assert!((f64::from(silu(x)) - silu_expected).abs() < 2e-6);
            assert!((f64::from(gelu_tanh(x)) - gelu_expected).abs() < 4e-6);
        }
        assert!(silu(f32::NAN).is_nan() && gelu_tanh(f32::NAN).is_nan());
    }

    fn dot_portable<const T: usize>(row: &[f32], xs: [&[f32]; T]) -> [f32; T] {
        // SAFETY: `Portable` asks for nothing.
        unsafe { dot::<f32, Portable, T>(row, xs) }
    }

    #[test]
    fn a_dot_product_does_not_depend_on_how_many_run_together() {
        for n in [1, 15, 16, 17, 64, 100] {
            let row: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
            let xs: Vec<Vec<f32>> = (0..4)
                .map(|t| (0..n).map(|i| ((i + t) as f32 * 0.11).cos()).collect())
                .collect();
            let together = dot_portable(&row, [&xs[0][..], &xs[1], &xs[2], &xs[3]]);
            for (t, x) in xs.iter().enumerate() {
                assert_eq!(
                    together[t].to_bits(),
                    dot_portable(&row, [&x[..]])[0].to_bits()
                );
                let expected: f64 = row.iter().zip(x).map(|(a, b)| f64::from(a * b)).sum();
                assert!((f64::from(together[t]) - expected).abs() < 1e-4);
            }
        }
    }
}
