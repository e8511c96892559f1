//! The number types of the KV cache.
//!
//! A type is stored as it is, or in blocks along a head with a scale for each. What is
//! stored is finite: widening need not care for anything else.

use half::f16;

use super::wide::{N_WIDE, Wide};
use crate::math;

/// How numbers are kept.
pub(crate) trait Stored: Copy + Send + Sync + 'static {
    /// Numbers that share a scale; `None`: there are no scales.
    const BLOCK: Option<usize>;
    const ZERO: Self;

    /// Exact, and without the scale.
    ///
    /// # Safety
    /// As for [`Wide`].
    unsafe fn widen<W: Wide>(values: &[Self; N_WIDE]) -> W;

    /// Narrows finite `values`, at most a block of them, and returns their scale.
    fn narrow(values: &[f32], stored: &mut [Self]) -> f16;

    /// Appends the bytes, little-endian.
    fn put(self, out: &mut Vec<u8>);

    /// From as many bytes as the type has; `None` if they are no finite number.
    fn get(bytes: &[u8]) -> Option<Self>;
}

impl Stored for f32 {
    const BLOCK: Option<usize> = None;
    const ZERO: Self = 0.0;

    #[inline(always)]
    unsafe fn widen<W: Wide>(values: &[Self; N_WIDE]) -> W {
        // SAFETY: the caller's promise.
        unsafe { W::load(values) }
    }

    fn narrow(values: &[f32], stored: &mut [Self]) -> f16 {
        stored.copy_from_slice(values);
        f16::ONE
    }

    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        let value = Self::from_le_bytes(bytes.try_into().ok()?);
        value.is_finite().then_some(value)
    }
}

/// Beyond its range, the nearest number that it has.
impl Stored for f16 {
    const BLOCK: Option<usize> = None;
    const ZERO: Self = Self::ZERO;

    #[inline(always)]
    unsafe fn widen<W: Wide>(values: &[Self; N_WIDE]) -> W {
        // SAFETY: the caller's promise.
        unsafe { W::from_f16(values) }
    }

    fn narrow(values: &[f32], stored: &mut [Self]) -> f16 {
        for (stored, value) in stored.iter_mut().zip(values) {
            *stored = Self::from_bits(math::f32_to_f16(*value));
        }
        Self::ONE
    }

    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        let value = Self::from_le_bytes(bytes.try_into().ok()?);
        value.is_finite().then_some(value)
    }
}

/// The blocks of Q8_0: 32 numbers, from −127 to 127 times their scale.
impl Stored for i8 {
    const BLOCK: Option<usize> = Some(32);
    const ZERO: Self = 0;

    #[inline(always)]
    unsafe fn widen<W: Wide>(values: &[Self; N_WIDE]) -> W {
        // SAFETY: the caller's promise.
        unsafe { W::from_i8(values) }
    }

    fn narrow(values: &[f32], stored: &mut [Self]) -> f16 {
        let largest = values.iter().fold(0f32, |max, value| max.max(value.abs()));
        let scale = f16::from_bits(math::f32_to_f16(largest / 127.0));
        let wide = math::f16_to_f32(scale.to_bits());
        // A scale of zero stands for numbers too small for it.
        let inverse = if wide > 0.0 { 1.0 / wide } else { 0.0 };
        for (stored, value) in stored.iter_mut().zip(values) {
            *stored = math::round((value * inverse).clamp(-127.0, 127.0)).1 as Self;
        }
        scale
    }

    fn put(self, out: &mut Vec<u8>) {
        out.push(self as u8);
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        bytes.first().map(|&byte| byte as Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_bytes_is_within_half_a_step_of_its_numbers() {
        for scale in [1e-6f32, 0.01, 1.0, 300.0] {
            let values: Vec<f32> = (0..32)
                .map(|i| ((i * 37 % 32) as f32 - 15.3) * scale)
                .collect();
            let mut stored = [0i8; 32];
            let step = i8::narrow(&values, &mut stored).to_f32();
            for (value, stored) in values.iter().zip(stored) {
                let error = (f32::from(stored) * step - value).abs();
                // Half a step, and what rounding the step to f16 makes of 127 of them.
                let bound = 0.5 * step
                    + value.abs() / 2048.0
                    + f32::from(f16::MIN_POSITIVE_SUBNORMAL) * 64.0;
                assert!(error <= bound, "{value} became {stored} of {step}");
            }
        }
    }
}
