//! A named weight matrix, read from a model source piece by piece.

use std::fmt;
use std::io;
use std::ops::Range;

use candle_core::quantized::{QStorage, QTensor};

use super::activations::{ActivationKind, Activations, ForEach};
use super::candle::CandleRows;
use super::isa::InstructionSet;
use super::output::Output;
use super::rows::{Rows, unfilled_rows};
use crate::gguf::{GgmlType, TensorInfo};
use crate::lane::{CpuLane, Lane};
use crate::source::ModelSource;

/// The element types that weights may have.
pub const SUPPORTED_QUANTS: &[GgmlType] = &[
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::BF16,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q2_K,
    GgmlType::Q3_K,
    GgmlType::Q4_K,
    GgmlType::Q5_K,
    GgmlType::Q6_K,
];

/// Why a tensor does not become a weight.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are named by the messages
pub enum WeightError {
    /// An element type without kernels.
    #[error(
        "tensor {tensor:?} is stored as {found}, which is not supported (supported: {})",
        names(SUPPORTED_QUANTS)
    )]
    UnsupportedQuantization { tensor: String, found: GgmlType },
    #[error("tensor {tensor:?} has the shape {found:?}, expected {expected:?}")]
    WrongShape {
        tensor: String,
        found: Vec<usize>,
        expected: Vec<usize>,
    },
    /// The allocator said no.
    #[error("no memory for tensor {tensor:?} of {size_bytes} bytes")]
    OutOfMemory { tensor: String, size_bytes: u64 },
    /// The source failed; the model itself may be sound.
    #[error("reading tensor {tensor:?} failed: {source}")]
    Io { tensor: String, source: io::Error },
}

fn names(quants: &[GgmlType]) -> String {
    let names: Vec<_> = quants.iter().map(|quant| quant.name()).collect();
    names.join(", ")
}

/// A matrix that activations are multiplied with, or whose rows are looked up.
pub struct Weight {
    name: String,
    rows: Box<dyn Rows>,
}

impl Weight {
    /// The tensor's name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the elements are stored.
    pub fn quant(&self) -> GgmlType {
        self.rows.quant()
    }

    /// The number of rows: the outputs of a product.
    pub fn n_rows(&self) -> usize {
        self.rows.n_rows()
    }

    /// The number of columns: the inputs of a product.
    pub fn n_cols(&self) -> usize {
        self.rows.n_cols()
    }

    /// The bytes that the matrix takes in memory: as many as in the file, but for the
    /// rows that fill up the last group.
    pub fn size_bytes(&self) -> usize {
        self.rows.memory_bytes()
    }

    fn file_bytes(&self) -> usize {
        self.n_rows() * self.rows.row_bytes()
    }

    /// What this weight is multiplied with.
    pub fn activation(&self) -> ActivationKind {
        self.rows.activation()
    }

    /// The values of one row.
    ///
    /// # Shape
    /// `out: [n_cols] f32`
    ///
    /// # Panics
    /// There is no such row.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.n_cols());
        self.rows.dequantize_row(row, out);
    }

    /// How many rows are multiplied together.
    pub(crate) fn group_len(&self) -> usize {
        self.rows.group_len()
    }

    /// The groups of rows, the last of which may not be full.
    pub(crate) fn n_groups(&self) -> usize {
        self.n_rows().div_ceil(self.group_len())
    }

    /// The groups `range` times every token.
    ///
    /// # Safety
    /// As for [`Output::set`], for the rows of the groups.
    pub(crate) unsafe fn matmul_groups(
        &self,
        x: &Activations<'_>,
        range: Range<usize>,
        out: Output,
    ) {
        // SAFETY: the caller's promise.
        unsafe { self.rows.matmul_groups(x, range, out) };
    }

    /// Hands the matrix to candle without copying it.
    ///
    /// # Errors
    /// Candle refuses the shape.
    pub fn into_qtensor(self) -> candle_core::Result<QTensor> {
        let shape = (self.n_rows(), self.n_cols());
        QTensor::new(QStorage::Cpu(Box::new(CandleRows::new(self.rows)?)), shape)
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = [self.n_rows(), self.n_cols()];
        write!(f, "Weight({} {} {shape:?})", self.name, self.quant())
    }
}

/// How many bytes of the file are held on their way to their place: enough to ask a
/// storage for, few enough to be in the processor's memory still when they are moved.
const STAGING_BYTES: usize = 512 << 10;

/// A weight on its way into memory: its place is there, its bytes are not yet all.
///
/// The bytes come in pieces of the caller's choice and go to where they stay, so that
/// loading neither holds anything twice nor blocks for long.
pub struct PendingWeight {
    weight: Weight,
    offset: u64,
    filled_bytes: usize,
    staging: Vec<u8>,
}

impl PendingWeight {
    /// Checks the tensor's type and shape and reserves its memory.
    ///
    /// # Errors
    /// [`WeightError`], all but `Io`.
    pub fn new(tensor: &TensorInfo, n_rows: usize, n_cols: usize) -> Result<Self, WeightError> {
        Self::for_set(InstructionSet::chosen(), tensor, n_rows, n_cols)
    }

    /// As [`Self::new`], for kernels other than the chosen ones.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// The processor has not what these kernels need.
    pub(crate) fn for_set(
        set: InstructionSet,
        tensor: &TensorInfo,
        n_rows: usize,
        n_cols: usize,
    ) -> Result<Self, WeightError> {
        assert!(set.is_there(), "{} is not there", set.name());
        check_tensor(tensor, n_rows, n_cols)?;
        let rows = unfilled_rows(tensor.quant, set, n_rows, n_cols).ok_or_else(|| {
            WeightError::OutOfMemory {
                tensor: tensor.name.clone(),
                size_bytes: tensor.size_bytes,
            }
        })?;
        Ok(Self {
            weight: Weight {
                name: tensor.name.clone(),
                rows,
            },
            offset: tensor.offset,
            filled_bytes: 0,
            staging: Vec::new(),
        })
    }

    /// The bytes of the file that are still to be read.
    pub fn missing_bytes(&self) -> usize {
        self.weight.file_bytes() - self.filled_bytes
    }

    /// Reads about `max_bytes` more, whole groups of rows (whole blocks of large ones) and
    /// at least one, and says how many bytes that were. The lane's threads bring them to
    /// their places.
    ///
    /// # Errors
    /// The source failed; the read may be tried again.
    pub fn read_more(
        &mut self,
        source: &dyn ModelSource,
        max_bytes: usize,
        lane: &dyn Lane,
    ) -> Result<usize, WeightError> {
        let for_each: &ForEach<'_> = &|n_items, work, body| lane.for_each(n_items, work, body);
        let block_bytes = self.weight.rows.block_bytes();
        let group_bytes = self.weight.group_len() * self.weight.rows.row_bytes();
        let unit = match group_bytes <= STAGING_BYTES {
            true => group_bytes.max(block_bytes),
            false => block_bytes,
        };
        let end = self.filled_bytes + self.missing_bytes().min(max_bytes);
        let start = self.filled_bytes;
        while self.missing_bytes() > 0 && (self.filled_bytes < end || start == self.filled_bytes) {
            let wanted = (end - self.filled_bytes).min(STAGING_BYTES);
            let whole = (wanted / unit).max(1) * unit;
            // The last group may not be full, and goes with those before.
            let n_bytes = match self.missing_bytes() {
                missing if missing <= wanted.max(whole) => missing,
                _ => whole,
            };
            self.staging.resize(n_bytes, 0);
            source
                .read_at(self.offset + self.filled_bytes as u64, &mut self.staging)
                .map_err(|source| WeightError::Io {
                    tensor: self.weight.name.clone(),
                    source,
                })?;
            let rows = &mut self.weight.rows;
            rows.put(for_each, self.filled_bytes, &self.staging);
            self.filled_bytes += n_bytes;
        }
        Ok(self.filled_bytes - start)
    }

    /// The weight.
    ///
    /// # Panics
    /// Bytes are missing.
    pub fn finish(self) -> Weight {
        assert_eq!(
            self.missing_bytes(),
            0,
            "{} is incomplete",
            self.weight.name
        );
        self.weight
    }
}

/// Checks that a tensor can become a weight of that shape; one row may be a vector.
///
/// # Errors
/// Its type is not supported, or its shape differs.
pub fn check_tensor(tensor: &TensorInfo, n_rows: usize, n_cols: usize) -> Result<(), WeightError> {
    if !SUPPORTED_QUANTS.contains(&tensor.quant) {
        return Err(WeightError::UnsupportedQuantization {
            tensor: tensor.name.clone(),
            found: tensor.quant,
        });
    }
    let is_vector = n_rows == 1 && tensor.shape == [n_cols];
    if tensor.shape == [n_rows, n_cols] || is_vector {
        return Ok(());
    }
    Err(WeightError::WrongShape {
        tensor: tensor.name.clone(),
        found: tensor.shape.clone(),
        expected: match n_rows {
            1 => vec![n_cols],
            _ => vec![n_rows, n_cols],
        },
    })
}

/// Reads a whole weight at once, on the calling thread.
///
/// # Errors
/// Every [`WeightError`].
pub fn read_weight(
    source: &dyn ModelSource,
    tensor: &TensorInfo,
    n_rows: usize,
    n_cols: usize,
) -> Result<Weight, WeightError> {
    let mut pending = PendingWeight::new(tensor, n_rows, n_cols)?;
    pending.read_more(source, usize::MAX, &CpuLane::single_threaded())?;
    Ok(pending.finish())
}
