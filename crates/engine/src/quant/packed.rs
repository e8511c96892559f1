//! Quantised matrices laid out for vectors: rows side by side.
//!
//! A group of `n_lanes` rows lies together, block after block, so that a product walks
//! through it once from end to end. In a group's block every field of the block type has
//! a region, and in a region the rows' parts stand beside each other: scales as halves,
//! quants as words of four bytes. One vector load then gives every row's four bytes, and
//! lanes are rows.
//!
//! Nothing is added to the file's bytes but zero rows that fill up the last group.

use std::alloc::Layout;
use std::marker::PhantomData;

use super::blocks::*;

/// The most rows that a group can have.
pub(crate) const MAX_LANES: usize = 16;

/// A part of a block: `count` units of `unit` bytes from `offset` on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    offset: usize,
    unit: usize,
    count: usize,
}

impl Field {
    const fn n_bytes(&self) -> usize {
        self.unit * self.count
    }
}

/// A block type with a packed layout.
pub(crate) trait Packable: Block {
    /// The regions in order.
    const FIELDS: &'static [Field];

    /// Moves bits within the block, so that kernels unpack them with constant shifts.
    #[inline(always)]
    fn arrange(&mut self) {}

    /// Undoes [`Self::arrange`].
    #[inline(always)]
    fn restore(&mut self) {}
}

/// Where region `idx` begins in a group's block, in bytes for each row.
pub(crate) const fn region_start(fields: &[Field], idx: usize) -> usize {
    let (mut start, mut i) = (0, 0);
    while i < idx {
        start += fields[i].n_bytes();
        i += 1;
    }
    start
}

const fn words(offset: usize, n_bytes: usize) -> Field {
    Field {
        offset,
        unit: 4,
        count: n_bytes / 4,
    }
}

const fn bytes(offset: usize, count: usize) -> Field {
    Field {
        offset,
        unit: 1,
        count,
    }
}

const fn half(offset: usize) -> Field {
    Field {
        offset,
        unit: 2,
        count: 1,
    }
}

macro_rules! at {
    ($block:ident . $field:ident) => {
        std::mem::offset_of!($block, $field)
    };
}

impl Packable for BlockQ4_0 {
    const FIELDS: &'static [Field] = &[words(at!(BlockQ4_0.qs), 16), half(at!(BlockQ4_0.d))];
}

impl Packable for BlockQ4_1 {
    const FIELDS: &'static [Field] = &[
        words(at!(BlockQ4_1.qs), 16),
        half(at!(BlockQ4_1.d)),
        half(at!(BlockQ4_1.m)),
    ];
}

impl Packable for BlockQ5_0 {
    const FIELDS: &'static [Field] = &[
        words(at!(BlockQ5_0.qs), 16),
        words(at!(BlockQ5_0.qh), 4),
        half(at!(BlockQ5_0.d)),
    ];

    #[inline(always)]
    fn arrange(&mut self) {
        self.qh = spread_fifth_bits(u32::from_le_bytes(self.qh)).to_le_bytes();
    }

    #[inline(always)]
    fn restore(&mut self) {
        self.qh = gather_fifth_bits(u32::from_le_bytes(self.qh)).to_le_bytes();
    }
}

impl Packable for BlockQ5_1 {
    const FIELDS: &'static [Field] = &[
        words(at!(BlockQ5_1.qs), 16),
        words(at!(BlockQ5_1.qh), 4),
        half(at!(BlockQ5_1.d)),
        half(at!(BlockQ5_1.m)),
    ];

    #[inline(always)]
    fn arrange(&mut self) {
        self.qh = spread_fifth_bits(u32::from_le_bytes(self.qh)).to_le_bytes();
    }

    #[inline(always)]
    fn restore(&mut self) {
        self.qh = gather_fifth_bits(u32::from_le_bytes(self.qh)).to_le_bytes();
    }
}

impl Packable for BlockQ8_0 {
    const FIELDS: &'static [Field] = &[words(at!(BlockQ8_0.qs), 32), half(at!(BlockQ8_0.d))];
}

impl Packable for BlockQ2_K {
    const FIELDS: &'static [Field] = &[
        words(at!(BlockQ2_K.qs), 64),
        bytes(at!(BlockQ2_K.scales), 16),
        half(at!(BlockQ2_K.d)),
        half(at!(BlockQ2_K.dmin)),
    ];
}

impl Packable for BlockQ3_K {
    const FIELDS: &'static [Field] = &[
        words(at!(BlockQ3_K.qs), 64),
        words(at!(BlockQ3_K.hmask), 32),
        bytes(at!(BlockQ3_K.scales), 12),
        half(at!(BlockQ3_K.d)),
    ];

    /// To four words for every 128 elements: bit `g` of byte `i` in word `k` belongs to
    /// element `32g + 4k + i`, bit `4 + g` to the one 16 further on.
    #[inline(always)]
    fn arrange(&mut self) {
        let old = to_words(&self.hmask);
        let new = std::array::from_fn(|i| {
            let (half, k) = (i / 4, i % 4);
            let nibbles = |word: u32| word >> (4 * half) & 0x0f0f_0f0f;
            nibbles(old[k]) | nibbles(old[k + 4]) << 4
        });
        self.hmask = from_words(new);
    }

    #[inline(always)]
    fn restore(&mut self) {
        let new = to_words(&self.hmask);
        let old = std::array::from_fn(|i| {
            let (upper, k) = (i / 4, i % 4);
            let nibbles = |word: u32| word >> (4 * upper) & 0x0f0f_0f0f;
            nibbles(new[k]) | nibbles(new[k + 4]) << 4
        });
        self.hmask = from_words(old);
    }
}

impl Packable for BlockQ4_K {
    const FIELDS: &'static [Field] = &[
        words(at!(BlockQ4_K.qs), 128),
        bytes(at!(BlockQ4_K.scales), 12),
        half(at!(BlockQ4_K.d)),
        half(at!(BlockQ4_K.dmin)),
    ];
}

impl Packable for BlockQ5_K {
    const FIELDS: &'static [Field] = &[
        words(at!(BlockQ5_K.qs), 128),
        words(at!(BlockQ5_K.qh), 32),
        bytes(at!(BlockQ5_K.scales), 12),
        half(at!(BlockQ5_K.d)),
        half(at!(BlockQ5_K.dmin)),
    ];

    /// To two words for every 64 elements, each with the bits of four words of quants:
    /// bit `k` of byte `i` belongs to the low half of byte `i` of word `k`, bit `4 + k`
    /// to the high half.
    #[inline(always)]
    fn arrange(&mut self) {
        let old = to_words(&self.qh);
        let new = std::array::from_fn(|i| {
            let (chunk, first) = (i / 2, i % 2 * 4);
            (0..4).fold(0, |word, k| {
                let two = old[first + k] >> (2 * chunk);
                word | (two & 0x0101_0101) << k | (two >> 1 & 0x0101_0101) << (4 + k)
            })
        });
        self.qh = from_words(new);
    }

    #[inline(always)]
    fn restore(&mut self) {
        let new = to_words(&self.qh);
        let old = std::array::from_fn(|i| {
            let k = i % 4;
            (0..4).fold(0, |word, chunk| {
                let bits = new[2 * chunk + i / 4] >> k;
                let two = bits & 0x0101_0101 | (bits >> 4 & 0x0101_0101) << 1;
                word | two << (2 * chunk)
            })
        });
        self.qh = from_words(old);
    }
}

impl Packable for BlockQ6_K {
    const FIELDS: &'static [Field] = &[
        words(at!(BlockQ6_K.ql), 128),
        words(at!(BlockQ6_K.qh), 64),
        bytes(at!(BlockQ6_K.scales), 16),
        half(at!(BlockQ6_K.d)),
    ];
}

#[inline(always)]
fn to_words(bytes: &[u8; 32]) -> [u32; 8] {
    let (words, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|i| u32::from_le_bytes(words[i]))
}

#[inline(always)]
fn from_words(words: [u32; 8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    bytes
}

/// Moves bit `4k + i` to bit `k` of byte `i`, and bit `16 + 4k + i` to bit `4 + k`.
#[inline(always)]
fn spread_fifth_bits(bits: u32) -> u32 {
    (0..8).fold(0, |spread, k| {
        // Four bits to the lowest of four bytes.
        let four = (bits >> (4 * k) & 15).wrapping_mul(0x0020_4081) & 0x0101_0101;
        spread | four << k
    })
}

/// Undoes [`spread_fifth_bits`].
#[inline(always)]
fn gather_fifth_bits(spread: u32) -> u32 {
    (0..8).fold(0, |bits, k| {
        let four = (spread >> k & 0x0101_0101).wrapping_mul(0x0102_0408) >> 24;
        bits | four << (4 * k)
    })
}

/// No block type is larger.
const MAX_BLOCK_BYTES: usize = 256;

/// A cache line; groups begin on one where their length allows it.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A matrix of `B` blocks in the packed layout: `[n_rows, n_cols]` elements.
pub(crate) struct Packed<B> {
    lines: Vec<Line>,
    n_rows: usize,
    /// Blocks in a row.
    n_blocks: usize,
    n_lanes: usize,
    block: PhantomData<B>,
}

impl<B: Packable> Packed<B> {
    /// A matrix of zeros, or `None` if there is no memory for it.
    ///
    /// # Panics
    /// `n_cols` is not whole blocks.
    pub(crate) fn zeroed(n_lanes: usize, n_rows: usize, n_cols: usize) -> Option<Self> {
        assert!(n_cols.is_multiple_of(B::LEN), "rows are whole blocks");
        assert!(n_lanes <= MAX_LANES);
        let n_blocks = n_cols / B::LEN;
        let n_bytes = n_rows
            .checked_next_multiple_of(n_lanes)?
            .checked_mul(n_blocks)?
            .checked_mul(size_of::<B>())?;
        Some(Self {
            lines: zeroed_lines(n_bytes.div_ceil(size_of::<Line>()))?,
            n_rows,
            n_blocks,
            n_lanes,
            block: PhantomData,
        })
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub(crate) fn n_blocks(&self) -> usize {
        self.n_blocks
    }

    pub(crate) fn n_lanes(&self) -> usize {
        self.n_lanes
    }

    pub(crate) fn n_groups(&self) -> usize {
        self.n_rows.div_ceil(self.n_lanes)
    }

    pub(crate) fn group_bytes(&self) -> usize {
        self.n_lanes * self.n_blocks * size_of::<B>()
    }

    /// What the matrix takes in memory.
    pub(crate) fn n_bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: lines are made of bytes.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.n_bytes()) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let n_bytes = self.n_bytes();
        // SAFETY: lines are made of bytes, and take any.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), n_bytes) }
    }

    /// Where the units of field `idx` begin for one block, and how far apart they are.
    #[inline(always)]
    fn units(&self, row: usize, block: usize, idx: usize) -> (usize, usize) {
        let field = B::FIELDS[idx];
        let (group, lane) = (row / self.n_lanes, row % self.n_lanes);
        let region = block * size_of::<B>() + region_start(B::FIELDS, idx);
        let start = group * self.group_bytes() + region * self.n_lanes + lane * field.unit;
        (start, self.n_lanes * field.unit)
    }

    /// Puts blocks, given as in the file, into their places, from the `first`th on.
    ///
    /// # Panics
    /// There are not so many.
    pub(crate) fn put(&mut self, first: usize, blocks: &[u8]) {
        for (i, bytes) in blocks.chunks_exact(size_of::<B>()).enumerate() {
            let (row, idx) = ((first + i) / self.n_blocks, (first + i) % self.n_blocks);
            assert!(row < self.n_rows, "more blocks than rows");
            let mut block: B = block_from(bytes);
            block.arrange();
            self.put_block(row, idx, &block);
        }
    }

    #[inline(always)]
    fn put_block(&mut self, row: usize, idx: usize, block: &B) {
        let bytes = bytes_of(block);
        for (i, field) in B::FIELDS.iter().enumerate() {
            let (start, stride) = self.units(row, idx, i);
            let units = bytes[field.offset..][..field.n_bytes()].chunks_exact(field.unit);
            let target = &mut self.bytes_mut()[start..];
            for (k, unit) in units.enumerate() {
                target[k * stride..][..field.unit].copy_from_slice(unit);
            }
        }
    }

    /// A block as it is in the file.
    pub(crate) fn block(&self, row: usize, idx: usize) -> B {
        assert!(row < self.n_rows && idx < self.n_blocks);
        let mut bytes = [0; MAX_BLOCK_BYTES];
        let bytes = &mut bytes[..size_of::<B>()];
        for (i, field) in B::FIELDS.iter().enumerate() {
            let (start, stride) = self.units(row, idx, i);
            let source = &self.bytes()[start..];
            let units = bytes[field.offset..][..field.n_bytes()].chunks_exact_mut(field.unit);
            for (k, unit) in units.enumerate() {
                unit.copy_from_slice(&source[k * stride..][..field.unit]);
            }
        }
        let mut block: B = block_from(bytes);
        block.restore();
        block
    }
}

fn zeroed_lines(n_lines: usize) -> Option<Vec<Line>> {
    let layout = Layout::array::<Line>(n_lines).ok()?;
    if layout.size() == 0 {
        return Some(Vec::new());
    }
    // SAFETY: the layout is not empty. Zeros are valid lines, and the vector frees them
    // with the same layout.
    unsafe {
        let first: *mut Line = std::alloc::alloc_zeroed(layout).cast();
        if first.is_null() {
            return None;
        }
        Some(Vec::from_raw_parts(first, n_lines, n_lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::Pcg32;

    /// Blocks of random bytes come back, whatever the shape.
    fn check<B: Packable + PartialEq + std::fmt::Debug>() {
        let mut rng = Pcg32::new(3);
        for (n_lanes, n_rows, n_blocks) in [(4, 4, 1), (4, 7, 3), (8, 17, 2), (16, 5, 5)] {
            let bytes: Vec<u8> = (0..n_rows * n_blocks * size_of::<B>())
                // No NaN, which would not equal itself.
                .map(|_| rng.next_u32() as u8 & 0x7b)
                .collect();
            let blocks: Vec<B> = bytes.chunks_exact(size_of::<B>()).map(block_from).collect();
            let mut packed = Packed::<B>::zeroed(n_lanes, n_rows, n_blocks * B::LEN).unwrap();
            for (i, piece) in bytes.chunks(2 * size_of::<B>()).enumerate() {
                packed.put(i * 2, piece);
            }
            for (i, block) in blocks.iter().enumerate() {
                let found = packed.block(i / n_blocks, i % n_blocks);
                assert_eq!(found, *block, "{} block {i}", B::QUANT);
            }
            let padded = n_rows.next_multiple_of(n_lanes) * n_blocks * size_of::<B>();
            assert_eq!(packed.n_bytes(), padded.next_multiple_of(64));
        }
    }

    #[test]
    fn every_block_comes_back_as_it_was_in_the_file() {
        check::<BlockQ4_0>();
        check::<BlockQ4_1>();
        check::<BlockQ5_0>();
        check::<BlockQ5_1>();
        check::<BlockQ8_0>();
        check::<BlockQ2_K>();
        check::<BlockQ3_K>();
        check::<BlockQ4_K>();
        check::<BlockQ5_K>();
        check::<BlockQ6_K>();
    }

    #[test]
    fn a_matrix_too_large_for_memory_is_refused() {
        assert!(Packed::<BlockQ8_0>::zeroed(4, usize::MAX - 1, 32).is_none());
        assert!(Packed::<BlockQ8_0>::zeroed(4, 1 << 40, 1 << 20).is_none());
    }
}
