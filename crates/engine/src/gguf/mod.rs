//! GGUF files: metadata and the directory of tensors.
//!
//! [`Gguf::read`] takes the header of a little-endian version 2 or 3 file from a
//! [`ModelSource`] and checks all of it; afterwards every tensor is known to lie
//! inside the file in whole blocks. A source of several files is one model that was
//! split ([`SplitError`] says why some are not). It knows neither what the metadata
//! mean nor how the tensors' bytes become numbers, and it never reads tensor data.

mod error;
mod ggml_type;
pub mod read;
mod split;
mod value;
mod window;

use std::collections::HashMap;

pub use error::{GgufError, OptionalKey};
pub use ggml_type::GgmlType;
pub use split::{MAX_PARTS, Split, SplitError};
pub use value::{Array, Metadata, StrArray, Value};

use crate::source::ModelSource;

/// Where a tensor lies in the file and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name as stored, e.g. `blk.0.attn_q.weight`.
    pub name: String,
    /// Dimensions outermost first (rows, columns); GGUF stores them reversed.
    /// One to four, none of them zero.
    pub shape: Vec<usize>,
    /// The type of the elements.
    pub quant: GgmlType,
    /// Offset of the first byte from the beginning of the source.
    pub offset: u64,
    /// The bytes that all blocks take together.
    pub size_bytes: u64,
}

impl TensorInfo {
    /// The number of elements; known not to overflow.
    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A checked GGUF header.
#[derive(Debug, Clone)]
pub struct Gguf {
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
    file_size_bytes: u64,
    split: Option<Split>,
}

impl Gguf {
    /// Reads and checks everything before the tensor data, of all files that the
    /// source holds ([`ModelSource::part_ends`]).
    ///
    /// # Errors
    /// The source fails, or a file is not a GGUF file that is sound to its last
    /// tensor, or the files don't make one model; the variants say what is wrong and
    /// where. The caps that are applied stand in [`read`].
    pub fn read(source: &dyn ModelSource) -> Result<Self, GgufError> {
        match *source.part_ends() {
            [] => Err(GgufError::NotGguf { found: Vec::new() }),
            ref ends => split::join(source, ends),
        }
    }

    /// Reads and checks one file by itself, which may be a part of a model
    /// ([`Self::split`]).
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub fn read_part(source: &dyn ModelSource) -> Result<Self, GgufError> {
        read::read_file(source)
    }

    fn new(
        metadata: Metadata,
        tensors: Vec<TensorInfo>,
        file_size_bytes: u64,
    ) -> Result<Self, GgufError> {
        let mut index = HashMap::new();
        for (idx, tensor) in tensors.iter().enumerate() {
            if index.insert(tensor.name.clone(), idx).is_some() {
                return Err(GgufError::DuplicateTensor {
                    tensor: tensor.name.clone(),
                });
            }
        }
        Ok(Self {
            metadata,
            tensors,
            index,
            file_size_bytes,
            split: None,
        })
    }

    /// Which part of a model this file is; `None` for a whole one.
    pub fn split(&self) -> Option<Split> {
        self.split
    }

    /// The metadata, in the file's order.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The value of `general.architecture`.
    ///
    /// # Errors
    /// The key is missing or no text.
    pub fn architecture(&self) -> Result<&str, GgufError> {
        self.metadata.str("general.architecture")
    }

    /// Every tensor, in the file's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&idx| &self.tensors[idx])
    }

    /// The size of the whole file, or of all parts together.
    pub fn file_size_bytes(&self) -> u64 {
        self.file_size_bytes
    }
}
