//! The quantised block types, laid out byte for byte as in a GGUF file.
//!
//! A block knows how its bytes stand for small integers and which scales belong
//! to them; how rows of blocks are multiplied is [`super::kernels`]' matter.
//!
//! # Source
//! The block layouts of ggml (`ggml-common.h`).

use half::{bf16, f16};

use crate::gguf::GgmlType;
use crate::math::Float;

/// Elements in a block of the simple types.
pub const QK: usize = 32;
/// Elements in a super-block of the K types.
pub const QK_K: usize = 256;

/// One unit of a stored row.
///
/// # Safety
/// The type must be `repr(C)` (or a number) without padding, and every bit
/// pattern of its size must be a valid value: rows are filled from file bytes.
pub unsafe trait Block: Copy + Send + Sync + 'static {
    /// The type's name in GGUF files.
    const QUANT: GgmlType;
    /// How many elements a block stands for.
    const LEN: usize;

    /// The block's values.
    ///
    /// # Panics
    /// `out` is not [`Self::LEN`] long.
    fn dequantize(&self, out: &mut [f32]);
}

/// The bytes of a block, as in the file.
#[inline(always)]
pub(crate) fn bytes_of<B: Block>(block: &B) -> &[u8] {
    // SAFETY: blocks have no padding, so all of their bytes are set.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(block).cast(), size_of::<B>()) }
}

/// The block that bytes of a file stand for.
///
/// # Panics
/// There are fewer or more.
#[inline(always)]
pub(crate) fn block_from<B: Block>(bytes: &[u8]) -> B {
    assert_eq!(bytes.len(), size_of::<B>());
    // SAFETY: so many bytes, whatever they are, are a block.
    unsafe { bytes.as_ptr().cast::<B>().read_unaligned() }
}

macro_rules! number_block {
    ($($number:ty => $quant:ident;)+) => {$(
        // SAFETY: a plain number has no padding and no invalid bit patterns.
        unsafe impl Block for $number {
            const QUANT: GgmlType = GgmlType::$quant;
            const LEN: usize = 1;

            fn dequantize(&self, out: &mut [f32]) {
                out[0] = self.widen();
            }
        }
    )+};
}

number_block! {
    f32 => F32;
    f16 => F16;
    bf16 => BF16;
}

/// A block of 32 values `d · (q − OFFSET) + m`.
pub(crate) trait SimpleBlock: Block {
    /// What is subtracted from every integer.
    const OFFSET: i32;
    /// Whether the integers use all 8 bits; else they lie in 0..=127.
    const SIGNED: bool;
    /// Whether there is an `m`.
    const HAS_MIN: bool;

    /// The scale.
    fn d(&self) -> f16;
    /// The minimum.
    fn m(&self) -> f16;
    /// The 32 integers before the offset, in the order of the elements.
    fn ints(&self) -> [i8; QK];
}

/// A super-block of 256 values `d · scale · (q − OFFSET) − dmin · min`.
pub(crate) trait SuperBlock: Block {
    /// What is subtracted from every integer.
    const OFFSET: i32;
    /// Whether there are minima.
    const HAS_MIN: bool;

    fn d(&self) -> f32;
    fn dmin(&self) -> f32;
    /// The scale of every 16 elements.
    fn scales(&self) -> [i16; QK_K / 16];
    /// The minimum of every 16 elements.
    fn mins(&self) -> [i32; QK_K / 16];
    /// The integers of the `group`th 32 elements before the offset, each in 0..=127.
    fn ints(&self, group: usize) -> [i8; 32];
}

fn dequantize_simple<B: SimpleBlock>(block: &B, out: &mut [f32]) {
    assert_eq!(out.len(), QK, "a block of {} elements", QK);
    let (d, m) = (block.d().widen(), block.m().widen());
    for (out, q) in out.iter_mut().zip(block.ints()) {
        let value = d * (i32::from(q) - B::OFFSET) as f32;
        *out = if B::HAS_MIN { value + m } else { value };
    }
}

fn dequantize_super<B: SuperBlock>(block: &B, out: &mut [f32]) {
    assert_eq!(out.len(), QK_K, "a block of {} elements", QK_K);
    let (d, dmin) = (block.d(), block.dmin());
    let (scales, mins) = (block.scales(), block.mins());
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        for (i, (out, q)) in out.iter_mut().zip(block.ints(group)).enumerate() {
            let sixteen = group * 2 + i / 16;
            let scale = d * f32::from(scales[sixteen]);
            let min = dmin * mins[sixteen] as f32;
            let value = scale * (i32::from(q) - B::OFFSET) as f32;
            *out = if B::HAS_MIN { value - min } else { value };
        }
    }
}

macro_rules! quantized_block {
    ($block:ident, $quant:ident, $len:expr, $bytes:literal, $dequantize:ident) => {
        const _: () = assert!(size_of::<$block>() == $bytes);
        // SAFETY: `repr(C)`; the size shows that there is no padding, and every
        // field is made of numbers.
        unsafe impl Block for $block {
            const QUANT: GgmlType = GgmlType::$quant;
            const LEN: usize = $len;

            fn dequantize(&self, out: &mut [f32]) {
                $dequantize(self, out);
            }
        }
    };
}

/// 32 integers of 4 bits, offset 8.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct BlockQ4_0 {
    /// The scale.
    pub d: f16,
    /// Element `i` in the low half of byte `i`, element `i + 16` in the high half.
    pub qs: [u8; QK / 2],
}

/// 32 integers of 4 bits and a minimum.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct BlockQ4_1 {
    /// The scale.
    pub d: f16,
    /// The minimum, which is added.
    pub m: f16,
    /// As in [`BlockQ4_0`].
    pub qs: [u8; QK / 2],
}

/// 32 integers of 5 bits, offset 16.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct BlockQ5_0 {
    /// The scale.
    pub d: f16,
    /// The fifth bit of element `i` is bit `i` of this little-endian word.
    pub qh: [u8; 4],
    /// The low four bits, as in [`BlockQ4_0`].
    pub qs: [u8; QK / 2],
}

/// 32 integers of 5 bits and a minimum.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct BlockQ5_1 {
    /// The scale.
    pub d: f16,
    /// The minimum, which is added.
    pub m: f16,
    /// As in [`BlockQ5_0`].
    pub qh: [u8; 4],
    /// The low four bits, as in [`BlockQ4_0`].
    pub qs: [u8; QK / 2],
}

/// 32 integers of 8 bits.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct BlockQ8_0 {
    /// The scale.
    pub d: f16,
    /// The integers in order.
    pub qs: [i8; QK],
}

/// 256 integers of 2 bits; scale and minimum of 4 bits for every 16.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct BlockQ2_K {
    /// For every 16 elements the scale in the low half of a byte, the minimum in the high half.
    pub scales: [u8; QK_K / 16],
    /// Of every 128 elements, bits `2g..2g + 2` of byte `i` belong to element `32g + i`.
    pub qs: [u8; QK_K / 4],
    /// The scale of the scales.
    pub d: f16,
    /// The scale of the minima.
    pub dmin: f16,
}

/// 256 integers of 3 bits, offset 4; a scale of 6 bits, offset 32, for every 16.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct BlockQ3_K {
    /// The third bit of element `i` is bit `i / 32` of byte `i % 32`.
    pub hmask: [u8; QK_K / 8],
    /// The low two bits, as in [`BlockQ2_K`].
    pub qs: [u8; QK_K / 4],
    /// Scales; see [`scales_of_q3`].
    pub scales: [u8; 12],
    /// The scale of the scales.
    pub d: f16,
}

/// 256 integers of 4 bits; scale and minimum of 6 bits for every 32.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct BlockQ4_K {
    /// The scale of the scales.
    pub d: f16,
    /// The scale of the minima.
    pub dmin: f16,
    /// Scales and minima; see [`scales_and_mins`].
    pub scales: [u8; 12],
    /// Of every 64 elements, the first 32 in the low halves of 32 bytes, the others in the high ones.
    pub qs: [u8; QK_K / 2],
}

/// 256 integers of 5 bits; scale and minimum of 6 bits for every 32.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct BlockQ5_K {
    /// The scale of the scales.
    pub d: f16,
    /// The scale of the minima.
    pub dmin: f16,
    /// Scales and minima; see [`scales_and_mins`].
    pub scales: [u8; 12],
    /// The fifth bit of element `i` is bit `i / 32` of byte `i % 32`.
    pub qh: [u8; QK_K / 8],
    /// The low four bits, as in [`BlockQ4_K`].
    pub qs: [u8; QK_K / 2],
}

/// 256 integers of 6 bits, offset 32; a scale of 8 bits for every 16.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct BlockQ6_K {
    /// The low four bits: of every 128 elements, 0..32 and 64..96 share 32 bytes, 32..64 and 96..128 the next.
    pub ql: [u8; QK_K / 2],
    /// The high two bits: of every 128 elements, bits `2g..2g + 2` of byte `i` belong to element `32g + i`.
    pub qh: [u8; QK_K / 4],
    /// The scales.
    pub scales: [i8; QK_K / 16],
    /// The scale of the scales.
    pub d: f16,
}

quantized_block!(BlockQ4_0, Q4_0, QK, 18, dequantize_simple);
quantized_block!(BlockQ4_1, Q4_1, QK, 20, dequantize_simple);
quantized_block!(BlockQ5_0, Q5_0, QK, 22, dequantize_simple);
quantized_block!(BlockQ5_1, Q5_1, QK, 24, dequantize_simple);
quantized_block!(BlockQ8_0, Q8_0, QK, 34, dequantize_simple);
quantized_block!(BlockQ2_K, Q2_K, QK_K, 84, dequantize_super);
quantized_block!(BlockQ3_K, Q3_K, QK_K, 110, dequantize_super);
quantized_block!(BlockQ4_K, Q4_K, QK_K, 144, dequantize_super);
quantized_block!(BlockQ5_K, Q5_K, QK_K, 176, dequantize_super);
quantized_block!(BlockQ6_K, Q6_K, QK_K, 210, dequantize_super);

#[inline(always)]
fn nibbles(qs: &[u8; QK / 2]) -> [i8; QK] {
    let mut ints = [0; QK];
    for (i, byte) in qs.iter().enumerate() {
        ints[i] = (byte & 15) as i8;
        ints[i + QK / 2] = (byte >> 4) as i8;
    }
    ints
}

#[inline(always)]
fn nibbles_and_fifth_bits(qs: &[u8; QK / 2], qh: [u8; 4]) -> [i8; QK] {
    let high = u32::from_le_bytes(qh);
    let mut ints = nibbles(qs);
    for (i, q) in ints.iter_mut().enumerate() {
        *q |= ((high >> i & 1) << 4) as i8;
    }
    ints
}

macro_rules! simple_block {
    ($block:ident, offset $offset:literal, signed $signed:literal, min $has_min:literal,
     |$this:ident| m $m:expr, ints $ints:expr) => {
        impl SimpleBlock for $block {
            const OFFSET: i32 = $offset;
            const SIGNED: bool = $signed;
            const HAS_MIN: bool = $has_min;

            #[inline(always)]
            fn d(&self) -> f16 {
                self.d
            }

            #[inline(always)]
            fn m(&self) -> f16 {
                let $this = self;
                let _ = $this;
                $m
            }

            #[inline(always)]
            fn ints(&self) -> [i8; QK] {
                let $this = self;
                $ints
            }
        }
    };
}

simple_block!(BlockQ4_0, offset 8, signed false, min false, |b| m f16::ZERO, ints nibbles(&b.qs));
simple_block!(BlockQ4_1, offset 0, signed false, min true, |b| m b.m, ints nibbles(&b.qs));
simple_block!(BlockQ5_0, offset 16, signed false, min false, |b| m f16::ZERO, ints nibbles_and_fifth_bits(&b.qs, b.qh));
simple_block!(BlockQ5_1, offset 0, signed false, min true, |b| m b.m, ints nibbles_and_fifth_bits(&b.qs, b.qh));
simple_block!(BlockQ8_0, offset 0, signed true, min false, |b| m f16::ZERO, ints b.qs);

/// Unpacks the eight 6-bit scales and minima of `Q4_K` and `Q5_K`.
///
/// The first four of each fill the low 6 bits of bytes 0..4 and 4..8; the others
/// have their low four bits in bytes 8..12 and their high two on top of the first.
#[inline(always)]
pub(crate) fn scales_and_mins(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 8], [0; 8]);
    for i in 0..4 {
        scales[i] = packed[i] & 63;
        mins[i] = packed[i + 4] & 63;
        scales[i + 4] = packed[i + 8] & 15 | packed[i] >> 6 << 4;
        mins[i + 4] = packed[i + 8] >> 4 | packed[i + 4] >> 6 << 4;
    }
    (scales, mins)
}

#[inline(always)]
fn scales_of_16(packed: &[u8; 12]) -> [i16; QK_K / 16] {
    let (scales, _) = scales_and_mins(packed);
    std::array::from_fn(|i| i16::from(scales[i / 2]))
}

#[inline(always)]
fn mins_of_16(packed: &[u8; 12]) -> [i32; QK_K / 16] {
    let (_, mins) = scales_and_mins(packed);
    std::array::from_fn(|i| i32::from(mins[i / 2]))
}

/// The 32 bytes and the shift under which the nibbles of a group of 32 lie.
#[inline(always)]
fn nibble_group(qs: &[u8; QK_K / 2], group: usize) -> [i8; 32] {
    let (bytes, shift) = (&qs[group / 2 * 32..][..32], group % 2 * 4);
    std::array::from_fn(|i| (bytes[i] >> shift & 15) as i8)
}

/// The integers of two bits of a group of 32.
#[inline(always)]
fn two_bit_group(qs: &[u8; QK_K / 4], group: usize) -> [i8; 32] {
    let (bytes, shift) = (&qs[group / 4 * 32..][..32], group % 4 * 2);
    std::array::from_fn(|i| (bytes[i] >> shift & 3) as i8)
}

/// Unpacks the sixteen 6-bit scales of `Q3_K`, without their offset.
///
/// The low four bits of scale `i` lie in byte `i % 8`, its lower half for the first
/// eight; the high two in byte `8 + i % 4` at bit `i / 4 · 2`.
#[inline(always)]
pub(crate) fn scales_of_q3(packed: &[u8; 12]) -> [u8; 16] {
    std::array::from_fn(|i| {
        (packed[i % 8] >> (i / 8 * 4) & 15) | (packed[8 + i % 4] >> (i / 4 * 2) & 3) << 4
    })
}

impl SuperBlock for BlockQ2_K {
    const OFFSET: i32 = 0;
    const HAS_MIN: bool = true;

    #[inline(always)]
    fn d(&self) -> f32 {
        self.d.widen()
    }

    #[inline(always)]
    fn dmin(&self) -> f32 {
        self.dmin.widen()
    }

    #[inline(always)]
    fn scales(&self) -> [i16; QK_K / 16] {
        self.scales.map(|byte| i16::from(byte & 15))
    }

    #[inline(always)]
    fn mins(&self) -> [i32; QK_K / 16] {
        self.scales.map(|byte| i32::from(byte >> 4))
    }

    #[inline(always)]
    fn ints(&self, group: usize) -> [i8; 32] {
        two_bit_group(&self.qs, group)
    }
}

impl SuperBlock for BlockQ3_K {
    const OFFSET: i32 = 4;
    const HAS_MIN: bool = false;

    #[inline(always)]
    fn d(&self) -> f32 {
        self.d.widen()
    }

    #[inline(always)]
    fn dmin(&self) -> f32 {
        0.0
    }

    #[inline(always)]
    fn scales(&self) -> [i16; QK_K / 16] {
        scales_of_q3(&self.scales).map(|scale| i16::from(scale) - 32)
    }

    #[inline(always)]
    fn mins(&self) -> [i32; QK_K / 16] {
        [0; QK_K / 16]
    }

    #[inline(always)]
    fn ints(&self, group: usize) -> [i8; 32] {
        let mut ints = two_bit_group(&self.qs, group);
        for (q, high) in ints.iter_mut().zip(&self.hmask) {
            *q |= ((high >> group & 1) << 2) as i8;
        }
        ints
    }
}

impl SuperBlock for BlockQ4_K {
    const OFFSET: i32 = 0;
    const HAS_MIN: bool = true;

    #[inline(always)]
    fn d(&self) -> f32 {
        self.d.widen()
    }

    #[inline(always)]
    fn dmin(&self) -> f32 {
        self.dmin.widen()
    }

    #[inline(always)]
    fn scales(&self) -> [i16; QK_K / 16] {
        scales_of_16(&self.scales)
    }

    #[inline(always)]
    fn mins(&self) -> [i32; QK_K / 16] {
        mins_of_16(&self.scales)
    }

    #[inline(always)]
    fn ints(&self, group: usize) -> [i8; 32] {
        nibble_group(&self.qs, group)
    }
}

impl SuperBlock for BlockQ5_K {
    const OFFSET: i32 = 0;
    const HAS_MIN: bool = true;

    #[inline(always)]
    fn d(&self) -> f32 {
        self.d.widen()
    }

    #[inline(always)]
    fn dmin(&self) -> f32 {
        self.dmin.widen()
    }

    #[inline(always)]
    fn scales(&self) -> [i16; QK_K / 16] {
        scales_of_16(&self.scales)
    }

    #[inline(always)]
    fn mins(&self) -> [i32; QK_K / 16] {
        mins_of_16(&self.scales)
    }

    #[inline(always)]
    fn ints(&self, group: usize) -> [i8; 32] {
        let mut ints = nibble_group(&self.qs, group);
        for (q, high) in ints.iter_mut().zip(&self.qh) {
            *q |= ((high >> group & 1) << 4) as i8;
        }
        ints
    }
}

impl SuperBlock for BlockQ6_K {
    const OFFSET: i32 = 32;
    const HAS_MIN: bool = false;

    #[inline(always)]
    fn d(&self) -> f32 {
        self.d.widen()
    }

    #[inline(always)]
    fn dmin(&self) -> f32 {
        0.0
    }

    #[inline(always)]
    fn scales(&self) -> [i16; QK_K / 16] {
        self.scales.map(i16::from)
    }

    #[inline(always)]
    fn mins(&self) -> [i32; QK_K / 16] {
        [0; QK_K / 16]
    }

    #[inline(always)]
    fn ints(&self, group: usize) -> [i8; 32] {
        let (half, quarter) = (group / 4, group % 4);
        let low = &self.ql[half * 64 + quarter % 2 * 32..][..32];
        let high = &self.qh[half * 32..][..32];
        let low_shift = quarter / 2 * 4;
        std::array::from_fn(|i| {
            (low[i] >> low_shift & 15 | (high[i] >> (quarter * 2) & 3) << 4) as i8
        })
    }
}
