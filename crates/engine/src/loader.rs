//! From a file to a [`Model`], in bounded steps.
//!
//! The header is read and everything in it checked first, memory is estimated
//! before any is taken, and then tensors go from the source straight to where
//! they stay. Between two steps the caller may do as it likes: show progress,
//! answer messages, give up.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::checksum::{Checksum, Summed};
use crate::context::MAX_LOGITS;
use crate::decoder::{
    Decoder, KvType, ModelConfig, ModelError, PlannedTensor, Scratch, assemble, memory_size_bytes,
    plan, supported_architectures,
};
use crate::error::EngineError;
use crate::fallback::{self, Fallback, fallback_architectures};
use crate::gguf::Gguf;
use crate::lane::{CpuLane, Lane};
use crate::model::{Compute, Model};
use crate::quant::{PendingWeight, Weight};
use crate::source::ModelSource;
use crate::template::{ChatTemplate, TemplateError};
use crate::tokenizer::{Tokenizer, TokenizerBuilder};

/// The context length if none is asked for: enough for a chat, and 0.1–0.5 GB of
/// keys and values for models of 1–3 billion parameters.
pub const DEFAULT_N_CTX: usize = 4096;

/// The shortest context that loading falls back to when memory is short.
const MIN_N_CTX: usize = 512;

/// What one step reads at most.
const STEP_BYTES: usize = 8 << 20;

/// What sampling keeps of a token while it chooses: a candidate with its logit and its
/// weight, the logit with penalties, and the id if not all are allowed.
pub(crate) const SAMPLED_TOKEN_BYTES: u64 = 20;

/// What replies that are held to a schema take on top of the estimate, at most: the
/// vocabulary for grammars of a model with 150,000 tokens, and one reply's lexer.
#[cfg(target_pointer_width = "32")]
const STRUCTURED_REPLY_BYTES: u64 = 50 << 20;

/// The memory limit if none is given: on WebAssembly the address space (a shared
/// memory has half of it) less room for the rest of the program and for structured
/// replies, elsewhere none.
#[cfg(target_pointer_width = "32")]
const DEFAULT_MEMORY_LIMIT_BYTES: u64 = if cfg!(target_feature = "atomics") {
    (1792 << 20) - STRUCTURED_REPLY_BYTES
} else {
    (3584 << 20) - STRUCTURED_REPLY_BYTES
};
/// See above.
#[cfg(not(target_pointer_width = "32"))]
const DEFAULT_MEMORY_LIMIT_BYTES: u64 = u64::MAX;

/// How a model is loaded.
#[derive(Clone, Default)]
pub struct LoadOptions {
    /// The tokens that a context holds at most. By default the lesser of what the
    /// model was trained for and [`DEFAULT_N_CTX`], or less where memory is short.
    pub n_ctx: Option<usize>,
    /// How keys and values are stored.
    pub kv_type: KvType,
    /// Where the model computes; by default the CPU, natively on all physical cores.
    pub lane: Option<Rc<dyn Lane>>,
    /// What the model may take in all, by [`MemoryEstimate::total_bytes`].
    pub memory_limit_bytes: Option<u64>,
}

/// What a model takes, with one context filled to the last token. Replies that are held
/// to a schema take up to 50 MB more, for the vocabulary as their grammar wants it and
/// for the grammar's states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// The weights, as large as in the file.
    pub weights_bytes: u64,
    /// Keys and values, and what short convolutions remember.
    pub kv_bytes: u64,
    /// Intermediate results, logits and what sampling sorts.
    pub scratch_bytes: u64,
    /// The tokenizer and what it is made from.
    pub vocabulary_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

/// Estimates what a model takes with contexts of `n_ctx` tokens.
pub fn memory_estimate(
    gguf: &Gguf,
    config: &ModelConfig,
    n_ctx: usize,
    kv_type: KvType,
) -> MemoryEstimate {
    let weights_bytes: u64 = gguf.tensors().iter().map(|tensor| tensor.size_bytes).sum();
    let kv_bytes = memory_size_bytes(config, kv_type, n_ctx);
    let n_vocab = config.n_vocab as u64;
    let more_logits_bytes = (MAX_LOGITS as u64 - 1) * 4 * n_vocab;
    let scratch_bytes =
        Scratch::size_bytes(config) + more_logits_bytes + SAMPLED_TOKEN_BYTES * n_vocab;
    MemoryEstimate::new(gguf, weights_bytes, kv_bytes, scratch_bytes)
}

impl MemoryEstimate {
    /// Adds the vocabulary to what a decoder takes, and everything up.
    pub(crate) fn new(gguf: &Gguf, weights_bytes: u64, kv_bytes: u64, scratch_bytes: u64) -> Self {
        let vocabulary_bytes = vocabulary_bytes(gguf);
        let parts = [weights_bytes, kv_bytes, scratch_bytes, vocabulary_bytes];
        Self {
            weights_bytes,
            kv_bytes,
            scratch_bytes,
            vocabulary_bytes,
            total_bytes: parts.into_iter().fold(0, u64::saturating_add),
        }
    }
}

/// What a tokenizer takes together with the header that it is made from: its tables, as
/// they are laid out, and each token's text twice, as it is spelled and as it is read, in
/// vocabularies whose tokens have seven bytes on average.
pub fn vocabulary_bytes(gguf: &Gguf) -> u64 {
    /// Two texts with their ends, a kind, a score, and up to three places in a table.
    const TOKEN_BYTES: u64 = 2 * (7 + 4) + 1 + 4 + 12;
    /// Three ids, and up to three places in a table.
    const MERGE_BYTES: u64 = 12 + 12;
    let weights_bytes: u64 = gguf.tensors().iter().map(|tensor| tensor.size_bytes).sum();
    let header_bytes = gguf.file_size_bytes().saturating_sub(weights_bytes);
    let count = |key: &str| {
        let array = gguf.metadata().str_array(key);
        array.map_or(0, |array| array.len() as u64)
    };
    let (n_tokens, n_merges) = (
        count("tokenizer.ggml.tokens"),
        count("tokenizer.ggml.merges"),
    );
    header_bytes + TOKEN_BYTES * n_tokens + MERGE_BYTES * n_merges
}

/// What a step has done.
#[derive(Debug)]
pub enum LoadStep {
    /// There is more to do.
    Progress {
        /// Bytes of tensors read so far.
        done_bytes: u64,
        /// Bytes of tensors in all.
        total_bytes: u64,
    },
    /// The model is ready; no further step may be taken.
    Done(Box<Model>),
}

/// A model on its way into memory.
pub struct ModelLoader<S> {
    source: S,
    /// Of everything that was read.
    sum: RefCell<Checksum>,
    options: LoadOptions,
    header: Option<Header>,
    n_ctx: usize,
    memory: MemoryEstimate,
    planned: std::vec::IntoIter<PlannedTensor>,
    pending: Option<PendingWeight>,
    loaded: HashMap<String, Weight>,
    done_bytes: u64,
    total_bytes: u64,
}

fn check_kv_type(description: &Description, kv_type: KvType) -> Result<(), EngineError> {
    let reason = match description {
        Description::Own(config) if !kv_type.supports(config.head_dim) => format!(
            "this model's heads have {} elements, no multiple of 32",
            config.head_dim
        ),
        // It keeps keys and values in its own way, and in blocks it can't.
        Description::Candle(_) if kv_type == KvType::Q8 => {
            "candle-transformers, which runs this model, has no other".to_owned()
        }
        _ => return Ok(()),
    };
    Err(EngineError::InvalidOption {
        field: "kv_type",
        found: format!("{kv_type:?}").to_lowercase(),
        expected: format!("f16, as {reason}"),
    })
}

/// What the file says besides its tensors.
struct Header {
    gguf: Gguf,
    description: Description,
    words: Words,
}

/// What the model is, as that which will compute it wants to know.
enum Description {
    Own(Box<ModelConfig>),
    Candle(Box<fallback::Plan>),
}

impl Description {
    /// Asks the decoder first. Where neither runs the model, the error names what is
    /// missing, and what there is.
    fn from_gguf(gguf: &Gguf) -> Result<(Self, Vec<PlannedTensor>), ModelError> {
        let own = ModelConfig::from_gguf(gguf)
            .and_then(|config| Ok((plan(gguf, &config)?, config)))
            .map(|(planned, config)| (Self::Own(Box::new(config)), planned));
        match own {
            Err(ModelError::UnsupportedArchitecture { found, supported }) => {
                match fallback::Plan::from_gguf(gguf)? {
                    Some(plan) => Ok((Self::Candle(Box::new(plan)), Vec::new())),
                    None => Err(ModelError::UnsupportedArchitecture {
                        found,
                        supported: with_fallback(&supported),
                    }),
                }
            }
            Err(error @ ModelError::UnsupportedFeature { .. }) => {
                match fallback::Plan::from_gguf(gguf)? {
                    Some(plan) => Ok((Self::Candle(Box::new(plan)), Vec::new())),
                    None => Err(error),
                }
            }
            outcome => outcome,
        }
    }

    fn n_vocab(&self) -> usize {
        match self {
            Self::Own(config) => config.n_vocab,
            Self::Candle(plan) => plan.n_vocab(),
        }
    }

    fn n_ctx_max(&self) -> usize {
        match self {
            Self::Own(config) => config.n_ctx_train,
            Self::Candle(plan) => plan.n_ctx_max(),
        }
    }

    fn memory_estimate(&self, gguf: &Gguf, n_ctx: usize, kv_type: KvType) -> MemoryEstimate {
        match self {
            Self::Own(config) => memory_estimate(gguf, config, n_ctx, kv_type),
            Self::Candle(plan) => plan.memory_estimate(gguf, n_ctx),
        }
    }
}

/// Whether models of the file's architecture are run at all, which may be asked before
/// all parts of a split model are there.
///
/// # Errors
/// They are not, or the file does not say.
pub fn check_architecture(gguf: &Gguf) -> Result<(), ModelError> {
    let found = gguf.architecture()?;
    let is_own = supported_architectures().any(|own| own == found);
    if is_own || fallback::is_of_family(gguf)? {
        return Ok(());
    }
    Err(ModelError::UnsupportedArchitecture {
        found: found.to_owned(),
        supported: with_fallback(&supported_architectures().collect::<Vec<_>>().join(", ")),
    })
}

fn with_fallback(own: &str) -> String {
    let fallback: Vec<_> = fallback_architectures().collect();
    format!(
        "{own}; through candle-transformers: {}",
        fallback.join(", ")
    )
}

/// What is made of the header's text, step by step.
enum Words {
    Tokenizer(Box<TokenizerBuilder>),
    Template(Box<Tokenizer>),
    /// The template is missing in base models: they can complete text, and say so when
    /// asked to chat.
    Done(Box<Tokenizer>, Option<Box<ChatTemplate>>),
}

impl<S: ModelSource> ModelLoader<S> {
    /// Reads and checks the header; takes no memory for tensors yet.
    ///
    /// # Errors
    /// The file is not sound, its model is not supported, an option does not fit
    /// it, or it would take more memory than there may be.
    pub fn new(source: S, options: LoadOptions) -> Result<Self, EngineError> {
        let sum = RefCell::new(Checksum::new());
        let gguf = Gguf::read(&Summed::new(&source, &sum))?;
        let (description, planned) = Description::from_gguf(&gguf)?;
        check_kv_type(&description, options.kv_type)?;
        // Before the vocabulary is made into anything.
        if let Ok(tokens) = gguf.metadata().str_array("tokenizer.ggml.tokens") {
            check_vocabulary(tokens.len(), description.n_vocab())?;
        }
        let n_ctx = choose_n_ctx(&gguf, &description, &options)?;
        let memory = description.memory_estimate(&gguf, n_ctx, options.kv_type);
        let total_bytes = match &description {
            Description::Own(_) => planned
                .iter()
                .map(|planned| planned.tensor.size_bytes)
                .sum(),
            Description::Candle(plan) => plan.file_bytes(),
        };
        Ok(Self {
            source,
            sum,
            options,
            header: Some(Header {
                gguf,
                description,
                words: Words::Tokenizer(Box::default()),
            }),
            n_ctx,
            memory,
            planned: planned.into_iter(),
            pending: None,
            loaded: HashMap::new(),
            done_bytes: 0,
            total_bytes,
        })
    }

    /// The context length that the model will have.
    pub fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// What the model will take.
    pub fn memory_estimate(&self) -> MemoryEstimate {
        self.memory
    }

    /// Does one bounded piece of what can be checked without the weights, which is
    /// what the first steps do as well. `true` when nothing of it is left.
    ///
    /// # Errors
    /// The tokenizer or the template is broken; the loader is of no use any more.
    ///
    /// # Panics
    /// The model is done already.
    pub fn check_step(&mut self) -> Result<bool, EngineError> {
        let header = self.header.as_mut().expect("the model is done already");
        let fresh = Words::Tokenizer(Box::default());
        header.words = match std::mem::replace(&mut header.words, fresh) {
            Words::Tokenizer(mut builder) => match builder.step(&header.gguf)? {
                None => Words::Tokenizer(builder),
                Some(tokenizer) => {
                    check_vocabulary(tokenizer.n_vocab(), header.description.n_vocab())?;
                    Words::Template(Box::new(tokenizer))
                }
            },
            Words::Template(tokenizer) => match ChatTemplate::from_gguf(&header.gguf) {
                Ok(template) => Words::Done(tokenizer, Some(Box::new(template))),
                Err(TemplateError::Missing) => Words::Done(tokenizer, None),
                Err(error) => return Err(error.into()),
            },
            done @ Words::Done(..) => done,
        };
        Ok(matches!(header.words, Words::Done(..)))
    }

    /// The header and the template, for who wants no model.
    ///
    /// # Panics
    /// [`Self::check_step`] has not said that nothing is left, or the model is done.
    pub fn into_checked(self) -> (Gguf, Option<ChatTemplate>) {
        match self.header {
            Some(Header {
                gguf,
                words: Words::Done(_, template),
                ..
            }) => (gguf, template.map(|template| *template)),
            _ => panic!("the file is not checked"),
        }
    }

    /// Does one bounded piece: a part of the tokenizer, the template, or some megabytes
    /// of weights. What candle-transformers will compute, it reads in one piece.
    ///
    /// # Errors
    /// The source fails (the step may be taken again), the tokenizer or template is
    /// broken, or there is no memory.
    ///
    /// # Panics
    /// The model is done already.
    pub fn step(&mut self) -> Result<LoadStep, EngineError> {
        let header = self.header.as_ref().expect("the model is done already");
        if !matches!(header.words, Words::Done(..)) {
            self.check_step()?;
            return Ok(self.progress());
        }
        if self.pending.is_none() {
            let Some(next) = self.planned.next() else {
                return self.finish();
            };
            self.pending = Some(PendingWeight::new(&next.tensor, next.n_rows, next.n_cols)?);
        }
        let lane = self.lane()?;
        if let Some(pending) = &mut self.pending {
            let source = Summed::new(&self.source, &self.sum);
            self.done_bytes += pending.read_more(&source, STEP_BYTES, &*lane)? as u64;
        }
        if let Some(complete) = self.pending.take_if(|pending| pending.missing_bytes() == 0) {
            let weight = complete.finish();
            self.loaded.insert(weight.name().to_owned(), weight);
        }
        Ok(self.progress())
    }

    /// Takes all remaining steps at once.
    ///
    /// # Errors
    /// As for [`Self::step`].
    pub fn load(mut self) -> Result<Model, EngineError> {
        loop {
            if let LoadStep::Done(model) = self.step()? {
                return Ok(*model);
            }
        }
    }

    /// Where the model is to compute: its threads load it as well.
    fn lane(&mut self) -> Result<Rc<dyn Lane>, EngineError> {
        let lane = match self.options.lane.take() {
            Some(lane) => lane,
            None => default_lane()?,
        };
        self.options.lane = Some(Rc::clone(&lane));
        Ok(lane)
    }

    fn progress(&self) -> LoadStep {
        LoadStep::Progress {
            done_bytes: self.done_bytes,
            total_bytes: self.total_bytes,
        }
    }

    fn finish(&mut self) -> Result<LoadStep, EngineError> {
        // What may fail and be tried again comes first.
        let lane = self.lane()?;
        let header = self.header.as_ref().expect("the model is done already");
        let candle = match &header.description {
            Description::Own(_) => None,
            Description::Candle(plan) => Some(plan.read(&self.source)?),
        };
        let header = self.header.take().expect("it was there just now");
        let Words::Done(tokenizer, template) = header.words else {
            unreachable!("weights are read after everything else");
        };
        let compute = match (header.description, candle) {
            (Description::Candle(plan), Some(weights)) => {
                Compute::Candle(Fallback::new(plan, weights))
            }
            (Description::Candle(_), None) => unreachable!("it was read just now"),
            (Description::Own(config), _) => {
                let weights = assemble(&config, std::mem::take(&mut self.loaded), self.n_ctx)?;
                Compute::Own(Decoder::new(*config, weights))
            }
        };
        Ok(LoadStep::Done(Box::new(Model::new(
            compute,
            *tokenizer,
            template.map(|template| *template),
            lane,
            self.n_ctx,
            self.options.kv_type,
            self.sum.replace(Checksum::new()).finish(),
        ))))
    }
}

fn check_vocabulary(n_tokens: usize, n_rows: usize) -> Result<(), EngineError> {
    if n_tokens == n_rows {
        return Ok(());
    }
    Err(ModelError::VocabularyMismatch { n_tokens, n_rows }.into())
}

#[cfg(not(target_arch = "wasm32"))]
fn default_lane() -> Result<Rc<dyn Lane>, EngineError> {
    let lane = CpuLane::with_threads(crate::pool::default_threads());
    Ok(Rc::new(lane.map_err(EngineError::Threads)?))
}

#[cfg(target_arch = "wasm32")]
fn default_lane() -> Result<Rc<dyn Lane>, EngineError> {
    Ok(Rc::new(CpuLane::single_threaded()))
}

/// The context length asked for, or the longest that memory allows.
fn choose_n_ctx(
    gguf: &Gguf,
    description: &Description,
    options: &LoadOptions,
) -> Result<usize, EngineError> {
    let n_ctx_max = description.n_ctx_max();
    let limit_bytes = options
        .memory_limit_bytes
        .unwrap_or(DEFAULT_MEMORY_LIMIT_BYTES);
    let mut n_ctx = match options.n_ctx {
        Some(n_ctx) if (1..=n_ctx_max).contains(&n_ctx) => n_ctx,
        Some(n_ctx) => {
            return Err(EngineError::InvalidOption {
                field: "n_ctx",
                found: n_ctx.to_string(),
                expected: format!("between 1 and the model's {n_ctx_max}"),
            });
        }
        None => n_ctx_max.min(DEFAULT_N_CTX),
    };
    loop {
        let estimate = description.memory_estimate(gguf, n_ctx, options.kv_type);
        let needed_bytes = estimate.total_bytes;
        if needed_bytes <= limit_bytes {
            return Ok(n_ctx);
        }
        if options.n_ctx.is_some() || n_ctx / 2 < MIN_N_CTX {
            return Err(EngineError::NotEnoughMemory {
                needed_bytes,
                limit_bytes,
                n_ctx,
            });
        }
        n_ctx /= 2;
    }
}
