//! Products of stored rows with activations: the scalar twin, the vector version,
//! and the one place that chooses between them.
//!
//! # The order of float additions
//! A row's blocks give whole numbers, exact in every version. Their scaled values
//! are added block by block from the first to the last, and nothing is fused. So
//! the scalar code, AVX2, simd128 and relaxed SIMD all return the same bits,
//! whatever the number of tokens multiplied together. (Adding in order also leaves
//! a vector's lanes free to be rows, in a layout that interleaves them.)

use std::ops::Range;

use super::activations::{Activations, QuantizedRow};
use super::blocks::*;
use super::simd::Simd;
use crate::math::{self, Float, Portable};

/// How many tokens share the unpacking of a row.
const TILE: usize = 4;

/// Where a product's results go: `[n_tokens, n_rows] f32`, written by several
/// threads at once, each its own rows.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    first: *mut f32,
    n_tokens: usize,
    n_rows: usize,
}

// SAFETY: `set` is the only access; its contract keeps threads at different elements.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    /// Lends `out` for the writes of one product.
    ///
    /// # Panics
    /// `out` has not `n_tokens · n_rows` elements.
    pub(crate) fn new(out: &mut [f32], n_tokens: usize, n_rows: usize) -> Self {
        assert_eq!(out.len(), n_tokens * n_rows);
        Self {
            first: out.as_mut_ptr(),
            n_tokens,
            n_rows,
        }
    }

    /// # Safety
    /// The slice given to [`Self::new`] is still borrowed for this product, and no
    /// other thread writes this row.
    #[inline(always)]
    pub(crate) unsafe fn set(&self, token: usize, row: usize, value: f32) {
        debug_assert!(token < self.n_tokens && row < self.n_rows);
        // SAFETY: inside the slice by the assertion in `new`; the caller vouches for the rest.
        unsafe { *self.first.add(token * self.n_rows + row) = value }
    }

    /// Adds `bias[row]` to every token's result in rows `range`.
    ///
    /// # Safety
    /// As for [`Self::set`], for the rows in `range`.
    pub(crate) unsafe fn add_bias(&self, range: Range<usize>, bias: &[f32]) {
        assert!(range.end <= self.n_rows);
        for token in 0..self.n_tokens {
            for row in range.clone() {
                // SAFETY: inside the slice by the assertions here and in `new`.
                unsafe { *self.first.add(token * self.n_rows + row) += bias[row] };
            }
        }
    }
}

/// A block type with kernels.
pub(crate) trait Kernel: Block {
    /// One token's activations in the form that this type meets.
    type Row<'a>: Copy;

    /// The activations of `token`.
    fn activations<'a>(activations: &'a Activations<'_>, token: usize) -> Self::Row<'a>;

    /// The scalar twin: simple, and what every other version is compared with.
    fn dot_scalar(row: &[Self], x: Self::Row<'_>) -> f32;

    /// One row with `T` tokens.
    ///
    /// # Safety
    /// The processor has `S`'s instructions, and the caller is compiled for them.
    unsafe fn dot_simd<S: Simd, const T: usize>(row: &[Self], xs: [Self::Row<'_>; T]) -> [f32; T];
}

/// Multiplies rows `range` of a matrix with every token and writes the results.
///
/// # Shape
/// `blocks: [n_rows, n_cols]`, activations `[n_tokens, n_cols]`, `out: [n_tokens, n_rows]`.
///
/// # Safety
/// As for [`Output::set`], for the rows in `range`.
pub(crate) unsafe fn matmul_rows<B: Kernel>(
    blocks: &[B],
    activations: &Activations<'_>,
    range: Range<usize>,
    out: Output,
) {
    let row_len = activations.n_cols() / B::LEN;
    assert_eq!(row_len * B::LEN, activations.n_cols());
    let blocks = &blocks[range.start * row_len..range.end * row_len];
    #[cfg(target_arch = "x86_64")]
    if super::simd::has_avx2() {
        // SAFETY: AVX2 and F16C are there; the rest is the caller's promise.
        return unsafe { tiles_avx2(blocks, row_len, activations, range.start, out) };
    }
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    {
        // SAFETY: the build has simd128; the rest is the caller's promise.
        unsafe {
            tiles::<B, super::simd::Simd128>(blocks, row_len, activations, range.start, out);
        }
        return;
    }
    // SAFETY: the caller's promise.
    #[allow(unreachable_code)]
    unsafe {
        matmul_rows_scalar(blocks, row_len, activations, range.start, out);
    }
}

/// # Safety
/// As for [`Output::set`].
unsafe fn matmul_rows_scalar<B: Kernel>(
    blocks: &[B],
    row_len: usize,
    activations: &Activations<'_>,
    first_row: usize,
    out: Output,
) {
    for (i, row) in blocks.chunks_exact(row_len).enumerate() {
        for token in 0..activations.n_tokens() {
            let value = B::dot_scalar(row, B::activations(activations, token));
            // SAFETY: the caller's promise.
            unsafe { out.set(token, first_row + i, value) };
        }
    }
}

/// # Safety
/// AVX2 and F16C are there; and as for [`Output::set`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
unsafe fn tiles_avx2<B: Kernel>(
    blocks: &[B],
    row_len: usize,
    activations: &Activations<'_>,
    first_row: usize,
    out: Output,
) {
    // SAFETY: this function is compiled for AVX2 and F16C; the rest is the caller's promise.
    unsafe { tiles::<B, super::simd::Avx2>(blocks, row_len, activations, first_row, out) }
}

/// # Safety
/// As for [`Kernel::dot_simd`] and [`Output::set`].
#[inline(always)]
unsafe fn tiles<B: Kernel, S: Simd>(
    blocks: &[B],
    row_len: usize,
    activations: &Activations<'_>,
    first_row: usize,
    out: Output,
) {
    let n_tokens = activations.n_tokens();
    let first_token = B::activations(activations, 0);
    for (i, row) in blocks.chunks_exact(row_len).enumerate() {
        let mut token = 0;
        while token + TILE <= n_tokens {
            let mut xs = [first_token; TILE];
            for (t, x) in xs.iter_mut().enumerate() {
                *x = B::activations(activations, token + t);
            }
            // SAFETY: the caller's promise.
            let values = unsafe { B::dot_simd::<S, TILE>(row, xs) };
            for (t, value) in values.into_iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { out.set(token + t, first_row + i, value) };
            }
            token += TILE;
        }
        while token < n_tokens {
            let x = B::activations(activations, token);
            // SAFETY: the caller's promise.
            unsafe {
                let [value] = B::dot_simd::<S, 1>(row, [x]);
                out.set(token, first_row + i, value);
            }
            token += 1;
        }
    }
}

/// What one block of 32 adds, given its exact integer sums.
#[inline(always)]
fn simple_value<B: SimpleBlock>(d: f32, m: f32, scale: f32, dot: i32, sum: i32) -> f32 {
    // At most 2 · 16 · 32 · 127 in magnitude: `wrapping` only keeps checks out of the loop.
    let dot = dot.wrapping_sub(B::OFFSET.wrapping_mul(sum));
    let value = (d * scale) * dot as f32;
    if B::HAS_MIN {
        value + m * (scale * sum as f32)
    } else {
        value
    }
}

/// What one super-block adds, given `Σ scale · q · y`.
#[inline(always)]
fn super_value<B: SuperBlock>(
    block: &B,
    scales: &[i16; QK_K / 16],
    mins: &[i32; QK_K / 32],
    scale: f32,
    sums: &[i32; QK_K / 16],
    mut dot: i32,
) -> f32 {
    if B::OFFSET != 0 {
        let mut offset = 0;
        for (scale, sum) in scales.iter().zip(sums) {
            offset += i32::from(*scale) * sum;
        }
        dot -= B::OFFSET * offset;
    }
    let value = (block.d() * scale) * dot as f32;
    if !B::HAS_MIN {
        return value;
    }
    let mut min = 0;
    for (group, m) in mins.iter().enumerate() {
        min += m * (sums[2 * group] + sums[2 * group + 1]);
    }
    value - (block.dmin() * scale) * min as f32
}

fn integer_dot(q: &[i8], y: &[i8]) -> i32 {
    q.iter()
        .zip(y)
        .map(|(&q, &y)| i32::from(q) * i32::from(y))
        .sum()
}

fn dot_simple_scalar<B: SimpleBlock>(row: &[B], x: QuantizedRow<'_>) -> f32 {
    let mut value = 0.0;
    for (b, block) in row.iter().enumerate() {
        let dot = integer_dot(&block.ints(), &x.qs[b * QK..][..QK]);
        let (d, m) = (block.d().widen(), block.m().widen());
        value += simple_value::<B>(d, m, x.scales[b], dot, x.sums[b]);
    }
    value
}

fn dot_super_scalar<B: SuperBlock>(row: &[B], x: QuantizedRow<'_>) -> f32 {
    let (x_sums, _) = x.sums.as_chunks::<{ QK_K / 16 }>();
    let mut value = 0.0;
    for (b, block) in row.iter().enumerate() {
        let (scales, mins) = (block.scales(), block.mins());
        let mut dot = 0;
        for group in 0..QK_K / 32 {
            let ints = block.ints(group);
            let y = &x.qs[b * QK_K + group * 32..][..32];
            dot += i32::from(scales[2 * group]) * integer_dot(&ints[..16], &y[..16])
                + i32::from(scales[2 * group + 1]) * integer_dot(&ints[16..], &y[16..]);
        }
        value += super_value(block, &scales, &mins, x.scales[b], &x_sums[b], dot);
    }
    value
}

/// Unpacks a simple block into vector registers.
trait SimdSimple: SimpleBlock {
    /// # Safety
    /// As for [`Kernel::dot_simd`].
    unsafe fn simd_ints<S: Simd>(&self) -> S::Ints;
}

/// Unpacks 32 integers of a super-block into vector registers.
trait SimdSuper: SuperBlock {
    /// # Safety
    /// As for [`Kernel::dot_simd`].
    unsafe fn simd_ints<S: Simd>(&self, group: usize) -> S::Ints;
}

// No closures from here on: a closure is a function of its own and would not be
// compiled with the caller's vector instructions.

/// # Safety
/// As for [`Kernel::dot_simd`].
#[inline(always)]
unsafe fn dot_block<B: SimdSimple, S: Simd>(q: S::Ints, y: &[i8; QK]) -> S::Sums {
    // SAFETY: the caller's promise; `SIGNED` tells the range of the integers.
    unsafe {
        if B::SIGNED {
            S::dot_i8(S::zero(), q, S::load(y))
        } else {
            S::dot_u7(S::zero(), q, S::load(y))
        }
    }
}

/// # Safety
/// As for [`Kernel::dot_simd`].
#[inline(always)]
unsafe fn dot_simple_simd<B: SimdSimple, S: Simd, const T: usize>(
    row: &[B],
    xs: [QuantizedRow<'_>; T],
) -> [f32; T] {
    let n_blocks = row.len();
    let mut ys: [&[[i8; QK]]; T] = [&[]; T];
    let mut scales: [&[f32]; T] = [&[]; T];
    let mut x_sums: [&[i32]; T] = [&[]; T];
    for t in 0..T {
        ys[t] = &xs[t].qs.as_chunks().0[..n_blocks];
        scales[t] = &xs[t].scales[..n_blocks];
        x_sums[t] = &xs[t].sums[..n_blocks];
    }
    let mut values = [0f32; T];
    let mut b = 0;
    while b + 4 <= n_blocks {
        let quad = &row[b..b + 4];
        // SAFETY: the caller's promise.
        let ints = unsafe {
            [
                quad[0].simd_ints::<S>(),
                quad[1].simd_ints::<S>(),
                quad[2].simd_ints::<S>(),
                quad[3].simd_ints::<S>(),
            ]
        };
        // SAFETY: the caller's promise.
        let (d, m) = unsafe {
            let d = S::widen_4([
                quad[0].d().to_bits(),
                quad[1].d().to_bits(),
                quad[2].d().to_bits(),
                quad[3].d().to_bits(),
            ]);
            let m = if B::HAS_MIN {
                S::widen_4([
                    quad[0].m().to_bits(),
                    quad[1].m().to_bits(),
                    quad[2].m().to_bits(),
                    quad[3].m().to_bits(),
                ])
            } else {
                [0.0; 4]
            };
            (d, m)
        };
        for t in 0..T {
            let y = &ys[t][b..b + 4];
            // SAFETY: the caller's promise.
            let dots = unsafe {
                S::totals([
                    dot_block::<B, S>(ints[0], &y[0]),
                    dot_block::<B, S>(ints[1], &y[1]),
                    dot_block::<B, S>(ints[2], &y[2]),
                    dot_block::<B, S>(ints[3], &y[3]),
                ])
            };
            let (scale, x_sum) = (&scales[t][b..b + 4], &x_sums[t][b..b + 4]);
            let mut four = [0f32; 4];
            for lane in 0..4 {
                four[lane] =
                    simple_value::<B>(d[lane], m[lane], scale[lane], dots[lane], x_sum[lane]);
            }
            for value in four {
                values[t] += value;
            }
        }
        b += 4;
    }
    while b < n_blocks {
        let block = &row[b];
        // SAFETY: the caller's promise.
        let ints = unsafe { block.simd_ints::<S>() };
        let (d, m) = (block.d().widen(), block.m().widen());
        for t in 0..T {
            // SAFETY: the caller's promise.
            let dot = unsafe { S::total(dot_block::<B, S>(ints, &ys[t][b])) };
            values[t] += simple_value::<B>(d, m, scales[t][b], dot, x_sums[t][b]);
        }
        b += 1;
    }
    values
}

/// # Safety
/// As for [`Kernel::dot_simd`].
#[inline(always)]
unsafe fn dot_super_simd<B: SimdSuper, S: Simd, const T: usize>(
    row: &[B],
    xs: [QuantizedRow<'_>; T],
) -> [f32; T] {
    let n_blocks = row.len();
    let mut ys: [&[[i8; 32]]; T] = [&[]; T];
    let mut scales: [&[f32]; T] = [&[]; T];
    let mut x_sums: [&[[i32; QK_K / 16]]; T] = [&[]; T];
    for t in 0..T {
        ys[t] = &xs[t].qs.as_chunks().0[..n_blocks * (QK_K / 32)];
        scales[t] = &xs[t].scales[..n_blocks];
        x_sums[t] = &xs[t].sums.as_chunks().0[..n_blocks];
    }
    let mut values = [0f32; T];
    for (b, block) in row.iter().enumerate() {
        let (block_scales, mins) = (block.scales(), block.mins());
        // SAFETY: the caller's promise; super-blocks hold at most 6 bits.
        unsafe {
            let mut parts = [S::zero(); T];
            for group in 0..QK_K / 32 {
                let ints = block.simd_ints::<S>(group);
                let (low, high) = (block_scales[2 * group], block_scales[2 * group + 1]);
                for t in 0..T {
                    let y = S::load(&ys[t][b * (QK_K / 32) + group]);
                    parts[t] = S::dot_u6_scaled(parts[t], ints, y, low, high);
                }
            }
            for t in 0..T {
                let dot = S::total(parts[t]);
                let (scale, x_sum) = (scales[t][b], &x_sums[t][b]);
                values[t] += super_value(block, &block_scales, &mins, scale, x_sum, dot);
            }
        }
    }
    values
}

macro_rules! float_kernel {
    ($($number:ty => $row:ident),+) => {$(
        impl Kernel for $number {
            type Row<'a> = &'a [f32];

            #[inline(always)]
            fn activations<'a>(activations: &'a Activations<'_>, token: usize) -> &'a [f32] {
                activations.$row(token)
            }

            fn dot_scalar(row: &[Self], x: &[f32]) -> f32 {
                // SAFETY: `Portable` asks for nothing.
                let [value] = unsafe { math::dot::<Self, Portable, 1>(row, [x]) };
                value
            }

            #[inline(always)]
            unsafe fn dot_simd<S: Simd, const T: usize>(row: &[Self], xs: [&[f32]; T]) -> [f32; T] {
                // SAFETY: the caller's promise.
                unsafe { math::dot::<Self, S, T>(row, xs) }
            }
        }
    )+};
}

float_kernel!(f32 => f32_row, half::f16 => f16_row, half::bf16 => f32_row);

macro_rules! quantized_kernel {
    ($($block:ident, $row:ident, $scalar:ident, $simd:ident;)+) => {$(
        impl Kernel for $block {
            type Row<'a> = QuantizedRow<'a>;

            #[inline(always)]
            fn activations<'a>(activations: &'a Activations<'_>, token: usize) -> QuantizedRow<'a> {
                activations.$row(token)
            }

            fn dot_scalar(row: &[Self], x: QuantizedRow<'_>) -> f32 {
                $scalar(row, x)
            }

            #[inline(always)]
            unsafe fn dot_simd<S: Simd, const T: usize>(
                row: &[Self],
                xs: [QuantizedRow<'_>; T],
            ) -> [f32; T] {
                // SAFETY: the caller's promise.
                unsafe { $simd::<Self, S, T>(row, xs) }
            }
        }
    )+};
}

quantized_kernel! {
    BlockQ4_0, q8_row, dot_simple_scalar, dot_simple_simd;
    BlockQ4_1, q8_row, dot_simple_scalar, dot_simple_simd;
    BlockQ5_0, q8_row, dot_simple_scalar, dot_simple_simd;
    BlockQ5_1, q8_row, dot_simple_scalar, dot_simple_simd;
    BlockQ8_0, q8_row, dot_simple_scalar, dot_simple_simd;
    BlockQ4_K, q8k_row, dot_super_scalar, dot_super_simd;
    BlockQ5_K, q8k_row, dot_super_scalar, dot_super_simd;
    BlockQ6_K, q8k_row, dot_super_scalar, dot_super_simd;
}

macro_rules! simd_simple {
    ($($block:ident => |$this:ident| $ints:expr;)+) => {$(
        impl SimdSimple for $block {
            #[inline(always)]
            unsafe fn simd_ints<S: Simd>(&self) -> S::Ints {
                let $this = self;
                // SAFETY: the caller's promise.
                unsafe { $ints }
            }
        }
    )+};
}

simd_simple! {
    BlockQ4_0 => |block| S::nibbles(&block.qs);
    BlockQ4_1 => |block| S::nibbles(&block.qs);
    BlockQ5_0 => |block| S::or(S::nibbles(&block.qs), S::fifth_bits(u32::from_le_bytes(block.qh)));
    BlockQ5_1 => |block| S::or(S::nibbles(&block.qs), S::fifth_bits(u32::from_le_bytes(block.qh)));
    BlockQ8_0 => |block| S::load(&block.qs);
}

/// The nibbles of a group of 32 out of the bytes that it shares with a neighbour.
///
/// # Safety
/// As for [`Kernel::dot_simd`].
#[inline(always)]
unsafe fn simd_nibble_group<S: Simd>(bytes: &[u8; 32], is_high: bool) -> S::Ints {
    // SAFETY: the caller's promise.
    unsafe {
        let bytes = S::load_bytes(bytes);
        if is_high {
            S::shift_and_mask::<-4>(bytes, 0x0f)
        } else {
            S::shift_and_mask::<0>(bytes, 0x0f)
        }
    }
}

impl SimdSuper for BlockQ4_K {
    #[inline(always)]
    unsafe fn simd_ints<S: Simd>(&self, group: usize) -> S::Ints {
        // SAFETY: the caller's promise.
        unsafe { simd_nibble_group::<S>(&self.qs.as_chunks().0[group / 2], group % 2 == 1) }
    }
}

impl SimdSuper for BlockQ5_K {
    #[inline(always)]
    unsafe fn simd_ints<S: Simd>(&self, group: usize) -> S::Ints {
        // SAFETY: the caller's promise.
        unsafe {
            let low = simd_nibble_group::<S>(&self.qs.as_chunks().0[group / 2], group % 2 == 1);
            let high = S::load_bytes(&self.qh);
            // Bit `group` of each byte, moved to bit 4.
            let high = match group {
                0 => S::shift_and_mask::<4>(high, 16),
                1 => S::shift_and_mask::<3>(high, 16),
                2 => S::shift_and_mask::<2>(high, 16),
                3 => S::shift_and_mask::<1>(high, 16),
                4 => S::shift_and_mask::<0>(high, 16),
                5 => S::shift_and_mask::<-1>(high, 16),
                6 => S::shift_and_mask::<-2>(high, 16),
                _ => S::shift_and_mask::<-3>(high, 16),
            };
            S::or(low, high)
        }
    }
}

impl SimdSuper for BlockQ6_K {
    #[inline(always)]
    unsafe fn simd_ints<S: Simd>(&self, group: usize) -> S::Ints {
        let (half, quarter) = (group / 4, group % 4);
        // SAFETY: the caller's promise.
        unsafe {
            let low = &self.ql.as_chunks().0[half * 2 + quarter % 2];
            let low = simd_nibble_group::<S>(low, quarter >= 2);
            let high = S::load_bytes(&self.qh.as_chunks().0[half]);
            // Bits `2 · quarter` and the next of each byte, moved to bits 4 and 5.
            let high = match quarter {
                0 => S::shift_and_mask::<4>(high, 0x30),
                1 => S::shift_and_mask::<2>(high, 0x30),
                2 => S::shift_and_mask::<0>(high, 0x30),
                _ => S::shift_and_mask::<-2>(high, 0x30),
            };
            S::or(low, high)
        }
    }
}
