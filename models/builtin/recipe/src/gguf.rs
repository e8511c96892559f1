//! Writes the model as GGUF version 3 with llama.cpp's keys and tensor names.
//!
//! # Source
//! The GGUF specification and block formats of ggml; names of llama.cpp's `llama` architecture.

use half::f16;

use crate::bpe::{Bpe, END_OF_TEXT, IM_END, SPECIALS};
use crate::model::{Config, Layout, Model};

const MAGIC: &[u8; 4] = b"GGUF";
const ALIGNMENT: usize = 32;
const F32: u32 = 0;
const Q8_0: u32 = 8;
const QK8_0: usize = 32;

const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Str(String),
    Strs(Vec<String>),
    I32s(Vec<i32>),
}

/// One tensor of the file: name, rows and columns (a norm is one row), where its weights lie.
struct Tensor {
    name: String,
    rows: usize,
    cols: usize,
    at: usize,
}

fn tensors(c: &Config) -> Vec<Tensor> {
    let layout = Layout::new(c);
    let (d, kv, ff) = (c.n_embd, c.n_kv(), c.n_ff);
    let mut all = Vec::new();
    let mut add = |name: String, rows: usize, cols: usize, at: usize| {
        all.push(Tensor {
            name,
            rows,
            cols,
            at,
        });
    };
    add("token_embd.weight".into(), c.n_vocab, d, layout.embd);
    for (i, l) in layout.layers.iter().enumerate() {
        let mut blk =
            |name: &str, rows, cols, at| add(format!("blk.{i}.{name}.weight"), rows, cols, at);
        blk("attn_norm", 1, d, l.attn_norm);
        // Trained on interleaved pairs, which is the order this architecture expects.
        blk("attn_q", d, d, l.qkv);
        blk("attn_k", kv, d, l.qkv + d * d);
        blk("attn_v", kv, d, l.qkv + (d + kv) * d);
        blk("attn_output", d, d, l.attn_out);
        blk("ffn_norm", 1, d, l.ffn_norm);
        blk("ffn_gate", ff, d, l.gate_up);
        blk("ffn_up", ff, d, l.gate_up + ff * d);
        blk("ffn_down", d, ff, l.down);
    }
    add("output_norm.weight".into(), 1, d, layout.norm);
    all
}

/// The whole file.
pub fn write(model: &Model, bpe: &Bpe) -> Vec<u8> {
    let keys = metadata(&model.config, bpe);
    let tensors = tensors(&model.config);
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    put_u32(&mut out, 3);
    put_u64(&mut out, tensors.len() as u64);
    put_u64(&mut out, keys.len() as u64);
    for (key, value) in &keys {
        put_str(&mut out, key);
        put_value(&mut out, value);
    }
    let mut data = Vec::new();
    for t in &tensors {
        put_str(&mut out, &t.name);
        // GGUF lists dimensions innermost first.
        let dims: &[usize] = if t.rows == 1 {
            &[t.cols]
        } else {
            &[t.cols, t.rows]
        };
        put_u32(&mut out, dims.len() as u32);
        dims.iter().for_each(|&n| put_u64(&mut out, n as u64));
        put_u32(&mut out, if t.rows == 1 { F32 } else { Q8_0 });
        put_u64(&mut out, data.len() as u64);
        let weights = &model.params[t.at..t.at + t.rows * t.cols];
        if t.rows == 1 {
            weights
                .iter()
                .for_each(|w| data.extend_from_slice(&w.to_le_bytes()));
        } else {
            weights
                .chunks_exact(QK8_0)
                .for_each(|block| put_q8_0(&mut data, block));
        }
        data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out.extend_from_slice(&data);
    out
}

fn metadata(c: &Config, bpe: &Bpe) -> Vec<(&'static str, Value)> {
    let text = |s: &str| Value::Str(s.to_string());
    let n = |x: usize| Value::U32(x as u32);
    let ids = 0..bpe.n_vocab() as u32;
    let pair = |&(a, b): &(u32, u32)| format!("{} {}", bpe.gguf_token(a), bpe.gguf_token(b));
    let control = SPECIALS.len() as u32;
    vec![
        ("general.architecture", text("llama")),
        ("general.name", text("Nox built-in")),
        (
            "general.description",
            text("Small chat model that explains Noxics; trained from scratch on generated text"),
        ),
        ("general.license", text("MIT OR Apache-2.0")),
        ("general.file_type", Value::U32(7)),
        ("general.quantization_version", Value::U32(2)),
        ("llama.vocab_size", n(c.n_vocab)),
        ("llama.context_length", n(c.n_ctx)),
        ("llama.embedding_length", n(c.n_embd)),
        ("llama.block_count", n(c.n_layer)),
        ("llama.feed_forward_length", n(c.n_ff)),
        ("llama.attention.head_count", n(c.n_head)),
        ("llama.attention.head_count_kv", n(c.n_head_kv)),
        (
            "llama.attention.layer_norm_rms_epsilon",
            Value::F32(c.rms_eps),
        ),
        ("llama.rope.dimension_count", n(c.head_dim())),
        ("llama.rope.freq_base", Value::F32(c.rope_base)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("smollm")),
        (
            "tokenizer.ggml.tokens",
            Value::Strs(ids.clone().map(|i| bpe.gguf_token(i)).collect()),
        ),
        (
            "tokenizer.ggml.token_type",
            Value::I32s(ids.map(|i| if i < control { 3 } else { 1 }).collect()),
        ),
        (
            "tokenizer.ggml.merges",
            Value::Strs(bpe.merges.iter().map(pair).collect()),
        ),
        ("tokenizer.ggml.bos_token_id", Value::U32(END_OF_TEXT)),
        ("tokenizer.ggml.eos_token_id", Value::U32(IM_END)),
        ("tokenizer.ggml.padding_token_id", Value::U32(END_OF_TEXT)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        ("tokenizer.chat_template", text(CHAT_TEMPLATE)),
    ]
}

fn put_u32(out: &mut Vec<u8>, x: u32) {
    out.extend_from_slice(&x.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, x: u64) {
    out.extend_from_slice(&x.to_le_bytes());
}

fn put_str(out: &mut Vec<u8>, s: &str) {
    put_u64(out, s.len() as u64);
    out.extend_from_slice(s.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U32(x) => {
            put_u32(out, 4);
            put_u32(out, *x);
        }
        Value::F32(x) => {
            put_u32(out, 6);
            put_u32(out, x.to_bits());
        }
        Value::Bool(x) => {
            put_u32(out, 7);
            out.push(*x as u8);
        }
        Value::Str(s) => {
            put_u32(out, 8);
            put_str(out, s);
        }
        Value::Strs(all) => {
            put_u32(out, 9);
            put_u32(out, 8);
            put_u64(out, all.len() as u64);
            all.iter().for_each(|s| put_str(out, s));
        }
        Value::I32s(all) => {
            put_u32(out, 9);
            put_u32(out, 5);
            put_u64(out, all.len() as u64);
            all.iter().for_each(|x| put_u32(out, *x as u32));
        }
    }
}

/// 32 weights as one f16 scale and 32 signed bytes.
fn put_q8_0(out: &mut Vec<u8>, block: &[f32]) {
    let max = block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let d = max / 127.0;
    let inv = if d == 0.0 { 0.0 } else { 1.0 / d };
    out.extend_from_slice(&f16::from_f32(d).to_le_bytes());
    out.extend(block.iter().map(|x| libm::roundf(x * inv) as i8 as u8));
}

#[cfg(test)]
mod tests {
    use nox_engine::template::ChatMessage;
    use nox_engine::{KvType, LoadOptions, ModelLoader, PromptOptions};

    use super::*;
    use crate::bpe::Message;
    use crate::gemm::Compute;
    use crate::math::softmax;
    use crate::model::{Arena, Batch};

    #[test]
    fn the_engine_computes_what_was_trained() {
        let bpe = Bpe::train(["hello hello hello there there"].into_iter(), 263);
        let config = Config {
            n_vocab: bpe.n_vocab(),
            n_embd: 64,
            n_layer: 2,
            n_head: 4,
            n_head_kv: 2,
            n_ff: 96,
            n_ctx: 64,
            rms_eps: 1e-5,
            rope_base: 10_000.0,
        };
        let trained = Model::init(config, 1);
        let options = LoadOptions {
            kv_type: KvType::F32,
            ..LoadOptions::default()
        };
        let loader = ModelLoader::new(write(&trained, &bpe), options).unwrap();
        let loaded = loader.load().unwrap();

        let said = [
            Message::new("system", "hello"),
            Message::new("user", "there!"),
        ];
        let messages = said.clone().map(|m| ChatMessage::new(m.role, m.content));
        let prompt = loaded.prompt(&messages, &PromptOptions::default()).unwrap();
        assert_eq!(prompt.tokens, bpe.prompt(&said));

        let mut logits = loaded
            .logits(&mut loaded.new_context(), &prompt.tokens)
            .unwrap();
        let last = prompt.tokens.len() - 1;
        let score = logits[IM_END as usize];
        let batch = Batch {
            starts: vec![0, last + 1],
            tokens: prompt.tokens,
            targets: vec![(last, IM_END)],
        };
        let loss = trained.loss(&Compute::new(1), &mut Arena::default(), &batch, None);
        let other = softmax(&mut logits) - score;
        // Weights and activations of eight bits against f32.
        assert!((loss - other).abs() < 2e-2, "{loss} against {other}");
    }
}
