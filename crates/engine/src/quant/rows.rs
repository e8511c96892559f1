//! A matrix of blocks in memory, filled from a file's bytes in place.

use std::alloc::Layout;
use std::ops::Range;

use candle_core::quantized::{GgmlDType, QuantizedType};
use candle_core::{CpuStorage, Error as CandleError};
use half::f16;

use super::activations::{ActivationKind, ActivationScratch, Activations};
use super::blocks::Block;
use super::kernels::{Kernel, Output, matmul_rows};
use crate::gguf::GgmlType;

#[cfg(target_endian = "big")]
compile_error!("blocks are used as they lie in little-endian files");

/// Rows of blocks: `[n_rows, n_cols]` elements, row after row as in the file.
///
/// It implements candle's [`QuantizedType`], so that a candle `QTensor` and
/// `QMatMul` can hold it. Candle's own threads are never used: there a product
/// runs on the calling thread; the engine's lanes share out the rows instead.
pub struct RowBlocks<B> {
    blocks: Vec<B>,
    n_rows: usize,
    n_cols: usize,
}

impl<B: Block> RowBlocks<B> {
    /// A matrix of zeros, or `None` if there is no memory for it.
    ///
    /// # Panics
    /// `n_cols` is not whole blocks.
    pub fn zeroed(n_rows: usize, n_cols: usize) -> Option<Self> {
        assert!(n_cols.is_multiple_of(B::LEN), "rows are whole blocks");
        let n_blocks = n_rows.checked_mul(n_cols / B::LEN)?;
        let layout = Layout::array::<B>(n_blocks).ok()?;
        let blocks = if layout.size() == 0 {
            Vec::new()
        } else {
            // SAFETY: the layout is not empty. The zeroed bytes are valid blocks by
            // `Block`'s contract, and the vector frees them with the same layout.
            unsafe {
                let first: *mut B = std::alloc::alloc_zeroed(layout).cast();
                if first.is_null() {
                    return None;
                }
                Vec::from_raw_parts(first, n_blocks, n_blocks)
            }
        };
        Some(Self {
            blocks,
            n_rows,
            n_cols,
        })
    }

    /// The blocks, row after row.
    pub fn blocks(&self) -> &[B] {
        &self.blocks
    }

    fn row(&self, row: usize) -> &[B] {
        let row_len = self.n_cols / B::LEN;
        &self.blocks[row * row_len..][..row_len]
    }
}

/// A stored matrix as the decoder sees it, whatever its block type.
pub(crate) trait Rows: QuantizedType {
    fn quant(&self) -> GgmlType;
    fn n_rows(&self) -> usize;
    fn n_cols(&self) -> usize;
    fn activation(&self) -> ActivationKind;

    /// The file's bytes, to be filled.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// The values of one row: `out: [n_cols] f32`.
    fn dequantize_row(&self, row: usize, out: &mut [f32]);

    /// Rows `range` times every token.
    ///
    /// # Safety
    /// As for [`Output::set`], for the rows in `range`.
    unsafe fn matmul_rows(&self, x: &Activations<'_>, range: Range<usize>, out: Output);

    /// Hands the matrix to candle.
    fn into_quantized_type(self: Box<Self>) -> Box<dyn QuantizedType>;
}

impl<B: Kernel + CandleType> Rows for RowBlocks<B> {
    fn quant(&self) -> GgmlType {
        B::QUANT
    }

    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn n_cols(&self) -> usize {
        self.n_cols
    }

    fn activation(&self) -> ActivationKind {
        B::ACTIVATION
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let n_bytes = size_of_val(self.blocks.as_slice());
        // SAFETY: blocks have no padding and take any bytes (`Block`'s contract).
        unsafe { std::slice::from_raw_parts_mut(self.blocks.as_mut_ptr().cast(), n_bytes) }
    }

    fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        for (block, out) in self.row(row).iter().zip(out.chunks_exact_mut(B::LEN)) {
            block.dequantize(out);
        }
    }

    unsafe fn matmul_rows(&self, x: &Activations<'_>, range: Range<usize>, out: Output) {
        assert_eq!(x.n_cols(), self.n_cols);
        // SAFETY: the caller's promise.
        unsafe { matmul_rows(&self.blocks, x, range, out) };
    }

    fn into_quantized_type(self: Box<Self>) -> Box<dyn QuantizedType> {
        self
    }
}

/// Candle's name for a block type, where it has one.
pub(crate) trait CandleType {
    const DTYPE: GgmlDType;
}

macro_rules! candle_type {
    ($($block:ty => $dtype:ident),+ $(,)?) => {$(
        impl CandleType for $block {
            const DTYPE: GgmlDType = GgmlDType::$dtype;
        }
    )+};
}

candle_type! {
    f32 => F32, f16 => F16, half::bf16 => BF16,
    super::blocks::BlockQ4_0 => Q4_0, super::blocks::BlockQ4_1 => Q4_1,
    super::blocks::BlockQ5_0 => Q5_0, super::blocks::BlockQ5_1 => Q5_1,
    super::blocks::BlockQ8_0 => Q8_0,
    super::blocks::BlockQ4_K => Q4K, super::blocks::BlockQ5_K => Q5K,
    super::blocks::BlockQ6_K => Q6K,
}

#[allow(private_bounds)] // which types have kernels is this module's own matter
impl<B: Kernel + CandleType> RowBlocks<B> {
    fn product(
        &self,
        (m, k, n): (usize, usize, usize),
        lhs: &[f32],
        dst: &mut [f32],
    ) -> candle_core::Result<()> {
        if (k, n) != (self.n_cols, self.n_rows) || lhs.len() != m * k || dst.len() != m * n {
            return Err(CandleError::Msg(format!(
                "product of {m}×{k} and {k}×{n} asked of a matrix of {}×{}",
                self.n_rows, self.n_cols
            )));
        }
        if m == 0 || n == 0 {
            return Ok(());
        }
        let mut scratch = ActivationScratch::default();
        let x = Activations::new(lhs, m, std::iter::once(B::ACTIVATION), &mut scratch);
        let out = Output::new(dst, m, n);
        // SAFETY: `dst` is borrowed for this call, which is the only writer.
        unsafe { matmul_rows(&self.blocks, &x, 0..n, out) };
        Ok(())
    }

    /// Lets candle quantise into blocks of its own, which have the same bytes.
    fn fill_from(&mut self, quantize: impl FnOnce(&mut dyn QuantizedType)) {
        let mut theirs = B::DTYPE.cpu_zeros(self.n_rows * self.n_cols);
        quantize(theirs.as_mut());
        let ours = self.bytes_mut();
        assert_eq!(theirs.storage_size_in_bytes(), ours.len());
        // SAFETY: candle's storage is that many bytes at that address, until it is dropped below.
        ours.copy_from_slice(unsafe { std::slice::from_raw_parts(theirs.as_ptr(), ours.len()) });
    }
}

impl<B: Kernel + CandleType> QuantizedType for RowBlocks<B> {
    fn dtype(&self) -> GgmlDType {
        B::DTYPE
    }

    fn matmul_t(
        &self,
        mkn: (usize, usize, usize),
        lhs: &[f32],
        dst: &mut [f32],
    ) -> candle_core::Result<()> {
        self.product(mkn, lhs, dst)
    }

    fn matmul_t_f16(
        &self,
        mkn: (usize, usize, usize),
        lhs: &[f16],
        dst: &mut [f16],
    ) -> candle_core::Result<()> {
        let lhs: Vec<f32> = lhs.iter().map(|x| x.to_f32()).collect();
        let mut wide = vec![0.0; dst.len()];
        self.product(mkn, &lhs, &mut wide)?;
        for (dst, wide) in dst.iter_mut().zip(wide) {
            *dst = f16::from_f32(wide);
        }
        Ok(())
    }

    fn embedding(
        &self,
        ids: &[u32],
        rows: usize,
        hidden: usize,
    ) -> candle_core::Result<CpuStorage> {
        if (rows, hidden) != (self.n_rows, self.n_cols) {
            return Err(CandleError::Msg(format!(
                "embedding of {rows}×{hidden} asked of a matrix of {}×{}",
                self.n_rows, self.n_cols
            )));
        }
        let mut out = vec![0f32; ids.len() * hidden];
        for (&id, out) in ids.iter().zip(out.chunks_exact_mut(hidden)) {
            if id as usize >= rows {
                return Err(CandleError::Msg(format!(
                    "embedding id {id} is out of range for {rows} rows"
                )));
            }
            self.dequantize_row(id as usize, out);
        }
        Ok(CpuStorage::F32(out))
    }

    fn dequantize(&self, elem_count: usize) -> candle_core::Result<CpuStorage> {
        if elem_count != self.n_rows * self.n_cols {
            return Err(CandleError::Msg(format!(
                "{elem_count} elements asked of a matrix of {}×{}",
                self.n_rows, self.n_cols
            )));
        }
        let mut out = vec![0f32; elem_count];
        for (block, out) in self.blocks.iter().zip(out.chunks_exact_mut(B::LEN)) {
            block.dequantize(out);
        }
        Ok(CpuStorage::F32(out))
    }

    fn storage_size_in_bytes(&self) -> usize {
        size_of_val(self.blocks.as_slice())
    }

    fn as_ptr(&self) -> *const u8 {
        self.blocks.as_ptr().cast()
    }

    fn block_size(&self) -> usize {
        B::LEN
    }

    fn from_float(&mut self, xs: &[f32]) {
        self.fill_from(|theirs| theirs.from_float(xs));
    }

    fn from_float_imatrix(&mut self, xs: &[f32], imatrix_weights: &[f32], n_per_row: usize) {
        self.fill_from(|theirs| theirs.from_float_imatrix(xs, imatrix_weights, n_per_row));
    }

    fn size(&self) -> usize {
        self.storage_size_in_bytes()
    }
}
