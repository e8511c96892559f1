//! Random blocks of the quantisations that the benchmark compares.
//!
//! Weights are spread so that activations keep their size from layer to layer: a
//! standard deviation of 1/√(number of inputs). Block layouts are ggml's.

use half::f16;

use crate::Quant;
use crate::rng::SplitMix64;

/// Weights in a block, of either quantisation.
pub(crate) const BLOCK_LEN: usize = 32;

/// Standard deviation of a nibble, uniform in -8..8, and of a byte, uniform in
/// -127..=127: what the scale has to undo.
const NIBBLE_DEVIATION: f32 = 4.61;
const BYTE_DEVIATION: f32 = 73.6;

/// Appends a row of `n_inputs` random weights.
pub(crate) fn push_row(out: &mut Vec<u8>, quant: Quant, n_inputs: usize, rng: &mut SplitMix64) {
    let deviation = 1.0 / (n_inputs as f32).sqrt();
    for _ in 0..n_inputs / BLOCK_LEN {
        match quant {
            Quant::Q4_0 => push_q4_0(out, deviation / NIBBLE_DEVIATION, rng),
            Quant::Q8_0 => push_q8_0(out, deviation / BYTE_DEVIATION, rng),
        }
    }
}

/// Appends a row of zeros: in a tied embedding, a token that never wins.
pub(crate) fn push_zero_row(out: &mut Vec<u8>, quant: Quant, n_inputs: usize) {
    let bytes = n_inputs / BLOCK_LEN * quant.block_bytes();
    out.resize(out.len() + bytes, 0);
}

fn push_q4_0(out: &mut Vec<u8>, scale: f32, rng: &mut SplitMix64) {
    let chance = rng.next();
    // Nibbles reach from -8 to 7. Scales of both signs, as the quantiser makes them,
    // keep the mean at zero.
    let sign = if chance & 1 == 0 { 1.0 } else { -1.0 };
    push_scale(out, sign * vary(scale, chance));
    for _ in 0..2 {
        out.extend_from_slice(&rng.next().to_le_bytes());
    }
}

fn push_q8_0(out: &mut Vec<u8>, scale: f32, rng: &mut SplitMix64) {
    push_scale(out, vary(scale, rng.next()));
    for _ in 0..4 {
        // The quantiser never makes -128, and kernels may count on that.
        let bytes = rng.next().to_le_bytes();
        out.extend(bytes.map(|byte| if byte == 0x80 { 0x81 } else { byte }));
    }
}

/// `scale` times a factor from 3/4 up to 5/4.
fn vary(scale: f32, chance: u64) -> f32 {
    let fraction = (chance >> 48) as f32 / 65_536.0;
    scale * (0.75 + 0.5 * fraction)
}

fn push_scale(out: &mut Vec<u8>, scale: f32) {
    out.extend_from_slice(&f16::from_f32(scale).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dequantises as ggml does: a scale, then the block's quants.
    fn dequantised(bytes: &[u8], quant: Quant) -> Vec<f32> {
        let value = |block: &[u8]| {
            let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
            let quants = block[2..].to_vec();
            let numbers: Vec<f32> = match quant {
                Quant::Q4_0 => quants
                    .iter()
                    .flat_map(|byte| [byte & 15, byte >> 4])
                    .map(|nibble| f32::from(nibble) - 8.0)
                    .collect(),
                Quant::Q8_0 => quants
                    .iter()
                    .map(|&byte| f32::from(byte.cast_signed()))
                    .collect(),
            };
            numbers.into_iter().map(move |number| number * scale)
        };
        bytes.chunks(quant.block_bytes()).flat_map(value).collect()
    }

    #[test]
    fn rows_have_the_spread_that_keeps_activations_in_size() {
        for quant in [Quant::Q4_0, Quant::Q8_0] {
            let mut bytes = Vec::new();
            push_row(&mut bytes, quant, 32_000, &mut SplitMix64::new(7, 1));
            let row = dequantised(&bytes, quant);
            assert_eq!(row.len(), 32_000);
            let power: f32 = row.iter().map(|weight| weight * weight).sum();
            // Statistics of 32,000 draws, and scales that vary by a quarter.
            assert!((power - 1.0).abs() < 0.1, "{quant:?}: {power}");
        }
    }

    #[test]
    fn a_zero_row_is_as_long_as_any_other() {
        for quant in [Quant::Q4_0, Quant::Q8_0] {
            let (mut random, mut zero) = (Vec::new(), Vec::new());
            push_row(&mut random, quant, 64, &mut SplitMix64::new(7, 1));
            push_zero_row(&mut zero, quant, 64);
            assert_eq!(random.len(), zero.len());
            assert!(
                dequantised(&zero, quant)
                    .iter()
                    .all(|&weight| weight == 0.0)
            );
        }
    }
}
