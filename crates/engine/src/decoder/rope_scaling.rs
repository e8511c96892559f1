//! How RoPE is stretched beyond the context that a model was first trained for,
//! read from metadata.
//!
//! # Source
//! llama.cpp, `llama_context` and `ggml_rope_yarn_corr_dims`; Peng et al., "YaRN"
//! (2023); Llama 3.1's reference implementation for `llama3`.

use super::config::{MAX_CTX, MAX_HEAD_DIM};
use super::error::ModelError;
use super::keys::Keys;

/// RoPE's constants in one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub freq_base: f32,
    /// Multiplies positions (1 / the scaling factor).
    pub freq_scale: f32,
    /// Which frequencies YaRN leaves alone.
    pub ramp: Option<YarnRamp>,
    /// Multiplies what is rotated.
    pub magnitude: f32,
}

impl Rope {
    /// RoPE without any scaling.
    pub(super) fn unscaled(freq_base: f32) -> Self {
        Self {
            freq_base,
            freq_scale: 1.0,
            ramp: None,
            magnitude: 1.0,
        }
    }
}

/// Pairs before `low` keep their frequencies, pairs after `high` are scaled, and
/// between them one passes into the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct YarnRamp {
    /// The first pair that is scaled a little.
    pub low: f32,
    /// The first pair that is scaled in full.
    pub high: f32,
}

impl YarnRamp {
    /// How much of its own frequency a pair keeps: 1 all, 0 none.
    pub(super) fn kept(self, pair: usize) -> f32 {
        let passed = (pair as f32 - self.low) / (self.high - self.low).max(0.001);
        1.0 - passed.clamp(0.0, 1.0)
    }
}

/// What the metadata say about RoPE, for layers that follow it.
pub(super) struct RopeScaling {
    pub(super) n_rot: usize,
    pub(super) rope: Rope,
    /// The context before any stretching.
    pub(super) n_ctx_orig: usize,
    /// The file has to have long and short factors.
    pub(super) needs_long_factors: bool,
    /// Factors as Llama 3 computes them, where the file describes but lacks them.
    pub(super) factors: Option<Vec<f32>>,
}

/// Real ones are 10⁴ to 10⁷; within these, no angle overflows.
pub(super) const FREQ_BASES: (f32, f32) = (1.0, 1e15);
const FACTORS: (f32, f32) = (1e-3, 1e6);
const MAGNITUDES: (f32, f32) = (1e-3, 1e3);

impl RopeScaling {
    pub(super) fn read(
        keys: &Keys<'_>,
        head_dim: usize,
        n_ctx_train: usize,
        has_ntk_alpha: bool,
    ) -> Result<Self, ModelError> {
        let n_rot = n_rot(keys, head_dim)?;
        let n_ctx_orig = keys
            .count_or_zero("rope.scaling.original_context_length", MAX_CTX)?
            .unwrap_or(n_ctx_train);
        let mut rope = Rope::unscaled(freq_base(keys, head_dim, has_ntk_alpha)?);
        rope.magnitude = keys
            .optional_f32_between("rope.scaling.attn_factor", MAGNITUDES.0, MAGNITUDES.1)?
            .unwrap_or(1.0);
        let kind = keys.optional_str("rope.scaling.type")?;
        let mut factors = None;
        match kind {
            // Older files give a linear factor without a type.
            None | Some("linear") => rope.freq_scale = 1.0 / factor(keys)?,
            Some("none") => {}
            Some("longrope") => rope.freq_scale = 1.0 / factor(keys)?,
            Some("yarn") => stretch_by_yarn(keys, &mut rope, n_rot, n_ctx_orig)?,
            Some("llama3") => {
                factors = Some(llama3_factors(keys, rope.freq_base, n_rot, n_ctx_orig)?);
            }
            Some(other) => {
                return Err(keys.unsupported(
                    "rope.scaling.type",
                    &format!("{other:?}"),
                    "none, linear, yarn, longrope, llama3",
                ));
            }
        }
        Ok(Self {
            n_rot,
            rope,
            n_ctx_orig,
            needs_long_factors: kind == Some("longrope"),
            factors,
        })
    }
}

fn n_rot(keys: &Keys<'_>, head_dim: usize) -> Result<usize, ModelError> {
    let n_rot = keys
        .optional_count("rope.dimension_count", MAX_HEAD_DIM)?
        .unwrap_or(head_dim);
    if n_rot > head_dim || !n_rot.is_multiple_of(2) {
        return Err(keys.out_of_range(
            "rope.dimension_count",
            &n_rot,
            format!("even and at most the head's {head_dim} elements"),
        ));
    }
    Ok(n_rot)
}

fn freq_base(keys: &Keys<'_>, head_dim: usize, has_ntk_alpha: bool) -> Result<f32, ModelError> {
    let (min, max) = FREQ_BASES;
    let base = keys
        .optional_f32_between("rope.freq_base", min, max)?
        .unwrap_or(10_000.0);
    let alpha = keys.optional_f32_between("rope.scaling.alpha", 0.0, FACTORS.1)?;
    match alpha.filter(|&alpha| has_ntk_alpha && alpha > 0.0) {
        None => Ok(base),
        Some(alpha) => {
            let exponent = head_dim as f64 / (head_dim.max(3) - 2) as f64;
            let base = base * libm::pow(alpha.into(), exponent) as f32;
            if (min..=max).contains(&base) {
                return Ok(base);
            }
            Err(keys.out_of_range("rope.scaling.alpha", &alpha, "a smaller number".to_owned()))
        }
    }
}

/// The factor by which the context is stretched; 1 if none is given.
fn factor(keys: &Keys<'_>) -> Result<f32, ModelError> {
    for key in ["rope.scaling.factor", "rope.scale_linear"] {
        if let Some(factor) = keys.optional_f32_between(key, 0.0, FACTORS.1)? {
            // Some writers say "none" by 0.
            if factor == 0.0 {
                return Ok(1.0);
            }
            return keys.f32_between(key, FACTORS.0, FACTORS.1);
        }
    }
    Ok(1.0)
}

fn stretch_by_yarn(
    keys: &Keys<'_>,
    rope: &mut Rope,
    n_rot: usize,
    n_ctx_orig: usize,
) -> Result<(), ModelError> {
    const BETAS: (f32, f32) = (1e-3, 1e6);
    let beta = |key: &str, default: f32| {
        let found = keys.optional_f32_between(key, BETAS.0, BETAS.1)?;
        Ok::<f64, ModelError>(found.unwrap_or(default).into())
    };
    let factor = factor(keys)?;
    let base: f64 = rope.freq_base.into();
    // The pair that turns `beta` times in the original context.
    let pair = |beta: f64| {
        let turns = n_ctx_orig as f64 / (beta * 2.0 * std::f64::consts::PI);
        n_rot as f64 * libm::log(turns) / (2.0 * libm::log(base.max(1.001)))
    };
    let low = libm::floor(pair(beta("rope.scaling.yarn_beta_fast", 32.0)?));
    let high = libm::ceil(pair(beta("rope.scaling.yarn_beta_slow", 1.0)?));
    rope.freq_scale = 1.0 / factor;
    rope.ramp = Some(YarnRamp {
        low: low.max(0.0) as f32,
        high: high.min((n_rot - 1) as f64) as f32,
    });
    let ln_factor = libm::log(f64::from(factor));
    // Some models take a share of the magnitude back.
    let magnitude = |share: f32| (1.0 + 0.1 * f64::from(share) * ln_factor).max(1.0);
    let share = keys.optional_f32_between("rope.scaling.yarn_log_multiplier", 0.0, MAGNITUDES.1)?;
    rope.magnitude *= (magnitude(1.0) / magnitude(share.unwrap_or(0.0))) as f32;
    Ok(())
}

/// Llama 3's divisors of the frequencies, by the metadata.
fn llama3_factors(
    keys: &Keys<'_>,
    freq_base: f32,
    n_rot: usize,
    n_ctx_orig: usize,
) -> Result<Vec<f32>, ModelError> {
    let turns = |key: &str, default: f32| {
        let found = keys.optional_f32_between(key, FACTORS.0, FACTORS.1)?;
        Ok::<f64, ModelError>(found.unwrap_or(default).into())
    };
    let low = turns("rope.scaling.low_freq_factor", 1.0)?;
    let high = turns("rope.scaling.high_freq_factor", 4.0)?;
    if high <= low {
        return Err(keys.out_of_range(
            "rope.scaling.high_freq_factor",
            &high,
            format!("above the low_freq_factor {low}"),
        ));
    }
    let factor = factor(keys)?.into();
    let frequency = |pair| libm::pow(freq_base.into(), -2.0 * pair as f64 / n_rot as f64);
    let divisor = |pair| llama3_divisor(frequency(pair), n_ctx_orig, factor, low, high);
    Ok((0..n_rot / 2).map(divisor).collect())
}

/// Frequencies that turn `high` times or more in the original context stay, those that
/// turn `low` times or less are divided by `factor`.
fn llama3_divisor(frequency: f64, n_ctx_orig: usize, factor: f64, low: f64, high: f64) -> f32 {
    let turns = n_ctx_orig as f64 * frequency / (2.0 * std::f64::consts::PI);
    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
    (1.0 / ((1.0 - kept) / factor + kept)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Llama 3.2's own numbers; its code goes by wavelengths.
    #[test]
    fn llama3_leaves_fast_frequencies_and_divides_slow_ones() {
        let (n_rot, n_ctx_orig, factor) = (64, 8192, 32.0);
        let mut n_between = 0;
        for pair in 0..n_rot / 2 {
            let frequency = 500_000f64.powf(-2.0 * f64::from(pair) / f64::from(n_rot));
            let wavelength = 2.0 * std::f64::consts::PI / frequency;
            let expected = if wavelength < 8192.0 / 4.0 {
                1.0
            } else if wavelength > 8192.0 {
                factor
            } else {
                n_between += 1;
                let smooth = (8192.0 / wavelength - 1.0) / 3.0;
                1.0 / ((1.0 - smooth) / factor + smooth)
            };
            let found = llama3_divisor(frequency, n_ctx_orig, factor, 1.0, 4.0);
            assert!((f64::from(found) - expected).abs() < 1e-5 * expected);
        }
        assert_eq!(n_between, 3);
    }

    #[test]
    fn yarn_passes_from_kept_to_scaled_frequencies() {
        let ramp = YarnRamp {
            low: 2.0,
            high: 6.0,
        };
        let kept: Vec<f32> = (0..8).map(|pair| ramp.kept(pair)).collect();
        assert_eq!(kept, [1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]);
        // As where a model's numbers leave nothing between.
        let step = YarnRamp {
            low: 3.0,
            high: 3.0,
        };
        assert_eq!((step.kept(3), step.kept(4)), (1.0, 0.0));
    }
}
