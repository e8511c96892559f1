//! Quantised matrices laid out for vectors: rows side by side.
//!
//! A group of `n_lanes` rows lies together, block after block, so that a product walks
//! through it once from end to end. In a group's block every field of the block type has
//! a region, and in a region the rows' parts stand beside each other: scales as halves,
//! quants as words of four bytes. One vector load then gives every row's four bytes, and
//! lanes are rows.
//!
//! Nothing is added to the file's bytes but zero rows that fill up the last group.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::activations::ForEach;
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
///
/// A bit's place has five binary digits, of which the lowest two become the highest: four
/// exchanges of two digits.
#[inline(always)]
fn spread_fifth_bits(bits: u32) -> u32 {
    let bits = exchange(bits, 14, 0x0000_cccc);
    let bits = exchange(bits, 7, 0x00aa_00aa);
    let bits = exchange(bits, 2, 0x0c0c_0c0c);
    exchange(bits, 1, 0x2222_2222)
}

/// Undoes [`spread_fifth_bits`].
#[inline(always)]
fn gather_fifth_bits(spread: u32) -> u32 {
    let bits = exchange(spread, 1, 0x2222_2222);
    let bits = exchange(bits, 2, 0x0c0c_0c0c);
    let bits = exchange(bits, 7, 0x00aa_00aa);
    exchange(bits, 14, 0x0000_cccc)
}

/// Exchanges the bits of `mask` with those that are `distance` higher.
#[inline(always)]
fn exchange(bits: u32, distance: u32, mask: u32) -> u32 {
    let differ = (bits ^ bits >> distance) & mask;
    bits ^ differ ^ differ << distance
}

/// No block type is larger.
const MAX_BLOCK_BYTES: usize = 256;

/// A cache line; groups begin on one where their length allows it.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A matrix of `B` blocks in the packed layout: `[n_rows, n_cols]` elements.
pub(crate) struct Packed<B> {
    lines: Vec<MaybeUninit<Line>>,
    /// Bytes from the first on that are set: memory is not cleared that is written anyway.
    filled_bytes: usize,
    n_rows: usize,
    /// Blocks in a row.
    n_blocks: usize,
    n_lanes: usize,
    block: PhantomData<B>,
}

impl<B: Packable> Packed<B> {
    /// A matrix to put blocks into, or `None` if there is no memory for it.
    ///
    /// # Panics
    /// `n_cols` is not whole blocks.
    pub(crate) fn unfilled(n_lanes: usize, n_rows: usize, n_cols: usize) -> Option<Self> {
        assert!(n_cols.is_multiple_of(B::LEN), "rows are whole blocks");
        assert!(n_lanes <= MAX_LANES);
        let n_blocks = n_cols / B::LEN;
        let n_bytes = n_rows
            .checked_next_multiple_of(n_lanes)?
            .checked_mul(n_blocks)?
            .checked_mul(size_of::<B>())?;
        let n_lines = n_bytes.div_ceil(size_of::<Line>());
        let mut lines = Vec::new();
        lines.try_reserve_exact(n_lines).ok()?;
        // SAFETY: there is room for so many, which need not be set.
        unsafe { lines.set_len(n_lines) };
        Some(Self {
            lines,
            filled_bytes: 0,
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

    /// # Panics
    /// Not all blocks have been put in.
    pub(crate) fn bytes(&self) -> &[u8] {
        assert_eq!(self.filled_bytes, self.n_bytes(), "blocks are missing");
        self.filled()
    }

    /// What is set of the matrix.
    fn filled(&self) -> &[u8] {
        // SAFETY: lines are made of bytes, of which so many are set.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.filled_bytes) }
    }

    fn filled_mut(&mut self) -> &mut [u8] {
        let first = self.lines.as_mut_ptr().cast();
        // SAFETY: lines are made of bytes, of which so many are set, and take any.
        unsafe { std::slice::from_raw_parts_mut(first, self.filled_bytes) }
    }

    /// Sets bytes that are not to zero, up to `end`.
    ///
    /// # Panics
    /// There are fewer.
    fn fill_to(&mut self, end: usize) {
        assert!(end <= self.n_bytes());
        let n_missing = end.saturating_sub(self.filled_bytes);
        let first = self.lines.as_mut_ptr().cast::<u8>();
        // SAFETY: the lines reach to `end` at least, as asserted.
        unsafe { first.add(self.filled_bytes).write_bytes(0, n_missing) };
        self.filled_bytes += n_missing;
    }

    /// Where group `idx` ends: the last one with the matrix.
    fn group_end(&self, idx: usize) -> usize {
        match idx + 1 == self.n_groups() {
            true => self.n_bytes(),
            false => (idx + 1) * self.group_bytes(),
        }
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

    /// Puts blocks, given as in the file, into their places, from the `first`th on. Rows
    /// of whole groups go quickly, and are shared out by `for_each`.
    ///
    /// # Panics
    /// There are not so many.
    pub(crate) fn put(&mut self, for_each: &ForEach<'_>, first: usize, blocks: &[u8]) {
        let n_new = blocks.len() / size_of::<B>();
        let n_all = self.n_rows * self.n_blocks;
        assert!(
            n_new <= n_all && first <= n_all - n_new,
            "more blocks than rows"
        );
        let (mut at, end) = (first, first + n_new);
        let mut blocks = blocks;
        while at < end {
            let group_blocks = self.n_lanes * self.n_blocks;
            let (group, offset) = (at / group_blocks, at % group_blocks);
            let n_groups = match (offset, end == n_all) {
                // The last group may not be full.
                (0, true) => (end - at).div_ceil(group_blocks),
                (0, false) => (end - at) / group_blocks,
                _ => 0,
            };
            let n_put = (n_groups.max(1) * group_blocks - offset).min(end - at);
            let (here, rest) = blocks.split_at(n_put * size_of::<B>());
            match n_groups {
                0 => self.put_blocks(at, here),
                _ => self.put_groups(for_each, group, here),
            }
            at += n_put;
            blocks = rest;
        }
    }

    /// All rows of some groups, from the `first`th on.
    fn put_groups(&mut self, for_each: &ForEach<'_>, first: usize, blocks: &[u8]) {
        match self.n_lanes {
            4 => self.put_rows::<4>(for_each, first, blocks),
            8 => self.put_rows::<8>(for_each, first, blocks),
            16 => self.put_rows::<16>(for_each, first, blocks),
            _ => self.put_blocks(first * self.n_lanes * self.n_blocks, blocks),
        }
    }

    /// As [`Self::put_groups`]: what is written is written once, from front to back.
    fn put_rows<const N: usize>(&mut self, for_each: &ForEach<'_>, first: usize, blocks: &[u8]) {
        assert_eq!(self.n_lanes, N);
        let (group_bytes, row_bytes) = (self.group_bytes(), self.n_blocks * size_of::<B>());
        let n_groups = blocks.len().div_ceil(group_bytes);
        let (start, end) = (first * group_bytes, (first + n_groups) * group_bytes);
        self.fill_to(start);
        assert!(end <= self.n_bytes());
        // SAFETY: the groups begin there, and are in the lines, as asserted.
        let out = Place(unsafe { self.lines.as_mut_ptr().cast::<u8>().add(start) });
        for_each(n_groups, blocks.len(), &|groups| {
            for group in groups {
                let from = group * group_bytes;
                let blocks = &blocks[from..blocks.len().min(from + group_bytes)];
                // SAFETY: each group is in one call alone, and has a place for its rows.
                unsafe { put_group::<B, N>(blocks, row_bytes, out.at(from)) };
            }
        });
        self.filled_bytes = self.filled_bytes.max(end);
        self.fill_to(self.group_end(first + n_groups - 1));
    }

    /// Blocks one by one, wherever they are.
    fn put_blocks(&mut self, first: usize, blocks: &[u8]) {
        for (i, bytes) in blocks.chunks_exact(size_of::<B>()).enumerate() {
            let (row, idx) = ((first + i) / self.n_blocks, (first + i) % self.n_blocks);
            let mut block: B = block_from(bytes);
            block.arrange();
            self.fill_to(self.group_end(row / self.n_lanes));
            self.put_block(row, idx, &block);
        }
    }

    fn put_block(&mut self, row: usize, idx: usize, block: &B) {
        let bytes = bytes_of(block);
        for (i, field) in B::FIELDS.iter().enumerate() {
            let (start, stride) = self.units(row, idx, i);
            let units = bytes[field.offset..][..field.n_bytes()].chunks_exact(field.unit);
            let target = &mut self.filled_mut()[start..];
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
            let source = &self.filled()[start..];
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

/// The most fields that a block type has.
const MAX_FIELDS: usize = 5;

/// The field `idx`, or one of nothing.
const fn field(fields: &[Field], idx: usize) -> Field {
    assert!(fields.len() <= MAX_FIELDS);
    match idx < fields.len() {
        true => fields[idx],
        false => bytes(0, 0),
    }
}

/// Where threads write, each its own groups.
struct Place(*mut u8);

// SAFETY: nothing is done with it but to compute addresses; who writes there promises
// to be alone.
unsafe impl Sync for Place {}

impl Place {
    /// # Safety
    /// The memory that begins there has so many bytes.
    unsafe fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

/// Writes a group of `N` rows, of which the last may be missing: they are zero.
///
/// # Safety
/// `out` may be written for as many bytes as `N` rows have.
unsafe fn put_group<B: Packable, const N: usize>(blocks: &[u8], row_bytes: usize, out: *mut u8) {
    const { assert!(region_start(B::FIELDS, B::FIELDS.len()) == size_of::<B>()) }
    let mut rows = blocks.chunks_exact(row_bytes);
    let rows: [&[u8]; N] = std::array::from_fn(|_| rows.next().unwrap_or_default());
    let n_there = rows.iter().filter(|row| !row.is_empty()).count();
    let mut lanes: [B; N] =
        std::array::from_fn(|_| block_from(&[0; MAX_BLOCK_BYTES][..size_of::<B>()]));
    for at in (0..row_bytes).step_by(size_of::<B>()) {
        for (lane, row) in lanes.iter_mut().zip(&rows[..n_there]) {
            *lane = block_from(&row[at..][..size_of::<B>()]);
            lane.arrange();
        }
        // SAFETY: the caller's promise; so far `at` bytes of every row are written.
        unsafe { put_lanes(&lanes, out.add(N * at)) };
    }
}

/// Writes the blocks of a group's `N` rows, region after region.
///
/// # Safety
/// `out` may be written for as many bytes as the blocks have.
#[inline(always)]
unsafe fn put_lanes<B: Packable, const N: usize>(lanes: &[B; N], out: *mut u8) {
    // SAFETY: each field has its bytes behind those of the ones before, and all of them
    // together are a block.
    unsafe {
        let out = put_field(lanes, const { field(B::FIELDS, 0) }, out);
        let out = put_field(lanes, const { field(B::FIELDS, 1) }, out);
        let out = put_field(lanes, const { field(B::FIELDS, 2) }, out);
        let out = put_field(lanes, const { field(B::FIELDS, 3) }, out);
        put_field(lanes, const { field(B::FIELDS, 4) }, out);
    }
}

/// Writes one region, and returns where the next one begins.
///
/// # Safety
/// As for [`put_lanes`], for the field.
#[inline(always)]
unsafe fn put_field<B: Packable, const N: usize>(
    lanes: &[B; N],
    field: Field,
    out: *mut u8,
) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        match field.unit {
            4 => put_units::<B, N, 4>(lanes, field, out),
            2 => put_units::<B, N, 2>(lanes, field, out),
            _ => put_units::<B, N, 1>(lanes, field, out),
        }
        out.add(N * field.n_bytes())
    }
}

/// # Safety
/// As for [`put_field`].
#[inline(always)]
unsafe fn put_units<B: Packable, const N: usize, const UNIT: usize>(
    lanes: &[B; N],
    field: Field,
    out: *mut u8,
) {
    assert!(field.unit == UNIT && field.offset + field.n_bytes() <= size_of::<B>());
    let out = out.cast::<[[u8; UNIT]; N]>();
    for k in 0..field.count {
        let units = std::array::from_fn(|lane| {
            let block = std::ptr::from_ref(&lanes[lane]).cast::<u8>();
            // SAFETY: the unit is in the block, as asserted.
            unsafe {
                block
                    .add(field.offset + k * UNIT)
                    .cast::<[u8; UNIT]>()
                    .read()
            }
        });
        // SAFETY: the caller's promise; arrays of bytes may lie anywhere.
        unsafe { out.add(k).write(units) };
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::sampler::Pcg32;

    fn alone(n_items: usize, _: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        body(0..n_items);
    }

    /// As threads might that never come in the order of the items.
    fn backwards(n_items: usize, _: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        for item in (0..n_items).rev() {
            body(item..item + 1);
        }
    }

    /// The layout as the module's head describes it, byte by byte.
    fn laid_out<B: Packable>(
        n_lanes: usize,
        n_rows: usize,
        n_blocks: usize,
        file: &[u8],
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        for group in 0..n_rows.div_ceil(n_lanes) {
            for idx in 0..n_blocks {
                let lanes = (group * n_lanes..(group + 1) * n_lanes).map(|row| {
                    if row >= n_rows {
                        return vec![0; size_of::<B>()];
                    }
                    let at = (row * n_blocks + idx) * size_of::<B>();
                    let mut block: B = block_from(&file[at..][..size_of::<B>()]);
                    block.arrange();
                    bytes_of(&block).to_vec()
                });
                let lanes: Vec<_> = lanes.collect();
                for field in B::FIELDS {
                    for k in 0..field.count {
                        for lane in &lanes {
                            bytes.extend(&lane[field.offset + k * field.unit..][..field.unit]);
                        }
                    }
                }
            }
        }
        bytes.resize(bytes.len().next_multiple_of(64), 0);
        bytes
    }

    /// Blocks of random bytes go where they belong and come back, whatever the shape and
    /// however they are cut on the way.
    fn check<B: Packable + PartialEq + std::fmt::Debug>() {
        let mut rng = Pcg32::new(3);
        let shapes = [
            (4, 4, 1),
            (4, 7, 3),
            (8, 17, 2),
            (16, 5, 5),
            (16, 33, 3),
            (2, 3, 2),
        ];
        for (n_lanes, n_rows, n_blocks) in shapes {
            let n_all = n_rows * n_blocks;
            let bytes: Vec<u8> = (0..n_all * size_of::<B>())
                // No NaN, which would not equal itself.
                .map(|_| rng.next_u32() as u8 & 0x7b)
                .collect();
            let expected = laid_out::<B>(n_lanes, n_rows, n_blocks, &bytes);
            let blocks: Vec<B> = bytes.chunks_exact(size_of::<B>()).map(block_from).collect();
            let group_blocks = n_lanes * n_blocks;
            let cuts = [2, n_blocks, group_blocks, group_blocks + 1, n_all];
            let ways: [&ForEach<'_>; 2] = [&alone, &backwards];
            for (piece_blocks, for_each) in cuts.iter().flat_map(|n| ways.map(|way| (*n, way))) {
                let mut packed = Packed::<B>::unfilled(n_lanes, n_rows, n_blocks * B::LEN).unwrap();
                for (i, piece) in bytes.chunks(piece_blocks * size_of::<B>()).enumerate() {
                    packed.put(for_each, i * piece_blocks, piece);
                }
                for (i, block) in blocks.iter().enumerate() {
                    let found = packed.block(i / n_blocks, i % n_blocks);
                    assert_eq!(found, *block, "{} block {i}", B::QUANT);
                }
                let shape = (n_lanes, n_rows, n_blocks);
                assert!(packed.bytes() == expected, "{} {shape:?}", B::QUANT);
                assert_eq!(packed.n_bytes(), expected.len());
            }
        }
    }

    #[test]
    fn each_fifth_bit_goes_to_its_place_and_back() {
        for (k, i) in (0..8).flat_map(|k| (0..4).map(move |i| (k, i))) {
            let (in_file, spread) = (1 << (4 * k + i), 1 << (8 * i + k));
            assert_eq!(spread_fifth_bits(in_file), spread, "bit {k} of byte {i}");
            assert_eq!(gather_fifth_bits(spread), in_file, "bit {k} of byte {i}");
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

    /// In whatever order groups come, none of a matrix's bytes is seen that was not set.
    #[test]
    fn what_has_not_come_is_not_read() {
        let n_bytes = 7 * size_of::<BlockQ8_0>();
        let file: Vec<u8> = (0..n_bytes).map(|i| i as u8).collect();
        let mut packed = Packed::<BlockQ8_0>::unfilled(4, 7, 32).unwrap();
        let (first, second) = file.split_at(4 * size_of::<BlockQ8_0>());
        packed.put(&alone, 4, second);
        assert!(
            packed.bytes()[..packed.group_bytes()]
                .iter()
                .all(|&byte| byte == 0)
        );
        packed.put(&alone, 0, first);
        assert!(packed.bytes() == laid_out::<BlockQ8_0>(4, 7, 1, &file));

        let mut packed = Packed::<BlockQ8_0>::unfilled(4, 7, 32).unwrap();
        packed.put(&alone, 0, first);
        let read = |packed: &Packed<BlockQ8_0>| _ = packed.bytes();
        let outcome = std::panic::catch_unwind(|| read(&packed));
        assert!(outcome.is_err(), "half of it is missing");
    }

    #[test]
    #[should_panic(expected = "more blocks than rows")]
    fn blocks_beyond_the_last_row_are_refused() {
        let mut packed = Packed::<BlockQ8_0>::unfilled(4, 3, 32).unwrap();
        packed.put(&alone, 1, &[0; 3 * size_of::<BlockQ8_0>()]);
    }

    #[test]
    fn a_matrix_too_large_for_memory_is_refused() {
        assert!(Packed::<BlockQ8_0>::unfilled(4, usize::MAX - 1, 32).is_none());
        assert!(Packed::<BlockQ8_0>::unfilled(4, 1 << 40, 1 << 20).is_none());
    }
}
