//! The decoder: tokens in, logits out, for every family that fits one description.
//!
//! [`ModelConfig`] says what the layers do, [`Decoder`] does it on a
//! [`Lane`], and the KV cache remembers what came before. The decoder knows
//! neither text nor sampling, and not which family it runs.
//!
//! A token's numbers depend on the tokens before it and on nothing else: not on
//! how a prompt is cut into chunks, on what was cached, or on the number of
//! threads. Reusing a prefix therefore changes no bit of the result.

mod attention;
mod config;
mod error;
mod kv;
mod pages;
mod rope;
mod stored;
mod weights;
mod wide;

pub use config::{Activation, LayerSpec, ModelConfig, RopeKind, supported_architectures};
pub use error::ModelError;
pub(crate) use kv::{KvCache, KvCopyError, KvShape, kv_size_bytes};
pub use kv::{KvOutOfMemory, KvType};
pub(crate) use weights::{PlannedTensor, Weights, assemble, plan};

use attention::{AttentionScratch, AttentionSpec, attention};
use rope::{RopeFrequencies, Rotation};
use weights::LayerWeights;

use crate::lane::{Lane, Product};
use crate::math;

/// How many tokens of a prompt are computed together: enough to use each weight
/// many times while it is at hand, few enough to answer a cancellation quickly.
pub const PREFILL_CHUNK: usize = 32;

/// A model's arithmetic.
pub(crate) struct Decoder {
    config: ModelConfig,
    weights: Weights,
    /// One for every distinct pair of base and scale.
    ropes: Vec<RopeFrequencies>,
    /// Which of `ropes` each layer uses.
    rope_of_layer: Vec<usize>,
}

/// Room for one chunk's intermediate results, allocated once.
pub(crate) struct Scratch {
    /// The residual stream: `[PREFILL_CHUNK, n_embd]`.
    x: Vec<f32>,
    normed: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// What a part adds to the residual stream.
    delta: Vec<f32>,
    attention: AttentionScratch,
    /// `[n_ropes][PREFILL_CHUNK]`
    rotations: Vec<Vec<Rotation>>,
}

impl Scratch {
    /// Bytes for one context's scratch and its logits, the quantised activations included.
    pub(crate) fn size_bytes(config: &ModelConfig) -> u64 {
        let (n_embd, n_ff) = (config.n_embd as u64, config.n_ff as u64);
        let (n_q, n_kv) = (config.n_q() as u64, config.n_kv() as u64);
        let floats_per_token = 3 * n_embd + 2 * n_q + 2 * n_kv + 2 * n_ff;
        let widest = n_embd.max(n_ff).max(n_q);
        let attention = AttentionScratch::n_floats(config, PREFILL_CHUNK) as u64;
        PREFILL_CHUNK as u64 * (4 * floats_per_token + 3 * widest)
            + 4 * (attention + config.n_vocab as u64)
    }
}

impl Decoder {
    pub(crate) fn new(config: ModelConfig, weights: Weights) -> Self {
        let mut bases: Vec<(f32, f32)> = Vec::new();
        let mut rope_of_layer = Vec::new();
        for layer in &config.layers {
            let base = (layer.rope_freq_base, layer.rope_freq_scale);
            let idx = bases
                .iter()
                .position(|known| *known == base)
                .unwrap_or(bases.len());
            if idx == bases.len() {
                bases.push(base);
            }
            rope_of_layer.push(idx);
        }
        let factors = weights.rope_factors.as_deref();
        let ropes = bases
            .into_iter()
            .map(|(base, scale)| {
                RopeFrequencies::new(config.rope_kind, config.n_rot, base, scale, factors)
            })
            .collect();
        Self {
            config,
            weights,
            ropes,
            rope_of_layer,
        }
    }

    pub(crate) fn config(&self) -> &ModelConfig {
        &self.config
    }

    pub(crate) fn new_scratch(&self) -> Scratch {
        let config = &self.config;
        let zeros = |n: usize| vec![0f32; PREFILL_CHUNK * n];
        Scratch {
            x: zeros(config.n_embd),
            normed: zeros(config.n_embd),
            q: zeros(config.n_q()),
            k: zeros(config.n_kv()),
            v: zeros(config.n_kv()),
            attended: zeros(config.n_q()),
            gate: zeros(config.n_ff),
            up: zeros(config.n_ff),
            delta: zeros(config.n_embd),
            attention: AttentionScratch::new(config, PREFILL_CHUNK),
            rotations: vec![vec![Rotation::default(); PREFILL_CHUNK]; self.ropes.len()],
        }
    }

    /// Computes up to [`PREFILL_CHUNK`] tokens at positions `n_past..` and stores
    /// their keys and values; then what follows the last of them, as many as `logits`
    /// has rows.
    ///
    /// # Shape
    /// `tokens: [n_tokens]`, each below `n_vocab`; `logits: [n_logits, n_vocab] f32`
    ///
    /// # Panics
    /// There are no tokens, too many, or unknown ones, or the cache has no room, or
    /// there are more logits than tokens.
    pub(crate) fn forward(
        &self,
        lane: &dyn Lane,
        kv: &mut KvCache,
        scratch: &mut Scratch,
        tokens: &[u32],
        n_past: usize,
        logits: &mut [f32],
    ) {
        assert!((1..=PREFILL_CHUNK).contains(&tokens.len()));
        self.embed(tokens, &mut scratch.x);
        for (rope, rotations) in self.ropes.iter().zip(&mut scratch.rotations) {
            for (i, rotation) in rotations[..tokens.len()].iter_mut().enumerate() {
                rope.rotation(n_past + i, rotation);
            }
        }
        for layer in 0..self.config.n_layer() {
            self.attend(lane, kv, scratch, layer, tokens.len(), n_past);
            self.feed_forward(lane, scratch, layer, tokens.len());
        }
        let n_logits = logits.len() / self.config.n_vocab;
        assert!(n_logits <= tokens.len());
        if n_logits > 0 {
            let n_embd = self.config.n_embd;
            let x = &scratch.x[..tokens.len() * n_embd];
            let last = &x[(tokens.len() - n_logits) * n_embd..];
            self.head(lane, last, &mut scratch.normed, logits);
        }
    }

    fn embed(&self, tokens: &[u32], x: &mut [f32]) {
        for (&token, x) in tokens.iter().zip(x.chunks_exact_mut(self.config.n_embd)) {
            self.weights.token_embd.dequantize_row(token as usize, x);
            if self.config.embedding_scale != 1.0 {
                for x in x {
                    *x *= self.config.embedding_scale;
                }
            }
        }
    }

    fn attend(
        &self,
        lane: &dyn Lane,
        kv: &mut KvCache,
        scratch: &mut Scratch,
        layer: usize,
        n_tokens: usize,
        n_past: usize,
    ) {
        let config = &self.config;
        let weights = &self.weights.layers[layer];
        let (n_embd, n_q, n_kv) = (config.n_embd, config.n_q(), config.n_kv());
        let x = &mut scratch.x[..n_tokens * n_embd];
        let normed = &mut scratch.normed[..n_tokens * n_embd];
        self.norm(x, &weights.attn_norm, normed);
        let q = &mut scratch.q[..n_tokens * n_q];
        let k = &mut scratch.k[..n_tokens * n_kv];
        let v = &mut scratch.v[..n_tokens * n_kv];
        query_key_value(lane, weights, normed, n_tokens, [&mut *q, &mut *k, &mut *v]);
        for (heads, norm) in [(&mut *q, &weights.q_norm), (&mut *k, &weights.k_norm)] {
            if let Some(norm) = norm {
                for head in heads.chunks_exact_mut(config.head_dim) {
                    math::rms_norm_in_place(head, norm, config.norm_eps);
                }
            }
        }
        let rope_idx = self.rope_of_layer[layer];
        let rope = &self.ropes[rope_idx];
        for (i, rotation) in scratch.rotations[rope_idx][..n_tokens].iter().enumerate() {
            rope.rotate(&mut q[i * n_q..][..n_q], config.head_dim, rotation);
            rope.rotate(&mut k[i * n_kv..][..n_kv], config.head_dim, rotation);
            let (k, v) = (&k[i * n_kv..][..n_kv], &v[i * n_kv..][..n_kv]);
            if !kv.store(layer, n_past + i, k, v) {
                // The cache must not hide it: the logits will not be finite either.
                x[i * n_embd..][..n_embd].fill(f32::NAN);
            }
        }
        let spec = AttentionSpec {
            layer,
            n_head: config.n_head,
            n_head_kv: config.n_head_kv,
            head_dim: config.head_dim,
            scale: config.attention_scale,
            logit_cap: config.attention_logit_cap,
            window: config.layers[layer].window,
        };
        let attended = &mut scratch.attended[..n_tokens * n_q];
        attention(lane, spec, kv, n_past, q, &mut scratch.attention, attended);
        let delta = &mut scratch.delta[..n_tokens * n_embd];
        let product = Product {
            weight: &weights.output,
            bias: weights.output_bias.as_deref(),
            out: &mut *delta,
        };
        lane.matmul(attended, n_tokens, &mut [product]);
        self.add(x, delta, weights.post_attn_norm.as_deref());
    }

    fn feed_forward(&self, lane: &dyn Lane, scratch: &mut Scratch, layer: usize, n_tokens: usize) {
        let config = &self.config;
        let weights = &self.weights.layers[layer];
        let x = &mut scratch.x[..n_tokens * config.n_embd];
        let normed = &mut scratch.normed[..n_tokens * config.n_embd];
        self.norm(x, &weights.ffn_norm, normed);
        let gate = &mut scratch.gate[..n_tokens * config.n_ff];
        let up = &mut scratch.up[..n_tokens * config.n_ff];
        let mut products = [
            Product {
                weight: &weights.gate,
                bias: None,
                out: &mut *gate,
            },
            Product {
                weight: &weights.up,
                bias: None,
                out: &mut *up,
            },
        ];
        lane.matmul(normed, n_tokens, &mut products);
        match config.activation {
            Activation::Silu => gate_with(gate, up, math::silu),
            Activation::GeluTanh => gate_with(gate, up, math::gelu_tanh),
        }
        let delta = &mut scratch.delta[..n_tokens * config.n_embd];
        let product = Product {
            weight: &weights.down,
            bias: None,
            out: &mut *delta,
        };
        lane.matmul(gate, n_tokens, &mut [product]);
        self.add(x, delta, weights.post_ffn_norm.as_deref());
    }

    /// `x: [n_logits, n_embd]`, `logits: [n_logits, n_vocab]`
    fn head(&self, lane: &dyn Lane, x: &[f32], normed: &mut [f32], logits: &mut [f32]) {
        let normed = &mut normed[..x.len()];
        self.norm(x, &self.weights.output_norm, normed);
        let weight = self
            .weights
            .output
            .as_ref()
            .unwrap_or(&self.weights.token_embd);
        lane.matmul(
            normed,
            x.len() / self.config.n_embd,
            &mut [Product {
                weight,
                bias: None,
                out: &mut *logits,
            }],
        );
        if let Some(cap) = self.config.final_logit_cap {
            for logit in logits {
                *logit = cap * math::tanh(*logit / cap);
            }
        }
    }

    /// Normalises every token: `[n_tokens, n_embd]`.
    fn norm(&self, x: &[f32], weight: &[f32], out: &mut [f32]) {
        let n_embd = self.config.n_embd;
        for (x, out) in x.chunks_exact(n_embd).zip(out.chunks_exact_mut(n_embd)) {
            math::rms_norm(x, weight, self.config.norm_eps, out);
        }
    }

    /// `x += delta`, normalised before if the layer has post-norms.
    fn add(&self, x: &mut [f32], delta: &mut [f32], post_norm: Option<&[f32]>) {
        if let Some(weight) = post_norm {
            for delta in delta.chunks_exact_mut(self.config.n_embd) {
                math::rms_norm_in_place(delta, weight, self.config.norm_eps);
            }
        }
        for (x, delta) in x.iter_mut().zip(delta) {
            *x += *delta;
        }
    }
}

fn query_key_value(
    lane: &dyn Lane,
    weights: &LayerWeights,
    x: &[f32],
    n_tokens: usize,
    [q, k, v]: [&mut [f32]; 3],
) {
    let mut products = [
        Product {
            weight: &weights.q,
            bias: weights.q_bias.as_deref(),
            out: q,
        },
        Product {
            weight: &weights.k,
            bias: weights.k_bias.as_deref(),
            out: k,
        },
        Product {
            weight: &weights.v,
            bias: weights.v_bias.as_deref(),
            out: v,
        },
    ];
    lane.matmul(x, n_tokens, &mut products);
}

/// `gate = activation(gate) · up`
#[inline(always)]
fn gate_with(gate: &mut [f32], up: &[f32], activation: impl Fn(f32) -> f32) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = activation(*gate) * up;
    }
}
