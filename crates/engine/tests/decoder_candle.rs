//! Logits against candle-transformers, whose models share no code with the decoder.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::{quantized_llama, quantized_qwen2};
use nox_engine::{FileSource, KvType, LoadOptions, ModelLoader};

const PROMPT: [u32; 7] = [5, 40, 70, 11, 300, 2, 99];

fn ours(path: &Path) -> Vec<f32> {
    let options = LoadOptions {
        kv_type: KvType::F32,
        ..LoadOptions::default()
    };
    let model = ModelLoader::new(FileSource::open(path).unwrap(), options)
        .unwrap()
        .load()
        .unwrap();
    model.logits(&mut model.new_context(), &PROMPT).unwrap()
}

fn theirs(path: &Path) -> Vec<f32> {
    let mut file = BufReader::new(File::open(path).unwrap());
    let content = Content::read(&mut file).unwrap();
    let prompt = Tensor::new(&PROMPT, &Device::Cpu)
        .unwrap()
        .unsqueeze(0)
        .unwrap();
    let is_qwen2 = path.file_stem().unwrap() == "qwen2";
    let logits = if is_qwen2 {
        let model = quantized_qwen2::ModelWeights::from_gguf(content, &mut file, &Device::Cpu);
        model.unwrap().forward(&prompt, 0)
    } else {
        let model = quantized_llama::ModelWeights::from_gguf(content, &mut file, &Device::Cpu);
        model.unwrap().forward(&prompt, 0)
    };
    logits.unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn short_prompts_give_the_same_logits() {
    let Some(folder) = common::fixtures("logits") else {
        return;
    };
    // Candle computes f32 and f16 models in f32. Quantised ones round activations
    // to 8 bits as ours do, with another choice of scale.
    for (name, bound) in [
        ("llama.gguf", 1e-3),
        ("qwen2.gguf", 1e-3),
        ("llama-f16.gguf", 3e-2),
        ("llama-q8_0.gguf", 3e-1),
        ("llama-q4_0.gguf", 3e-1),
        ("llama-q4_k.gguf", 3e-1),
    ] {
        let path = folder.join(name);
        let (ours, theirs) = (ours(&path), theirs(&path));
        assert_eq!(ours.len(), theirs.len());
        let worst = ours
            .iter()
            .zip(&theirs)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        println!("{name:20} off by {worst:.1e} at most");
        assert!(worst < bound, "{name}: off by {worst}");
    }
}
