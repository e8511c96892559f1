//! A stored matrix as candle sees it.
//!
//! Candle's own threads are never used: a product runs on the calling thread; the
//! engine's lanes share out the rows instead. On some processors candle asks for the
//! file's bytes, to lay them out for kernels of its own; they are made when it does.

use std::sync::OnceLock;

use candle_core::quantized::{GgmlDType, QuantizedType};
use candle_core::{CpuStorage, Error as CandleError};
use half::f16;

use super::activations::{ActivationScratch, Activations, ForEach};
use super::output::Output;
use super::rows::Rows;
use crate::gguf::GgmlType;

/// Rows under candle's [`QuantizedType`].
pub(crate) struct CandleRows {
    rows: Box<dyn Rows>,
    dtype: GgmlDType,
    /// The file's bytes, once somebody has asked. Words, for candle's alignment.
    file: OnceLock<Vec<u64>>,
}

impl CandleRows {
    /// # Errors
    /// Candle has no such type.
    pub(crate) fn new(rows: Box<dyn Rows>) -> candle_core::Result<Self> {
        Ok(Self {
            dtype: candle_type(rows.quant())
                .ok_or_else(|| CandleError::Msg(format!("candle has no {}", rows.quant())))?,
            rows,
            file: OnceLock::new(),
        })
    }

    fn n_elements(&self) -> usize {
        self.rows.n_rows() * self.rows.n_cols()
    }

    fn file_bytes(&self) -> Vec<u64> {
        let mut words = vec![0; self.storage_size_in_bytes().div_ceil(8)];
        let row_bytes = self.rows.row_bytes();
        // SAFETY: words are made of bytes, and take any.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len() * 8) };
        if row_bytes > 0 {
            for (row, bytes) in (0..self.rows.n_rows()).zip(bytes.chunks_exact_mut(row_bytes)) {
                self.rows.file_row(row, bytes);
            }
        }
        words
    }

    fn product(
        &self,
        (m, k, n): (usize, usize, usize),
        lhs: &[f32],
        dst: &mut [f32],
    ) -> candle_core::Result<()> {
        let shape = (self.rows.n_cols(), self.rows.n_rows());
        if (k, n) != shape || lhs.len() != m * k || dst.len() != m * n {
            return Err(CandleError::Msg(format!(
                "product of {m}×{k} and {k}×{n} asked of a matrix of {}×{}",
                shape.1, shape.0
            )));
        }
        if m == 0 || n == 0 {
            return Ok(());
        }
        let mut scratch = ActivationScratch::default();
        let x = Activations::new(
            lhs,
            m,
            std::iter::once(self.rows.activation()),
            &mut scratch,
        );
        let out = Output::new(dst, m, n);
        let groups = 0..n.div_ceil(self.rows.group_len());
        // SAFETY: `dst` is borrowed for this call, which is the only writer.
        unsafe { self.rows.matmul_groups(&x, groups, out) };
        Ok(())
    }

    /// Lets candle quantise into blocks of its own, which have the file's bytes.
    fn fill_from(&mut self, quantize: impl FnOnce(&mut dyn QuantizedType)) {
        let mut theirs = self.dtype.cpu_zeros(self.n_elements());
        quantize(theirs.as_mut());
        let n_bytes = theirs.storage_size_in_bytes();
        assert_eq!(n_bytes, self.storage_size_in_bytes());
        // SAFETY: candle's storage is that many bytes at that address, until it is dropped below.
        let bytes = unsafe { std::slice::from_raw_parts(theirs.as_ptr(), n_bytes) };
        let alone: &ForEach<'_> = &|n_items, _, body| body(0..n_items);
        self.rows.put(alone, 0, bytes);
        self.file = OnceLock::new();
    }
}

/// The types that candle computes with on the CPU.
pub(crate) fn candle_type(quant: GgmlType) -> Option<GgmlDType> {
    Some(match quant {
        GgmlType::F32 => GgmlDType::F32,
        GgmlType::F16 => GgmlDType::F16,
        GgmlType::BF16 => GgmlDType::BF16,
        GgmlType::Q4_0 => GgmlDType::Q4_0,
        GgmlType::Q4_1 => GgmlDType::Q4_1,
        GgmlType::Q5_0 => GgmlDType::Q5_0,
        GgmlType::Q5_1 => GgmlDType::Q5_1,
        GgmlType::Q8_0 => GgmlDType::Q8_0,
        GgmlType::Q2_K => GgmlDType::Q2K,
        GgmlType::Q3_K => GgmlDType::Q3K,
        GgmlType::Q4_K => GgmlDType::Q4K,
        GgmlType::Q5_K => GgmlDType::Q5K,
        GgmlType::Q6_K => GgmlDType::Q6K,
        _ => return None,
    })
}

impl QuantizedType for CandleRows {
    fn dtype(&self) -> GgmlDType {
        self.dtype
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
        let (n_rows, n_cols) = (self.rows.n_rows(), self.rows.n_cols());
        if (rows, hidden) != (n_rows, n_cols) {
            return Err(CandleError::Msg(format!(
                "embedding of {rows}×{hidden} asked of a matrix of {n_rows}×{n_cols}"
            )));
        }
        let mut out = vec![0f32; ids.len() * hidden];
        for (&id, out) in ids.iter().zip(out.chunks_exact_mut(hidden)) {
            if id as usize >= rows {
                return Err(CandleError::Msg(format!(
                    "embedding id {id} is out of range for {rows} rows"
                )));
            }
            self.rows.dequantize_row(id as usize, out);
        }
        Ok(CpuStorage::F32(out))
    }

    fn dequantize(&self, elem_count: usize) -> candle_core::Result<CpuStorage> {
        if elem_count != self.n_elements() {
            return Err(CandleError::Msg(format!(
                "{elem_count} elements asked of a matrix of {}×{}",
                self.rows.n_rows(),
                self.rows.n_cols()
            )));
        }
        let mut out = vec![0f32; elem_count];
        for (row, out) in out.chunks_exact_mut(self.rows.n_cols().max(1)).enumerate() {
            self.rows.dequantize_row(row, out);
        }
        Ok(CpuStorage::F32(out))
    }

    fn storage_size_in_bytes(&self) -> usize {
        self.rows.n_rows() * self.rows.row_bytes()
    }

    fn as_ptr(&self) -> *const u8 {
        self.file.get_or_init(|| self.file_bytes()).as_ptr().cast()
    }

    fn block_size(&self) -> usize {
        self.dtype.block_size()
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
