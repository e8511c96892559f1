//! What the format tests share: where the fixtures lie, and a writer of small
//! GGUF files.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test binary uses a part

use std::path::PathBuf;
use std::time::Duration;

use nox_engine::gguf::GgmlType;

/// The folder `name` of the fixtures, or `None` (said on stderr) where there is
/// none: such a test counts as skipped.
pub fn fixtures(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("NOXICS_FIXTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures"),
        PathBuf::from,
    );
    let folder = root.join(name);
    if !folder.is_dir() {
        eprintln!("skipped: there is no folder {}", folder.display());
        return None;
    }
    Some(folder)
}

/// How long something takes at best: once over `limit` it is measured twice more, as
/// other programs may have had the machine.
pub fn least_time(limit: Duration, mut measure: impl FnMut() -> Duration) -> Duration {
    let first = measure();
    if first < limit {
        return first;
    }
    first.min(measure()).min(measure())
}

/// A key with a value of a type, spelled out in bytes.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub type_id: u32,
    pub value: Vec<u8>,
}

/// Writes GGUF, valid or not: it puts down what it is told.
#[derive(Clone, Default)]
pub struct GgufWriter {
    metadata: Vec<u8>,
    n_metadata: u64,
    tensors: Vec<u8>,
    n_tensors: u64,
    data: Vec<u8>,
    pub alignment: usize,
    /// Takes the place of the entry of the same key.
    pub instead: Option<Entry>,
}

impl GgufWriter {
    pub fn new() -> Self {
        Self {
            alignment: 32,
            ..Self::default()
        }
    }

    /// A key with a value of type `type_id`, spelled out in bytes.
    pub fn raw(mut self, key: &str, type_id: u32, value: &[u8]) -> Self {
        if let Some(instead) = self.instead.take_if(|instead| instead.key == key) {
            return self.raw(key, instead.type_id, &instead.value);
        }
        self.metadata.extend(string(key.as_bytes()));
        self.metadata.extend(type_id.to_le_bytes());
        self.metadata.extend(value);
        self.n_metadata += 1;
        self
    }

    pub fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub fn bool(self, key: &str, value: bool) -> Self {
        self.raw(key, 7, &[value.into()])
    }

    pub fn str(self, key: &str, value: &str) -> Self {
        self.raw(key, 8, &string(value.as_bytes()))
    }

    pub fn strings(self, key: &str, values: &[impl AsRef<[u8]>]) -> Self {
        let elements = values
            .iter()
            .flat_map(|value| string(value.as_ref()))
            .collect();
        self.array(key, 8, values.len(), elements)
    }

    pub fn i32s(self, key: &str, values: &[i32]) -> Self {
        let elements = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.array(key, 5, values.len(), elements)
    }

    pub fn f32s(self, key: &str, values: &[f32]) -> Self {
        let elements = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.array(key, 6, values.len(), elements)
    }

    /// The keys of a part, `no` counting from 0.
    pub fn split(self, no: usize, count: usize, n_tensors: usize) -> Self {
        self.raw("split.no", 2, &(no as u16).to_le_bytes())
            .raw("split.count", 2, &(count as u16).to_le_bytes())
            .raw("split.tensors.count", 5, &(n_tensors as i32).to_le_bytes())
    }

    pub fn array(self, key: &str, element_type: u32, n: usize, elements: Vec<u8>) -> Self {
        let mut value = element_type.to_le_bytes().to_vec();
        value.extend((n as u64).to_le_bytes());
        value.extend(elements);
        self.raw(key, 9, &value)
    }

    /// A tensor entry that may say anything; `dims` innermost first.
    pub fn tensor_entry(mut self, name: &str, dims: &[u64], type_id: u32, offset: u64) -> Self {
        self.tensors.extend(string(name.as_bytes()));
        self.tensors.extend((dims.len() as u32).to_le_bytes());
        self.tensors
            .extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        self.tensors.extend(type_id.to_le_bytes());
        self.tensors.extend(offset.to_le_bytes());
        self.n_tensors += 1;
        self
    }

    /// A sound tensor with its data.
    pub fn tensor(mut self, name: &str, dims: &[u64], quant: GgmlType) -> Self {
        let aligned = self.data.len().next_multiple_of(self.alignment);
        self.data.resize(aligned, 0);
        let size = quant.size_bytes(dims.iter().product()).unwrap();
        self.data.resize(aligned + size as usize, 0x3C);
        self.tensor_entry(name, dims, quant.id(), aligned as u64)
    }

    /// Writes the entry that was to take the place of one that has not come.
    pub fn rest(mut self) -> Self {
        match self.instead.take() {
            Some(Entry {
                key,
                type_id,
                value,
            }) => self.raw(&key, type_id, &value),
            None => self,
        }
    }

    /// The file with these bytes for its tensors.
    pub fn finish_with(mut self, data: &[u8]) -> Vec<u8> {
        self.data = data.to_vec();
        self.finish()
    }

    pub fn finish(self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend(self.n_tensors.to_le_bytes());
        file.extend(self.n_metadata.to_le_bytes());
        file.extend(self.metadata);
        file.extend(self.tensors);
        if !self.data.is_empty() {
            file.resize(file.len().next_multiple_of(self.alignment), 0);
        }
        file.extend(self.data);
        file
    }
}

/// A GGUF string: length, then bytes.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u64).to_le_bytes().to_vec();
    out.extend(bytes);
    out
}
