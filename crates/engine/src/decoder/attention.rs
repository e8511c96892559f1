//! Attention of one query head over cached keys and values.
//!
//! Scores are never held for all positions: they are taken in blocks of
//! [`BLOCK`], and the softmax is rescaled when a block raises the maximum. Blocks
//! lie at fixed positions, so a token's result does not depend on which other
//! tokens are computed with it.
//!
//! # Source
//! Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018).

use std::ops::Range;

use super::kv::{KvCache, PAGE, Pages, Stored};
use crate::lane::Lane;
use crate::math::{self, Halves, Portable};
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use crate::quant::Simd128;
#[cfg(target_arch = "x86_64")]
use crate::quant::{Avx2, has_avx2};

const BLOCK: usize = 64;
const _: () = assert!(PAGE.is_multiple_of(BLOCK));

/// The constants of one layer's attention.
#[derive(Clone, Copy)]
pub(crate) struct AttentionSpec {
    pub(crate) layer: usize,
    pub(crate) n_head: usize,
    pub(crate) n_head_kv: usize,
    pub(crate) head_dim: usize,
    pub(crate) scale: f32,
    pub(crate) logit_cap: Option<f32>,
    pub(crate) window: Option<usize>,
}

/// `out = softmax(q · kᵀ · scale) · v` for every head of every token.
///
/// # Shape
/// `q`, `out: [n_tokens, n_head, head_dim] f32`; the tokens stand at `n_past..`,
/// and the cache holds all positions up to theirs.
pub(crate) fn attention(
    lane: &dyn Lane,
    spec: AttentionSpec,
    kv: &KvCache,
    n_past: usize,
    q: &[f32],
    out: &mut [f32],
) {
    let n_items = q.len() / spec.head_dim;
    let heads = Heads::new(out, spec.head_dim);
    let work = n_items * spec.head_dim * (n_past + n_items / spec.n_head) * 2;
    lane.for_each(n_items, work, &|items| {
        for item in items {
            let position = n_past + item / spec.n_head;
            let query = Query {
                spec,
                kv_head: item % spec.n_head / (spec.n_head / spec.n_head_kv),
                positions: spec
                    .window
                    .map_or(0, |window| (position + 1).saturating_sub(window))
                    ..position + 1,
                q: &q[item * spec.head_dim..][..spec.head_dim],
            };
            // SAFETY: `out` is borrowed, and each item is in one call alone.
            let out = unsafe { heads.get(item) };
            match kv {
                KvCache::F16(pages) => query.attend(pages, out),
                KvCache::F32(pages) => query.attend(pages, out),
            }
        }
    });
}

/// The result, shared out head by head.
struct Heads {
    first: *mut f32,
    n_heads: usize,
    head_dim: usize,
}

// SAFETY: `get`'s contract keeps threads at different heads.
unsafe impl Sync for Heads {}

impl Heads {
    fn new(out: &mut [f32], head_dim: usize) -> Self {
        Self {
            first: out.as_mut_ptr(),
            n_heads: out.len() / head_dim,
            head_dim,
        }
    }

    /// # Safety
    /// The slice given to `new` is still borrowed, and nobody else has this head.
    #[allow(clippy::mut_from_ref)]
    unsafe fn get(&self, head: usize) -> &mut [f32] {
        assert!(head < self.n_heads);
        // SAFETY: inside the slice by the assertion; the caller vouches for the rest.
        unsafe {
            std::slice::from_raw_parts_mut(self.first.add(head * self.head_dim), self.head_dim)
        }
    }
}

struct Query<'a> {
    spec: AttentionSpec,
    kv_head: usize,
    positions: Range<usize>,
    q: &'a [f32],
}

impl Query<'_> {
    fn attend<F: Stored>(&self, pages: &Pages<F>, out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if has_avx2() {
            // SAFETY: AVX2 and F16C are there.
            return unsafe { self.attend_avx2(pages, out) };
        }
        // SAFETY: the build has simd128.
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        return unsafe { self.attend_with::<F, Simd128>(pages, out) };
        // SAFETY: `Portable` asks for nothing.
        #[allow(unreachable_code)]
        unsafe {
            self.attend_with::<F, Portable>(pages, out);
        }
    }

    /// The same code, compiled for wider registers.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,f16c")]
    fn attend_avx2<F: Stored>(&self, pages: &Pages<F>, out: &mut [f32]) {
        // SAFETY: this function is compiled for AVX2 and F16C.
        unsafe { self.attend_with::<F, Avx2>(pages, out) }
    }

    /// # Safety
    /// As for [`Halves`].
    #[inline(always)]
    unsafe fn attend_with<F: Stored, H: Halves>(&self, pages: &Pages<F>, out: &mut [f32]) {
        let head_dim = self.spec.head_dim;
        let (mut max, mut total) = (f32::NEG_INFINITY, 0f32);
        out.fill(0.0);
        let mut start = self.positions.start;
        while start < self.positions.end {
            let end = ((start / BLOCK + 1) * BLOCK).min(self.positions.end);
            let n = end - start;
            let (keys, values) = pages.head(start / PAGE, self.spec.layer, self.kv_head);
            let first = start % PAGE * head_dim;
            let (keys, values) = (
                &keys[first..][..n * head_dim],
                &values[first..][..n * head_dim],
            );

            let mut scores = [0f32; BLOCK];
            let mut block_max = f32::NEG_INFINITY;
            for (score, key) in scores.iter_mut().zip(keys.chunks_exact(head_dim)) {
                // SAFETY: the caller's promise.
                let [dot] = unsafe { math::dot::<F, H, 1>(key, [self.q]) };
                *score = self.cap(dot * self.spec.scale);
                block_max = block_max.max(*score);
            }
            if block_max > max {
                let shrink = math::exp(max - block_max);
                total *= shrink;
                for out in out.iter_mut() {
                    *out *= shrink;
                }
                max = block_max;
            }
            for score in &mut scores {
                *score = math::exp(*score - max);
            }
            for (weight, value) in scores.iter().zip(values.chunks_exact(head_dim)) {
                total += weight;
                // SAFETY: the caller's promise.
                unsafe { math::add_scaled::<F, H>(out, *weight, value) };
            }
            start = end;
        }
        let scale = 1.0 / total;
        for out in out {
            *out *= scale;
        }
    }

    #[inline(always)]
    fn cap(&self, score: f32) -> f32 {
        match self.spec.logit_cap {
            None => score,
            Some(cap) => cap * math::tanh(score / cap),
        }
    }
}
