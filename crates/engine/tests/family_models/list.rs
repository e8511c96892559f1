//! The models, a family after the other.

use super::{FamilyModel, Layout};
use nox_engine::gguf::GgmlType;

const LLAMA: FamilyModel = FamilyModel {
    name: "llama",
    architecture: "llama",
    quant: GgmlType::F32,
    n_ctx: 512,
    n_layer: 3,
    n_embd: 64,
    n_ff: 96,
    n_head: 4,
    n_head_kv: 2,
    head_dim: 16,
    has_output: false,
    layout: NOTHING,
    metadata: |_, writer| writer,
};

const NOTHING: Layout = Layout {
    qkv_bias: false,
    output_bias: false,
    ffn_bias: false,
    qk_norms: None,
    no_pre_norms: false,
    post_norms: false,
    fused_qkv: false,
    fused_gate_up: false,
    rope_freqs: false,
    long_factors: None,
    attention_every: None,
};

const PHI3: FamilyModel = FamilyModel {
    name: "phi3",
    architecture: "phi3",
    has_output: true,
    layout: Layout {
        fused_qkv: true,
        fused_gate_up: true,
        ..NOTHING
    },
    ..LLAMA
};

const PHI3_LONG: FamilyModel = FamilyModel {
    name: "phi3-long",
    layout: Layout {
        long_factors: Some(6),
        ..PHI3.layout
    },
    // Part of a head is rotated, as in Phi-4 mini.
    metadata: |_, writer| {
        writer
            .u32("phi3.rope.dimension_count", 12)
            .u32("phi3.rope.scaling.original_context_length", 256)
            .f32("phi3.rope.scaling.attn_factor", 1.19)
            .u32("phi3.attention.sliding_window", 0)
    },
    ..PHI3
};

const GEMMA2: FamilyModel = FamilyModel {
    name: "gemma2",
    architecture: "gemma2",
    n_layer: 4,
    layout: Layout {
        post_norms: true,
        ..NOTHING
    },
    metadata: |_, writer| {
        writer
            .u32("gemma2.attention.sliding_window", 20)
            .f32("gemma2.attn_logit_softcapping", 3.0)
            .f32("gemma2.final_logit_softcapping", 6.0)
    },
    ..LLAMA
};

const GEMMA3: FamilyModel = FamilyModel {
    name: "gemma3-linear",
    architecture: "gemma3",
    n_layer: 7,
    layout: Layout {
        qk_norms: Some((16, 16)),
        post_norms: true,
        ..NOTHING
    },
    metadata: |_, writer| {
        writer
            .u32("gemma3.attention.sliding_window", 20)
            .f32("gemma3.rope.freq_base", 1e6)
            .str("gemma3.rope.scaling.type", "linear")
            .f32("gemma3.rope.scaling.factor", 8.0)
    },
    ..LLAMA
};

const LFM2: FamilyModel = FamilyModel {
    name: "lfm2",
    architecture: "lfm2",
    n_layer: 6,
    layout: Layout {
        qk_norms: Some((16, 16)),
        attention_every: Some(3),
        ..NOTHING
    },
    metadata: |_, writer| writer.u32("lfm2.shortconv.l_cache", 3),
    ..LLAMA
};

const OLMO2: FamilyModel = FamilyModel {
    name: "olmo2",
    architecture: "olmo2",
    has_output: true,
    layout: Layout {
        qk_norms: Some((64, 32)),
        no_pre_norms: true,
        post_norms: true,
        ..NOTHING
    },
    ..LLAMA
};

const EXAONE4: FamilyModel = FamilyModel {
    name: "exaone4",
    architecture: "exaone4",
    layout: Layout {
        qk_norms: Some((16, 16)),
        no_pre_norms: true,
        post_norms: true,
        rope_freqs: true,
        ..NOTHING
    },
    ..LLAMA
};

const YARN: super::Metadata = |arch, writer| {
    writer
        .str(&format!("{arch}.rope.scaling.type"), "yarn")
        .f32(&format!("{arch}.rope.scaling.factor"), 8.0)
        .u32(&format!("{arch}.rope.scaling.original_context_length"), 64)
};

/// Every model, each at most as long as its name says.
pub fn family_models() -> Vec<FamilyModel> {
    vec![
        FamilyModel {
            name: "llama-biases",
            has_output: true,
            layout: Layout {
                qkv_bias: true,
                output_bias: true,
                ffn_bias: true,
                ..NOTHING
            },
            ..LLAMA
        },
        FamilyModel {
            name: "llama-linear",
            metadata: |_, writer| {
                writer
                    .str("llama.rope.scaling.type", "linear")
                    .f32("llama.rope.scaling.factor", 4.0)
            },
            ..LLAMA
        },
        FamilyModel {
            name: "llama-yarn",
            metadata: YARN,
            ..LLAMA
        },
        FamilyModel {
            name: "smollm3",
            architecture: "smollm3",
            n_layer: 5,
            ..LLAMA
        },
        FamilyModel {
            name: "mistral3",
            architecture: "mistral3",
            metadata: |arch, writer| {
                YARN(arch, writer)
                    .f32("mistral3.rope.scaling.yarn_beta_fast", 16.0)
                    .f32("mistral3.rope.scaling.yarn_beta_slow", 2.0)
                    .f32("mistral3.rope.scaling.yarn_log_multiplier", 0.5)
                    .f32("mistral3.attention.temperature_scale", 0.3)
            },
            ..LLAMA
        },
        FamilyModel {
            name: "qwen2-yarn",
            architecture: "qwen2",
            layout: Layout {
                qkv_bias: true,
                ..NOTHING
            },
            metadata: YARN,
            ..LLAMA
        },
        FamilyModel {
            name: "qwen3-wide-heads",
            architecture: "qwen3",
            head_dim: 32,
            has_output: true,
            layout: Layout {
                qk_norms: Some((32, 32)),
                ..NOTHING
            },
            ..LLAMA
        },
        FamilyModel {
            name: "gemma",
            architecture: "gemma",
            head_dim: 32,
            ..LLAMA
        },
        GEMMA2,
        // Scales attention by the width, and has the usual caps and window.
        FamilyModel {
            name: "gemma2-46-layers",
            n_layer: 46,
            n_embd: 32,
            n_ff: 32,
            metadata: |_, writer| writer,
            ..GEMMA2
        },
        GEMMA3,
        FamilyModel {
            name: "gemma3-pattern",
            n_layer: 4,
            metadata: |_, writer| {
                writer
                    .u32("gemma3.attention.sliding_window", 20)
                    .u32("gemma3.attention.sliding_window_pattern", 2)
                    .f32("gemma3.rope.freq_base_swa", 5000.0)
                    .f32("gemma3.final_logit_softcapping", 6.0)
            },
            ..GEMMA3
        },
        PHI3,
        FamilyModel {
            name: "phi3-q8_0",
            quant: GgmlType::Q8_0,
            ..PHI3
        },
        FamilyModel {
            name: "phi3-short",
            n_ctx: 256,
            ..PHI3_LONG
        },
        PHI3_LONG,
        LFM2,
        FamilyModel {
            name: "lfm2-q4_0",
            quant: GgmlType::Q4_0,
            ..LFM2
        },
        FamilyModel {
            name: "granite",
            architecture: "granite",
            metadata: |_, writer| {
                writer
                    .f32("granite.embedding_scale", 3.0)
                    .f32("granite.residual_scale", 0.4)
                    .f32("granite.attention.scale", 0.15)
                    .f32("granite.logit_scale", 4.0)
            },
            ..LLAMA
        },
        FamilyModel {
            name: "granite-without-rope",
            architecture: "granite",
            metadata: |_, writer| {
                writer
                    .f32("granite.logit_scale", 2.0)
                    .bool("granite.rope.scaling.finetuned", false)
            },
            ..LLAMA
        },
        OLMO2,
        FamilyModel {
            name: "olmo2-window",
            n_layer: 5,
            metadata: |arch, writer| YARN(arch, writer).u32("olmo2.attention.sliding_window", 20),
            ..OLMO2
        },
        FamilyModel {
            name: "exaone",
            architecture: "exaone",
            layout: Layout {
                rope_freqs: true,
                ..NOTHING
            },
            ..LLAMA
        },
        EXAONE4,
        // So many layers have a window, and RoPE there alone.
        FamilyModel {
            name: "exaone4-64-layers",
            n_layer: 64,
            n_embd: 32,
            n_ff: 32,
            n_head: 2,
            n_head_kv: 1,
            metadata: |_, writer| writer.u32("exaone4.attention.sliding_window", 20),
            ..EXAONE4
        },
        FamilyModel {
            name: "ernie4_5",
            architecture: "ernie4_5",
            ..LLAMA
        },
        FamilyModel {
            name: "hunyuan-dense",
            architecture: "hunyuan-dense",
            layout: Layout {
                qk_norms: Some((16, 16)),
                ..NOTHING
            },
            metadata: |_, writer| writer.f32("hunyuan-dense.rope.scaling.alpha", 50.0),
            ..LLAMA
        },
        FamilyModel {
            name: "glm4",
            architecture: "glm4",
            has_output: true,
            layout: Layout {
                qkv_bias: true,
                post_norms: true,
                fused_gate_up: true,
                ..NOTHING
            },
            metadata: |_, writer| writer.u32("glm4.rope.dimension_count", 8),
            ..LLAMA
        },
    ]
}

/// Prompts for every model: a few tokens, more than a chunk, and more than every
/// window; one beyond the original context of those that are stretched.
pub fn prompts(model: &FamilyModel) -> Vec<Vec<u32>> {
    let mut prompts = vec![
        vec![5, 40, 70],
        (0..41).map(|i| 10 + 3 * i).collect(),
        (0..150).map(|i| (i * i + 7 * i) % 299).collect(),
    ];
    if model.layout.long_factors.is_some() && model.n_ctx > 256 {
        prompts.push((0..290).map(|i| (i * i + 11 * i) % 297).collect());
    }
    prompts
}
