//! Activations, quantised once per matrix product.
//!
//! Weights of the simple types meet activations in blocks of 32, weights of the
//! K types in blocks of 256; both are signed 8-bit integers in −127..=127 with an
//! f32 scale, and carry the sums of their integers, by which offsets and minima
//! of the weights are accounted for.
//!
//! Tokens are laid out for the kernels: [`TILE`] of them at a time, block by block, so
//! that one pointer walks through everything that a block of weights meets; tokens
//! beyond the last whole tile are alone.
//!
//! Weights of half precision meet activations rounded to half precision. In all
//! of this the values are ggml's, so that logits can be compared with llama.cpp's;
//! the rounding is the same on every target (see [`crate::math`]).
//!
//! # Source
//! `quantize_row_q8_0`, `quantize_row_q8_K` and `vec_dot_type` in ggml's CPU backend.

use std::ops::Range;

use half::f16;

use super::blocks::{QK, QK_K};
use crate::math::{Float, round};

/// How many tokens lie together.
pub(crate) const TILE: usize = 4;

/// What it costs to quantise a value, in multiplications of a matrix product, about.
const QUANTIZE_WORK: usize = 4;

/// Runs a loop: how many items, what they cost in multiplications, and what to do with
/// each, exactly once, on whatever thread.
pub(crate) type ForEach<'a> = dyn Fn(usize, usize, &(dyn Fn(Range<usize>) + Sync)) + 'a;

/// What the integers of quantised activations are stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repr {
    /// Bytes.
    I8,
    /// 16-bit integers.
    I16,
    /// For every four, the positive ones as bytes, then the negative ones' magnitudes.
    Split,
}

impl Repr {
    /// Bytes for each integer.
    pub(crate) const fn n_bytes(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::I16 | Self::Split => 2,
        }
    }
}

/// What a weight's rows are multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivationKind {
    /// The f32 values themselves.
    F32,
    /// The values rounded to half precision.
    F16,
    /// Blocks of 32 with a sum for each.
    Q8(Repr),
    /// Blocks of 256 with a sum for every 16.
    Q8K(Repr),
}

/// Where things lie in `n` tokens' block of 32.
pub(crate) struct Q8Block;

impl Q8Block {
    pub(crate) const fn qs(repr: Repr, token: usize) -> usize {
        token * QK * repr.n_bytes()
    }
    /// f32: the scale.
    pub(crate) const fn scale(repr: Repr, n: usize, token: usize) -> usize {
        Self::qs(repr, n) + 4 * token
    }
    /// i32: the sum of the integers, times −8.
    pub(crate) const fn sum_x8(repr: Repr, n: usize, token: usize) -> usize {
        Self::scale(repr, n, n) + 4 * token
    }
    /// f32: the scale times the sum of the integers.
    pub(crate) const fn scaled_sum(repr: Repr, n: usize, token: usize) -> usize {
        Self::sum_x8(repr, n, n) + 4 * token
    }
    pub(crate) const fn n_bytes(repr: Repr, n: usize) -> usize {
        Self::scaled_sum(repr, n, n)
    }
}

/// Where things lie in `n` tokens' block of 256.
pub(crate) struct Q8KBlock;

impl Q8KBlock {
    pub(crate) const fn qs(repr: Repr, token: usize) -> usize {
        token * QK_K * repr.n_bytes()
    }
    /// f32: the scale.
    pub(crate) const fn scale(repr: Repr, n: usize, token: usize) -> usize {
        Self::qs(repr, n) + 4 * token
    }
    /// i16: sums of 32 integers each.
    pub(crate) const fn sums_of_32(repr: Repr, n: usize, token: usize) -> usize {
        Self::scale(repr, n, n) + QK_K / 32 * 2 * token
    }
    /// i16: sums of 16 integers each.
    pub(crate) const fn sums_of_16(repr: Repr, n: usize, token: usize) -> usize {
        Self::sums_of_32(repr, n, n) + QK_K / 16 * 2 * token
    }
    pub(crate) const fn n_bytes(repr: Repr, n: usize) -> usize {
        Self::sums_of_16(repr, n, n)
    }
}

/// Where the tiles of one quantised form lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tiles {
    n_tokens: usize,
    n_blocks: usize,
    /// Bytes of a block of a whole tile and of a token alone.
    tile_bytes: usize,
    single_bytes: usize,
}

impl Tiles {
    /// # Panics
    /// `n_cols` is not whole blocks, or `kind` has none.
    fn new(kind: ActivationKind, n_tokens: usize, n_cols: usize) -> Self {
        let (block_len, tile_bytes, single_bytes) = match kind {
            ActivationKind::Q8(repr) => {
                (QK, Q8Block::n_bytes(repr, TILE), Q8Block::n_bytes(repr, 1))
            }
            ActivationKind::Q8K(repr) => (
                QK_K,
                Q8KBlock::n_bytes(repr, TILE),
                Q8KBlock::n_bytes(repr, 1),
            ),
            ActivationKind::F32 | ActivationKind::F16 => unreachable!("no blocks"),
        };
        assert!(
            n_cols.is_multiple_of(block_len),
            "{n_cols} is not whole blocks"
        );
        Self {
            n_tokens,
            n_blocks: n_cols / block_len,
            tile_bytes,
            single_bytes,
        }
    }

    /// Tokens in whole tiles; the others are alone.
    fn n_tiled(&self) -> usize {
        self.n_tokens / TILE * TILE
    }

    /// Where the tile that begins with `token` (or the token alone) begins, in bytes.
    pub(crate) fn start(&self, token: usize) -> usize {
        let n_tiled = self.n_tiled();
        if token < n_tiled {
            debug_assert!(token.is_multiple_of(TILE));
            token / TILE * self.n_blocks * self.tile_bytes
        } else {
            let tiles = n_tiled / TILE * self.n_blocks * self.tile_bytes;
            tiles + (token - n_tiled) * self.n_blocks * self.single_bytes
        }
    }

    /// Whole tiles, and tokens alone.
    fn n_units(&self) -> usize {
        self.n_tiled() / TILE + self.n_tokens % TILE
    }

    /// The tokens of a whole tile, or one alone.
    fn unit(&self, idx: usize) -> Range<usize> {
        let n_tiles = self.n_tiled() / TILE;
        if idx < n_tiles {
            idx * TILE..(idx + 1) * TILE
        } else {
            let token = self.n_tiled() + idx - n_tiles;
            token..token + 1
        }
    }

    /// Bytes of a block of `n` tokens.
    fn block_bytes(&self, n: usize) -> usize {
        if n == TILE {
            self.tile_bytes
        } else {
            self.single_bytes
        }
    }

    fn n_bytes(&self) -> usize {
        let tiles = self.n_tiled() / TILE * self.n_blocks * self.tile_bytes;
        tiles + (self.n_tokens - self.n_tiled()) * self.n_blocks * self.single_bytes
    }

    /// Where block `block` of `token` lies: its start in bytes, how many tokens share
    /// it, and which of them `token` is.
    fn locate(&self, token: usize, block: usize) -> (usize, usize, usize) {
        if token < self.n_tiled() {
            let first = token / TILE * TILE;
            (
                self.start(first) + block * self.tile_bytes,
                TILE,
                token - first,
            )
        } else {
            (self.start(token) + block * self.single_bytes, 1, 0)
        }
    }
}

/// One quantised form of several tokens.
#[derive(Debug, Default)]
struct Form {
    /// Words, so that floats and sums are aligned.
    words: Vec<u32>,
}

impl Form {
    fn bytes(&self) -> &[u8] {
        // SAFETY: words are made of bytes.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.words.len() * 4) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let n_bytes = self.words.len() * 4;
        // SAFETY: words are made of bytes and take any.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), n_bytes) }
    }

    fn fill(&mut self, kind: ActivationKind, x: &[f32], tiles: Tiles, for_each: &ForEach<'_>) {
        self.words.resize(tiles.n_bytes() / 4, 0);
        let n_cols = x.len() / tiles.n_tokens;
        let out = SharedBytes::new(self.bytes_mut());
        for_each(tiles.n_units(), x.len() * QUANTIZE_WORK, &|units| {
            for unit in units {
                let tokens = tiles.unit(unit);
                let n_bytes = tiles.n_blocks * tiles.block_bytes(tokens.len());
                // SAFETY: units lie apart, and each is in one call alone.
                let bytes = unsafe { out.get(tiles.start(tokens.start), n_bytes) };
                let x = &x[tokens.start * n_cols..tokens.end * n_cols];
                put_unit(kind, bytes, x, n_cols, tokens.len());
            }
        });
    }
}

/// Bytes that several threads write, each its own.
struct SharedBytes {
    first: *mut u8,
    len: usize,
}

// SAFETY: `get`'s contract keeps threads at different bytes.
unsafe impl Sync for SharedBytes {}

impl SharedBytes {
    fn new(all: &mut [u8]) -> Self {
        Self {
            first: all.as_mut_ptr(),
            len: all.len(),
        }
    }

    /// # Safety
    /// The slice given to `new` is still borrowed, and nobody else has any of these bytes.
    #[allow(clippy::mut_from_ref)]
    unsafe fn get(&self, start: usize, len: usize) -> &mut [u8] {
        assert!(start + len <= self.len);
        // SAFETY: inside the slice by the assertion; the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(start), len) }
    }
}

/// Quantises `n` tokens that lie together, `x: [n, n_cols]`.
fn put_unit(kind: ActivationKind, bytes: &mut [u8], x: &[f32], n_cols: usize, n: usize) {
    match kind {
        ActivationKind::Q8(repr) => {
            for (block, bytes) in bytes
                .chunks_exact_mut(Q8Block::n_bytes(repr, n))
                .enumerate()
            {
                for own in 0..n {
                    let x = x[own * n_cols + block * QK..].first_chunk::<QK>();
                    put_q8(bytes, repr, n, own, x.expect("whole blocks"));
                }
            }
        }
        ActivationKind::Q8K(repr) => {
            for (block, bytes) in bytes
                .chunks_exact_mut(Q8KBlock::n_bytes(repr, n))
                .enumerate()
            {
                for own in 0..n {
                    let x = x[own * n_cols + block * QK_K..].first_chunk::<QK_K>();
                    put_q8k(bytes, repr, n, own, x.expect("whole blocks"));
                }
            }
        }
        ActivationKind::F32 | ActivationKind::F16 => {}
    }
}

fn put_q8(bytes: &mut [u8], repr: Repr, n: usize, own: usize, x: &[f32; QK]) {
    let mut qs = [0; QK];
    let scale = quantize(x, &mut qs);
    put_ints(&mut bytes[Q8Block::qs(repr, own)..], repr, &qs);
    let sum: i32 = qs.iter().map(|&q| i32::from(q)).sum();
    put(bytes, Q8Block::scale(repr, n, own), scale.to_ne_bytes());
    put(
        bytes,
        Q8Block::sum_x8(repr, n, own),
        (-8 * sum).to_ne_bytes(),
    );
    put(
        bytes,
        Q8Block::scaled_sum(repr, n, own),
        (scale * sum as f32).to_ne_bytes(),
    );
}

fn put_q8k(bytes: &mut [u8], repr: Repr, n: usize, own: usize, x: &[f32; QK_K]) {
    let mut qs = [0; QK_K];
    let scale = quantize(x, &mut qs);
    put_ints(&mut bytes[Q8KBlock::qs(repr, own)..], repr, &qs);
    put(bytes, Q8KBlock::scale(repr, n, own), scale.to_ne_bytes());
    let sums: [i16; QK_K / 16] =
        std::array::from_fn(|i| qs[i * 16..][..16].iter().map(|&q| i16::from(q)).sum());
    for (i, sum) in sums.iter().enumerate() {
        let at = Q8KBlock::sums_of_16(repr, n, own) + 2 * i;
        put(bytes, at, sum.to_ne_bytes());
    }
    for i in 0..QK_K / 32 {
        let at = Q8KBlock::sums_of_32(repr, n, own) + 2 * i;
        put(bytes, at, (sums[2 * i] + sums[2 * i + 1]).to_ne_bytes());
    }
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

fn put_ints(bytes: &mut [u8], repr: Repr, qs: &[i8]) {
    match repr {
        Repr::I8 => {
            for (byte, &q) in bytes.iter_mut().zip(qs) {
                *byte = q as u8;
            }
        }
        Repr::I16 => {
            for (pair, &q) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(qs) {
                *pair = i16::from(q).to_ne_bytes();
            }
        }
        Repr::Split => {
            let eights = bytes.as_chunks_mut::<8>().0.iter_mut();
            for (eight, four) in eights.zip(qs.as_chunks::<4>().0) {
                for i in 0..4 {
                    eight[i] = four[i].max(0) as u8;
                    eight[i + 4] = four[i].min(0).unsigned_abs();
                }
            }
        }
    }
}

/// Room for quantised activations, kept between products.
#[derive(Debug, Default)]
pub struct ActivationScratch {
    forms: [Form; N_FORMS],
    /// Rounded to half precision, kept as f32.
    f16: Vec<f32>,
}

const N_FORMS: usize = 6;

/// Each quantised form's place.
fn form_idx(kind: ActivationKind) -> Option<usize> {
    let of = |repr| match repr {
        Repr::I8 => 0,
        Repr::I16 => 1,
        Repr::Split => 2,
    };
    match kind {
        ActivationKind::Q8(repr) => Some(of(repr)),
        ActivationKind::Q8K(repr) => Some(3 + of(repr)),
        ActivationKind::F32 | ActivationKind::F16 => None,
    }
}

/// The left-hand side of a matrix product, in the forms that its weights ask for.
pub struct Activations<'a> {
    x: &'a [f32],
    n_tokens: usize,
    n_cols: usize,
    /// The forms in `scratch` that are of these numbers.
    has_form: [bool; N_FORMS],
    scratch: &'a ActivationScratch,
}

impl<'a> Activations<'a> {
    /// Quantises `x` into every form among `kinds`.
    ///
    /// # Shape
    /// `x: [n_tokens, n_cols] f32`; `n_cols` is whole blocks of every kind asked for.
    ///
    /// # Panics
    /// The shape does not hold.
    pub fn new(
        x: &'a [f32],
        n_tokens: usize,
        kinds: impl Iterator<Item = ActivationKind>,
        scratch: &'a mut ActivationScratch,
    ) -> Self {
        Self::new_on(
            &|n_items, _, body| body(0..n_items),
            x,
            n_tokens,
            kinds,
            scratch,
        )
    }

    /// [`Self::new`] with the work given to `for_each`.
    pub(crate) fn new_on(
        for_each: &ForEach<'_>,
        x: &'a [f32],
        n_tokens: usize,
        kinds: impl Iterator<Item = ActivationKind>,
        scratch: &'a mut ActivationScratch,
    ) -> Self {
        assert!(n_tokens > 0 && x.len().is_multiple_of(n_tokens));
        let n_cols = x.len() / n_tokens;
        let mut has_form = [false; N_FORMS];
        let mut has_f16 = false;
        for kind in kinds {
            match form_idx(kind) {
                Some(idx) if !has_form[idx] => {
                    has_form[idx] = true;
                    let tiles = Tiles::new(kind, n_tokens, n_cols);
                    scratch.forms[idx].fill(kind, x, tiles, for_each);
                }
                None if kind == ActivationKind::F16 && !has_f16 => {
                    has_f16 = true;
                    let rounded = x.iter().map(|&x| f16::narrow(x).widen());
                    scratch.f16.clear();
                    scratch.f16.extend(rounded);
                }
                _ => {}
            }
        }
        Self {
            x,
            n_tokens,
            n_cols,
            has_form,
            scratch,
        }
    }

    /// How many tokens there are.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// How many values a token has.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    #[inline(always)]
    pub(crate) fn f16_row(&self, token: usize) -> &[f32] {
        &self.scratch.f16[token * self.n_cols..][..self.n_cols]
    }

    /// The values of token `token`.
    #[inline(always)]
    pub(crate) fn f32_row(&self, token: usize) -> &[f32] {
        &self.x[token * self.n_cols..][..self.n_cols]
    }

    /// A quantised form's bytes, and where the tiles lie in them.
    ///
    /// # Panics
    /// `kind` has no blocks, or was not asked for.
    pub(crate) fn tiles(&self, kind: ActivationKind) -> (&[u8], Tiles) {
        let idx = form_idx(kind).expect("a quantised kind");
        // What an earlier product has left there may be as long.
        assert!(self.has_form[idx], "{kind:?} was not asked for");
        let tiles = Tiles::new(kind, self.n_tokens, self.n_cols);
        let bytes = self.scratch.forms[idx].bytes();
        assert!(bytes.len() >= tiles.n_bytes());
        (bytes, tiles)
    }

    /// Block `block` of `token` as the scalar twins see it: integers and scale.
    pub(crate) fn block<const N: usize>(&self, token: usize, block: usize) -> ([i8; N], f32) {
        let kind = if N == QK {
            ActivationKind::Q8(Repr::I8)
        } else {
            ActivationKind::Q8K(Repr::I8)
        };
        let (bytes, tiles) = self.tiles(kind);
        let (start, n, own) = tiles.locate(token, block);
        let bytes = &bytes[start..];
        let scale_at = if N == QK {
            Q8Block::scale(Repr::I8, n, own)
        } else {
            Q8KBlock::scale(Repr::I8, n, own)
        };
        let (scale, _) = bytes[scale_at..].as_chunks::<4>();
        let qs = &bytes[own * N..];
        (
            std::array::from_fn(|i| qs[i] as i8),
            f32::from_ne_bytes(scale[0]),
        )
    }
}

/// Scales `x` into −127..=127, rounds, and returns the scale.
///
/// The largest magnitude is found among the bit patterns, where NaN is above
/// everything: a NaN or an infinity becomes the scale, and so reaches the result
/// of the product instead of vanishing in an integer.
fn quantize(x: &[f32], qs: &mut [i8]) -> f32 {
    let max_bits = x.iter().fold(0, |max: u32, x| max.max(x.abs().to_bits()));
    let max = f32::from_bits(max_bits);
    let inverse = if max > 0.0 { 127.0 / max } else { 0.0 };
    // Below 127 / f32::MAX the inverse overflows; such a block is zero for all purposes.
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    for (q, x) in qs.iter_mut().zip(x) {
        *q = round(x * inverse).1.clamp(-127, 127) as i8;
    }
    if x.len() == QK {
        f16::narrow(max / 127.0).widen()
    } else if inverse > 0.0 {
        1.0 / inverse
    } else {
        max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantized(x: &[f32]) -> (f32, Vec<i8>) {
        let mut qs = vec![0; x.len()];
        (quantize(x, &mut qs), qs)
    }

    #[test]
    fn the_largest_magnitude_becomes_127() {
        let (scale, qs) = quantized(&[0.5, -2.0, 1.0, 0.0]);
        assert_eq!(qs, [32, -127, 64, 0]);
        assert!((scale - 2.0 / 127.0).abs() < 1e-8);
    }

    #[test]
    fn zeros_and_vanishing_values_quantise_to_zero() {
        assert_eq!(quantized(&[0.0, -0.0]), (0.0, vec![0, 0]));
        let (scale, qs) = quantized(&[1e-44, 0.0]);
        assert!(scale < 1e-40);
        assert_eq!(qs, [0, 0]);
    }

    #[test]
    fn nan_and_infinity_reach_the_scale() {
        assert!(quantized(&[1.0, f32::NAN, 2.0]).0.is_nan());
        assert!(quantized(&[f32::INFINITY, 1.0]).0.is_infinite());
    }

    /// What an earlier product left in the scratch is of other numbers.
    #[test]
    #[should_panic(expected = "was not asked for")]
    fn a_form_of_earlier_numbers_is_not_given_out() {
        let kind = ActivationKind::Q8(Repr::I8);
        let mut scratch = ActivationScratch::default();
        Activations::new(&[1.0; 256], 1, [kind].into_iter(), &mut scratch).tiles(kind);
        Activations::new(
            &[2.0; 256],
            1,
            [ActivationKind::F32].into_iter(),
            &mut scratch,
        )
        .tiles(kind);
    }
}
