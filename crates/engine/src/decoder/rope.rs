//! Rotary position embedding.
//!
//! # Source
//! Su et al., "RoFormer" (2021); the pairings are ggml's `NORM` and `NEOX`.

use super::config::RopeKind;
use super::rope_scaling::Rope;

/// RoPE's frequencies for layers of one base and scale.
pub(crate) struct RopeFrequencies {
    kind: RopeKind,
    /// The ratio of neighbouring frequencies.
    ratio: f32,
    scale: f32,
    /// What each angle is divided by: `[n_rot / 2]`.
    factors: Vec<f32>,
    /// How much of each angle is not scaled: `[n_rot / 2]`.
    kept: Vec<f32>,
    magnitude: f32,
}

/// Cosines and sines for one position: `[n_rot / 2]` each.
#[derive(Default, Clone)]
pub(crate) struct Rotation {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeFrequencies {
    /// `factors: [n_rot / 2]` divide the frequencies (long contexts of Llama 3 and Phi-3).
    pub(crate) fn new(kind: RopeKind, n_rot: usize, rope: &Rope, factors: Option<&[f32]>) -> Self {
        let kept = |pair| rope.ramp.map_or(0.0, |ramp| ramp.kept(pair));
        Self {
            kind,
            ratio: libm::pow(f64::from(rope.freq_base), -2.0 / n_rot as f64) as f32,
            scale: rope.freq_scale,
            factors: factors.map_or_else(|| vec![1.0; n_rot / 2], <[f32]>::to_vec),
            kept: (0..n_rot / 2).map(kept).collect(),
            magnitude: rope.magnitude,
        }
    }

    /// The rotation for `position`.
    ///
    /// Angles are rounded to f32 step by step as ggml rounds them: at a position in
    /// the hundreds that shows in the fifth digit, and an activation that is about
    /// to be rounded to 8 bits may fall to the other side. Sines and cosines come
    /// from `libm`, which gives the same bits on every target.
    pub(crate) fn rotation(&self, position: usize, rotation: &mut Rotation) {
        rotation.cos.clear();
        rotation.sin.clear();
        let mut angle = position as f32;
        for (factor, kept) in self.factors.iter().zip(&self.kept) {
            let own = angle / factor;
            let scaled = self.scale * own;
            let turned = scaled * (1.0 - kept) + own * kept;
            let (sin, cos) = libm::sincos(f64::from(turned));
            rotation.cos.push(cos as f32 * self.magnitude);
            rotation.sin.push(sin as f32 * self.magnitude);
            angle *= self.ratio;
        }
    }

    /// Rotates every head in `heads: [n_head, head_dim]`; elements beyond `n_rot` stay.
    pub(crate) fn rotate(&self, heads: &mut [f32], head_dim: usize, rotation: &Rotation) {
        let n_pairs = self.factors.len();
        let turn = |x: &mut f32, y: &mut f32, cos: f32, sin: f32| {
            (*x, *y) = (*x * cos - *y * sin, *x * sin + *y * cos);
        };
        let angles = || rotation.cos[..n_pairs].iter().zip(&rotation.sin[..n_pairs]);
        for head in heads.chunks_exact_mut(head_dim) {
            let head = &mut head[..2 * n_pairs];
            match self.kind {
                RopeKind::Interleaved => {
                    let pairs = head.as_chunks_mut::<2>().0;
                    for ([x, y], (&cos, &sin)) in pairs.iter_mut().zip(angles()) {
                        turn(x, y, cos, sin);
                    }
                }
                RopeKind::Halves => {
                    let (first, second) = head.split_at_mut(n_pairs);
                    let pairs = first.iter_mut().zip(second);
                    for ((x, y), (&cos, &sin)) in pairs.zip(angles()) {
                        turn(x, y, cos, sin);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotated(kind: RopeKind, position: usize, n_rot: usize, head: &[f32]) -> Vec<f32> {
        let rope = RopeFrequencies::new(kind, n_rot, &Rope::unscaled(10_000.0), None);
        let mut rotation = Rotation::default();
        rope.rotation(position, &mut rotation);
        let mut head = head.to_vec();
        let head_dim = head.len();
        rope.rotate(&mut head, head_dim, &rotation);
        head
    }

    #[test]
    fn position_zero_changes_nothing() {
        let head = [1.0, 2.0, 3.0, 4.0];
        for kind in [RopeKind::Interleaved, RopeKind::Halves] {
            assert_eq!(rotated(kind, 0, 4, &head), head);
        }
    }

    #[test]
    fn pairs_turn_by_their_own_angles_and_the_rest_stays() {
        let (slow_sin, slow_cos) = (0.03f32).sin_cos();
        let (fast_sin, fast_cos) = (3.0f32).sin_cos();
        let interleaved = rotated(RopeKind::Interleaved, 3, 4, &[1.0, 0.0, 1.0, 0.0, 7.0]);
        let expected = [fast_cos, fast_sin, slow_cos, slow_sin, 7.0];
        let halves = rotated(RopeKind::Halves, 3, 4, &[1.0, 1.0, 0.0, 0.0, 7.0]);
        let expected_halves = [fast_cos, slow_cos, fast_sin, slow_sin, 7.0];
        for (found, expected) in [(interleaved, expected), (halves, expected_halves)] {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn scores_depend_on_distance_alone() {
        let (q, k) = ([0.3, -1.0, 0.7, 0.2], [1.1, 0.4, -0.6, 0.9]);
        let score = |q_position, k_position| -> f32 {
            let q = rotated(RopeKind::Halves, q_position, 4, &q);
            let k = rotated(RopeKind::Halves, k_position, 4, &k);
            q.iter().zip(k).map(|(q, k)| q * k).sum()
        };
        assert!((score(5, 2) - score(1005, 1002)).abs() < 1e-4);
    }
}
