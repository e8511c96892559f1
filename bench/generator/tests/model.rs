//! The generated file as the product's own reader and tokenizer see it.

use nox_bench_model::{Family, Quant, Shape, write_model};
use nox_engine::gguf::{GgmlType, Gguf};
use nox_engine::quant::read_weight;
use nox_engine::tokenizer::{SpecialTokens, Tokenizer};
use nox_engine::{LoadOptions, ModelLoader};

/// As small as a shape can be with all two-letter and many three-letter words.
const SMALL: Shape = Shape {
    family: Family::Llama,
    n_vocab: 2_000,
    n_embd: 64,
    n_layer: 2,
    n_ff: 96,
    n_head: 2,
    n_head_kv: 1,
    n_ctx_train: 128,
    rope_freq_base: 10_000.0,
};

fn model(quant: Quant, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_model(&mut bytes, &SMALL, quant, seed).expect("a vector takes everything");
    bytes
}

#[test]
fn the_same_seed_gives_the_same_file() {
    assert_eq!(model(Quant::Q4_0, 1), model(Quant::Q4_0, 1));
    assert_ne!(model(Quant::Q4_0, 1), model(Quant::Q4_0, 2));
}

#[test]
fn every_tensor_lies_inside_the_file() {
    for quant in [Quant::Q4_0, Quant::Q8_0] {
        let gguf = Gguf::read(&model(quant, 1)).unwrap();
        assert_eq!(gguf.architecture().unwrap(), "llama");
        assert_eq!(gguf.tensors().len(), 2 + 9 * SMALL.n_layer);
        let embedding = gguf.tensor("token_embd.weight").unwrap();
        assert_eq!(embedding.shape, [SMALL.n_vocab, SMALL.n_embd]);
        assert_eq!(embedding.quant.name(), quant.name());
    }
}

#[test]
fn a_prompt_of_n_words_has_n_tokens_with_ids_that_follow_from_the_letters() {
    let gguf = Gguf::read(&model(Quant::Q4_0, 1)).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let ids = tokenizer
        .encode("ka bbb aka azz", SpecialTokens::Parse)
        .unwrap();
    let (first_pair, first_word) = (1 + 256 + 26, 1 + 256 + 26 + 676);
    let word = |letters: [u32; 3]| first_word + letters[0] * 676 + letters[1] * 26 + letters[2];
    let expected = [
        first_pair + 10 * 26,
        word([1, 1, 1]),
        word([0, 10, 0]),
        word([0, 25, 25]),
    ];
    assert_eq!(ids, expected);
    assert!(!tokenizer.add_bos());
}

/// Wide enough for blocks of 256.
const WIDE: Shape = Shape {
    family: Family::Qwen2,
    n_vocab: 1_000,
    n_embd: 256,
    n_layer: 3,
    n_ff: 512,
    n_head: 4,
    n_head_kv: 2,
    n_ctx_train: 128,
    rope_freq_base: 10_000.0,
};

#[test]
fn weights_of_every_type_have_the_spread_that_keeps_activations_in_size() {
    for (shape, quant) in [
        (&WIDE, Quant::Q4_0),
        (&WIDE, Quant::Q8_0),
        (&WIDE, Quant::Q4_K_M),
        (&SMALL, Quant::Q4_K_M),
    ] {
        let mut file = Vec::new();
        write_model(&mut file, shape, quant, 7).unwrap();
        let gguf = Gguf::read(&file).unwrap();
        for tensor in gguf.tensors() {
            let [n_rows, n_cols] = tensor.shape[..] else {
                continue;
            };
            let weight = read_weight(&file, tensor, n_rows, n_cols).unwrap();
            // The first tokens are silent ones.
            let rows = if tensor.name == "token_embd.weight" {
                257
            } else {
                0
            }..n_rows;
            let n_measured = rows.len() as f32;
            let (mut power, mut sum) = (0.0, 0.0);
            for row in rows {
                let mut values = vec![0.0; n_cols];
                weight.dequantize_row(row, &mut values);
                power += values.iter().map(|value| value * value).sum::<f32>();
                sum += values.iter().sum::<f32>();
            }
            let (power, mean) = (power / n_measured, sum / n_measured / n_cols as f32);
            // Scales vary by a quarter, and the fewest blocks are 64.
            assert!(
                (power - 1.0).abs() < 0.12,
                "{} {}: {power}",
                tensor.name,
                tensor.quant
            );
            let deviation = 1.0 / (n_cols as f32).sqrt();
            assert!(
                mean.abs() < 0.1 * deviation,
                "{} {}: {mean}",
                tensor.name,
                tensor.quant
            );
        }
    }
}

#[test]
fn a_mix_is_what_its_name_says() {
    let mut file = Vec::new();
    write_model(&mut file, &WIDE, Quant::Q4_K_M, 7).unwrap();
    let gguf = Gguf::read(&file).unwrap();
    let kind = |name: &str| gguf.tensor(name).unwrap().quant;
    assert_eq!(kind("token_embd.weight"), GgmlType::Q6_K);
    assert_eq!(kind("blk.0.attn_q.weight"), GgmlType::Q4_K);
    assert_eq!(kind("blk.2.ffn_down.weight"), GgmlType::Q6_K);
    assert_eq!(kind("blk.0.attn_q.bias"), GgmlType::F32);
}

#[test]
fn every_shape_and_mix_has_a_sound_description() {
    // Half a gigabyte and more would be written; the directory alone is looked at.
    struct Head(Vec<u8>, u64);
    impl std::io::Write for Head {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let room = (16usize << 20).saturating_sub(self.0.len());
            self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
            self.1 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    impl nox_engine::ModelSource for Head {
        fn size_bytes(&self) -> u64 {
            self.1
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
            self.0.read_at(offset, buf)
        }
    }
    let mut head = Head(Vec::new(), 0);
    write_model(&mut head, &Shape::LLAMA_135M, Quant::Q4_K_M, 1).unwrap();
    let n_bytes = head.1;
    let mut loader = ModelLoader::new(head, LoadOptions::default()).unwrap();
    while !loader.check_step().unwrap() {}
    assert!((90 << 20..120 << 20).contains(&n_bytes), "{n_bytes}");
}
