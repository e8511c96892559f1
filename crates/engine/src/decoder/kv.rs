//! The KV cache: keys and values of the positions seen so far.
//!
//! Memory comes in [pages](super::pages) of [`PAGE`] positions for all layers with
//! attention, as they are needed and up to `n_ctx`: growing copies nothing, and a short
//! chat stays small.
//!
//! The cache does not know which positions are valid: that is the
//! [context](crate::Context)'s count of tokens. What lies beyond is overwritten.

use std::ops::Range;

use half::f16;
use serde::{Deserialize, Serialize};

use super::config::ModelConfig;
use super::pages::{Pages, page_size_bytes};

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
    /// Blocks of 32 whole numbers with a scale in half precision: about half the
    /// memory. The length of a head must be a multiple of 32.
    Q8,
}

impl KvType {
    /// Whether heads of `head_dim` elements can be stored so.
    pub fn supports(self, head_dim: usize) -> bool {
        match self {
            Self::F16 | Self::F32 => true,
            Self::Q8 => head_dim.is_multiple_of(32),
        }
    }
}

/// Bytes that the cache takes for `n_ctx` positions.
pub(crate) fn kv_size_bytes(config: &ModelConfig, kv_type: KvType, n_ctx: usize) -> u64 {
    let shape = KvShape::of(config);
    let page_bytes = match kv_type {
        KvType::F16 => page_size_bytes::<f16>(shape),
        KvType::F32 => page_size_bytes::<f32>(shape),
        KvType::Q8 => page_size_bytes::<i8>(shape),
    };
    n_ctx.div_ceil(PAGE) as u64 * page_bytes
}

/// There is no memory for another page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no memory for {size_bytes} bytes of keys and values")]
pub struct KvOutOfMemory {
    /// The page's size.
    pub size_bytes: usize,
}

/// Keys or values have left the floats' range: a broken model file, or a broken kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "keys or values of position {position} are not finite: the computation has failed numerically"
)]
pub struct KvNotFinite {
    /// Where, counted in tokens from 0.
    pub position: usize,
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
    #[error("a number is not finite")]
    NotFinite,
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
            n_layer: config.n_attention_layers(),
            n_head_kv: config.n_head_kv,
            head_dim: config.head_dim,
        }
    }
}

/// A cache of any number type.
pub(crate) enum KvCache {
    F16(Pages<f16>),
    F32(Pages<f32>),
    Q8(Pages<i8>),
}

/// The same call for every number type.
macro_rules! each {
    ($kv:expr, $pages:ident => $body:expr) => {
        match $kv {
            KvCache::F16($pages) => $body,
            KvCache::F32($pages) => $body,
            KvCache::Q8($pages) => $body,
        }
    };
}

impl KvCache {
    pub(crate) fn new(shape: KvShape, kv_type: KvType) -> Self {
        match kv_type {
            KvType::F16 => Self::F16(Pages::new(shape)),
            KvType::F32 => Self::F32(Pages::new(shape)),
            KvType::Q8 => Self::Q8(Pages::new(shape)),
        }
    }

    /// Makes room for positions `0..n_positions`.
    pub(crate) fn reserve(&mut self, n_positions: usize) -> Result<(), KvOutOfMemory> {
        each!(self, pages => pages.reserve(n_positions.div_ceil(PAGE)))
    }

    /// Gives back the pages that `n_positions` do not need.
    pub(crate) fn shrink(&mut self, n_positions: usize) {
        each!(self, pages => pages.truncate(n_positions.div_ceil(PAGE)));
    }

    /// The bytes that are allocated.
    pub(crate) fn size_bytes(&self) -> usize {
        each!(self, pages => pages.size_bytes())
    }

    /// Stores a position's keys and values of one layer, `[n_head_kv, head_dim]` each.
    /// `false`, and nothing is stored, if they are not all finite.
    #[must_use]
    pub(crate) fn store(&mut self, layer: usize, position: usize, k: &[f32], v: &[f32]) -> bool {
        // An exponent of all ones; without a branch for each, so that it vectorises.
        let is_finite = |values: &[f32]| {
            let exponents = values.iter().map(|value| value.to_bits() & 0x7fff_ffff);
            exponents.fold(0, u32::max) < 0x7f80_0000
        };
        let all_finite = is_finite(k) && is_finite(v);
        if all_finite {
            each!(self, pages => pages.store(layer, position, k, v));
        }
        all_finite
    }
}

/// Positions as bytes, in a form that no layout in memory shows in: position by
/// position, layer by layer, the keys of all heads and then their values,
/// little-endian in the stored type; where blocks have scales, each scale before its
/// block. What keeps contexts beyond a run uses it.
#[allow(dead_code)]
impl KvCache {
    /// Bytes of one position in that form.
    pub(crate) fn position_size_bytes(&self) -> usize {
        each!(self, pages => pages.position_size_bytes())
    }

    /// Appends `positions`, which must have been stored, to `out`.
    ///
    /// # Panics
    /// There is no room for these positions in the cache.
    pub(crate) fn copy_out(&self, positions: Range<usize>, out: &mut Vec<u8>) {
        each!(self, pages => pages.copy_out(positions, out));
    }

    /// Stores the positions in `bytes` at `first_position..` and returns how many they
    /// are.
    ///
    /// # Errors
    /// The last position is not whole, a number is not finite, or there is no memory.
    /// What is at these positions then must not be used.
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
        let copied = each!(self, pages => pages.copy_in(first_position, bytes));
        copied.map(|()| n_positions).ok_or(KvCopyError::NotFinite)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stored::Stored as _;
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
                let is_stored = kv.store(
                    layer,
                    position,
                    &row(layer, 0, position),
                    &row(layer, 1, position),
                );
                assert!(is_stored);
            }
        }
        kv
    }

    #[test]
    fn positions_leave_and_come_back_the_same() {
        for kv_type in [KvType::F16, KvType::F32, KvType::Q8] {
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
        let found: Vec<f32> = bytes.chunks_exact(4).filter_map(f32::get).collect();
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
        let bytes = [0x7c, 0xff].repeat(position_size_bytes / 2);
        assert_eq!(kv.copy_in(0, &bytes), Err(KvCopyError::NotFinite));
    }

    #[test]
    fn numbers_that_are_not_finite_are_not_stored() {
        let n_row = SHAPE.n_head_kv * SHAPE.head_dim;
        for kv_type in [KvType::F16, KvType::F32, KvType::Q8] {
            let mut kv = filled(kv_type, 1);
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut row = vec![1.0; n_row];
                row[n_row - 1] = bad;
                assert!(!kv.store(0, 0, &vec![1.0; n_row], &row));
                assert!(!kv.store(0, 0, &row, &vec![1.0; n_row]));
            }
            let (mut before, mut after) = (Vec::new(), Vec::new());
            filled(kv_type, 1).copy_out(0..1, &mut before);
            kv.copy_out(0..1, &mut after);
            assert_eq!(before, after);
        }
    }
}
