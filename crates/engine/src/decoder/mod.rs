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
mod conv;
mod error;
mod family;
mod keys;
mod kv;
mod pages;
mod rope;
mod rope_scaling;
mod shared;
mod stored;
mod weights;
mod wide;

pub use config::{
    Activation, AttentionLayer, AttentionTemperature, LayerSpec, Mixer, ModelConfig, QkNorm,
    RopeKind, supported_architectures,
};
pub(crate) use conv::ConvMemory;
pub use error::ModelError;
pub(crate) use kv::{KvCache, KvCopyError};
pub use kv::{KvNotFinite, KvOutOfMemory, KvType};
pub use rope_scaling::{Rope, YarnRamp};
pub(crate) use weights::{PlannedTensor, Weights, assemble, plan};

use attention::{AttentionScratch, AttentionSpec, attention};
use conv::{conv_size_bytes, short_conv};
use kv::{KvShape, kv_size_bytes};
use rope::{RopeFrequencies, Rotation};
use shared::for_each_piece;
use weights::{AttentionWeights, MixerWeights, ShortConvWeights};

use crate::lane::{Lane, Product};
use crate::math;

/// How many tokens of a prompt are computed together: enough to use each weight
/// many times while it is at hand, few enough to answer a cancellation quickly.
pub const PREFILL_CHUNK: usize = 32;

/// What a gated element costs in multiplications of a matrix product, about.
const ACTIVATION_WORK: usize = 15;
/// Gated elements that one thread computes at a time, where they divide the row.
const GATE_PIECE: usize = 256;
/// What a normalised element costs.
const NORM_WORK: usize = 5;
/// What an element of a query or a key costs between its product and attention.
const ROTATE_WORK: usize = 4;

/// A model's arithmetic.
pub(crate) struct Decoder {
    config: ModelConfig,
    weights: Weights,
    /// One for every distinct [`Rope`].
    ropes: Vec<RopeFrequencies>,
    /// Which of `ropes` each layer uses.
    rope_of_layer: Vec<Option<usize>>,
    /// Where each layer stands among those of its own kind, in the KV cache or in the
    /// memory of the short convolutions.
    slot_of_layer: Vec<usize>,
}

/// What a context remembers of the positions before.
pub(crate) struct DecoderMemory {
    pub(crate) kv: KvCache,
    pub(crate) conv: ConvMemory,
}

impl DecoderMemory {
    pub(crate) fn new(config: &ModelConfig, kv_type: KvType) -> Self {
        Self {
            kv: KvCache::new(KvShape::of(config), kv_type),
            conv: ConvMemory::new(config),
        }
    }

    /// Makes room for positions `0..n_positions`.
    pub(crate) fn reserve(&mut self, n_positions: usize) -> Result<(), KvOutOfMemory> {
        self.kv.reserve(n_positions)?;
        self.conv.reserve(n_positions)
    }

    /// Forgets everything and gives the memory back.
    pub(crate) fn clear(&mut self) {
        self.kv.shrink(0);
        self.conv.clear();
    }

    /// The bytes that are allocated.
    pub(crate) fn size_bytes(&self) -> usize {
        self.kv.size_bytes() + self.conv.size_bytes()
    }
}

/// Bytes that a [`DecoderMemory`] takes for `n_ctx` positions.
pub(crate) fn memory_size_bytes(config: &ModelConfig, kv_type: KvType, n_ctx: usize) -> u64 {
    kv_size_bytes(config, kv_type, n_ctx) + conv_size_bytes(config, n_ctx)
}

/// The tokens that are computed together: so many, after so many others.
#[derive(Clone, Copy)]
struct Chunk {
    n_past: usize,
    n_tokens: usize,
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
    /// What goes into a short convolution: `[PREFILL_CHUNK, 3, n_embd]`.
    projected: Vec<f32>,
    /// `[n_ropes][PREFILL_CHUNK]`
    rotations: Vec<Vec<Rotation>>,
}

impl Scratch {
    /// Bytes for one context's scratch and its logits, the quantised activations included.
    pub(crate) fn size_bytes(config: &ModelConfig) -> u64 {
        let (n_embd, n_ff) = (config.n_embd as u64, config.n_ff as u64);
        let (n_q, n_kv) = (config.n_q() as u64, config.n_kv() as u64);
        let n_projected = n_projected(config) as u64;
        let floats_per_token = 3 * n_embd + 2 * n_q + 2 * n_kv + 2 * n_ff + n_projected;
        let widest = n_embd.max(n_ff).max(n_q);
        let attention = AttentionScratch::n_floats(config, PREFILL_CHUNK) as u64;
        PREFILL_CHUNK as u64 * (4 * floats_per_token + 3 * widest)
            + 4 * (attention + config.n_vocab as u64)
    }
}

/// Elements that go into a short convolution, if the model has any.
fn n_projected(config: &ModelConfig) -> usize {
    match config.n_attention_layers() == config.n_layer() {
        true => 0,
        false => 3 * config.n_embd,
    }
}

impl Decoder {
    pub(crate) fn new(config: ModelConfig, weights: Weights) -> Self {
        let mut known: Vec<Rope> = Vec::new();
        let mut rope_of_layer = Vec::new();
        let mut slot_of_layer = Vec::new();
        let (mut n_attention, mut n_conv) = (0, 0);
        for layer in &config.layers {
            let (slot, rope) = match &layer.mixer {
                Mixer::Attention(attention) => (&mut n_attention, attention.rope),
                Mixer::ShortConv { .. } => (&mut n_conv, None),
            };
            slot_of_layer.push(*slot);
            *slot += 1;
            rope_of_layer.push(rope.map(|rope| {
                let found = known.iter().position(|known| *known == rope);
                found.unwrap_or_else(|| {
                    known.push(rope);
                    known.len() - 1
                })
            }));
        }
        let factors = weights.rope_factors.as_deref();
        let ropes = known
            .iter()
            .map(|rope| RopeFrequencies::new(config.rope_kind, config.n_rot, rope, factors))
            .collect();
        Self {
            config,
            weights,
            ropes,
            rope_of_layer,
            slot_of_layer,
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
            projected: zeros(n_projected(config)),
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
    /// # Errors
    /// A key or a value is not finite. What is remembered from `n_past` on is not to be
    /// used, what is before is as it was; there are no logits.
    ///
    /// # Panics
    /// There are no tokens, too many, or unknown ones, or the cache has no room, or
    /// there are more logits than tokens.
    pub(crate) fn forward(
        &self,
        lane: &dyn Lane,
        memory: &mut DecoderMemory,
        scratch: &mut Scratch,
        tokens: &[u32],
        n_past: usize,
        logits: &mut [f32],
    ) -> Result<(), KvNotFinite> {
        assert!((1..=PREFILL_CHUNK).contains(&tokens.len()));
        self.embed(tokens, &mut scratch.x);
        for (rope, rotations) in self.ropes.iter().zip(&mut scratch.rotations) {
            for (i, rotation) in rotations[..tokens.len()].iter_mut().enumerate() {
                rope.rotation(n_past + i, rotation);
            }
        }
        let chunk = Chunk {
            n_past,
            n_tokens: tokens.len(),
        };
        memory.conv.begin(n_past, tokens.len());
        for layer in 0..self.config.n_layer() {
            self.layer(lane, memory, scratch, layer, chunk)?;
        }
        memory.conv.commit(tokens.len());
        let n_logits = logits.len() / self.config.n_vocab;
        assert!(n_logits <= tokens.len());
        if n_logits > 0 {
            let n_embd = self.config.n_embd;
            let x = &mut scratch.x[..tokens.len() * n_embd];
            let last = &mut x[(tokens.len() - n_logits) * n_embd..];
            self.head(lane, last, &mut scratch.normed, logits);
        }
        Ok(())
    }

    fn layer(
        &self,
        lane: &dyn Lane,
        memory: &mut DecoderMemory,
        scratch: &mut Scratch,
        layer: usize,
        chunk: Chunk,
    ) -> Result<(), KvNotFinite> {
        let weights = &self.weights.layers[layer];
        self.norm_stream(lane, scratch, weights.attn_norm.as_deref(), chunk.n_tokens);
        match (&self.config.layers[layer].mixer, &weights.mixer) {
            (Mixer::Attention(spec), MixerWeights::Attention(weights)) => {
                self.attend(lane, &mut memory.kv, scratch, (layer, spec), weights, chunk)?;
            }
            (Mixer::ShortConv { .. }, MixerWeights::ShortConv(weights)) => {
                self.convolve(lane, &mut memory.conv, scratch, layer, weights, chunk);
            }
            _ => unreachable!("weights are assembled by the same description"),
        }
        self.add(
            lane,
            scratch,
            weights.post_attn_norm.as_deref(),
            chunk.n_tokens,
        );
        self.norm_stream(lane, scratch, weights.ffn_norm.as_deref(), chunk.n_tokens);
        self.feed_forward(lane, scratch, layer, chunk.n_tokens);
        self.add(
            lane,
            scratch,
            weights.post_ffn_norm.as_deref(),
            chunk.n_tokens,
        );
        Ok(())
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
        (layer, spec): (usize, &AttentionLayer),
        weights: &AttentionWeights,
        chunk: Chunk,
    ) -> Result<(), KvNotFinite> {
        let config = &self.config;
        let Chunk { n_past, n_tokens } = chunk;
        let (n_embd, n_q, n_kv) = (config.n_embd, config.n_q(), config.n_kv());
        let normed = &scratch.normed[..n_tokens * n_embd];
        let q = &mut scratch.q[..n_tokens * n_q];
        let k = &mut scratch.k[..n_tokens * n_kv];
        let v = &mut scratch.v[..n_tokens * n_kv];
        query_key_value(lane, weights, normed, n_tokens, [&mut *q, &mut *k, &mut *v]);
        let norms_after = spec.qk_norm == Some(QkNorm::EachHeadAfterRope);
        let rope = self.rope_of_layer[layer].map(|idx| (&self.ropes[idx], &scratch.rotations[idx]));
        let work = (n_q + n_kv) * ROTATE_WORK;
        for_each_piece(lane, (&mut *q, n_q), (&mut *k, n_kv), work, &|i, q, k| {
            if !norms_after {
                self.norm_query_key(weights, q, k);
            }
            if let Some((rope, rotations)) = rope {
                rope.rotate(q, config.head_dim, &rotations[i]);
                rope.rotate(k, config.head_dim, &rotations[i]);
            }
            if norms_after {
                self.norm_query_key(weights, q, k);
            }
            self.lengthen_query(q, n_past + i);
        });
        let slot = self.slot_of_layer[layer];
        let pairs = k.chunks_exact(n_kv).zip(v.chunks_exact(n_kv));
        for (i, (k, v)) in pairs.enumerate() {
            let position = n_past + i;
            if !kv.store(slot, position, k, v) {
                // In its place is what was there before, perhaps of another
                // conversation: later tokens would get sound numbers from it.
                return Err(KvNotFinite { position });
            }
        }
        let spec = AttentionSpec {
            layer: slot,
            n_head: config.n_head,
            n_head_kv: config.n_head_kv,
            head_dim: config.head_dim,
            scale: config.attention_scale,
            logit_cap: config.attention_logit_cap,
            window: spec.window,
        };
        let attended = &mut scratch.attended[..n_tokens * n_q];
        attention(lane, spec, kv, n_past, q, &mut scratch.attention, attended);
        let product = Product {
            weight: &weights.output,
            bias: weights.output_bias.as_deref(),
            out: &mut scratch.delta[..n_tokens * n_embd],
        };
        lane.matmul(attended, n_tokens, &mut [product]);
        Ok(())
    }

    /// Normalises a token's queries and keys, as many elements together as the norms have.
    fn norm_query_key(&self, weights: &AttentionWeights, q: &mut [f32], k: &mut [f32]) {
        for (heads, norm) in [(q, &weights.q_norm), (k, &weights.k_norm)] {
            if let Some(norm) = norm {
                for part in heads.chunks_exact_mut(norm.len()) {
                    math::rms_norm_in_place(part, norm, self.config.norm_eps);
                }
            }
        }
    }

    fn lengthen_query(&self, q: &mut [f32], position: usize) {
        if let Some(temperature) = self.config.attention_temperature {
            let factor = temperature.factor(position);
            for q in q {
                *q *= factor;
            }
        }
    }

    fn convolve(
        &self,
        lane: &dyn Lane,
        memory: &mut ConvMemory,
        scratch: &mut Scratch,
        layer: usize,
        weights: &ShortConvWeights,
        chunk: Chunk,
    ) {
        let n_embd = self.config.n_embd;
        let Chunk { n_past, n_tokens } = chunk;
        let normed = &mut scratch.normed[..n_tokens * n_embd];
        let projected = &mut scratch.projected[..n_tokens * 3 * n_embd];
        let product = Product {
            weight: &weights.in_proj,
            bias: None,
            out: &mut *projected,
        };
        lane.matmul(normed, n_tokens, &mut [product]);
        // The projection was the last to need what is normalised.
        let convolved = normed;
        let slot = self.slot_of_layer[layer];
        short_conv(memory, slot, n_past, projected, &weights.taps, convolved);
        let product = Product {
            weight: &weights.out_proj,
            bias: None,
            out: &mut scratch.delta[..n_tokens * n_embd],
        };
        lane.matmul(convolved, n_tokens, &mut [product]);
    }

    fn feed_forward(&self, lane: &dyn Lane, scratch: &mut Scratch, layer: usize, n_tokens: usize) {
        let config = &self.config;
        let weights = &self.weights.layers[layer];
        let normed = &scratch.normed[..n_tokens * config.n_embd];
        let gate = &mut scratch.gate[..n_tokens * config.n_ff];
        let up = &mut scratch.up[..n_tokens * config.n_ff];
        let mut products = [
            Product {
                weight: &weights.gate,
                bias: weights.gate_bias.as_deref(),
                out: &mut *gate,
            },
            Product {
                weight: &weights.up,
                bias: weights.up_bias.as_deref(),
                out: &mut *up,
            },
        ];
        lane.matmul(normed, n_tokens, &mut products);
        // Smaller pieces than a token: one token alone keeps several threads busy as well.
        let piece_len = if config.n_ff.is_multiple_of(GATE_PIECE) {
            GATE_PIECE
        } else {
            config.n_ff
        };
        for_each_piece(
            lane,
            (&mut *gate, piece_len),
            (up, piece_len),
            piece_len * ACTIVATION_WORK,
            &|_, gate, up| match config.activation {
                Activation::Silu => gate_with(gate, up, math::silu),
                Activation::GeluTanh => gate_with(gate, up, math::gelu_tanh),
            },
        );
        let product = Product {
            weight: &weights.down,
            bias: weights.down_bias.as_deref(),
            out: &mut scratch.delta[..n_tokens * config.n_embd],
        };
        lane.matmul(gate, n_tokens, &mut [product]);
    }

    /// `x: [n_logits, n_embd]`, `logits: [n_logits, n_vocab]`
    fn head(&self, lane: &dyn Lane, x: &mut [f32], normed: &mut [f32], logits: &mut [f32]) {
        let normed = &mut normed[..x.len()];
        self.norm(lane, x, Some(&self.weights.output_norm), normed);
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
        if self.config.logit_scale != 1.0 {
            for logit in &mut *logits {
                *logit *= self.config.logit_scale;
            }
        }
        if let Some(cap) = self.config.final_logit_cap {
            for logit in logits {
                *logit = cap * math::tanh(*logit / cap);
            }
        }
    }

    /// Normalises every token, if there is a norm: `[n_tokens, n_embd]`.
    fn norm(&self, lane: &dyn Lane, x: &mut [f32], weight: Option<&[f32]>, out: &mut [f32]) {
        let Some(weight) = weight else {
            out.copy_from_slice(x);
            return;
        };
        let n_embd = self.config.n_embd;
        let work = n_embd * NORM_WORK;
        for_each_piece(lane, (x, n_embd), (out, n_embd), work, &|_, x, out| {
            math::rms_norm(x, weight, self.config.norm_eps, out);
        });
    }

    /// What the next part of the layer works on: the residual stream, normalised.
    fn norm_stream(
        &self,
        lane: &dyn Lane,
        scratch: &mut Scratch,
        weight: Option<&[f32]>,
        n_tokens: usize,
    ) {
        let n = n_tokens * self.config.n_embd;
        self.norm(lane, &mut scratch.x[..n], weight, &mut scratch.normed[..n]);
    }

    /// Adds what a part has made of it to the residual stream, normalised and scaled
    /// as the model wants it.
    fn add(
        &self,
        lane: &dyn Lane,
        scratch: &mut Scratch,
        post_norm: Option<&[f32]>,
        n_tokens: usize,
    ) {
        let n_embd = self.config.n_embd;
        let x = &mut scratch.x[..n_tokens * n_embd];
        let delta = &mut scratch.delta[..n_tokens * n_embd];
        let work = n_embd * post_norm.map_or(1, |_| NORM_WORK);
        // Times one changes no bit.
        let scale = self.config.residual_scale;
        for_each_piece(lane, (x, n_embd), (delta, n_embd), work, &|_, x, delta| {
            if let Some(weight) = post_norm {
                math::rms_norm_in_place(delta, weight, self.config.norm_eps);
            }
            for (x, delta) in x.iter_mut().zip(delta) {
                *x += *delta * scale;
            }
        });
    }
}

fn query_key_value(
    lane: &dyn Lane,
    weights: &AttentionWeights,
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
