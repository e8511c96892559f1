//! A checked file in the form in which candle-transformers takes it.
//!
//! Candle's own reader of GGUF never runs: it gets a directory of the tensors that
//! were found in order, and only the metadata that it needs.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};

use candle_core::quantized::gguf_file::{
    Content, TensorInfo as CandleTensor, Value, VersionedMagic,
};

use super::Plan;
use crate::gguf::TensorInfo;
use crate::quant::candle_type;
use crate::source::ModelSource;

/// What stands in for the file's header, with offsets from the source's beginning.
pub(super) fn content(plan: &Plan) -> Content {
    let entries = plan.tensors.iter().flat_map(|(_, tensor)| entries(tensor));
    Content {
        magic: VersionedMagic::GgufV3,
        metadata: metadata(plan),
        tensor_infos: entries.collect(),
        tensor_data_offset: 0,
    }
}

fn metadata(plan: &Plan) -> HashMap<String, Value> {
    let (sizes, arch) = (&plan.sizes, plan.family.architecture);
    let count = |key: &str, n: usize| (format!("{arch}.{key}"), Value::U32(n as u32));
    let float = |key: &str, x: f32| (format!("{arch}.{key}"), Value::F32(x));
    HashMap::from([
        (
            "general.architecture".to_owned(),
            Value::String(arch.to_owned()),
        ),
        count("block_count", sizes.n_layer),
        count("embedding_length", sizes.n_embd),
        count("attention.head_count", sizes.n_head),
        count("attention.head_count_kv", sizes.n_head_kv),
        count("rope.dimension_count", sizes.n_rot),
        count("expert_count", sizes.n_expert),
        count("expert_used_count", sizes.n_expert_used),
        float("rope.freq_base", sizes.freq_base),
        float("attention.layer_norm_rms_epsilon", sizes.norm_eps),
        float("attention.layer_norm_epsilon", sizes.norm_eps),
    ])
}

/// Candle wants each expert by itself, as older files have them: newer ones hold all
/// experts of a layer in one tensor, one behind the other.
fn entries(tensor: &TensorInfo) -> Vec<(String, CandleTensor)> {
    let entry = |shape: &[usize], offset| CandleTensor {
        ggml_dtype: candle_type(tensor.quant).expect("the type has been checked"),
        shape: shape.to_vec().into(),
        offset,
    };
    match (tensor.name.strip_suffix("_exps.weight"), &*tensor.shape) {
        (Some(stem), [n_expert, one @ ..]) => {
            let size_bytes = tensor.size_bytes / *n_expert as u64;
            let expert = |idx| {
                let offset = tensor.offset + idx as u64 * size_bytes;
                (format!("{stem}.{idx}.weight"), entry(one, offset))
            };
            (0..*n_expert).map(expert).collect()
        }
        (_, shape) => vec![(tensor.name.clone(), entry(shape, tensor.offset))],
    }
}

/// A [`ModelSource`] with a cursor. Candle reads a tensor at a time, so there is
/// nothing to buffer.
pub(super) struct SourceReader<'a> {
    source: &'a dyn ModelSource,
    position: u64,
    /// Candle makes text of an error; this is where it was, of how many bytes.
    failure: Option<(u64, usize, io::Error)>,
}

impl<'a> SourceReader<'a> {
    pub(super) fn new(source: &'a dyn ModelSource) -> Self {
        Self {
            source,
            position: 0,
            failure: None,
        }
    }

    pub(super) fn into_failure(self) -> Option<(u64, usize, io::Error)> {
        self.failure
    }
}

impl Read for SourceReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left_bytes = self.source.size_bytes().saturating_sub(self.position);
        let n_bytes = usize::try_from(left_bytes).map_or(buf.len(), |left| left.min(buf.len()));
        if let Err(error) = self.source.read_at(self.position, &mut buf[..n_bytes]) {
            let kind = error.kind();
            self.failure = Some((self.position, n_bytes, error));
            return Err(kind.into());
        }
        self.position += n_bytes as u64;
        Ok(n_bytes)
    }
}

impl Seek for SourceReader<'_> {
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        let position = match target {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.source.size_bytes().checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
