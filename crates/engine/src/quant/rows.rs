//! Stored matrices as the engine sees them, whatever their block type.

use std::ops::Range;

use super::activations::{ActivationKind, Activations, ForEach};
use super::blocks::*;
use super::floats::FloatRows;
use super::isa::InstructionSet;
use super::kernels::{self, Kernel};
use super::output::Output;
use super::packed::Packed;
use crate::gguf::GgmlType;

#[cfg(target_endian = "big")]
compile_error!("blocks are used as they lie in little-endian files");

/// A matrix in memory, filled from a file's bytes.
pub(crate) trait Rows: Send + Sync {
    fn quant(&self) -> GgmlType;
    fn n_rows(&self) -> usize;
    fn n_cols(&self) -> usize;
    fn activation(&self) -> ActivationKind;

    /// Bytes of the file's smallest whole unit.
    fn block_bytes(&self) -> usize;

    /// Bytes of a row in the file.
    fn row_bytes(&self) -> usize;

    /// What the matrix takes in memory.
    fn memory_bytes(&self) -> usize;

    /// Takes whole blocks of the file, from byte `offset` of the tensor on; rows of whole
    /// groups are taken more quickly, and shared out. Nothing may be asked for that has not
    /// come.
    fn put(&mut self, for_each: &ForEach<'_>, offset: usize, bytes: &[u8]);

    /// A row's bytes as in the file.
    fn file_row(&self, row: usize, bytes: &mut [u8]);

    /// The values of one row: `out: [n_cols] f32`.
    fn dequantize_row(&self, row: usize, out: &mut [f32]);

    /// Rows that are multiplied together; work is shared out in such groups.
    fn group_len(&self) -> usize;

    /// The groups `range` times every token.
    ///
    /// # Safety
    /// As for [`Output::set`], for the rows of the groups.
    unsafe fn matmul_groups(&self, x: &Activations<'_>, range: Range<usize>, out: Output);
}

/// A packed matrix and what it is laid out for.
struct PackedRows<B> {
    packed: Packed<B>,
    set: InstructionSet,
    n_cols: usize,
}

/// A matrix to be filled, or `None` if there is no memory for it.
///
/// # Panics
/// `n_cols` is not whole blocks, or the type has no kernels.
pub(crate) fn unfilled_rows(
    quant: GgmlType,
    set: InstructionSet,
    n_rows: usize,
    n_cols: usize,
) -> Option<Box<dyn Rows>> {
    match quant {
        GgmlType::F32 => floats::<f32>(n_rows, n_cols),
        GgmlType::F16 => floats::<half::f16>(n_rows, n_cols),
        GgmlType::BF16 => floats::<half::bf16>(n_rows, n_cols),
        GgmlType::Q4_0 => packed::<BlockQ4_0>(set, n_rows, n_cols),
        GgmlType::Q4_1 => packed::<BlockQ4_1>(set, n_rows, n_cols),
        GgmlType::Q5_0 => packed::<BlockQ5_0>(set, n_rows, n_cols),
        GgmlType::Q5_1 => packed::<BlockQ5_1>(set, n_rows, n_cols),
        GgmlType::Q8_0 => packed::<BlockQ8_0>(set, n_rows, n_cols),
        GgmlType::Q2_K => packed::<BlockQ2_K>(set, n_rows, n_cols),
        GgmlType::Q3_K => packed::<BlockQ3_K>(set, n_rows, n_cols),
        GgmlType::Q4_K => packed::<BlockQ4_K>(set, n_rows, n_cols),
        GgmlType::Q5_K => packed::<BlockQ5_K>(set, n_rows, n_cols),
        GgmlType::Q6_K => packed::<BlockQ6_K>(set, n_rows, n_cols),
        other => unreachable!("{other} has no kernels"),
    }
}

fn floats<F: super::floats::FloatKernel>(n_rows: usize, n_cols: usize) -> Option<Box<dyn Rows>> {
    Some(Box::new(FloatRows::<F>::zeroed(n_rows, n_cols)?))
}

fn packed<B: Kernel>(set: InstructionSet, n_rows: usize, n_cols: usize) -> Option<Box<dyn Rows>> {
    Some(Box::new(PackedRows {
        packed: Packed::<B>::unfilled(set.n_lanes(), n_rows, n_cols)?,
        set,
        n_cols,
    }))
}

impl<B: Kernel> Rows for PackedRows<B> {
    fn quant(&self) -> GgmlType {
        B::QUANT
    }

    fn n_rows(&self) -> usize {
        self.packed.n_rows()
    }

    fn n_cols(&self) -> usize {
        self.n_cols
    }

    fn activation(&self) -> ActivationKind {
        kernels::activation::<B>(self.set)
    }

    fn block_bytes(&self) -> usize {
        size_of::<B>()
    }

    fn row_bytes(&self) -> usize {
        self.packed.n_blocks() * size_of::<B>()
    }

    fn memory_bytes(&self) -> usize {
        self.packed.n_bytes()
    }

    fn put(&mut self, for_each: &ForEach<'_>, offset: usize, bytes: &[u8]) {
        assert!(
            offset.is_multiple_of(size_of::<B>()) && bytes.len().is_multiple_of(size_of::<B>())
        );
        let first = offset / size_of::<B>();
        self.packed.put(for_each, first, bytes);
    }

    fn file_row(&self, row: usize, bytes: &mut [u8]) {
        let blocks = bytes.chunks_exact_mut(size_of::<B>());
        for (idx, bytes) in blocks.enumerate() {
            let block = self.packed.block(row, idx);
            bytes.copy_from_slice(bytes_of(&block));
        }
    }

    fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        for (idx, out) in out.chunks_exact_mut(B::LEN).enumerate() {
            self.packed.block(row, idx).dequantize(out);
        }
    }

    fn group_len(&self) -> usize {
        self.set.n_lanes()
    }

    unsafe fn matmul_groups(&self, x: &Activations<'_>, range: Range<usize>, out: Output) {
        // SAFETY: matrices are laid out for sets that are there; the caller's promise.
        unsafe { kernels::matmul_groups(self.set, &self.packed, x, range, out) };
    }
}
