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

use std::ops::Range;

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
    n_pages * page_len(KvShape::of(config)) * kv_type.size_bytes() as u64
}

/// The caps in the configuration keep this below 2^40.
fn page_len(shape: KvShape) -> u64 {
    shape.n_layer as u64 * 2 * (shape.n_head_kv * shape.head_dim) as u64 * PAGE as u64
}

/// There is no memory for another page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no memory for {size_bytes} bytes of keys and values")]
pub struct KvOutOfMemory {
    /// The page's size.
    pub size_bytes: usize,
}

/// Bytes that were to become positions of the cache, and do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the fields are named by the messages
pub(crate) enum KvCopyError {
    #[error(transparent)]
    OutOfMemory(#[from] KvOutOfMemory),
    #[error("{found} bytes are no whole number of positions of {position_size_bytes} bytes")]
    NoWholePositions {
        found: usize,
        position_size_bytes: usize,
    },
    #[error("positions from {first_position} on do not fit any cache")]
    TooFar { first_position: usize },
}

/// What of a model decides on the cache's layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KvShape {
    pub(crate) n_layer: usize,
    pub(crate) n_head_kv: usize,
    pub(crate) head_dim: usize,
}

impl KvShape {
    pub(crate) fn of(config: &ModelConfig) -> Self {
        Self {
            n_layer: config.n_layer(),
            n_head_kv: config.n_head_kv,
            head_dim: config.head_dim,
        }
    }

    /// Keys and values of one position; the caps in the configuration keep this
    /// below 2^32.
    fn n_per_position(self) -> usize {
        self.n_layer * 2 * self.n_head_kv * self.head_dim
    }
}

/// A cache of either number type.
pub(crate) enum KvCache {
    F16(Pages<f16>),
    F32(Pages<f32>),
}

impl KvCache {
    pub(crate) fn new(shape: KvShape, kv_type: KvType) -> Self {
        match kv_type {
            KvType::F16 => Self::F16(Pages::new(shape)),
            KvType::F32 => Self::F32(Pages::new(shape)),
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

/// Positions as bytes, in a form that no layout in memory shows in: position by
/// position, layer by layer, the keys of all heads and then their values,
/// little-endian in the stored type. What keeps contexts beyond a run uses it.
#[allow(dead_code)]
impl KvCache {
    /// Bytes of one position in that form.
    pub(crate) fn position_size_bytes(&self) -> usize {
        match self {
            Self::F16(pages) => pages.position_size_bytes(),
            Self::F32(pages) => pages.position_size_bytes(),
        }
    }

    /// Appends `positions`, which must have been stored, to `out`.
    ///
    /// # Panics
    /// There is no room for these positions in the cache.
    pub(crate) fn copy_out(&self, positions: Range<usize>, out: &mut Vec<u8>) {
        match self {
            Self::F16(pages) => pages.copy_out(positions, out),
            Self::F32(pages) => pages.copy_out(positions, out),
        }
    }

    /// Stores the positions in `bytes` at `first_position..` and returns how many they
    /// are. The numbers are taken as they come: those that are not finite surface as
    /// logits that are not finite.
    ///
    /// # Errors
    /// The last position is not whole, or there is no memory; nothing has been stored.
    pub(crate) fn copy_in(
        &mut self,
        first_position: usize,
        bytes: &[u8],
    ) -> Result<usize, KvCopyError> {
        let position_size_bytes = self.position_size_bytes();
        if !bytes.len().is_multiple_of(position_size_bytes) {
            return Err(KvCopyError::NoWholePositions {
                found: bytes.len(),
                position_size_bytes,
            });
        }
        let n_positions = bytes.len() / position_size_bytes;
        let end = first_position
            .checked_add(n_positions)
            .ok_or(KvCopyError::TooFar { first_position })?;
        self.reserve(end)?;
        match self {
            Self::F16(pages) => pages.copy_in(first_position, bytes),
            Self::F32(pages) => pages.copy_in(first_position, bytes),
        }
        Ok(n_positions)
    }
}

/// Which half of a layer's part of a page.
#[derive(Clone, Copy)]
enum Side {
    Keys = 0,
    Values = 1,
}

/// A number type with a form in bytes.
pub(crate) trait Stored: Float {
    /// The bytes, little-endian, in the lower ones of four.
    fn to_bytes(self) -> [u8; 4];
    /// As many bytes as the type has.
    fn from_bytes(bytes: &[u8]) -> Self;
}

impl Stored for f16 {
    fn to_bytes(self) -> [u8; 4] {
        u32::from(self.to_bits()).to_le_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        Self::from_le_bytes([bytes[0], bytes[1]])
    }
}

impl Stored for f32 {
    fn to_bytes(self) -> [u8; 4] {
        self.to_le_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        Self::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

pub(crate) struct Pages<F> {
    pages: Vec<Box<[F]>>,
    page_len: usize,
    shape: KvShape,
}

impl<F: Stored> Pages<F> {
    fn new(shape: KvShape) -> Self {
        Self {
            pages: Vec::new(),
            // Too long for this machine: `reserve` then finds no memory.
            page_len: usize::try_from(page_len(shape)).unwrap_or(usize::MAX),
            shape,
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
            for (head, values) in values.chunks_exact(self.shape.head_dim).enumerate() {
                let start =
                    self.head_start(layer, side, head) + position % PAGE * self.shape.head_dim;
                let stored = &mut self.pages[position / PAGE][start..start + self.shape.head_dim];
                for (stored, value) in stored.iter_mut().zip(values) {
                    *stored = F::narrow(*value);
                }
            }
        }
    }

    fn position_size_bytes(&self) -> usize {
        self.shape.n_per_position() * size_of::<F>()
    }

    fn copy_out(&self, positions: Range<usize>, out: &mut Vec<u8>) {
        out.reserve(positions.len() * self.position_size_bytes());
        for position in positions {
            for (layer, side, head) in self.parts() {
                let start =
                    self.head_start(layer, side, head) + position % PAGE * self.shape.head_dim;
                for number in &self.pages[position / PAGE][start..start + self.shape.head_dim] {
                    out.extend_from_slice(&number.to_bytes()[..size_of::<F>()]);
                }
            }
        }
    }

    fn copy_in(&mut self, first_position: usize, bytes: &[u8]) {
        let mut numbers = bytes.chunks_exact(size_of::<F>()).map(F::from_bytes);
        let n_positions = bytes.len() / self.position_size_bytes();
        for position in first_position..first_position + n_positions {
            for (layer, side, head) in self.parts() {
                let start =
                    self.head_start(layer, side, head) + position % PAGE * self.shape.head_dim;
                let stored = &mut self.pages[position / PAGE][start..start + self.shape.head_dim];
                for (stored, number) in stored.iter_mut().zip(&mut numbers) {
                    *stored = number;
                }
            }
        }
    }

    /// A position's parts in the order of the form in bytes.
    fn parts(&self) -> impl Iterator<Item = (usize, Side, usize)> + use<F> {
        let KvShape {
            n_layer, n_head_kv, ..
        } = self.shape;
        (0..n_layer).flat_map(move |layer| {
            [Side::Keys, Side::Values]
                .into_iter()
                .flat_map(move |side| (0..n_head_kv).map(move |head| (layer, side, head)))
        })
    }

    fn head_start(&self, layer: usize, side: Side, head: usize) -> usize {
        ((layer * 2 + side as usize) * self.shape.n_head_kv + head) * PAGE * self.shape.head_dim
    }

    /// One head's keys and values in `page`: `[PAGE, head_dim]` each.
    #[inline(always)]
    pub(crate) fn head(&self, page: usize, layer: usize, head: usize) -> (&[F], &[F]) {
        let n_values = PAGE * self.shape.head_dim;
        let keys = self.head_start(layer, Side::Keys, head);
        let values = self.head_start(layer, Side::Values, head);
        let page = &self.pages[page];
        (
            &page[keys..keys + n_values],
            &page[values..values + n_values],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: KvShape = KvShape {
        n_layer: 2,
        n_head_kv: 3,
        head_dim: 32,
    };

    /// A number that every place has for itself, exact in f16.
    fn number(layer: usize, side: usize, position: usize, idx: usize) -> f32 {
        ((position * 31 + layer * 7 + side * 3 + idx) % 2048) as f32
    }

    fn filled(kv_type: KvType, n_positions: usize) -> KvCache {
        let mut kv = KvCache::new(SHAPE, kv_type);
        kv.reserve(n_positions).unwrap();
        let row = |layer, side, position| -> Vec<f32> {
            (0..SHAPE.n_head_kv * SHAPE.head_dim)
                .map(|idx| number(layer, side, position, idx))
                .collect()
        };
        for position in 0..n_positions {
            for layer in 0..SHAPE.n_layer {
                kv.store(
                    layer,
                    position,
                    &row(layer, 0, position),
                    &row(layer, 1, position),
                );
            }
        }
        kv
    }

    #[test]
    fn positions_leave_and_come_back_the_same() {
        for kv_type in [KvType::F16, KvType::F32] {
            // Across the border of a page, and to another place than they came from.
            let kv = filled(kv_type, PAGE + 20);
            let mut bytes = Vec::new();
            kv.copy_out(PAGE - 30..PAGE + 20, &mut bytes);
            assert_eq!(bytes.len(), 50 * kv.position_size_bytes());
            let mut other = filled(kv_type, 5);
            assert_eq!(other.copy_in(230, &bytes), Ok(50));
            let mut again = Vec::new();
            other.copy_out(230..280, &mut again);
            assert_eq!(again, bytes);
            let mut untouched = (Vec::new(), Vec::new());
            other.copy_out(0..5, &mut untouched.0);
            filled(kv_type, 5).copy_out(0..5, &mut untouched.1);
            assert_eq!(untouched.0, untouched.1);
        }
    }

    #[test]
    fn the_bytes_are_in_the_documented_order() {
        let mut bytes = Vec::new();
        filled(KvType::F32, 3).copy_out(1..3, &mut bytes);
        let found: Vec<f32> = bytes.chunks_exact(4).map(f32::from_bytes).collect();
        let mut expected = Vec::new();
        for position in 1..3 {
            for layer in 0..SHAPE.n_layer {
                for side in 0..2 {
                    let n_row = SHAPE.n_head_kv * SHAPE.head_dim;
                    expected.extend((0..n_row).map(|idx| number(layer, side, position, idx)));
                }
            }
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn bytes_that_are_no_positions_are_refused() {
        let mut kv = KvCache::new(SHAPE, KvType::F16);
        let position_size_bytes = kv.position_size_bytes();
        let error = kv.copy_in(0, &vec![0; position_size_bytes + 2]);
        assert!(matches!(error, Err(KvCopyError::NoWholePositions { .. })));
        let error = kv.copy_in(usize::MAX, &vec![0; position_size_bytes]);
        assert!(matches!(error, Err(KvCopyError::TooFar { .. })));
        assert_eq!(kv.size_bytes(), 0);
    }
}
