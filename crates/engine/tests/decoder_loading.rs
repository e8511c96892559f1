//! What loading accepts, refuses and promises.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;
mod tiny;

use std::cell::Cell;
use std::io;

use nox_engine::gguf::{GgmlType, Gguf};
use nox_engine::quant::WeightError;
use nox_engine::{
    EngineError, KvType, LoadOptions, LoadStep, ModelConfig, ModelError, ModelLoader, ModelSource,
    memory_estimate,
};
use tiny::Tiny;

fn error_of(tiny: &Tiny) -> EngineError {
    let loader = tiny.loader(tiny::single_threaded());
    loader.and_then(ModelLoader::load).unwrap_err()
}

fn model_error_of(tiny: &Tiny) -> ModelError {
    match error_of(tiny) {
        EngineError::Model(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn an_unknown_architecture_is_named_beside_the_known_ones() {
    let error = model_error_of(&Tiny {
        architecture: "mamba",
        ..Tiny::default()
    });
    assert!(matches!(error, ModelError::UnsupportedArchitecture { .. }));
    let message = error.to_string();
    for name in ["mamba", "llama", "qwen2", "qwen3"] {
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn tensors_that_are_missing_left_over_or_misshapen_are_named() {
    let missing = Tiny {
        without: Some("blk.1.ffn_up.weight"),
        ..Tiny::default()
    };
    assert!(matches!(
        model_error_of(&missing),
        ModelError::MissingTensor { tensor, .. } if tensor == "blk.1.ffn_up.weight"
    ));
    let no_embedding = Tiny {
        without: Some("token_embd.weight"),
        ..Tiny::default()
    };
    assert!(matches!(
        model_error_of(&no_embedding),
        ModelError::MissingTensor { .. }
    ));
    let left_over = Tiny {
        extra: Some("blk.0.attn_sinks.weight"),
        ..Tiny::default()
    };
    assert!(matches!(
        model_error_of(&left_over),
        ModelError::UnexpectedTensor { tensor, .. } if tensor == "blk.0.attn_sinks.weight"
    ));
    // A qwen2 file has biases.
    let no_biases = Tiny {
        architecture: "qwen2",
        ..Tiny::default()
    };
    assert!(matches!(
        model_error_of(&no_biases),
        ModelError::MissingTensor { tensor, .. } if tensor == "blk.0.attn_q.bias"
    ));
    let misshapen = Tiny {
        special_shape: Some(("blk.0.attn_k.weight", &[32, 32])),
        ..Tiny::default()
    };
    assert!(matches!(
        model_error_of(&misshapen),
        ModelError::Weight(WeightError::WrongShape { tensor, found, expected })
            if tensor == "blk.0.attn_k.weight" && found == [32, 32] && expected == [16, 32]
    ));
}

#[test]
fn quantisations_without_kernels_are_named() {
    for quant in [
        GgmlType::IQ4_NL,
        GgmlType::I32,
        GgmlType::F64,
        GgmlType::MXFP4,
    ] {
        let tiny = Tiny {
            special_quant: Some(("blk.0.attn_q.weight", quant)),
            ..Tiny::default()
        };
        assert!(matches!(
            model_error_of(&tiny),
            ModelError::Weight(WeightError::UnsupportedQuantization { tensor, found })
                if tensor == "blk.0.attn_q.weight" && found == quant
        ));
    }
}

#[test]
fn absurd_sizes_and_unsupported_features_are_refused() {
    let layers = Tiny {
        block_count: u32::MAX,
        ..Tiny::default()
    };
    assert!(matches!(
        model_error_of(&layers),
        ModelError::OutOfRange { key, .. } if key == "llama.block_count"
    ));
    let more_layers_than_tensors = Tiny {
        block_count: 3,
        ..Tiny::default()
    };
    assert!(matches!(
        model_error_of(&more_layers_than_tensors),
        ModelError::MissingTensor { .. }
    ));
    let context = Tiny {
        context_length: 0,
        ..Tiny::default()
    };
    assert!(matches!(
        model_error_of(&context),
        ModelError::OutOfRange { .. }
    ));
    type Metadata = fn(common::GgufWriter) -> common::GgufWriter;
    let cases: [(&str, Metadata); 4] = [
        ("llama.rope.scaling.type", |w| {
            w.str("llama.rope.scaling.type", "dynamic")
        }),
        ("llama.rope.dimension_count", |w| {
            w.u32("llama.rope.dimension_count", 10)
        }),
        ("llama.attention.value_length", |w| {
            w.u32("llama.attention.value_length", 4)
        }),
        ("llama.rope.freq_base", |w| {
            w.raw("llama.rope.freq_base", 6, &f32::NAN.to_le_bytes())
        }),
    ];
    for (name, metadata) in cases {
        let error = model_error_of(&Tiny {
            metadata,
            ..Tiny::default()
        });
        match &error {
            ModelError::UnsupportedFeature { key, .. } | ModelError::OutOfRange { key, .. } => {
                assert_eq!(key, name, "{error}");
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn rope_scaling_by_a_linear_factor_changes_the_result() {
    let logits = |metadata| {
        let model = Tiny {
            metadata,
            ..Tiny::default()
        }
        .load();
        model
            .logits(&mut model.new_context(), &[1, 2, 3, 4])
            .unwrap()
    };
    let plain = logits(|w| w);
    let none = logits(|w| w.str("llama.rope.scaling.type", "none"));
    let factor = 4f32.to_le_bytes();
    assert_eq!(factor, [0, 0, 128, 64]);
    let linear = logits(|w| {
        w.str("llama.rope.scaling.type", "linear").raw(
            "llama.rope.scaling.factor",
            6,
            &[0, 0, 128, 64],
        )
    });
    let older = logits(|w| w.raw("llama.rope.scale_linear", 6, &[0, 0, 128, 64]));
    assert_eq!(plain, none);
    assert_ne!(plain, linear);
    assert_eq!(linear, older);
}

#[test]
fn the_vocabulary_must_match_the_embedding_table() {
    let tiny = Tiny {
        special_shape: Some(("token_embd.weight", &[32, 300])),
        ..Tiny::default()
    };
    // Before anything is made of it.
    assert!(tiny.loader(tiny::single_threaded()).is_err());
    assert!(matches!(
        model_error_of(&tiny),
        ModelError::VocabularyMismatch {
            n_tokens: 258,
            n_rows: 300
        }
    ));
}

#[test]
fn context_length_and_memory_limits_are_kept() {
    let tiny = Tiny {
        context_length: 8192,
        ..Tiny::default()
    };
    let n_ctx = |options: LoadOptions| tiny.loader(options).map(|loader| loader.n_ctx());
    assert_eq!(n_ctx(LoadOptions::default()).unwrap(), 4096);
    assert_eq!(
        n_ctx(LoadOptions {
            n_ctx: Some(8192),
            ..LoadOptions::default()
        })
        .unwrap(),
        8192
    );
    for wrong in [0, 8193] {
        let error = n_ctx(LoadOptions {
            n_ctx: Some(wrong),
            ..LoadOptions::default()
        })
        .unwrap_err();
        assert!(matches!(
            error,
            EngineError::InvalidOption { field: "n_ctx", .. }
        ));
    }
    let gguf = Gguf::read(&tiny.gguf()).unwrap();
    let config = ModelConfig::from_gguf(&gguf).unwrap();
    let estimate = |n_ctx| memory_estimate(&gguf, &config, n_ctx, KvType::F16);
    let limit = |bytes, n_ctx| LoadOptions {
        memory_limit_bytes: Some(bytes),
        n_ctx,
        ..LoadOptions::default()
    };
    let parts = estimate(1024);
    let sum = parts.weights_bytes + parts.kv_bytes + parts.scratch_bytes + parts.vocabulary_bytes;
    assert_eq!(parts.total_bytes, sum);
    assert!(parts.vocabulary_bytes > 0);
    let enough_for_1024 = parts.total_bytes;
    assert_eq!(
        n_ctx(limit(enough_for_1024, None)).unwrap(),
        1024,
        "the default shrinks"
    );
    for options in [
        limit(enough_for_1024, Some(2048)),
        limit(estimate(512).total_bytes - 1, None),
    ] {
        assert!(matches!(
            n_ctx(options).unwrap_err(),
            EngineError::NotEnoughMemory { .. }
        ));
    }
    let model = tiny.load();
    let mut ctx = model.new_context();
    assert_eq!(ctx.kv_size_bytes(), 0);
    model.logits(&mut ctx, &[1; 300]).unwrap();
    assert_eq!(ctx.kv_size_bytes() as u64, estimate(300).kv_bytes);
    ctx.clear();
    assert_eq!(ctx.kv_size_bytes(), 0);
}

/// Fails the `n`th read and no other.
struct FailsOnce {
    bytes: Vec<u8>,
    n_reads_left: Cell<usize>,
}

impl ModelSource for FailsOnce {
    fn size_bytes(&self) -> u64 {
        self.bytes.size_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let n_left = self.n_reads_left.get();
        self.n_reads_left.set(n_left.wrapping_sub(1));
        if n_left == 0 {
            return Err(io::Error::other("injected"));
        }
        self.bytes.read_at(offset, buf)
    }
}

#[test]
fn a_read_that_fails_once_can_be_tried_again() {
    let bytes = Tiny::default().gguf();
    let tokens = [1, 2, 3];
    let expected = Tiny::default().load();
    let expected = expected
        .logits(&mut expected.new_context(), &tokens)
        .unwrap();
    let mut n_failures = 0;
    for n_reads in 0.. {
        let source = FailsOnce {
            bytes: bytes.clone(),
            n_reads_left: Cell::new(n_reads),
        };
        let Ok(mut loader) = ModelLoader::new(&source, tiny::single_threaded()) else {
            continue; // the header's own reads
        };
        let mut is_failed = false;
        let model = loop {
            match loader.step() {
                Ok(LoadStep::Done(model)) => break model,
                Ok(LoadStep::Progress {
                    done_bytes,
                    total_bytes,
                }) => {
                    assert!(done_bytes <= total_bytes);
                }
                Err(error) => {
                    assert!(error.to_string().contains("injected"), "{error}");
                    assert!(!is_failed, "the failure comes once");
                    is_failed = true;
                }
            }
        };
        let logits = model.logits(&mut model.new_context(), &tokens).unwrap();
        assert_eq!(logits, expected);
        if !is_failed {
            break;
        }
        n_failures += 1;
    }
    assert_eq!(n_failures, 20, "each tensor's read has failed once");
}
