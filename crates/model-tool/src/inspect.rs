//! What a file holds, and what it would take to run it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use nox_engine::gguf::{Array, Gguf, Metadata, TensorInfo, Value as MetadataValue};
use nox_engine::tokenizer::Tokenizer;
use nox_engine::{DEFAULT_N_CTX, KvType, ModelConfig, memory_estimate};
use serde_json::{Map, Value, json};

use crate::file;

/// Longer arrays are shown by their beginning.
const MAX_SHOWN: usize = 8;

/// Describes a file. That its model cannot be run is part of the description.
pub(crate) fn inspect(path: &Path, n_ctx: Option<usize>) -> Result<Value> {
    let gguf = file::read_header(path)?;
    Ok(json!({
        "size_bytes": gguf.file_size_bytes(),
        "architecture": gguf.architecture().ok(),
        "metadata": metadata(gguf.metadata()),
        "tensors": gguf.tensors().iter().map(tensor).collect::<Vec<_>>(),
        "quantisations": quantisations(gguf.tensors()),
        "memory": or_error(memory(&gguf, n_ctx)),
        "tokenizer": or_error(tokenizer(&gguf)),
    }))
}

fn or_error(result: Result<Value>) -> Value {
    result.unwrap_or_else(|error| json!({ "error": format!("{error:#}") }))
}

fn metadata(metadata: &Metadata) -> Map<String, Value> {
    metadata
        .iter()
        .map(|(key, value)| (key.to_owned(), value_to_json(value)))
        .collect()
}

fn value_to_json(value: &MetadataValue) -> Value {
    match value {
        MetadataValue::U8(v) => (*v).into(),
        MetadataValue::I8(v) => (*v).into(),
        MetadataValue::U16(v) => (*v).into(),
        MetadataValue::I16(v) => (*v).into(),
        MetadataValue::U32(v) => (*v).into(),
        MetadataValue::I32(v) => (*v).into(),
        MetadataValue::F32(v) => f32_to_json(*v),
        MetadataValue::Bool(v) => (*v).into(),
        MetadataValue::String(v) => String::from_utf8_lossy(v).into(),
        MetadataValue::Array(array) => array_to_json(array),
        MetadataValue::U64(v) => (*v).into(),
        MetadataValue::I64(v) => (*v).into(),
        MetadataValue::F64(v) => (*v).into(),
    }
}

/// A short array as it is, a long one as `{"type", "length", "first"}`.
fn array_to_json(array: &Array) -> Value {
    let first = match array {
        Array::U8(v) => first_of(v.iter().map(|&v| v.into())),
        Array::I8(v) => first_of(v.iter().map(|&v| v.into())),
        Array::U16(v) => first_of(v.iter().map(|&v| v.into())),
        Array::I16(v) => first_of(v.iter().map(|&v| v.into())),
        Array::U32(v) => first_of(v.iter().map(|&v| v.into())),
        Array::I32(v) => first_of(v.iter().map(|&v| v.into())),
        Array::F32(v) => first_of(v.iter().map(|&v| f32_to_json(v))),
        Array::Bool(v) => first_of(v.iter().map(|&v| v.into())),
        Array::String(v) => first_of(v.iter().map(|v| String::from_utf8_lossy(v).into())),
        Array::Array(v) => first_of(v.iter().map(array_to_json)),
        Array::U64(v) => first_of(v.iter().map(|&v| v.into())),
        Array::I64(v) => first_of(v.iter().map(|&v| v.into())),
        Array::F64(v) => first_of(v.iter().map(|&v| v.into())),
    };
    if array.len() <= MAX_SHOWN {
        return first.into();
    }
    json!({ "type": array.element_name(), "length": array.len(), "first": first })
}

fn first_of(values: impl Iterator<Item = Value>) -> Vec<Value> {
    values.take(MAX_SHOWN).collect()
}

/// By its shortest spelling: 1e-5 and not 9.999999747378752e-6.
pub(crate) fn f32_to_json(value: f32) -> Value {
    let spelled = value.to_string().parse::<f64>();
    spelled.map_or(Value::Null, Value::from)
}

fn tensor(tensor: &TensorInfo) -> Value {
    json!({
        "name": tensor.name,
        "quant": tensor.quant.name(),
        "shape": tensor.shape,
        "offset": tensor.offset,
        "size_bytes": tensor.size_bytes,
    })
}

/// For each quantisation how much of the file has it.
fn quantisations(tensors: &[TensorInfo]) -> Map<String, Value> {
    #[derive(Default)]
    struct Sum {
        n_tensors: u64,
        n_elements: u64,
        size_bytes: u64,
    }
    let mut sums: BTreeMap<_, Sum> = BTreeMap::new();
    for tensor in tensors {
        let sum = sums.entry(tensor.quant).or_default();
        sum.n_tensors += 1;
        sum.n_elements += tensor.n_elements() as u64;
        sum.size_bytes += tensor.size_bytes;
    }
    let to_json = |sum: Sum| json!({ "n_tensors": sum.n_tensors, "n_elements": sum.n_elements, "size_bytes": sum.size_bytes });
    sums.into_iter()
        .map(|(quant, sum)| (quant.name().to_owned(), to_json(sum)))
        .collect()
}

fn memory(gguf: &Gguf, n_ctx: Option<usize>) -> Result<Value> {
    let config = ModelConfig::from_gguf(gguf)?;
    let n_ctx = n_ctx.unwrap_or_else(|| config.n_ctx_train.min(DEFAULT_N_CTX));
    if !(1..=config.n_ctx_train).contains(&n_ctx) {
        bail!(
            "the context length is {n_ctx}, it must be between 1 and {}",
            config.n_ctx_train
        );
    }
    let estimate = memory_estimate(gguf, &config, n_ctx, KvType::default());
    Ok(json!({
        "n_ctx": n_ctx,
        "n_ctx_train": config.n_ctx_train,
        "weights_bytes": estimate.weights_bytes,
        "kv_bytes": estimate.kv_bytes,
        "scratch_bytes": estimate.scratch_bytes,
        "vocabulary_bytes": estimate.vocabulary_bytes,
        "total_bytes": estimate.total_bytes,
    }))
}

fn tokenizer(gguf: &Gguf) -> Result<Value> {
    let tokenizer = Tokenizer::from_gguf(gguf)?;
    let named =
        |id: Option<u32>| id.map(|id| json!({ "id": id, "text": tokenizer.token_text(id) }));
    let ids = 0..u32::try_from(tokenizer.n_vocab())?;
    let ends: Vec<_> = ids
        .filter(|&id| tokenizer.is_end_of_generation(id))
        .map(|id| named(Some(id)))
        .collect();
    Ok(json!({
        "n_vocab": tokenizer.n_vocab(),
        "bos": named(tokenizer.bos()),
        "eos": named(tokenizer.eos()),
        "end_of_generation": ends,
        "add_bos": tokenizer.add_bos(),
    }))
}
