//! From bytes to [`Gguf`]: header, metadata, tensor directory.
//!
//! The file is not trusted. A count or length is compared with a named cap and
//! with the bytes that are left before anything is allocated for it, sums and
//! products are checked, and every tensor's range has to lie inside the file.
//!
//! # Source
//! `docs/gguf.md` of the ggml project; where it is silent, `gguf.cpp`.

use super::value::{Array, Metadata, StrArray, Value};
use super::window::Window;
use super::{GgmlType, Gguf, GgufError, OptionalKey as _, Split, TensorInfo};
use crate::source::ModelSource;

/// Real files have some fifty keys.
pub const MAX_METADATA_COUNT: u64 = 64 * 1024;
/// Unmerged mixtures of experts have some tens of thousands of tensors.
pub const MAX_TENSOR_COUNT: u64 = 128 * 1024;
/// The format's own limit for keys.
pub const MAX_KEY_BYTES: u64 = 65_535;
/// ggml's own limit is 63.
pub const MAX_TENSOR_NAME_BYTES: u64 = 255;
/// A single string; the longest in use are chat templates.
pub const MAX_STRING_BYTES: u64 = 16 * 1024 * 1024;
/// The elements of an array; the longest in use are merges and vocabularies.
pub const MAX_ARRAY_LEN: u64 = 8 * 1024 * 1024;
/// How deep arrays may lie in arrays.
pub const MAX_ARRAY_DEPTH: u32 = 4;
/// The arrays inside one array of arrays.
pub const MAX_NESTED_ARRAYS: u64 = 64 * 1024;
/// Everything before the tensor data together.
pub const MAX_HEADER_BYTES: u64 = 256 * 1024 * 1024;
/// ggml's `GGML_MAX_DIMS`.
pub const MAX_DIMS: u32 = 4;
/// `general.alignment` beyond a memory page or two serves nobody.
pub const MAX_ALIGNMENT: u32 = 64 * 1024;

const DEFAULT_ALIGNMENT: u32 = 32;

/// The smallest metadata entry: an empty key's length, a type, a byte.
const MIN_METADATA_BYTES: u64 = 8 + 4 + 1;
/// The smallest tensor entry: an empty name's length, one dimension, type, offset.
const MIN_TENSOR_BYTES: u64 = 8 + 4 + 8 + 4 + 8;

/// Reads one file.
pub(super) fn read_file(source: &dyn ModelSource) -> Result<Gguf, GgufError> {
    let mut window = Window::new(source);
    read_magic_and_version(&mut window)?;
    let n_tensors = read_count(
        &mut window,
        "the number of tensors",
        MAX_TENSOR_COUNT,
        MIN_TENSOR_BYTES,
    )?;
    let n_metadata = read_count(
        &mut window,
        "the number of metadata keys",
        MAX_METADATA_COUNT,
        MIN_METADATA_BYTES,
    )?;
    let metadata = read_metadata(&mut window, n_metadata)?;
    let alignment = read_alignment(&metadata)?;
    let mut tensors = Vec::new();
    for idx in 0..n_tensors {
        tensors.push(read_tensor(&mut window, idx, alignment)?);
    }
    check_header_size(&window)?;
    place_tensors(
        &mut tensors,
        window.position(),
        alignment,
        source.size_bytes(),
    )?;
    let split = Split::from_metadata(&metadata)?;
    Ok(Gguf {
        split,
        ..Gguf::new(metadata, tensors, source.size_bytes())?
    })
}

fn read_magic_and_version(window: &mut Window<'_>) -> Result<(), GgufError> {
    const MAGIC: &[u8] = b"GGUF";
    // What is too short to be a model at all is not one that was cut short.
    let n_bytes = window.left_bytes().min(MAGIC.len() as u64) as usize;
    let mut magic = Vec::new();
    window.append(n_bytes, &mut magic, || "the magic number".to_owned())?;
    if magic != MAGIC {
        return Err(GgufError::NotGguf { found: magic });
    }
    match window.u32(|| "the version".to_owned())? {
        2 | 3 => Ok(()),
        swapped if matches!(swapped.swap_bytes(), 1..=3) => Err(GgufError::BigEndian),
        found => Err(GgufError::UnsupportedVersion { found }),
    }
}

/// Reads a count of things that each take at least `min_bytes`.
fn read_count(
    window: &mut Window<'_>,
    what: &str,
    cap: u64,
    min_bytes: u64,
) -> Result<u64, GgufError> {
    let count = window.u64(|| what.to_owned())?;
    check_cap(count, cap, || what.to_owned())?;
    // Below the cap, so the product cannot overflow.
    window.expect(count * min_bytes, || {
        what.replace("the number of", "a list of")
    })?;
    Ok(count)
}

pub(super) fn check_cap(
    found: u64,
    cap: u64,
    what: impl FnOnce() -> String,
) -> Result<(), GgufError> {
    if found <= cap {
        return Ok(());
    }
    Err(GgufError::TooLarge {
        what: what(),
        found,
        cap,
    })
}

fn check_header_size(window: &Window<'_>) -> Result<(), GgufError> {
    check_cap(window.position(), MAX_HEADER_BYTES, || {
        "the size of the header in bytes".to_owned()
    })
}

fn read_metadata(window: &mut Window<'_>, n_metadata: u64) -> Result<Metadata, GgufError> {
    let mut metadata = Metadata::default();
    for idx in 0..n_metadata {
        let key = read_text(window, MAX_KEY_BYTES, || format!("metadata key {idx}"))?;
        let type_id = window.u32(|| format!("the type of {key:?}"))?;
        let value = read_value(window, &key, type_id)?;
        check_header_size(window)?;
        if !metadata.insert(key.clone(), value) {
            return Err(GgufError::DuplicateKey { key });
        }
    }
    Ok(metadata)
}

fn read_alignment(metadata: &Metadata) -> Result<u32, GgufError> {
    let found = metadata
        .u32("general.alignment")
        .optional()?
        .unwrap_or(DEFAULT_ALIGNMENT);
    if found.is_power_of_two() && found <= MAX_ALIGNMENT {
        return Ok(found);
    }
    Err(GgufError::InvalidAlignment {
        found,
        cap: MAX_ALIGNMENT,
    })
}

/// Reads a string that has to be UTF-8.
fn read_text(
    window: &mut Window<'_>,
    cap: u64,
    what: impl Fn() -> String,
) -> Result<String, GgufError> {
    let mut bytes = Vec::new();
    read_string(window, cap, &mut bytes, &what)?;
    String::from_utf8(bytes).map_err(|_| GgufError::InvalidUtf8 { what: what() })
}

/// Appends a string's bytes to `out`.
fn read_string(
    window: &mut Window<'_>,
    cap: u64,
    out: &mut Vec<u8>,
    what: impl Fn() -> String,
) -> Result<(), GgufError> {
    let n_bytes = window.u64(&what)?;
    check_cap(n_bytes, cap, || format!("the length of {}", what()))?;
    // Below the cap, so it fits `usize` on every target.
    window.append(n_bytes as usize, out, what)
}

fn read_value(window: &mut Window<'_>, key: &str, type_id: u32) -> Result<Value, GgufError> {
    let what = || format!("the value of {key:?}");
    Ok(match type_id {
        0 => Value::U8(u8::from_le_bytes(window.array(what)?)),
        1 => Value::I8(i8::from_le_bytes(window.array(what)?)),
        2 => Value::U16(u16::from_le_bytes(window.array(what)?)),
        3 => Value::I16(i16::from_le_bytes(window.array(what)?)),
        4 => Value::U32(u32::from_le_bytes(window.array(what)?)),
        5 => Value::I32(i32::from_le_bytes(window.array(what)?)),
        6 => Value::F32(f32::from_le_bytes(window.array(what)?)),
        7 => Value::Bool(parse_bool(key, window.array::<1>(what)?[0])?),
        8 => {
            let mut bytes = Vec::new();
            read_string(window, MAX_STRING_BYTES, &mut bytes, what)?;
            Value::String(bytes)
        }
        9 => Value::Array(read_array(window, key, 1)?),
        10 => Value::U64(u64::from_le_bytes(window.array(what)?)),
        11 => Value::I64(i64::from_le_bytes(window.array(what)?)),
        12 => Value::F64(f64::from_le_bytes(window.array(what)?)),
        found => {
            return Err(GgufError::UnknownValueType {
                key: key.to_owned(),
                found,
            });
        }
    })
}

fn parse_bool(key: &str, found: u8) -> Result<bool, GgufError> {
    match found {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(GgufError::InvalidBool {
            key: key.to_owned(),
            found,
        }),
    }
}

fn read_array(window: &mut Window<'_>, key: &str, depth: u32) -> Result<Array, GgufError> {
    check_cap(depth.into(), MAX_ARRAY_DEPTH.into(), || {
        format!("the nesting of arrays in {key:?}")
    })?;
    let type_id = window.u32(|| format!("the element type of {key:?}"))?;
    let n = window.u64(|| format!("the length of {key:?}"))?;
    check_cap(n, MAX_ARRAY_LEN, || format!("the length of {key:?}"))?;
    Ok(match type_id {
        0 => Array::U8(read_numbers(window, key, n, u8::from_le_bytes)?),
        1 => Array::I8(read_numbers(window, key, n, i8::from_le_bytes)?),
        2 => Array::U16(read_numbers(window, key, n, u16::from_le_bytes)?),
        3 => Array::I16(read_numbers(window, key, n, i16::from_le_bytes)?),
        4 => Array::U32(read_numbers(window, key, n, u32::from_le_bytes)?),
        5 => Array::I32(read_numbers(window, key, n, i32::from_le_bytes)?),
        6 => Array::F32(read_numbers(window, key, n, f32::from_le_bytes)?),
        7 => Array::Bool(
            read_numbers(window, key, n, u8::from_le_bytes)?
                .into_iter()
                .map(|byte| parse_bool(key, byte))
                .collect::<Result<_, _>>()?,
        ),
        8 => Array::String(read_strings(window, key, n)?),
        9 => Array::Array(read_arrays(window, key, n, depth)?),
        10 => Array::U64(read_numbers(window, key, n, u64::from_le_bytes)?),
        11 => Array::I64(read_numbers(window, key, n, i64::from_le_bytes)?),
        12 => Array::F64(read_numbers(window, key, n, f64::from_le_bytes)?),
        found => {
            return Err(GgufError::UnknownValueType {
                key: key.to_owned(),
                found,
            });
        }
    })
}

fn read_numbers<T, const N: usize>(
    window: &mut Window<'_>,
    key: &str,
    n: u64,
    from_le_bytes: fn([u8; N]) -> T,
) -> Result<Vec<T>, GgufError> {
    // Below `MAX_ARRAY_LEN`, so neither the product nor the cast can overflow.
    let n_bytes = n as usize * N;
    let mut bytes = Vec::new();
    window.append(n_bytes, &mut bytes, || format!("the array {key:?}"))?;
    Ok(bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|&chunk| from_le_bytes(chunk))
        .collect())
}

fn read_strings(window: &mut Window<'_>, key: &str, n: u64) -> Result<StrArray, GgufError> {
    // Each string has at least its length in front.
    window.expect(n * 8, || format!("the array {key:?}"))?;
    let mut strings = StrArray::default();
    for idx in 0..n {
        let what = || format!("string {idx} of {key:?}");
        strings.push_with(|bytes| read_string(window, MAX_STRING_BYTES, bytes, what))?;
        check_cap(strings.total_bytes() as u64, MAX_HEADER_BYTES, || {
            format!("the size of {key:?} in bytes")
        })?;
    }
    Ok(strings)
}

fn read_arrays(
    window: &mut Window<'_>,
    key: &str,
    n: u64,
    depth: u32,
) -> Result<Vec<Array>, GgufError> {
    check_cap(n, MAX_NESTED_ARRAYS, || {
        format!("the number of arrays in {key:?}")
    })?;
    let mut arrays = Vec::new();
    for _ in 0..n {
        arrays.push(read_array(window, key, depth + 1)?);
        check_header_size(window)?;
    }
    Ok(arrays)
}

/// Reads a tensor's entry. Its offset is still relative to the data section.
fn read_tensor(window: &mut Window<'_>, idx: u64, alignment: u32) -> Result<TensorInfo, GgufError> {
    let name = read_text(window, MAX_TENSOR_NAME_BYTES, || {
        format!("the name of tensor {idx}")
    })?;
    let what = || format!("the description of tensor {name:?}");
    let n_dims = window.u32(what)?;
    if !(1..=MAX_DIMS).contains(&n_dims) {
        return Err(GgufError::DimensionCount {
            tensor: name,
            n_dims,
            cap: MAX_DIMS,
        });
    }
    let mut dims = Vec::new();
    for _ in 0..n_dims {
        dims.push(window.u64(what)?);
    }
    let id = window.u32(what)?;
    let offset = window.u64(what)?;
    let Some(quant) = GgmlType::from_id(id) else {
        return Err(GgufError::UnknownTensorType { tensor: name, id });
    };
    if !offset.is_multiple_of(alignment.into()) {
        return Err(GgufError::TensorMisaligned {
            tensor: name,
            offset,
            alignment,
        });
    }
    let (shape, size_bytes) = shape_and_size(&name, dims, quant)?;
    Ok(TensorInfo {
        name,
        shape,
        quant,
        offset,
        size_bytes,
    })
}

/// Checks dimensions as stored, innermost first, and turns them outermost first.
fn shape_and_size(
    name: &str,
    dims: Vec<u64>,
    quant: GgmlType,
) -> Result<(Vec<usize>, u64), GgufError> {
    let row_len = dims[0];
    if dims.contains(&0) {
        return Err(GgufError::ZeroDimension {
            tensor: name.to_owned(),
            dims,
        });
    }
    if !row_len.is_multiple_of(quant.block_len() as u64) {
        return Err(GgufError::RowNotBlocked {
            tensor: name.to_owned(),
            quant,
            row_len,
            block_len: quant.block_len(),
        });
    }
    let counted = || {
        let n_elements = dims.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim))?;
        // Element counts are used as `usize`, which is 32 bits wide on wasm.
        usize::try_from(n_elements).ok()?;
        let size_bytes = quant.size_bytes(n_elements)?;
        let shape = dims.iter().rev().map(|&dim| usize::try_from(dim).ok());
        Some((shape.collect::<Option<Vec<_>>>()?, size_bytes))
    };
    counted().ok_or_else(|| GgufError::DimensionOverflow {
        tensor: name.to_owned(),
        dims: dims.clone(),
    })
}

/// Makes offsets absolute and checks that the tensors lie inside the file, apart
/// from each other: writers lay them out one after the other, so an overlap means
/// a damaged or forged file.
fn place_tensors(
    tensors: &mut [TensorInfo],
    header_end: u64,
    alignment: u32,
    file_size_bytes: u64,
) -> Result<(), GgufError> {
    // The header is capped, so rounding it up cannot overflow.
    let data_start = header_end.next_multiple_of(alignment.into());
    for tensor in tensors.iter_mut() {
        let end = data_start
            .checked_add(tensor.offset)
            .and_then(|start| start.checked_add(tensor.size_bytes));
        if end.is_none_or(|end| end > file_size_bytes) {
            return Err(GgufError::TensorOutOfFile {
                tensor: tensor.name.clone(),
                offset: data_start.saturating_add(tensor.offset),
                size_bytes: tensor.size_bytes,
                file_size_bytes,
            });
        }
        tensor.offset += data_start;
    }
    let mut by_offset: Vec<&TensorInfo> = tensors.iter().collect();
    by_offset.sort_by_key(|tensor| tensor.offset);
    for pair in by_offset.windows(2) {
        if pair[0].offset + pair[0].size_bytes > pair[1].offset {
            return Err(GgufError::TensorsOverlap {
                first: pair[0].name.clone(),
                second: pair[1].name.clone(),
            });
        }
    }
    Ok(())
}
