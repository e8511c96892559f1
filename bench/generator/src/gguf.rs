//! As much of a GGUF version 3 writer as one generated model needs.
//!
//! # Source
//! `docs/gguf.md` of the ggml project.

use std::io::{self, Write};

use crate::mix::BlockType;

const MAGIC: &[u8; 4] = b"GGUF";
const VERSION: u32 = 3;
/// Where tensors may start; GGUF's default.
const ALIGNMENT: usize = 32;

/// A metadata value, of the types that the model has.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Str(String),
    Strs(Vec<String>),
    I32s(Vec<i32>),
}

impl Value {
    fn type_id(&self) -> u32 {
        match self {
            Self::U32(_) => 4,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::Str(_) => 8,
            Self::Strs(_) | Self::I32s(_) => 9,
        }
    }

    fn push(&self, out: &mut Vec<u8>) {
        match self {
            Self::U32(number) => push_u32(out, *number),
            Self::F32(number) => out.extend_from_slice(&number.to_le_bytes()),
            Self::Bool(flag) => out.push(u8::from(*flag)),
            Self::Str(text) => push_str(out, text),
            Self::Strs(texts) => {
                push_u32(out, 8);
                push_u64(out, texts.len());
                texts.iter().for_each(|text| push_str(out, text));
            }
            Self::I32s(numbers) => {
                push_u32(out, 5);
                push_u64(out, numbers.len());
                numbers
                    .iter()
                    .for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
            }
        }
    }
}

/// A tensor's entry in the directory.
#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    /// Outermost first; GGUF stores them the other way round.
    pub(crate) shape: Vec<usize>,
    pub(crate) kind: BlockType,
    pub(crate) size_bytes: usize,
}

/// Writes everything before the tensors' data, padding included.
pub(crate) fn write_header(
    out: &mut impl Write,
    metadata: &[(String, Value)],
    tensors: &[Tensor],
) -> io::Result<()> {
    let mut header = MAGIC.to_vec();
    push_u32(&mut header, VERSION);
    push_u64(&mut header, tensors.len());
    push_u64(&mut header, metadata.len());
    for (key, value) in metadata {
        push_str(&mut header, key);
        push_u32(&mut header, value.type_id());
        value.push(&mut header);
    }
    let mut offset = 0;
    for tensor in tensors {
        push_tensor(&mut header, tensor, offset);
        offset += tensor.size_bytes.next_multiple_of(ALIGNMENT);
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
    out.write_all(&header)
}

/// Writes what has to follow a tensor's data, so that the next one begins aligned.
pub(crate) fn write_padding(out: &mut impl Write, size_bytes: usize) -> io::Result<()> {
    let n_bytes = size_bytes.next_multiple_of(ALIGNMENT) - size_bytes;
    out.write_all(&[0; ALIGNMENT][..n_bytes])
}

fn push_tensor(out: &mut Vec<u8>, tensor: &Tensor, offset: usize) {
    push_str(out, &tensor.name);
    push_u32(out, tensor.shape.len() as u32);
    for &dimension in tensor.shape.iter().rev() {
        push_u64(out, dimension);
    }
    push_u32(out, tensor.kind.id());
    push_u64(out, offset);
}

fn push_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn push_u64(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&(number as u64).to_le_bytes());
}

fn push_str(out: &mut Vec<u8>, text: &str) {
    push_u64(out, text.len());
    out.extend_from_slice(text.as_bytes());
}
