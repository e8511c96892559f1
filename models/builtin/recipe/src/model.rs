//! A Llama decoder (RMSNorm, rotary positions on interleaved pairs, grouped-query attention,
//! SwiGLU, tied embeddings) with a forward and a hand-written backward pass over packed
//! conversations, and token-by-token generation. Knows tokens, not text.

use crate::gemm::{Compute, Scratch, Start, View};
use crate::math::{dot, sigmoid, softmax};
use crate::rng::Rng;

/// Shape of the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Tokens.
    pub n_vocab: usize,
    /// Elements of a hidden state.
    pub n_embd: usize,
    /// Layers.
    pub n_layer: usize,
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads; divides `n_head`.
    pub n_head_kv: usize,
    /// Elements of the feed-forward part.
    pub n_ff: usize,
    /// Longest conversation in tokens.
    pub n_ctx: usize,
    /// Added under the root in RMSNorm.
    pub rms_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
}

impl Config {
    /// Elements of one head.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// Elements of all key (or value) heads of one token.
    pub fn n_kv(&self) -> usize {
        self.n_head_kv * self.head_dim()
    }

    /// Elements of queries, keys and values of one token, which lie one after the other.
    pub fn n_qkv(&self) -> usize {
        self.n_embd + 2 * self.n_kv()
    }
}

/// Where one layer's tensors begin in the flat parameters.
#[derive(Clone, Copy, Debug)]
pub struct LayerAt {
    /// `[n_embd]`
    pub attn_norm: usize,
    /// `[n_qkv, n_embd]`
    pub qkv: usize,
    /// `[n_embd, n_embd]`
    pub attn_out: usize,
    /// `[n_embd]`
    pub ffn_norm: usize,
    /// `[2 * n_ff, n_embd]`: gate rows, then up rows
    pub gate_up: usize,
    /// `[n_embd, n_ff]`
    pub down: usize,
}

/// Offsets of every tensor in the flat parameters.
#[derive(Clone, Debug)]
pub struct Layout {
    /// One entry per layer.
    pub layers: Vec<LayerAt>,
    /// `[n_embd]`
    pub norm: usize,
    /// `[n_vocab, n_embd]`
    pub embd: usize,
    /// Length of the flat parameters.
    pub n_params: usize,
}

impl Layout {
    /// Tensors one after the other, layer by layer.
    pub fn new(c: &Config) -> Self {
        let mut at = 0;
        let mut take = |n: usize| {
            at += n;
            at - n
        };
        let d = c.n_embd;
        let layers = (0..c.n_layer)
            .map(|_| LayerAt {
                attn_norm: take(d),
                qkv: take(c.n_qkv() * d),
                attn_out: take(d * d),
                ffn_norm: take(d),
                gate_up: take(2 * c.n_ff * d),
                down: take(d * c.n_ff),
            })
            .collect();
        let (norm, embd) = (take(d), take(c.n_vocab * d));
        Self {
            layers,
            norm,
            embd,
            n_params: at,
        }
    }

    /// One flag per parameter: whether it belongs to a matrix rather than to a norm.
    pub fn matrices(&self, n_embd: usize) -> Vec<bool> {
        let mut flags = vec![true; self.n_params];
        for at in self
            .layers
            .iter()
            .flat_map(|l| [l.attn_norm, l.ffn_norm])
            .chain([self.norm])
        {
            flags[at..at + n_embd].fill(false);
        }
        flags
    }
}

/// Several conversations one after the other.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Ids of all conversations.
    pub tokens: Vec<u32>,
    /// First token of each conversation, and after the last the number of all tokens.
    pub starts: Vec<usize>,
    /// `(row, token that should follow)` for every learnt position.
    pub targets: Vec<(usize, u32)>,
}

/// The network and its tables.
pub struct Model {
    /// Its shape.
    pub config: Config,
    /// Where its tensors lie.
    pub layout: Layout,
    /// All weights.
    pub params: Vec<f32>,
    /// `[n_ctx, head_dim / 2]`
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// What the backward pass needs from one layer.
#[derive(Default)]
struct LayerState {
    x: Vec<f32>,
    inv1: Vec<f32>,
    n1: Vec<f32>,
    qkv: Vec<f32>,
    att: Vec<f32>,
    x2: Vec<f32>,
    inv2: Vec<f32>,
    n2: Vec<f32>,
    gu: Vec<f32>,
    h: Vec<f32>,
}

/// Buffers handed from one step to the next: fresh pages from the system cost more than the
/// arithmetic done in them. What a taken buffer holds is unspecified.
#[derive(Default)]
pub struct Arena(Vec<Vec<f32>>);

impl Arena {
    fn take(&mut self, n: usize) -> Vec<f32> {
        let fit = |v: &Vec<f32>| v.capacity() >= n && v.capacity() <= 2 * n;
        let best = (0..self.0.len())
            .filter(|&i| fit(&self.0[i]))
            .min_by_key(|&i| self.0[i].capacity());
        let mut v = match best {
            Some(i) => self.0.swap_remove(i),
            None => Vec::with_capacity(n + n / 4),
        };
        v.resize(n, 0.0);
        v
    }

    fn copy_of(&mut self, data: &[f32]) -> Vec<f32> {
        let mut v = self.take(data.len());
        v.copy_from_slice(data);
        v
    }

    fn give(&mut self, all: impl IntoIterator<Item = Vec<f32>>) {
        self.0.extend(all);
    }
}

/// Rows that one work item of an elementwise pass covers.
const ROWS: usize = 64;

impl Model {
    /// Weights drawn from `seed`.
    pub fn init(config: Config, seed: u64) -> Self {
        let layout = Layout::new(&config);
        let mut params = vec![0.0; layout.n_params];
        let mut rng = Rng::new(seed);
        let d = config.n_embd;
        let mut fill = |at: usize, n: usize, std: f32| {
            params[at..at + n]
                .iter_mut()
                .for_each(|p| *p = std * rng.normal());
        };
        // Outputs into the residual stream start smaller, as in GPT-2.
        let std = 0.6 / (d as f32).sqrt();
        let out_std = std / ((2 * config.n_layer) as f32).sqrt();
        for l in &layout.layers {
            fill(l.qkv, config.n_qkv() * d, std);
            fill(l.attn_out, d * d, out_std);
            fill(l.gate_up, 2 * config.n_ff * d, std);
            fill(l.down, d * config.n_ff, out_std);
        }
        // As strong as what the layers add: with a weaker one, Adam's pull on all rows at once
        // soon makes rare tokens alike, and names can no longer be copied.
        fill(layout.embd, config.n_vocab * d, 0.1);
        let mut model = Self::new(config, params);
        let norms: Vec<usize> = model
            .layout
            .layers
            .iter()
            .flat_map(|l| [l.attn_norm, l.ffn_norm])
            .chain([model.layout.norm])
            .collect();
        norms
            .iter()
            .for_each(|&at| model.params[at..at + d].fill(1.0));
        if config.head_dim() >= 32 && config.n_layer >= 2 && config.n_head_kv >= 3 {
            model.lay_out_copying(&mut rng);
        }
        model
    }

    /// Starts the network with the two-layer circuit that copies: a head of the first layer
    /// attends to the previous token and notes a sketch of it, heads of the second look for the
    /// place whose note matches the current token and bring the token from there. Such heads
    /// also form by themselves, but only after many times the text of this recipe.
    ///
    /// # Source
    /// Olsson et al., "In-context Learning and Induction Heads", 2022.
    fn lay_out_copying(&mut self, rng: &mut Rng) {
        const SKETCH: usize = 16;
        /// Pairs that turn fast enough to tell neighbours apart.
        const FAST: usize = 4;
        let c = self.config;
        let (d, hd) = (c.n_embd, c.head_dim());
        let per_kv = c.n_head / c.n_head_kv;
        let notes = d - SKETCH;
        // One element is the same for all tokens, and the last ones are kept free for notes.
        for row in self.params[self.layout.embd..].chunks_mut(d) {
            row[0] = 0.4;
            row[notes..].fill(0.0);
        }
        let mut sketch = |n: usize| -> Vec<Vec<f32>> {
            let scale = 1.0 / (d as f32).sqrt();
            let used = |i: usize| i > 0 && i < notes;
            let mut row = || {
                let one = |i: usize| rng.normal() * if used(i) { scale } else { 0.0 };
                (0..d).map(one).collect()
            };
            (0..n).map(|_| row()).collect()
        };
        let content = sketch(SKETCH);
        let q_row = |at: usize, head: usize, i: usize| at + (head * hd + i) * d;
        let k_row = |at: usize, kv: usize, i: usize| at + (d + kv * hd + i) * d;
        let v_row = |at: usize, kv: usize, i: usize| at + (d + c.n_kv() + kv * hd + i) * d;

        let first = self.layout.layers[0];
        for i in 0..hd {
            self.params[q_row(first.qkv, 0, i)..][..d].fill(0.0);
            self.params[k_row(first.qkv, 0, i)..][..d].fill(0.0);
        }
        for pair in 0..FAST {
            // A query turned back by one step meets the key of the place before.
            let (cos, sin) = (self.cos[hd / 2 + pair], self.sin[hd / 2 + pair]);
            self.params[k_row(first.qkv, 0, 2 * pair)] = 1.5;
            self.params[q_row(first.qkv, 0, 2 * pair)] = 1.5 * cos;
            self.params[q_row(first.qkv, 0, 2 * pair + 1)] = -1.5 * sin;
        }
        for (i, row) in content.iter().enumerate() {
            self.params[v_row(first.qkv, 0, i)..][..d].copy_from_slice(row);
            for out in 0..d {
                let w = if out == notes + i { 0.2 } else { 0.0 };
                self.params[first.attn_out + out * d + i] = w;
            }
        }

        let second = self.layout.layers[1];
        for kv in 0..3 {
            let head = kv * per_kv;
            for i in 0..hd {
                self.params[q_row(second.qkv, head, i)..][..d].fill(0.0);
                self.params[k_row(second.qkv, kv, i)..][..d].fill(0.0);
            }
            for (i, row) in content.iter().enumerate() {
                // The slowest pairs hardly turn within a chat: they compare content alone.
                let slow = hd - SKETCH + i;
                self.params[k_row(second.qkv, kv, slow) + notes + i] = 1.3;
                let q = &mut self.params[q_row(second.qkv, head, slow)..][..d];
                q.iter_mut().zip(row).for_each(|(q, x)| *q = 1.3 * x);
            }
            for (i, row) in sketch(hd).iter().enumerate() {
                self.params[v_row(second.qkv, kv, i)..][..d].copy_from_slice(row);
                for (out, x) in row.iter().enumerate() {
                    self.params[second.attn_out + out * d + head * hd + i] = 0.2 * x;
                }
            }
        }
    }

    /// A model with given weights.
    ///
    /// # Panics
    /// When `params` has another length than the shape asks for.
    pub fn new(config: Config, params: Vec<f32>) -> Self {
        let layout = Layout::new(&config);
        assert_eq!(params.len(), layout.n_params);
        let half = config.head_dim() / 2;
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for pos in 0..config.n_ctx {
            for i in 0..half {
                let exponent = -(i as f64) / half as f64;
                let angle = pos as f64 * libm::pow(config.rope_base as f64, exponent);
                cos.push(libm::cos(angle) as f32);
                sin.push(libm::sin(angle) as f32);
            }
        }
        Self {
            config,
            layout,
            params,
            cos,
            sin,
        }
    }

    fn w(&self, at: usize, n: usize) -> &[f32] {
        &self.params[at..at + n]
    }

    /// Turns the pairs of every query and key head of one token; `back` turns them back.
    fn rotate(&self, qkv: &mut [f32], pos: usize, back: bool) {
        let half = self.config.head_dim() / 2;
        let (cos, sin) = (
            &self.cos[pos * half..][..half],
            &self.sin[pos * half..][..half],
        );
        let n = self.config.n_embd + self.config.n_kv();
        for head in qkv[..n].chunks_exact_mut(2 * half) {
            for (i, pair) in head.chunks_exact_mut(2).enumerate() {
                let s = if back { -sin[i] } else { sin[i] };
                let (a, b) = (pair[0], pair[1]);
                pair[0] = a * cos[i] - b * s;
                pair[1] = a * s + b * cos[i];
            }
        }
    }

    /// Mean loss over the batch's targets; with `grads`, adds the gradient of that mean.
    pub fn loss(
        &self,
        compute: &Compute,
        arena: &mut Arena,
        batch: &Batch,
        grads: Option<&mut [f32]>,
    ) -> f32 {
        let (x, states) = self.layers_forward(compute, arena, batch);
        let c = &self.config;
        let (d, v, n) = (c.n_embd, c.n_vocab, batch.targets.len());
        // Only learnt rows pass through the head.
        let mut picked = arena.take(n * d);
        for (&(r, _), row) in batch.targets.iter().zip(picked.chunks_mut(d)) {
            row.copy_from_slice(&x[r * d..(r + 1) * d]);
        }
        let norm_w = self.w(self.layout.norm, d);
        let (mut normed, mut inv) = (arena.take(n * d), arena.take(n));
        rms_norm(compute, &picked, norm_w, c.rms_eps, &mut normed, &mut inv);
        let embd = View::rows(self.w(self.layout.embd, v * d), d);
        let mut logits = arena.take(n * v);
        compute.gemm(
            n,
            v,
            d,
            View::rows(&normed, d),
            embd.t(),
            &mut logits,
            Start::Zero,
        );

        let mut losses = vec![0.0f32; n];
        let scale = 1.0 / n.max(1) as f32;
        let items: Vec<_> = logits
            .chunks_mut(ROWS * v)
            .zip(losses.chunks_mut(ROWS).zip(batch.targets.chunks(ROWS)))
            .collect();
        compute.each(
            items,
            || (),
            |_, (rows, (losses, targets))| {
                for ((row, loss), &(_, t)) in rows.chunks_mut(v).zip(losses).zip(targets) {
                    let score = row[t as usize];
                    *loss = softmax(row) - score;
                    row[t as usize] -= 1.0;
                    row.iter_mut().for_each(|p| *p *= scale);
                }
            },
        );
        let mean = losses.iter().map(|&l| l as f64).sum::<f64>() / n.max(1) as f64;

        if let Some(grads) = grads {
            let dlogits = View::rows(&logits, v);
            let mut dnormed = arena.take(n * d);
            compute.gemm(n, d, v, dlogits, embd, &mut dnormed, Start::Zero);
            let dembd = &mut grads[self.layout.embd..][..v * d];
            compute.gemm(
                v,
                d,
                n,
                dlogits.t(),
                View::rows(&normed, d),
                dembd,
                Start::Add,
            );
            let mut dpicked = arena.take(n * d);
            dpicked.fill(0.0);
            let dw = &mut grads[self.layout.norm..][..d];
            rms_norm_back(compute, &picked, norm_w, &inv, &dnormed, &mut dpicked, dw);
            let mut dx = arena.take(x.len());
            dx.fill(0.0);
            for (&(r, _), row) in batch.targets.iter().zip(dpicked.chunks(d)) {
                dx[r * d..(r + 1) * d].copy_from_slice(row);
            }
            self.layers_backward(compute, arena, batch, &states, dx, grads);
            arena.give([dnormed, dpicked]);
        }
        arena.give([x, picked, normed, inv, logits]);
        for s in states {
            arena.give([
                s.x, s.inv1, s.n1, s.qkv, s.att, s.x2, s.inv2, s.n2, s.gu, s.h,
            ]);
        }
        mean as f32
    }

    fn layers_forward(
        &self,
        compute: &Compute,
        arena: &mut Arena,
        batch: &Batch,
    ) -> (Vec<f32>, Vec<LayerState>) {
        let c = &self.config;
        let (d, t, ff, nq) = (c.n_embd, batch.tokens.len(), c.n_ff, c.n_qkv());
        let embd = self.w(self.layout.embd, c.n_vocab * d);
        let mut x = arena.take(t * d);
        for (&id, row) in batch.tokens.iter().zip(x.chunks_mut(d)) {
            row.copy_from_slice(&embd[id as usize * d..][..d]);
        }
        let mut states = Vec::with_capacity(c.n_layer);
        for l in &self.layout.layers {
            let mut s = LayerState {
                x,
                ..LayerState::default()
            };
            (s.n1, s.inv1) = (arena.take(t * d), arena.take(t));
            rms_norm(
                compute,
                &s.x,
                self.w(l.attn_norm, d),
                c.rms_eps,
                &mut s.n1,
                &mut s.inv1,
            );
            s.qkv = arena.take(t * nq);
            let w = View::rows(self.w(l.qkv, nq * d), d);
            compute.gemm(
                t,
                nq,
                d,
                View::rows(&s.n1, d),
                w.t(),
                &mut s.qkv,
                Start::Zero,
            );
            s.att = arena.take(t * d);
            let docs = cut(&mut s.qkv, &batch.starts, nq).into_iter();
            let items: Vec<_> = docs.zip(cut(&mut s.att, &batch.starts, d)).collect();
            compute.each(items, AttnScratch::default, |scratch, (qkv, att)| {
                qkv.chunks_mut(nq)
                    .enumerate()
                    .for_each(|(pos, q)| self.rotate(q, pos, false));
                self.attend(compute, scratch, qkv, att);
            });
            s.x2 = arena.copy_of(&s.x);
            let w = View::rows(self.w(l.attn_out, d * d), d);
            compute.gemm(t, d, d, View::rows(&s.att, d), w.t(), &mut s.x2, Start::Add);

            (s.n2, s.inv2) = (arena.take(t * d), arena.take(t));
            rms_norm(
                compute,
                &s.x2,
                self.w(l.ffn_norm, d),
                c.rms_eps,
                &mut s.n2,
                &mut s.inv2,
            );
            s.gu = arena.take(t * 2 * ff);
            let w = View::rows(self.w(l.gate_up, 2 * ff * d), d);
            compute.gemm(
                t,
                2 * ff,
                d,
                View::rows(&s.n2, d),
                w.t(),
                &mut s.gu,
                Start::Zero,
            );
            s.h = arena.take(t * ff);
            let items: Vec<_> =
                s.h.chunks_mut(ROWS * ff)
                    .zip(s.gu.chunks(ROWS * 2 * ff))
                    .collect();
            compute.each(
                items,
                || (),
                |_, (h, gu)| {
                    for (h, gu) in h.chunks_mut(ff).zip(gu.chunks(2 * ff)) {
                        swiglu(gu, h);
                    }
                },
            );
            x = arena.copy_of(&s.x2);
            let w = View::rows(self.w(l.down, d * ff), ff);
            compute.gemm(t, d, ff, View::rows(&s.h, ff), w.t(), &mut x, Start::Add);
            states.push(s);
        }
        (x, states)
    }

    fn layers_backward(
        &self,
        compute: &Compute,
        arena: &mut Arena,
        batch: &Batch,
        states: &[LayerState],
        mut dx: Vec<f32>,
        grads: &mut [f32],
    ) {
        let c = &self.config;
        let (d, t, ff, nq) = (c.n_embd, batch.tokens.len(), c.n_ff, c.n_qkv());
        for (l, s) in self.layout.layers.iter().zip(states).rev() {
            // Feed-forward half; dx is the gradient of the layer's output.
            let dout = View::rows(&dx, d);
            let dw = &mut grads[l.down..][..d * ff];
            compute.gemm(d, ff, t, dout.t(), View::rows(&s.h, ff), dw, Start::Add);
            let mut dh = arena.take(t * ff);
            let w = View::rows(self.w(l.down, d * ff), ff);
            compute.gemm(t, ff, d, dout, w, &mut dh, Start::Zero);
            let mut dgu = arena.take(t * 2 * ff);
            let items: Vec<_> = dgu
                .chunks_mut(ROWS * 2 * ff)
                .zip(s.gu.chunks(ROWS * 2 * ff).zip(dh.chunks(ROWS * ff)))
                .collect();
            compute.each(
                items,
                || (),
                |_, (dgu, (gu, dh))| {
                    for ((dgu, gu), dh) in dgu
                        .chunks_mut(2 * ff)
                        .zip(gu.chunks(2 * ff))
                        .zip(dh.chunks(ff))
                    {
                        swiglu_back(gu, dh, dgu);
                    }
                },
            );
            let dgu_v = View::rows(&dgu, 2 * ff);
            let dw = &mut grads[l.gate_up..][..2 * ff * d];
            compute.gemm(
                2 * ff,
                d,
                t,
                dgu_v.t(),
                View::rows(&s.n2, d),
                dw,
                Start::Add,
            );
            let mut dn = arena.take(t * d);
            let w = View::rows(self.w(l.gate_up, 2 * ff * d), d);
            compute.gemm(t, d, 2 * ff, dgu_v, w, &mut dn, Start::Zero);
            let dw = &mut grads[l.ffn_norm..][..d];
            rms_norm_back(
                compute,
                &s.x2,
                self.w(l.ffn_norm, d),
                &s.inv2,
                &dn,
                &mut dx,
                dw,
            );

            // Attention half; dx is now the gradient of x2.
            let dout = View::rows(&dx, d);
            let dw = &mut grads[l.attn_out..][..d * d];
            compute.gemm(d, d, t, dout.t(), View::rows(&s.att, d), dw, Start::Add);
            let mut datt = arena.take(t * d);
            let w = View::rows(self.w(l.attn_out, d * d), d);
            compute.gemm(t, d, d, dout, w, &mut datt, Start::Zero);
            let mut dqkv = arena.take(t * nq);
            dqkv.fill(0.0);
            let items: Vec<_> = cut(&mut dqkv, &batch.starts, nq)
                .into_iter()
                .zip(batch.starts.windows(2))
                .collect();
            compute.each(items, AttnScratch::default, |scratch, (dqkv, at)| {
                let qkv = &s.qkv[at[0] * nq..at[1] * nq];
                self.attend_back(compute, scratch, qkv, &datt[at[0] * d..at[1] * d], dqkv);
                dqkv.chunks_mut(nq)
                    .enumerate()
                    .for_each(|(pos, q)| self.rotate(q, pos, true));
            });
            let dqkv_v = View::rows(&dqkv, nq);
            let dw = &mut grads[l.qkv..][..nq * d];
            compute.gemm(nq, d, t, dqkv_v.t(), View::rows(&s.n1, d), dw, Start::Add);
            let w = View::rows(self.w(l.qkv, nq * d), d);
            compute.gemm(t, d, nq, dqkv_v, w, &mut dn, Start::Zero);
            let dw = &mut grads[l.attn_norm..][..d];
            rms_norm_back(
                compute,
                &s.x,
                self.w(l.attn_norm, d),
                &s.inv1,
                &dn,
                &mut dx,
                dw,
            );
            arena.give([dh, dgu, dn, datt, dqkv]);
        }
        let dembd = &mut grads[self.layout.embd..][..c.n_vocab * d];
        for (&id, row) in batch.tokens.iter().zip(dx.chunks(d)) {
            dembd[id as usize * d..][..d]
                .iter_mut()
                .zip(row)
                .for_each(|(g, x)| *g += x);
        }
        arena.give([dx]);
    }

    /// Causal attention probabilities of one head: `[n, n]`, zero above the diagonal.
    fn probs(&self, one: &Compute, s: &mut Scratch, q: View, k: View, n: usize, p: &mut Vec<f32>) {
        let hd = self.config.head_dim();
        p.resize(n * n, 0.0);
        one.gemm_with(s, n, n, hd, q, k.t(), p, Start::Zero);
        let scale = 1.0 / (hd as f32).sqrt();
        for (i, row) in p.chunks_mut(n).enumerate() {
            row[..=i].iter_mut().for_each(|x| *x *= scale);
            softmax(&mut row[..=i]);
            row[i + 1..].fill(0.0);
        }
    }

    /// Attention within one conversation: `qkv: [n, n_qkv]` → `att: [n, n_embd]`.
    fn attend(&self, compute: &Compute, s: &mut AttnScratch, qkv: &[f32], att: &mut [f32]) {
        let c = &self.config;
        let (d, hd, nq) = (c.n_embd, c.head_dim(), c.n_qkv());
        let n = qkv.len() / nq;
        for head in 0..c.n_head {
            let (q, k, v) = self.head_views(qkv, head);
            self.probs(compute, &mut s.pack, q, k, n, &mut s.p);
            s.out.resize(n * hd, 0.0);
            compute.gemm_with(
                &mut s.pack,
                n,
                hd,
                n,
                View::rows(&s.p, n),
                v,
                &mut s.out,
                Start::Zero,
            );
            for (row, out) in att.chunks_mut(d).zip(s.out.chunks(hd)) {
                row[head * hd..(head + 1) * hd].copy_from_slice(out);
            }
        }
    }

    fn head_views<'a>(&self, qkv: &'a [f32], head: usize) -> (View<'a>, View<'a>, View<'a>) {
        let c = &self.config;
        let (d, hd, nq) = (c.n_embd, c.head_dim(), c.n_qkv());
        let kv = head / (c.n_head / c.n_head_kv) * hd;
        (
            View::rows(&qkv[head * hd..], nq),
            View::rows(&qkv[d + kv..], nq),
            View::rows(&qkv[d + c.n_kv() + kv..], nq),
        )
    }

    fn attend_back(
        &self,
        compute: &Compute,
        s: &mut AttnScratch,
        qkv: &[f32],
        datt: &[f32],
        dqkv: &mut [f32],
    ) {
        let c = &self.config;
        let (d, hd, nq) = (c.n_embd, c.head_dim(), c.n_qkv());
        let n = qkv.len() / nq;
        let scale = 1.0 / (hd as f32).sqrt();
        for head in 0..c.n_head {
            let (q, k, v) = self.head_views(qkv, head);
            self.probs(compute, &mut s.pack, q, k, n, &mut s.p);
            let dout = View::rows(&datt[head * hd..], d);
            let kv = head / (c.n_head / c.n_head_kv) * hd;
            s.out.resize(n * hd, 0.0);
            let p = View::rows(&s.p, n);
            compute.gemm_with(&mut s.pack, n, hd, n, p.t(), dout, &mut s.out, Start::Zero);
            add_columns(dqkv, nq, d + c.n_kv() + kv, &s.out, hd);
            s.dp.resize(n * n, 0.0);
            compute.gemm_with(&mut s.pack, n, n, hd, dout, v.t(), &mut s.dp, Start::Zero);
            for (i, (dp, p)) in s.dp.chunks_mut(n).zip(s.p.chunks(n)).enumerate() {
                let mean = dot(&dp[..=i], &p[..=i]);
                for (g, &p) in dp[..=i].iter_mut().zip(p) {
                    *g = p * (*g - mean) * scale;
                }
                dp[i + 1..].fill(0.0);
            }
            let ds = View::rows(&s.dp, n);
            compute.gemm_with(&mut s.pack, n, hd, n, ds, k, &mut s.out, Start::Zero);
            add_columns(dqkv, nq, head * hd, &s.out, hd);
            compute.gemm_with(&mut s.pack, n, hd, n, ds.t(), q, &mut s.out, Start::Zero);
            add_columns(dqkv, nq, d + kv, &s.out, hd);
        }
    }
}

#[derive(Default)]
struct AttnScratch {
    pack: Scratch,
    p: Vec<f32>,
    dp: Vec<f32>,
    out: Vec<f32>,
}

/// Cuts rows of `width` into one slice per conversation.
fn cut<'a>(mut data: &'a mut [f32], starts: &[usize], width: usize) -> Vec<&'a mut [f32]> {
    let mut out = Vec::with_capacity(starts.len());
    for at in starts.windows(2) {
        let (head, tail) = data.split_at_mut((at[1] - at[0]) * width);
        out.push(head);
        data = tail;
    }
    out
}

fn add_columns(to: &mut [f32], ld: usize, col: usize, from: &[f32], width: usize) {
    for (row, add) in to.chunks_mut(ld).zip(from.chunks(width)) {
        row[col..col + width]
            .iter_mut()
            .zip(add)
            .for_each(|(a, b)| *a += b);
    }
}

fn rms_norm(compute: &Compute, x: &[f32], w: &[f32], eps: f32, y: &mut [f32], inv: &mut [f32]) {
    let d = w.len();
    let items: Vec<_> = x
        .chunks(ROWS * d)
        .zip(y.chunks_mut(ROWS * d).zip(inv.chunks_mut(ROWS)))
        .collect();
    compute.each(
        items,
        || (),
        |_, (x, (y, inv))| {
            for ((x, y), inv) in x.chunks(d).zip(y.chunks_mut(d)).zip(inv) {
                *inv = 1.0 / (dot(x, x) / d as f32 + eps).sqrt();
                for i in 0..d {
                    y[i] = x[i] * *inv * w[i];
                }
            }
        },
    );
}

/// Adds the gradient of the input to `dx` and that of the weight to `dw`.
fn rms_norm_back(
    compute: &Compute,
    x: &[f32],
    w: &[f32],
    inv: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dw: &mut [f32],
) {
    let d = w.len();
    let mut partial = vec![0.0f32; inv.len().div_ceil(ROWS) * d];
    let items: Vec<_> = x
        .chunks(ROWS * d)
        .zip(inv.chunks(ROWS))
        .zip(dy.chunks(ROWS * d).zip(dx.chunks_mut(ROWS * d)))
        .zip(partial.chunks_mut(d))
        .collect();
    compute.each(
        items,
        || vec![0.0f32; d],
        |dyw, (((x, inv), (dy, dx)), dw)| {
            for (((x, &inv), dy), dx) in
                x.chunks(d).zip(inv).zip(dy.chunks(d)).zip(dx.chunks_mut(d))
            {
                for i in 0..d {
                    dyw[i] = dy[i] * w[i];
                    dw[i] += dy[i] * x[i] * inv;
                }
                let pull = dot(dyw, x) * inv * inv / d as f32;
                for i in 0..d {
                    dx[i] += inv * (dyw[i] - x[i] * pull);
                }
            }
        },
    );
    // Fixed chunks added in order: the same sum for any number of threads.
    for part in partial.chunks(d) {
        dw.iter_mut().zip(part).for_each(|(a, b)| *a += b);
    }
}

fn swiglu(gu: &[f32], h: &mut [f32]) {
    let (gate, up) = gu.split_at(h.len());
    for i in 0..h.len() {
        h[i] = gate[i] * sigmoid(gate[i]) * up[i];
    }
}

fn swiglu_back(gu: &[f32], dh: &[f32], dgu: &mut [f32]) {
    let n = dh.len();
    let (gate, up) = gu.split_at(n);
    let (dgate, dup) = dgu.split_at_mut(n);
    for i in 0..n {
        let s = sigmoid(gate[i]);
        let silu = gate[i] * s;
        dup[i] = dh[i] * silu;
        dgate[i] = dh[i] * up[i] * (s + silu * (1.0 - s));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Config {
        Config {
            n_vocab: 19,
            n_embd: 16,
            n_layer: 2,
            n_head: 4,
            n_head_kv: 2,
            n_ff: 24,
            n_ctx: 32,
            rms_eps: 1e-5,
            rope_base: 10_000.0,
        }
    }

    fn batch() -> Batch {
        let tokens: Vec<u32> = (0..17).map(|i| (i * 7 + i * i) % 19).collect();
        let targets = [1, 3, 4, 8, 9, 12, 15]
            .iter()
            .map(|&r| (r, tokens[r + 1]))
            .collect();
        Batch {
            tokens,
            starts: vec![0, 6, 7, 17],
            targets,
        }
    }

    fn sharpened(seed: u64) -> Model {
        let mut model = Model::init(tiny(), seed);
        // Larger weights, so that every path carries a gradient worth measuring.
        model.params.iter_mut().for_each(|p| *p *= 1.7);
        model
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let compute = Compute::new(1);
        let mut model = sharpened(3);
        let mut grads = vec![0.0; model.layout.n_params];
        model.loss(&compute, &mut Arena::default(), &batch(), Some(&mut grads));
        let mut rng = Rng::new(5);
        // A direction at a time: a sum over many parameters stands well above f32 noise.
        for trial in 0..12 {
            let dir: Vec<f32> = grads.iter().map(|_| rng.normal()).collect();
            let base = model.params.clone();
            let eps = 1e-4;
            let mut at = |sign: f32| {
                model.params = base
                    .iter()
                    .zip(&dir)
                    .map(|(p, d)| p + sign * eps * d)
                    .collect();
                model.loss(&compute, &mut Arena::default(), &batch(), None) as f64
            };
            let numeric = (at(1.0) - at(-1.0)) / (2.0 * eps as f64);
            let exact: f64 = grads.iter().zip(&dir).map(|(g, d)| (g * d) as f64).sum();
            model.params = base;
            // Truncation of the central difference dominates: eps² times the third derivative.
            let bound = 2e-2 * exact.abs().max(1.0);
            assert!(
                (numeric - exact).abs() < bound,
                "{trial}: {numeric} against {exact}"
            );
        }
    }

    #[test]
    fn every_tensor_has_its_own_right_gradient() {
        let compute = Compute::new(1);
        let mut model = sharpened(4);
        let mut grads = vec![0.0; model.layout.n_params];
        model.loss(&compute, &mut Arena::default(), &batch(), Some(&mut grads));
        let l = model.layout.layers[0];
        let last = model.layout.layers[1];
        for at in [
            l.attn_norm,
            l.qkv,
            l.qkv + 16 * 16,
            l.qkv + 24 * 16,
            l.attn_out,
            l.ffn_norm,
            l.gate_up,
            l.gate_up + 24 * 16,
            l.down,
            last.qkv,
            last.down,
            model.layout.norm,
        ] {
            // The strongest of the tensor's first sixteen elements.
            let i = (at..at + 16)
                .max_by(|&a, &b| grads[a].abs().total_cmp(&grads[b].abs()))
                .unwrap();
            let (old, eps) = (model.params[i], 1e-2);
            model.params[i] = old + eps;
            let up = model.loss(&compute, &mut Arena::default(), &batch(), None);
            model.params[i] = old - eps;
            let down = model.loss(&compute, &mut Arena::default(), &batch(), None);
            model.params[i] = old;
            let numeric = (up - down) / (2.0 * eps);
            // f32 losses near 3 carry an error of about 3e-7 / eps in the quotient.
            let bound = 1e-3 + 0.03 * grads[i].abs();
            assert!(
                (numeric - grads[i]).abs() < bound,
                "at {at}: {numeric} against {}",
                grads[i]
            );
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let model = sharpened(5);
        let run = |threads| {
            let mut grads = vec![0.0; model.layout.n_params];
            let loss = model.loss(
                &Compute::new(threads),
                &mut Arena::default(),
                &batch(),
                Some(&mut grads),
            );
            (
                loss.to_bits(),
                grads.iter().map(|g| g.to_bits()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn a_fresh_network_copies_what_followed_before() {
        let config = Config {
            n_vocab: 300,
            n_embd: 256,
            n_head: 8,
            n_head_kv: 4,
            n_ff: 64,
            ..tiny()
        };
        let model = Model::init(config, 8);
        let mut rng = Rng::new(9);
        let mut hits = 0;
        for _ in 0..20 {
            let seen: Vec<u32> = (0..12).map(|i| (20 * i + rng.below(20)) as u32).collect();
            let at = rng.below(11);
            let tokens = [&seen[..], &seen[at..=at]].concat();
            let loss = |target| {
                let batch = Batch {
                    starts: vec![0, tokens.len()],
                    tokens: tokens.clone(),
                    targets: vec![(tokens.len() - 1, target)],
                };
                model.loss(&Compute::new(1), &mut Arena::default(), &batch, None)
            };
            let follower = loss(seen[at + 1]);
            let others = (0..29).map(|_| loss(rng.below(300) as u32));
            let n_likelier = others.filter(|&other| other < follower).count();
            // Chance puts it among the first tenth twice in twenty; ten times is far beyond it,
            // and what is left to sharpen the first steps of training do.
            hits += usize::from(n_likelier < 3);
        }
        assert!(hits >= 10, "{hits} of 20");
    }
}
