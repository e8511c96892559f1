//! The families that candle-transformers runs and the decoder does not, and what a
//! file of each has to be.
//!
//! Candle divides by what the metadata say and leaves out tensors that it does not
//! know, so both are checked here, completely. Of its families of GGUF models
//! `qwen3moe` is not offered: its experts need a GPU. `gemma3`, `glm4`, `lfm2`, `phi3`,
//! `qwen2` and `qwen3` the decoder runs itself; the others are no GGUF as llama.cpp
//! writes it.
//!
//! # Source
//! `quantized_llama.rs` and `quantized_phi.rs` of candle-transformers 0.11.1.

use std::collections::HashSet;

use crate::decoder::ModelError;
use crate::gguf::{Gguf, Metadata, OptionalKey as _, TensorInfo};
use crate::quant::{WeightError, candle_type};

/// Caps on what a file may claim; far above every published model.
const MAX_LAYERS: usize = 1024;
const MAX_EMBD: usize = 1 << 16;
const MAX_FF: usize = 1 << 20;
const MAX_HEADS: usize = 1024;
const MAX_VOCAB: usize = 1 << 22;
const MAX_CTX: usize = 1 << 24;
const MAX_EXPERTS: usize = 1024;

/// What candle knows of a family without its file.
pub(super) struct Family {
    pub(super) architecture: &'static str,
    /// How the family is called where it is not the architecture alone that counts.
    label: &'static str,
    needs_experts: bool,
    eps_key: &'static str,
    tensors: fn(&Sizes, &Gguf) -> Vec<Wanted>,
}

const FAMILIES: &[Family] = &[
    Family {
        architecture: "llama",
        label: "llama with experts",
        needs_experts: true,
        eps_key: "attention.layer_norm_rms_epsilon",
        tensors: llama_tensors,
    },
    Family {
        architecture: "phi2",
        label: "phi2",
        needs_experts: false,
        eps_key: "attention.layer_norm_epsilon",
        tensors: phi2_tensors,
    },
];

/// What candle-transformers is used for, for people.
pub(crate) fn fallback_architectures() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|family| family.label)
}

/// A model's sizes.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) n_layer: usize,
    pub(super) n_embd: usize,
    pub(super) n_head: usize,
    pub(super) n_head_kv: usize,
    pub(super) head_dim: usize,
    pub(super) n_rot: usize,
    pub(super) n_ff: usize,
    pub(super) n_vocab: usize,
    pub(super) n_ctx_train: usize,
    /// 0 where the feed-forward part is one.
    pub(super) n_expert: usize,
    pub(super) n_expert_used: usize,
    pub(super) norm_eps: f32,
    pub(super) freq_base: f32,
}

impl Sizes {
    /// Elements of all query heads together.
    pub(super) fn n_q(&self) -> usize {
        self.n_head * self.head_dim
    }

    /// Elements of all key heads together.
    pub(super) fn n_kv(&self) -> usize {
        self.n_head_kv * self.head_dim
    }
}

/// What candle makes of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Multiplied as it is stored if it is quantised, else as f32.
    Matrix,
    /// Looked up as f32.
    Table,
    /// Added or multiplied as f32.
    Vector,
}

/// A tensor that candle asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    name: String,
    shape: Vec<usize>,
    pub(super) kind: Kind,
    is_required: bool,
    /// The table serves as the head where there is none.
    pub(super) is_head: bool,
}

impl Wanted {
    fn new(name: impl Into<String>, shape: &[usize]) -> Self {
        let name = name.into();
        Self {
            kind: match shape {
                [_] => Kind::Vector,
                _ if name == TABLE => Kind::Table,
                _ => Kind::Matrix,
            },
            is_required: true,
            is_head: name == HEAD,
            name,
            shape: shape.to_vec(),
        }
    }

    fn optional(self) -> Self {
        Self {
            is_required: false,
            ..self
        }
    }
}

const TABLE: &str = "token_embd.weight";
const HEAD: &str = "output.weight";

impl Family {
    /// The family of a file; `None` where candle-transformers is not used for it.
    pub(super) fn of(gguf: &Gguf) -> Result<Option<&'static Self>, ModelError> {
        let architecture = gguf.architecture()?;
        let metadata = gguf.metadata();
        let n_experts = metadata.u32(&format!("{architecture}.expert_count"));
        let has_experts = n_experts.optional()?.is_some_and(|n| n > 0);
        Ok(FAMILIES.iter().find(|family| {
            family.architecture == architecture && family.needs_experts == has_experts
        }))
    }

    /// Reads and checks the metadata.
    pub(super) fn sizes(&self, gguf: &Gguf) -> Result<Sizes, ModelError> {
        let keys = Keys {
            metadata: gguf.metadata(),
            architecture: self.architecture,
        };
        let n_embd = keys.count("embedding_length", MAX_EMBD)?;
        let n_head = keys.count("attention.head_count", MAX_HEADS)?;
        let n_head_kv = keys.count_or("attention.head_count_kv", MAX_HEADS, n_head)?;
        keys.expect(
            "attention.head_count",
            n_head,
            n_embd.is_multiple_of(n_head),
            "a divisor of the embedding's length",
        )?;
        keys.expect(
            "attention.head_count_kv",
            n_head_kv,
            n_head.is_multiple_of(n_head_kv),
            "a divisor of the heads' number",
        )?;
        let head_dim = n_embd / n_head;
        for key in ["attention.key_length", "attention.value_length"] {
            let found = keys.count_or(key, MAX_EMBD, head_dim)?;
            keys.expect(
                key,
                found,
                found == head_dim,
                "the heads' share of the embedding",
            )?;
        }
        let (mut n_expert, mut n_expert_used) = (0, 0);
        if self.needs_experts {
            n_expert = keys.count("expert_count", MAX_EXPERTS)?;
            keys.expect("expert_count", n_expert, n_expert > 1, "2 or more")?;
            n_expert_used = keys.count("expert_used_count", n_expert)?;
        }
        let sizes = Sizes {
            n_layer: keys.count("block_count", MAX_LAYERS)?,
            n_embd,
            n_head,
            n_head_kv,
            head_dim,
            n_rot: keys.count_or("rope.dimension_count", head_dim, head_dim)?,
            n_ff: keys.count("feed_forward_length", MAX_FF)?,
            n_vocab: n_vocab(self.architecture, gguf)?,
            n_ctx_train: keys.count("context_length", MAX_CTX)?,
            n_expert,
            n_expert_used,
            norm_eps: keys.positive(self.eps_key, None)?,
            freq_base: keys.positive("rope.freq_base", Some(10_000.0))?,
        };
        self.check_what_candle_takes_for_granted(&keys, &sizes)?;
        Ok(sizes)
    }

    fn check_what_candle_takes_for_granted(
        &self,
        keys: &Keys<'_>,
        sizes: &Sizes,
    ) -> Result<(), ModelError> {
        let n_rot = sizes.n_rot;
        if self.architecture == "llama" {
            let is_whole = n_rot == sizes.head_dim;
            keys.expect("rope.dimension_count", n_rot, is_whole, "the head's length")?;
        }
        let is_even = n_rot.is_multiple_of(2);
        keys.expect("rope.dimension_count", n_rot, is_even, "even")?;
        if self.architecture == "phi2" {
            let (n_kv, is_taken) = (sizes.n_head_kv, sizes.n_head_kv == sizes.n_head);
            keys.expect(
                "attention.head_count_kv",
                n_kv,
                is_taken,
                "the heads' number",
            )?;
            keys.refuse("rope.freq_base", |base| base == "10000")?;
        }
        keys.refuse("rope.scaling.type", |kind| kind == "none")?;
        keys.refuse("rope.scale_linear", |scale| scale == "1")?;
        keys.refuse("rope.dimension_sections", |_| false)?;
        keys.refuse("attention.scale", |_| false)?;
        keys.refuse("attn_logit_softcapping", |_| false)?;
        keys.refuse("final_logit_softcapping", |_| false)
    }
}

fn n_vocab(architecture: &'static str, gguf: &Gguf) -> Result<usize, ModelError> {
    let missing = || ModelError::MissingTensor {
        tensor: TABLE.to_owned(),
        architecture,
    };
    match gguf.tensor(TABLE).ok_or_else(missing)?.shape.first() {
        Some(&n_vocab) if n_vocab <= MAX_VOCAB => Ok(n_vocab),
        found => Err(ModelError::OutOfRange {
            key: format!("the number of rows of {TABLE}"),
            found: format!("{found:?}"),
            expected: format!("at most {MAX_VOCAB}"),
        }),
    }
}

/// What candle asks for and the file has, checked.
///
/// # Errors
/// A tensor is missing, is not used, or has the wrong shape or type.
pub(super) fn plan(
    family: &'static Family,
    sizes: &Sizes,
    gguf: &Gguf,
) -> Result<Vec<(Wanted, TensorInfo)>, ModelError> {
    let architecture = family.architecture;
    let mut planned = Vec::new();
    for wanted in (family.tensors)(sizes, gguf) {
        let Some(tensor) = gguf.tensor(&wanted.name) else {
            if wanted.is_required {
                return Err(ModelError::MissingTensor {
                    tensor: wanted.name,
                    architecture,
                });
            }
            continue;
        };
        check_tensor(&wanted, tensor)?;
        planned.push((wanted, tensor.clone()));
    }
    let used: HashSet<&str> = planned.iter().map(|(_, tensor)| &*tensor.name).collect();
    let mut unused = gguf.tensors().iter().filter(|tensor| {
        // Constants that say nothing new.
        !used.contains(&*tensor.name) && !tensor.name.ends_with(".attn_rot_embd")
    });
    match unused.next() {
        None => Ok(planned),
        Some(tensor) => Err(ModelError::UnexpectedTensor {
            tensor: tensor.name.clone(),
            architecture,
        }),
    }
}

fn check_tensor(wanted: &Wanted, tensor: &TensorInfo) -> Result<(), ModelError> {
    if tensor.shape != wanted.shape {
        return Err(ModelError::Weight(WeightError::WrongShape {
            tensor: tensor.name.clone(),
            found: tensor.shape.clone(),
            expected: wanted.shape.clone(),
        }));
    }
    match candle_type(tensor.quant) {
        Some(_) => Ok(()),
        None => Err(WeightError::UnsupportedQuantization {
            tensor: tensor.name.clone(),
            found: tensor.quant,
        }
        .into()),
    }
}

fn llama_tensors(sizes: &Sizes, gguf: &Gguf) -> Vec<Wanted> {
    let mut wanted = ends(sizes);
    let (n_embd, n_ff, n_expert) = (sizes.n_embd, sizes.n_ff, sizes.n_expert);
    for idx in 0..sizes.n_layer {
        let name = |suffix: &str| format!("blk.{idx}.{suffix}.weight");
        wanted.extend([
            Wanted::new(name("attn_norm"), &[n_embd]),
            Wanted::new(name("attn_q"), &[n_embd, n_embd]),
            Wanted::new(name("attn_k"), &[sizes.n_kv(), n_embd]),
            Wanted::new(name("attn_v"), &[sizes.n_kv(), n_embd]),
            Wanted::new(name("attn_output"), &[n_embd, n_embd]),
            Wanted::new(name("ffn_norm"), &[n_embd]),
            Wanted::new(name("ffn_gate_inp"), &[n_expert, n_embd]),
        ]);
        for (part, n_rows, n_cols) in [
            ("ffn_gate", n_ff, n_embd),
            ("ffn_up", n_ff, n_embd),
            ("ffn_down", n_embd, n_ff),
        ] {
            let together = name(&format!("{part}_exps"));
            if gguf.tensor(&together).is_some() {
                wanted.push(Wanted::new(together, &[n_expert, n_rows, n_cols]));
                continue;
            }
            for expert in 0..n_expert {
                let one = name(&format!("{part}.{expert}"));
                wanted.push(Wanted::new(one, &[n_rows, n_cols]));
            }
        }
    }
    wanted
}

fn phi2_tensors(sizes: &Sizes, _: &Gguf) -> Vec<Wanted> {
    let (n_embd, n_ff) = (sizes.n_embd, sizes.n_ff);
    let mut wanted = vec![Wanted::new(TABLE, &[sizes.n_vocab, n_embd])];
    let mut with_bias = |name: String, shape: &[usize]| {
        wanted.push(Wanted::new(format!("{name}.weight"), shape));
        wanted.push(Wanted::new(format!("{name}.bias"), &shape[..1]));
    };
    with_bias("output_norm".to_owned(), &[n_embd]);
    with_bias("output".to_owned(), &[sizes.n_vocab, n_embd]);
    for idx in 0..sizes.n_layer {
        for (suffix, shape) in [
            ("attn_norm", &[n_embd][..]),
            ("attn_qkv", &[3 * n_embd, n_embd]),
            ("attn_output", &[n_embd, n_embd]),
            ("ffn_up", &[n_ff, n_embd]),
            ("ffn_down", &[n_embd, n_ff]),
        ] {
            with_bias(format!("blk.{idx}.{suffix}"), shape);
        }
    }
    wanted
}

/// The table, the last norm, and a head if there is one.
fn ends(sizes: &Sizes) -> Vec<Wanted> {
    vec![
        Wanted::new(TABLE, &[sizes.n_vocab, sizes.n_embd]),
        Wanted::new("output_norm.weight", &[sizes.n_embd]),
        Wanted::new(HEAD, &[sizes.n_vocab, sizes.n_embd]).optional(),
    ]
}

/// A family's keys: `phi2.block_count` is `block_count` here.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'static str,
}

impl Keys<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// A number from 1 to `cap`.
    fn count(&self, key: &str, cap: usize) -> Result<usize, ModelError> {
        let found = self.metadata.u32(&self.full(key))? as usize;
        let is_in_range = (1..=cap).contains(&found);
        self.expect(key, found, is_in_range, &format!("between 1 and {cap}"))?;
        Ok(found)
    }

    fn count_or(&self, key: &str, cap: usize, default: usize) -> Result<usize, ModelError> {
        match self.metadata.get(&self.full(key)) {
            None => Ok(default),
            Some(_) => self.count(key, cap),
        }
    }

    fn positive(&self, key: &str, default: Option<f32>) -> Result<f32, ModelError> {
        let key = self.full(key);
        let found = match (self.metadata.f32(&key).optional()?, default) {
            (Some(found), _) => found,
            (None, Some(default)) => default,
            (None, None) => self.metadata.f32(&key)?,
        };
        if found > 0.0 && found.is_finite() {
            return Ok(found);
        }
        Err(ModelError::OutOfRange {
            key,
            found: found.to_string(),
            expected: "positive and finite".to_owned(),
        })
    }

    fn expect(
        &self,
        key: &str,
        found: usize,
        is_expected: bool,
        expected: &str,
    ) -> Result<(), ModelError> {
        if is_expected {
            return Ok(());
        }
        Err(ModelError::OutOfRange {
            key: self.full(key),
            found: found.to_string(),
            expected: expected.to_owned(),
        })
    }

    /// What candle would not notice.
    fn refuse(&self, key: &str, is_harmless: impl Fn(&str) -> bool) -> Result<(), ModelError> {
        let key = self.full(key);
        let found = match self.metadata.get(&key) {
            None => return Ok(()),
            Some(_) => match (self.metadata.str(&key), self.metadata.f32(&key)) {
                (Ok(text), _) => text.to_owned(),
                (_, Ok(number)) => number.to_string(),
                _ => "set".to_owned(),
            },
        };
        if is_harmless(&found) {
            return Ok(());
        }
        Err(ModelError::UnsupportedFeature {
            key,
            found,
            supported: "models without it, as this kind runs through candle-transformers",
        })
    }
}
