//! Models in several files: `name-00001-of-00003.gguf` and so on.
//!
//! Each file is sound GGUF with tensors of its own and says in `split.*` which part
//! of how many it is; the first part's metadata is the model's. [`join`] makes one
//! header of all parts, whose offsets count through the parts in the order in which
//! the source holds them. It knows no names of files: a part is what its header says.
//!
//! # Source
//! `tools/gguf-split` and `llama-model-loader.cpp` of the llama.cpp project.

use std::collections::HashMap;
use std::io;
use std::ops::Range;

use super::read::{MAX_TENSOR_COUNT, check_cap, read_file};
use super::{Gguf, GgufError, Metadata, OptionalKey as _};
use crate::source::ModelSource;

/// Parts of one model; a file of 50 MB each would still make a model of 50 GB.
pub const MAX_PARTS: usize = 999;

/// What a file says about the split model that it is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Which part this is, from 1.
    pub part: usize,
    /// How many parts there are, 2 or more.
    pub count: usize,
    /// The tensors of all parts together.
    pub n_tensors: usize,
}

/// Why files don't make one model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// `split.no` and `split.count` don't go together.
    #[error("the file says that it is part {part} of {count}; 1 to {MAX_PARTS} are possible")]
    Number {
        /// Which part it claims to be, from 1.
        part: u64,
        /// Of how many.
        count: u64,
    },
    /// Parts are not there.
    #[error("the model is split into {count} files; {} missing", listed(.missing))]
    Missing {
        /// Their numbers, from 1.
        missing: Vec<usize>,
        /// How many there are to be.
        count: usize,
    },
    /// A part is there more than once.
    #[error("part {part} of {count} is there twice")]
    Twice {
        /// Its number, from 1.
        part: usize,
        /// How many there are to be.
        count: usize,
    },
    /// A file among the parts is no part.
    #[error("file {file} of {n_files} is a whole model, not a part of one")]
    Whole {
        /// Its place among the files, from 1.
        file: usize,
        /// How many files there are.
        n_files: usize,
    },
    /// A part belongs to another model.
    #[error(
        "part {part} is one of {found_count} with {found_tensors} tensors, the others are of {count} with {n_tensors}: it belongs to another model"
    )]
    Foreign {
        /// Its number, from 1.
        part: usize,
        /// How many parts it knows of.
        found_count: usize,
        /// How many tensors it knows of.
        found_tensors: usize,
        /// How many parts the others know of.
        count: usize,
        /// How many tensors the others know of.
        n_tensors: usize,
    },
    /// Two parts hold a tensor of one name: they are of different models.
    #[error("tensor {tensor:?} is in part {first} and in part {second}")]
    SharedTensor {
        /// The tensor's name.
        tensor: String,
        /// A part that has it.
        first: usize,
        /// Another one.
        second: usize,
    },
    /// The parts are not what was split: they are of different models.
    #[error("the {count} parts hold {found} tensors together, but announce {expected}")]
    TensorCount {
        /// How many parts there are.
        count: usize,
        /// What they hold.
        found: usize,
        /// What they announce.
        expected: usize,
    },
}

fn listed(parts: &[usize]) -> String {
    let numbers: Vec<_> = parts.iter().map(usize::to_string).collect();
    match parts {
        [_] => format!("part {} is", numbers.join(", ")),
        _ => format!("parts {} are", numbers.join(", ")),
    }
}

impl Split {
    /// Reads `split.*`; `None` for a model in one file.
    pub(super) fn from_metadata(metadata: &Metadata) -> Result<Option<Self>, GgufError> {
        let count = match metadata.u32("split.count").optional()? {
            None | Some(0 | 1) => return Ok(None),
            Some(count) => count as usize,
        };
        // Where addresses have 32 bits, the greatest number has no successor.
        let part = u64::from(metadata.u32("split.no")?) + 1;
        if part > count as u64 || count > MAX_PARTS {
            return Err(SplitError::Number {
                part,
                count: count as u64,
            }
            .into());
        }
        Ok(Some(Self {
            part: part as usize,
            count,
            n_tensors: metadata.u32("split.tensors.count")? as usize,
        }))
    }
}

/// Reads the headers of all parts, which may come in any order, as one.
pub(super) fn join(source: &dyn ModelSource, ends: &[u64]) -> Result<Gguf, GgufError> {
    let n_files = ends.len();
    check_cap(n_files as u64, MAX_PARTS as u64, || {
        "the number of files".to_owned()
    })?;
    let mut parts: Vec<(Split, Gguf)> = Vec::new();
    let mut n_tensors = 0;
    for (file, range) in (1..).zip(ranges(ends)) {
        let mut gguf = read_section(source, range.clone(), file, n_files)?;
        for tensor in &mut gguf.tensors {
            tensor.offset += range.start;
        }
        let Some(split) = gguf.split else {
            if n_files == 1 {
                return Ok(gguf);
            }
            return Err(SplitError::Whole { file, n_files }.into());
        };
        if split.part > 1 {
            gguf.metadata = Metadata::default();
        }
        n_tensors += gguf.tensors.len() as u64;
        check_cap(n_tensors, MAX_TENSOR_COUNT, || {
            "the number of tensors".to_owned()
        })?;
        parts.push((split, gguf));
    }
    check_set(&parts)?;
    check_tensors(&parts)?;
    parts.sort_by_key(|(split, _)| split.part);
    let mut parts = parts.into_iter().map(|(_, gguf)| gguf);
    let first = parts.next().expect("a set has no part missing");
    let tensors = first.tensors.into_iter();
    let tensors = tensors.chain(parts.flat_map(|part| part.tensors)).collect();
    Gguf::new(first.metadata, tensors, source.size_bytes())
}

/// An error says in which file it is, where there are several.
fn read_section(
    source: &dyn ModelSource,
    range: Range<u64>,
    file: usize,
    n_files: usize,
) -> Result<Gguf, GgufError> {
    read_file(&Section { source, range }).map_err(|error| match n_files {
        1 => error,
        _ => GgufError::InFile {
            file,
            n_files,
            source: Box::new(error),
        },
    })
}

fn ranges(ends: &[u64]) -> impl Iterator<Item = Range<u64>> + '_ {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(ends).map(|(start, &end)| start..end)
}

/// Each part is there once, and all know of the same set.
fn check_set(parts: &[(Split, Gguf)]) -> Result<(), SplitError> {
    let expected = majority(parts);
    let mut is_there = vec![false; expected.count];
    for (split, _) in parts {
        if (split.count, split.n_tensors) != (expected.count, expected.n_tensors) {
            return Err(SplitError::Foreign {
                part: split.part,
                found_count: split.count,
                found_tensors: split.n_tensors,
                count: expected.count,
                n_tensors: expected.n_tensors,
            });
        }
        if std::mem::replace(&mut is_there[split.part - 1], true) {
            return Err(SplitError::Twice {
                part: split.part,
                count: split.count,
            });
        }
    }
    let missing: Vec<_> = (1..).zip(&is_there).filter(|&(_, &there)| !there).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(SplitError::Missing {
        missing: missing.into_iter().map(|(part, _)| part).collect(),
        count: expected.count,
    })
}

/// What most parts say, so that the one that differs is the one that is named.
fn majority(parts: &[(Split, Gguf)]) -> Split {
    let key = |split: &Split| (split.count, split.n_tensors);
    let n_alike = |of: &Split| parts.iter().filter(|(s, _)| key(s) == key(of)).count();
    let splits = parts.iter().map(|(split, _)| *split);
    // Of equals the first: `max_by_key` would take the last.
    splits
        .rev()
        .max_by_key(n_alike)
        .expect("a source has one file at least")
}

fn check_tensors(parts: &[(Split, Gguf)]) -> Result<(), SplitError> {
    let mut part_of: HashMap<&str, usize> = HashMap::new();
    for (split, gguf) in parts {
        for tensor in &gguf.tensors {
            if let Some(first) = part_of.insert(&tensor.name, split.part) {
                return Err(SplitError::SharedTensor {
                    tensor: tensor.name.clone(),
                    first: first.min(split.part),
                    second: first.max(split.part),
                });
            }
        }
    }
    let split = parts[0].0;
    if part_of.len() == split.n_tensors {
        return Ok(());
    }
    Err(SplitError::TensorCount {
        count: split.count,
        found: part_of.len(),
        expected: split.n_tensors,
    })
}

/// One file of those that a source holds.
struct Section<'a> {
    source: &'a dyn ModelSource,
    range: Range<u64>,
}

impl ModelSource for Section<'_> {
    fn size_bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.size_bytes()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.source.read_at(self.range.start + offset, buf)
    }
}
