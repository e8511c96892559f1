//! What only a family's name tells: the facts that no metadata key has.
//!
//! # Source
//! llama.cpp, `src/models/`: a family's `load_arch_hparams` and its graph, and
//! `llama_model_rope_type`.

use super::config::{Activation, QkNorm, RopeKind};

/// One family.
pub(super) struct Family {
    /// The name in GGUF.
    pub(super) name: &'static str,
    pub(super) rope_kind: RopeKind,
    pub(super) activation: Activation,
    /// A file without them is not whole; other families' may have them.
    pub(super) needs_qkv_bias: bool,
    pub(super) qk_norm: Option<QkNorm>,
    /// The parts of a layer get a normalised residual stream.
    pub(super) pre_norms: bool,
    /// The parts' results are normalised before they are added.
    pub(super) post_norms: bool,
    /// The feed-forward part's gate and up matrices are one tensor, `ffn_up`.
    pub(super) fused_gate_up: bool,
    /// Embeddings are multiplied by √`n_embd`.
    pub(super) scales_embeddings: bool,
    /// Of so many layers the last has no RoPE.
    pub(super) no_rope_every: Option<usize>,
    pub(super) windows: Windows,
    /// Where some layers have a window, the others have no RoPE.
    pub(super) rope_only_in_windows: bool,
    /// `rope.scaling.finetuned = false` says that there is no RoPE.
    pub(super) rope_can_be_off: bool,
    /// Attention's and the final cap, if the file does not say.
    pub(super) default_logit_caps: Option<(f32, f32)>,
    /// A model with so many layers scales attention by its width, not the head's.
    pub(super) scales_by_width: Option<usize>,
    pub(super) output_norm: &'static str,
    /// Layers without key heads are short convolutions.
    pub(super) has_short_conv: bool,
    /// Queries grow with the position by `attention.temperature_scale`.
    pub(super) has_temperature: bool,
    /// The head's width for which RoPE's base grows with `rope.scaling.alpha`.
    pub(super) has_ntk_alpha: bool,
}

/// Which layers see the last positions only, if the file gives a window.
pub(super) enum Windows {
    /// No layer, whatever the file says.
    None,
    All,
    /// Of every `period` layers all but the last, unless the file has another pattern.
    Pattern {
        period: usize,
        /// The window if the file gives none.
        default: Option<usize>,
        rope: WindowRope,
    },
}

/// RoPE in layers with a window.
#[derive(Clone, Copy)]
pub(super) enum WindowRope {
    /// As everywhere.
    Same,
    /// The same base, no scaling.
    Unscaled,
    /// This base unless the file has another one, and no scaling.
    OwnBase(f32),
}

const LLAMA: Family = Family {
    name: "llama",
    rope_kind: RopeKind::Interleaved,
    activation: Activation::Silu,
    needs_qkv_bias: false,
    qk_norm: None,
    pre_norms: true,
    post_norms: false,
    fused_gate_up: false,
    scales_embeddings: false,
    no_rope_every: None,
    // Mistral 7B of 2023 has a window in all layers; llama.cpp reads past it.
    windows: Windows::All,
    rope_only_in_windows: false,
    rope_can_be_off: false,
    default_logit_caps: None,
    scales_by_width: None,
    output_norm: "output_norm.weight",
    has_short_conv: false,
    has_temperature: false,
    has_ntk_alpha: false,
};

const GEMMA: Family = Family {
    name: "gemma",
    rope_kind: RopeKind::Halves,
    activation: Activation::GeluTanh,
    scales_embeddings: true,
    windows: Windows::None,
    ..LLAMA
};

const OLMO2: Family = Family {
    name: "olmo2",
    rope_kind: RopeKind::Halves,
    qk_norm: Some(QkNorm::AllHeads),
    pre_norms: false,
    post_norms: true,
    windows: Windows::Pattern {
        period: 4,
        default: None,
        rope: WindowRope::Unscaled,
    },
    ..LLAMA
};

pub(super) const FAMILIES: &[Family] = &[
    LLAMA,
    Family {
        name: "smollm3",
        no_rope_every: Some(4),
        windows: Windows::None,
        ..LLAMA
    },
    Family {
        name: "mistral3",
        windows: Windows::None,
        has_temperature: true,
        ..LLAMA
    },
    Family {
        name: "granite",
        rope_can_be_off: true,
        windows: Windows::None,
        ..LLAMA
    },
    Family {
        name: "ernie4_5",
        windows: Windows::None,
        ..LLAMA
    },
    Family {
        name: "glm4",
        post_norms: true,
        fused_gate_up: true,
        windows: Windows::None,
        ..LLAMA
    },
    Family {
        name: "qwen2",
        rope_kind: RopeKind::Halves,
        needs_qkv_bias: true,
        // Files name a window that the models were not trained to use.
        windows: Windows::None,
        ..LLAMA
    },
    Family {
        name: "qwen3",
        rope_kind: RopeKind::Halves,
        qk_norm: Some(QkNorm::EachHead),
        windows: Windows::None,
        ..LLAMA
    },
    GEMMA,
    Family {
        name: "gemma2",
        post_norms: true,
        windows: Windows::Pattern {
            period: 2,
            default: Some(4096),
            rope: WindowRope::Same,
        },
        default_logit_caps: Some((50.0, 30.0)),
        scales_by_width: Some(46),
        ..GEMMA
    },
    Family {
        name: "gemma3",
        qk_norm: Some(QkNorm::EachHead),
        post_norms: true,
        windows: Windows::Pattern {
            period: 6,
            default: None,
            rope: WindowRope::OwnBase(10_000.0),
        },
        scales_by_width: Some(62),
        ..GEMMA
    },
    Family {
        name: "phi3",
        rope_kind: RopeKind::Halves,
        fused_gate_up: true,
        // llama.cpp reads past it; the models were trained with it.
        windows: Windows::All,
        ..LLAMA
    },
    Family {
        name: "lfm2",
        rope_kind: RopeKind::Halves,
        qk_norm: Some(QkNorm::EachHead),
        output_norm: "token_embd_norm.weight",
        has_short_conv: true,
        ..LLAMA
    },
    OLMO2,
    Family {
        name: "exaone",
        rope_kind: RopeKind::Halves,
        windows: Windows::None,
        ..LLAMA
    },
    Family {
        name: "exaone4",
        qk_norm: Some(QkNorm::EachHead),
        windows: Windows::Pattern {
            period: 4,
            default: None,
            rope: WindowRope::Same,
        },
        rope_only_in_windows: true,
        ..OLMO2
    },
    Family {
        name: "hunyuan-dense",
        rope_kind: RopeKind::Halves,
        qk_norm: Some(QkNorm::EachHeadAfterRope),
        windows: Windows::None,
        has_ntk_alpha: true,
        ..LLAMA
    },
];
