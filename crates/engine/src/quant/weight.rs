//! A named weight matrix, read from a model source piece by piece.

use std::fmt;
use std::io;
use std::ops::Range;

use candle_core::quantized::{QStorage, QTensor};

use super::activations::{ActivationKind, Activations};
use super::blocks::*;
use super::kernels::Output;
use super::rows::{RowBlocks, Rows};
use crate::gguf::{GgmlType, TensorInfo};
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

    /// The bytes that the matrix takes in memory, the same as in the file.
    pub fn size_bytes(&self) -> usize {
        self.rows.storage_size_in_bytes()
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

    /// Rows `range` times every token.
    ///
    /// # Safety
    /// As for [`Output::set`], for the rows in `range`.
    pub(crate) unsafe fn matmul_rows(&self, x: &Activations<'_>, range: Range<usize>, out: Output) {
        // SAFETY: the caller's promise.
        unsafe { self.rows.matmul_rows(x, range, out) };
    }

    /// Hands the matrix to candle without copying it.
    ///
    /// # Errors
    /// Candle refuses the shape.
    pub fn into_qtensor(self) -> candle_core::Result<QTensor> {
        let shape = (self.n_rows(), self.n_cols());
        QTensor::new(QStorage::Cpu(self.rows.into_quantized_type()), shape)
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = [self.n_rows(), self.n_cols()];
        write!(f, "Weight({} {} {shape:?})", self.name, self.quant())
    }
}

/// A weight on its way into memory: its place is there, its bytes are not yet all.
///
/// The bytes go from the source straight to where they stay, in pieces of the
/// caller's choice, so that loading neither holds anything twice nor blocks for long.
pub struct PendingWeight {
    weight: Weight,
    offset: u64,
    filled_bytes: usize,
}

impl PendingWeight {
    /// Checks the tensor's type and shape and reserves its memory.
    ///
    /// # Errors
    /// [`WeightError`], all but `Io`.
    pub fn new(tensor: &TensorInfo, n_rows: usize, n_cols: usize) -> Result<Self, WeightError> {
        check_tensor(tensor, n_rows, n_cols)?;
        let rows = zeroed_rows(tensor, n_rows, n_cols)?;
        Ok(Self {
            weight: Weight {
                name: tensor.name.clone(),
                rows,
            },
            offset: tensor.offset,
            filled_bytes: 0,
        })
    }

    /// The bytes that are still to be read.
    pub fn missing_bytes(&self) -> usize {
        self.weight.size_bytes() - self.filled_bytes
    }

    /// Reads at most `max_bytes` more and says how many that were.
    ///
    /// # Errors
    /// The source failed; the read may be tried again.
    pub fn read_more(
        &mut self,
        source: &dyn ModelSource,
        max_bytes: usize,
    ) -> Result<usize, WeightError> {
        let n_bytes = self.missing_bytes().min(max_bytes);
        let start = self.filled_bytes;
        let target = &mut self.weight.rows.bytes_mut()[start..start + n_bytes];
        source
            .read_at(self.offset + start as u64, target)
            .map_err(|source| WeightError::Io {
                tensor: self.weight.name.clone(),
                source,
            })?;
        self.filled_bytes += n_bytes;
        Ok(n_bytes)
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

/// Reads a whole weight at once.
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
    pending.read_more(source, usize::MAX)?;
    Ok(pending.finish())
}

fn zeroed_rows(
    tensor: &TensorInfo,
    n_rows: usize,
    n_cols: usize,
) -> Result<Box<dyn Rows>, WeightError> {
    macro_rules! rows_of {
        ($($quant:ident => $block:ty),+ $(,)?) => {
            match tensor.quant {
                $(GgmlType::$quant => RowBlocks::<$block>::zeroed(n_rows, n_cols)
                    .map(|rows| Box::new(rows) as Box<dyn Rows>),)+
                found => {
                    return Err(WeightError::UnsupportedQuantization {
                        tensor: tensor.name.clone(),
                        found,
                    });
                }
            }
        };
    }
    let rows = rows_of! {
        F32 => f32,
        F16 => half::f16,
        BF16 => half::bf16,
        Q4_0 => BlockQ4_0,
        Q4_1 => BlockQ4_1,
        Q5_0 => BlockQ5_0,
        Q5_1 => BlockQ5_1,
        Q8_0 => BlockQ8_0,
        Q4_K => BlockQ4_K,
        Q5_K => BlockQ5_K,
        Q6_K => BlockQ6_K,
    };
    rows.ok_or_else(|| WeightError::OutOfMemory {
        tensor: tensor.name.clone(),
        size_bytes: tensor.size_bytes,
    })
}
