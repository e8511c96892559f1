//! The KV cache: keys and values of the positions seen so far.
//!
//! Memory comes in pages of [`PAGE`] positions for all layers, as they are needed
//! and up to `n_ctx`: growing copies nothing, and a short chat stays small. A page
//! holds, for each layer, all keys and then all values, head by head, so that
//! attention walks through memory in order:
//! `[n_layer, 2, n_head_kv, PAGE, head_dim]`.
//!
//! The cache does not know which positions are valid: that is the
//! [context](crate::Context)'s count of tokens. What lies beyond is overwritten.

use half::f16;
use serde::{Deserialize, Serialize};

use super::config::ModelConfig;
use crate::math::Float;

/// Positions per page.
pub(crate) const PAGE: usize = 256;

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvType {
    /// Half precision, llama.cpp's default too.
    #[default]
    F16,
    /// Twice the memory; for comparisons.
    F32,
}

impl KvType {
    /// Bytes of a stored number.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

/// Bytes that the cache takes for `n_ctx` positions.
pub(crate) fn kv_size_bytes(config: &ModelConfig, kv_type: KvType, n_ctx: usize) -> u64 {
    let n_pages = n_ctx.div_ceil(PAGE) as u64;
    n_pages * page_len(config) * kv_type.size_bytes() as u64
}

/// The caps in `config` keep this below 2^40.
fn page_len(config: &ModelConfig) -> u64 {
    config.n_layer() as u64 * 2 * config.n_kv() as u64 * PAGE as u64
}

/// There is no memory for another page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no memory for {size_bytes} bytes of keys and values")]
pub struct KvOutOfMemory {
    /// The page's size.
    pub size_bytes: usize,
}

/// A cache of either number type.
pub(crate) enum KvCache {
    F16(Pages<f16>),
    F32(Pages<f32>),
}

impl KvCache {
    pub(crate) fn new(config: &ModelConfig, kv_type: KvType) -> Self {
        match kv_type {
            KvType::F16 => Self::F16(Pages::new(config)),
            KvType::F32 => Self::F32(Pages::new(config)),
        }
    }

    /// Makes room for positions `0..n_positions`.
    pub(crate) fn reserve(&mut self, n_positions: usize) -> Result<(), KvOutOfMemory> {
        match self {
            Self::F16(pages) => pages.reserve(n_positions),
            Self::F32(pages) => pages.reserve(n_positions),
        }
    }

    /// Gives back the pages that `n_positions` do not need.
    pub(crate) fn shrink(&mut self, n_positions: usize) {
        match self {
            Self::F16(pages) => pages.pages.truncate(n_positions.div_ceil(PAGE)),
            Self::F32(pages) => pages.pages.truncate(n_positions.div_ceil(PAGE)),
        }
    }

    /// The bytes that are allocated.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            Self::F16(pages) => pages.pages.len() * pages.page_len * 2,
            Self::F32(pages) => pages.pages.len() * pages.page_len * 4,
        }
    }

    /// Stores a position's keys and values of one layer: `[n_head_kv, head_dim]` each.
    pub(crate) fn store(&mut self, layer: usize, position: usize, k: &[f32], v: &[f32]) {
        match self {
            Self::F16(pages) => pages.store(layer, position, k, v),
            Self::F32(pages) => pages.store(layer, position, k, v),
        }
    }
}

/// Which half of a layer's part of a page.
#[derive(Clone, Copy)]
enum Side {
    Keys = 0,
    Values = 1,
}

pub(crate) struct Pages<F> {
    pages: Vec<Box<[F]>>,
    page_len: usize,
    n_head_kv: usize,
    head_dim: usize,
}

impl<F: Float> Pages<F> {
    fn new(config: &ModelConfig) -> Self {
        Self {
            pages: Vec::new(),
            // Too long for this machine: `reserve` then finds no memory.
            page_len: usize::try_from(page_len(config)).unwrap_or(usize::MAX),
            n_head_kv: config.n_head_kv,
            head_dim: config.head_dim,
        }
    }

    fn reserve(&mut self, n_positions: usize) -> Result<(), KvOutOfMemory> {
        while self.pages.len() * PAGE < n_positions {
            let mut page = Vec::new();
            page.try_reserve_exact(self.page_len)
                .map_err(|_| KvOutOfMemory {
                    size_bytes: self.page_len.saturating_mul(size_of::<F>()),
                })?;
            page.resize(self.page_len, F::narrow(0.0));
            self.pages.push(page.into_boxed_slice());
        }
        Ok(())
    }

    fn store(&mut self, layer: usize, position: usize, k: &[f32], v: &[f32]) {
        for (side, values) in [(Side::Keys, k), (Side::Values, v)] {
            for (head, values) in values.chunks_exact(self.head_dim).enumerate() {
                let start = self.head_start(layer, side, head) + position % PAGE * self.head_dim;
                let stored = &mut self.pages[position / PAGE][start..start + self.head_dim];
                for (stored, value) in stored.iter_mut().zip(values) {
                    *stored = F::narrow(*value);
                }
            }
        }
    }

    fn head_start(&self, layer: usize, side: Side, head: usize) -> usize {
        ((layer * 2 + side as usize) * self.n_head_kv + head) * PAGE * self.head_dim
    }

    /// One head's keys and values in `page`: `[PAGE, head_dim]` each.
    #[inline(always)]
    pub(crate) fn head(&self, page: usize, layer: usize, head: usize) -> (&[F], &[F]) {
        let n_values = PAGE * self.head_dim;
        let keys = self.head_start(layer, Side::Keys, head);
        let values = self.head_start(layer, Side::Values, head);
        let page = &self.pages[page];
        (
            &page[keys..keys + n_values],
            &page[values..values + n_values],
        )
    }
}
