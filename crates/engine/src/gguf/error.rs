//! What can be wrong with a GGUF file, or with a question put to its metadata.

use std::io;

use super::{GgmlType, SplitError};

/// Why a GGUF file cannot be read, or why a metadata key does not give what was asked for.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are named by the messages
pub enum GgufError {
    /// The source failed; the file itself may be sound.
    #[error("reading {n_bytes} bytes at offset {offset} failed: {source}")]
    Io {
        offset: u64,
        n_bytes: usize,
        source: io::Error,
    },
    /// The file does not begin with `GGUF`.
    #[error("not a GGUF file: it begins with \"{}\" instead of \"GGUF\"", .found.escape_ascii())]
    NotGguf { found: Vec<u8> },
    /// The version number reads right only when its bytes are swapped.
    #[error("the file is big-endian GGUF; only little-endian files are supported")]
    BigEndian,
    /// Another version than 2 or 3.
    #[error("GGUF version {found} is not supported, only 2 and 3 are")]
    UnsupportedVersion { found: u32 },
    /// The file ends before something that it announces.
    #[error(
        "the file is truncated: {what} at offset {offset} needs {needed_bytes} bytes, but only {left_bytes} are left"
    )]
    Truncated {
        what: String,
        offset: u64,
        needed_bytes: u64,
        left_bytes: u64,
    },
    /// A count or length beyond what any real file has.
    #[error("{what} is {found}, more than the {cap} that are accepted")]
    TooLarge { what: String, found: u64, cap: u64 },
    /// Text that has to be UTF-8 is not.
    #[error("{what} is not valid UTF-8")]
    InvalidUtf8 { what: String },
    /// A value type that GGUF does not define.
    #[error("metadata key {key:?} has the unknown value type {found}")]
    UnknownValueType { key: String, found: u32 },
    /// A boolean is stored as a byte that may only be 0 or 1.
    #[error("metadata key {key:?} holds the boolean {found}, which is neither 0 nor 1")]
    InvalidBool { key: String, found: u8 },
    #[error("metadata key {key:?} appears twice")]
    DuplicateKey { key: String },
    #[error("tensor {tensor:?} appears twice")]
    DuplicateTensor { tensor: String },
    #[error("general.alignment is {found}, which is not a power of two of at most {cap}")]
    InvalidAlignment { found: u32, cap: u32 },
    #[error("tensor {tensor:?} has {n_dims} dimensions; 1 to {cap} are possible")]
    DimensionCount {
        tensor: String,
        n_dims: u32,
        cap: u32,
    },
    #[error("tensor {tensor:?} has a dimension of zero in {dims:?}")]
    ZeroDimension { tensor: String, dims: Vec<u64> },
    /// The number of elements, or their bytes, cannot be counted on this machine.
    #[error("tensor {tensor:?} is too large to address: {dims:?}")]
    DimensionOverflow { tensor: String, dims: Vec<u64> },
    #[error("tensor {tensor:?} has the unknown type {id}")]
    UnknownTensorType { tensor: String, id: u32 },
    #[error(
        "tensor {tensor:?} has rows of {row_len} elements, which {quant} cannot hold: its blocks have {block_len}"
    )]
    RowNotBlocked {
        tensor: String,
        quant: GgmlType,
        row_len: u64,
        block_len: usize,
    },
    #[error("tensor {tensor:?} lies at offset {offset}, which is not a multiple of {alignment}")]
    TensorMisaligned {
        tensor: String,
        offset: u64,
        alignment: u32,
    },
    #[error(
        "tensor {tensor:?} needs {size_bytes} bytes at offset {offset}, beyond the file's end at {file_size_bytes}"
    )]
    TensorOutOfFile {
        tensor: String,
        offset: u64,
        size_bytes: u64,
        file_size_bytes: u64,
    },
    #[error("tensors {first:?} and {second:?} overlap")]
    TensorsOverlap { first: String, second: String },
    /// Several files don't make one model.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// One of several files.
    #[error("file {file} of {n_files}: {source}")]
    InFile {
        file: usize,
        n_files: usize,
        source: Box<GgufError>,
    },
    #[error("metadata key {key:?} is missing (expected {expected})")]
    MissingKey { key: String, expected: &'static str },
    #[error("metadata key {key:?} is {found}, expected {expected}")]
    WrongType {
        key: String,
        expected: &'static str,
        found: String,
    },
}

/// Turns "this key is missing" into `None` and leaves every other error as it is.
pub trait OptionalKey<T> {
    /// `Ok(None)` for a missing key; a key of the wrong type stays an error.
    ///
    /// # Errors
    /// Whatever the getter reported, save [`GgufError::MissingKey`].
    fn optional(self) -> Result<Option<T>, GgufError>;
}

impl<T> OptionalKey<T> for Result<T, GgufError> {
    fn optional(self) -> Result<Option<T>, GgufError> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(GgufError::MissingKey { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
