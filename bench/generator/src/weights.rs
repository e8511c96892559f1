//! Random blocks of the types that the benchmark's models are made of.
//!
//! Weights are spread so that activations keep their size from layer to layer: a
//! standard deviation of 1/√(number of inputs). Block layouts are ggml's.

use half::f16;

use crate::mix::BlockType;
use crate::rng::SplitMix64;

/// Standard deviations of evenly spread integers, what the scales have to undo: of a
/// nibble (-8 to 7), five and six bits, and a byte (-127 to 127).
const BITS_4_DEVIATION: f32 = 4.61;
const BITS_5_DEVIATION: f32 = 9.23;
const BITS_6_DEVIATION: f32 = 18.47;
const BITS_8_DEVIATION: f32 = 73.6;

/// Appends a row of `n_inputs` random weights.
pub(crate) fn push_row(out: &mut Vec<u8>, kind: BlockType, n_inputs: usize, rng: &mut SplitMix64) {
    let deviation = 1.0 / (n_inputs as f32).sqrt();
    for _ in 0..n_inputs / kind.block_len() {
        match kind {
            BlockType::F32 => out.extend_from_slice(&1.0f32.to_le_bytes()),
            BlockType::Q4_0 => push_q4_0(out, deviation / BITS_4_DEVIATION, rng),
            BlockType::Q5_0 => push_q5_0(out, deviation / BITS_5_DEVIATION, rng),
            BlockType::Q8_0 => push_q8_0(out, deviation / BITS_8_DEVIATION, rng),
            BlockType::Q4_K => push_q4_k(out, deviation / BITS_4_DEVIATION, rng),
            BlockType::Q6_K => push_q6_k(out, deviation / BITS_6_DEVIATION, rng),
        }
    }
}

/// Appends a row of zeros: in a tied embedding, a token that never wins. A block of zero
/// bytes has scales of zero, whatever its type.
pub(crate) fn push_zero_row(out: &mut Vec<u8>, kind: BlockType, n_inputs: usize) {
    let n_bytes = n_inputs / kind.block_len() * kind.block_bytes();
    out.resize(out.len() + n_bytes, 0);
}

fn push_q4_0(out: &mut Vec<u8>, scale: f32, rng: &mut SplitMix64) {
    push_scale(out, sign_and_vary(scale, rng.next()));
    push_random(out, 16, rng);
}

/// Scale, fifth bits, nibbles.
fn push_q5_0(out: &mut Vec<u8>, scale: f32, rng: &mut SplitMix64) {
    push_scale(out, sign_and_vary(scale, rng.next()));
    push_random(out, 4 + 16, rng);
}

fn push_q8_0(out: &mut Vec<u8>, scale: f32, rng: &mut SplitMix64) {
    push_scale(out, vary(scale, rng.next()));
    for _ in 0..4 {
        // The quantiser never makes -128, and kernels may count on that.
        let bytes = rng.next().to_le_bytes();
        out.extend(bytes.map(|byte| if byte == 0x80 { 0x81 } else { byte }));
    }
}

/// Scale of the scales, scale of the minima, eight of both in six bits, nibbles. Scale
/// and minimum of a part are the same number: a nibble's mean is 7.5, and the minima's
/// scale 7.5 times the scales', so that weights are around zero.
fn push_q4_k(out: &mut Vec<u8>, scale: f32, rng: &mut SplitMix64) {
    let parts = six_bit_scales(rng.next());
    let scale = vary(scale, rng.next()) / SIX_BIT_RMS;
    push_scale(out, scale);
    push_scale(out, scale * 7.5);
    // The first four have their six bits in a byte each; of the others the lower four
    // lie in the last bytes, and the upper two on top of the first ones' bytes.
    let upper: [u8; 4] = std::array::from_fn(|idx| parts[idx] | (parts[idx + 4] >> 4) << 6);
    out.extend_from_slice(&upper);
    out.extend_from_slice(&upper);
    out.extend((4..8).map(|idx| parts[idx] & 15 | (parts[idx] & 15) << 4));
    push_random(out, 128, rng);
}

/// Lower nibbles, upper two bits, sixteen scales in a byte each, their scale.
fn push_q6_k(out: &mut Vec<u8>, scale: f32, rng: &mut SplitMix64) {
    push_random(out, 128 + 64, rng);
    for _ in 0..2 {
        for byte in rng.next().to_le_bytes() {
            // From 64 to 127, of both signs, as the quantiser makes them.
            let magnitude = (64 + (byte & 63)).cast_signed();
            let signed = if byte & 128 == 0 {
                magnitude
            } else {
                -magnitude
            };
            out.push(signed.cast_unsigned());
        }
    }
    push_scale(out, vary(scale, rng.next()) / BYTE_SCALE_RMS);
}

/// Root mean squares of the integer scales: 32 to 63, and 64 to 127.
const SIX_BIT_RMS: f32 = 48.4;
const BYTE_SCALE_RMS: f32 = 97.3;

fn six_bit_scales(chance: u64) -> [u8; 8] {
    chance.to_le_bytes().map(|byte| 32 + (byte & 31))
}

/// Bytes that may be anything.
fn push_random(out: &mut Vec<u8>, n_bytes: usize, rng: &mut SplitMix64) {
    for _ in 0..n_bytes / 8 {
        out.extend_from_slice(&rng.next().to_le_bytes());
    }
    out.extend_from_slice(&rng.next().to_le_bytes()[..n_bytes % 8]);
}

/// Quants reach further below zero than above. Scales of both signs keep the mean at zero.
fn sign_and_vary(scale: f32, chance: u64) -> f32 {
    let sign = if chance & 1 == 0 { 1.0 } else { -1.0 };
    sign * vary(scale, chance)
}

/// `scale` times a factor from 3/4 up to 5/4.
fn vary(scale: f32, chance: u64) -> f32 {
    let fraction = (chance >> 48) as f32 / 65_536.0;
    scale * (0.75 + 0.5 * fraction)
}

fn push_scale(out: &mut Vec<u8>, scale: f32) {
    out.extend_from_slice(&f16::from_f32(scale).to_le_bytes());
}
