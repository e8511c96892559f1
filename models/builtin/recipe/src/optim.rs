//! AdamW with warm-up, plateau, cosine decay and clipping by the global norm. Knows parameters only as
//! one flat slice.

use crate::gemm::Compute;

/// Hyper-parameters of the run.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Learning rate after the warm-up.
    pub peak_lr: f32,
    /// Steps over which the rate rises in a line.
    pub n_warmup: u64,
    /// Step from which the rate falls along a half cosine.
    pub decay_from: u64,
    /// Steps of the whole run.
    pub n_steps: u64,
    /// Learning rate at the end, as a share of the peak.
    pub floor: f32,
}

impl Schedule {
    /// Learning rate of a step.
    pub fn lr(&self, step: u64) -> f32 {
        if step < self.n_warmup {
            return self.peak_lr * (step + 1) as f32 / self.n_warmup as f32;
        }
        let since = step.saturating_sub(self.decay_from) as f64;
        let done = since / self.n_steps.saturating_sub(self.decay_from).max(1) as f64;
        let cosine = 0.5 * (1.0 + libm::cos(std::f64::consts::PI * done.min(1.0)));
        self.peak_lr * (self.floor + (1.0 - self.floor) * cosine as f32)
    }
}

/// First and second moments, one per parameter.
pub struct AdamW {
    /// Mean of the gradients.
    pub m: Vec<f32>,
    /// Mean of their squares.
    pub v: Vec<f32>,
    /// Share of the mean that a step keeps.
    pub beta1: f32,
    /// Share of the squares that a step keeps.
    pub beta2: f32,
    /// Keeps the quotient finite.
    pub eps: f32,
    /// Pull towards zero, times the learning rate.
    pub weight_decay: f32,
    /// A longer gradient is shortened to this.
    pub max_norm: f32,
}

const CHUNK: usize = 1 << 16;

impl AdamW {
    /// Decay and clipping as small Llama-like models are usually trained with. The batches are
    /// small, so beta2 averages over more of them than the usual 0.95; eps is large enough that
    /// the faint pull of the softmax on rows of absent tokens is not blown up to full steps.
    pub fn new(n_params: usize) -> Self {
        Self {
            m: vec![0.0; n_params],
            v: vec![0.0; n_params],
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-5,
            weight_decay: 0.1,
            max_norm: 1.0,
        }
    }

    /// One update; `decays` says which parameters are decayed. Returns the gradient's
    /// norm before clipping.
    pub fn step(
        &mut self,
        compute: &Compute,
        params: &mut [f32],
        grads: &[f32],
        decays: &[bool],
        step: u64,
        lr: f32,
    ) -> f32 {
        // Fixed chunks summed in order, so that threads cannot change the norm.
        let mut partial = vec![0.0f64; grads.len().div_ceil(CHUNK)];
        let items: Vec<_> = partial.iter_mut().zip(grads.chunks(CHUNK)).collect();
        compute.each(
            items,
            || (),
            |_, (sum, g)| *sum = crate::math::dot(g, g) as f64,
        );
        let norm = libm::sqrt(partial.iter().sum::<f64>()) as f32;
        let clip = if norm > self.max_norm {
            self.max_norm / norm
        } else {
            1.0
        };

        let t = (step + 1) as f64;
        let fix1 = (1.0 / (1.0 - libm::pow(self.beta1 as f64, t))) as f32;
        let fix2 = (1.0 / (1.0 - libm::pow(self.beta2 as f64, t))) as f32;
        let (b1, b2, eps, decay) = (self.beta1, self.beta2, self.eps, self.weight_decay);
        let items: Vec<_> = params
            .chunks_mut(CHUNK)
            .zip(grads.chunks(CHUNK))
            .zip(self.m.chunks_mut(CHUNK).zip(self.v.chunks_mut(CHUNK)))
            .zip(decays.chunks(CHUNK))
            .collect();
        compute.each(
            items,
            || (),
            |_, (((p, g), (m, v)), decays)| {
                let n = p.len();
                let (g, m, v, decays) = (&g[..n], &mut m[..n], &mut v[..n], &decays[..n]);
                for i in 0..n {
                    let g = g[i] * clip;
                    m[i] = b1 * m[i] + (1.0 - b1) * g;
                    v[i] = b2 * v[i] + (1.0 - b2) * g * g;
                    let update = m[i] * fix1 / ((v[i] * fix2).sqrt() + eps);
                    let keep = if decays[i] { 1.0 - lr * decay } else { 1.0 };
                    p[i] = p[i] * keep - lr * update;
                }
            },
        );
        norm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_rises_then_falls_to_the_floor() {
        let s = Schedule {
            peak_lr: 1.0,
            n_warmup: 10,
            decay_from: 20,
            n_steps: 110,
            floor: 0.1,
        };
        assert!(s.lr(0) < s.lr(5) && s.lr(9) == 1.0 && s.lr(20) == 1.0);
        assert!((s.lr(110) - 0.1).abs() < 1e-6);
        assert!(s.lr(60) < s.lr(30));
    }

    #[test]
    fn finds_the_bottom_of_a_bowl() {
        let compute = Compute::new(1);
        let (mut p, mut adam) = (vec![3.0f32, -2.0], AdamW::new(2));
        for step in 0..500 {
            let g: Vec<f32> = p.iter().map(|x| 2.0 * x).collect();
            adam.step(&compute, &mut p, &g, &[false; 2], step, 0.05);
        }
        assert!(p.iter().all(|x| x.abs() < 0.05), "{p:?}");
    }
}
