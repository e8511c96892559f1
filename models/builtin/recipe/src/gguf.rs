//! Writes the model as GGUF version 3 with llama.cpp's keys and tensor names, and reads such a
//! file back. Reads only what this recipe writes.
//!
//! # Source
//! The GGUF specification and block formats of ggml; names of llama.cpp's `llama` architecture.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use half::f16;

use crate::bpe::{Bpe, END_OF_TEXT, IM_END, SPECIALS, char_byte};
use crate::model::{Config, Layout, Model};

const MAGIC: &[u8; 4] = b"GGUF";
const ALIGNMENT: usize = 32;
const F32: u32 = 0;
const Q8_0: u32 = 8;
const QK8_0: usize = 32;

const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

#[derive(Clone, Debug, PartialEq)]
enum Value {
    U32(u32),
    I32(i32),
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
        Value::I32(x) => {
            put_u32(out, 5);
            put_u32(out, *x as u32);
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

struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).filter(|&e| e <= self.data.len());
        let end = end.context("file ends early")?;
        let part = &self.data[self.at..end];
        self.at = end;
        Ok(part)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into()?))
    }

    fn u64(&mut self) -> Result<usize> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into()?) as usize)
    }

    fn str(&mut self) -> Result<String> {
        let n = self.u64()?;
        Ok(String::from_utf8(self.take(n)?.to_vec())?)
    }

    fn value(&mut self) -> Result<Value> {
        Ok(match self.u32()? {
            4 => Value::U32(self.u32()?),
            5 => Value::I32(self.u32()? as i32),
            6 => Value::F32(f32::from_bits(self.u32()?)),
            7 => Value::Bool(self.take(1)?[0] != 0),
            8 => Value::Str(self.str()?),
            9 => {
                let (kind, n) = (self.u32()?, self.u64()?);
                match kind {
                    8 => Value::Strs((0..n).map(|_| self.str()).collect::<Result<_>>()?),
                    5 => Value::I32s(
                        (0..n)
                            .map(|_| Ok(self.u32()? as i32))
                            .collect::<Result<_>>()?,
                    ),
                    _ => bail!("array of type {kind} is not among those this recipe writes"),
                }
            }
            kind => bail!("value of type {kind} is not among those this recipe writes"),
        })
    }
}

/// The model and the tokenizer of a file, weights dequantised.
///
/// # Errors
/// When the file ends early or holds what [`write`] does not write.
pub fn read(data: &[u8]) -> Result<(Model, Bpe)> {
    let mut r = Reader { data, at: 0 };
    ensure!(
        r.take(4)? == MAGIC && r.u32()? == 3,
        "not a GGUF file of version 3"
    );
    let (n_tensors, n_keys) = (r.u64()?, r.u64()?);
    let mut keys = BTreeMap::new();
    for _ in 0..n_keys {
        let key = r.str()?;
        keys.insert(key, r.value()?);
    }
    let number = |key: &str| match keys.get(key) {
        Some(Value::U32(x)) => Ok(*x as usize),
        _ => bail!("{key} is missing"),
    };
    let real = |key: &str| match keys.get(key) {
        Some(Value::F32(x)) => Ok(*x),
        _ => bail!("{key} is missing"),
    };
    let config = Config {
        n_vocab: number("llama.vocab_size")?,
        n_embd: number("llama.embedding_length")?,
        n_layer: number("llama.block_count")?,
        n_head: number("llama.attention.head_count")?,
        n_head_kv: number("llama.attention.head_count_kv")?,
        n_ff: number("llama.feed_forward_length")?,
        n_ctx: number("llama.context_length")?,
        rms_eps: real("llama.attention.layer_norm_rms_epsilon")?,
        rope_base: real("llama.rope.freq_base")?,
    };
    let bpe = read_bpe(&keys)?;
    let mut found = BTreeMap::new();
    for _ in 0..n_tensors {
        let name = r.str()?;
        let n_dims = r.u32()?;
        for _ in 0..n_dims {
            r.u64()?;
        }
        let kind = r.u32()?;
        found.insert(name, (kind, r.u64()?));
    }
    let start = r.at.next_multiple_of(ALIGNMENT);
    let mut params = vec![0.0; Layout::new(&config).n_params];
    for t in tensors(&config) {
        let &(kind, offset) = found
            .get(&t.name)
            .with_context(|| format!("no tensor {}", t.name))?;
        let n = t.rows * t.cols;
        let mut r = Reader {
            data,
            at: start + offset,
        };
        let to = &mut params[t.at..t.at + n];
        match kind {
            F32 => {
                for (p, b) in to.iter_mut().zip(r.take(4 * n)?.chunks_exact(4)) {
                    *p = f32::from_le_bytes(b.try_into()?);
                }
            }
            Q8_0 => {
                let blocks = r.take(n / QK8_0 * (QK8_0 + 2))?.chunks_exact(QK8_0 + 2);
                for (p, b) in to.chunks_exact_mut(QK8_0).zip(blocks) {
                    let d = f16::from_le_bytes([b[0], b[1]]).to_f32();
                    p.iter_mut()
                        .zip(&b[2..])
                        .for_each(|(p, &q)| *p = d * (q as i8) as f32);
                }
            }
            _ => bail!(
                "{}: type {kind} is not among those this recipe writes",
                t.name
            ),
        }
    }
    Ok((Model::new(config, params), bpe))
}

fn read_bpe(keys: &BTreeMap<String, Value>) -> Result<Bpe> {
    let strings = |key: &str| match keys.get(key) {
        Some(Value::Strs(all)) => Ok(all),
        _ => bail!("{key} is missing"),
    };
    let ids: BTreeMap<&str, u32> = strings("tokenizer.ggml.tokens")?
        .iter()
        .enumerate()
        .map(|(i, t)| (t.as_str(), i as u32))
        .collect();
    let mut merges = Vec::new();
    for merge in strings("tokenizer.ggml.merges")? {
        let (a, b) = merge.split_once(' ').context("a merge has two halves")?;
        ensure!(
            a.chars().chain(b.chars()).all(|c| char_byte(c).is_some()),
            "merge {merge:?}"
        );
        let id = |t: &str| {
            ids.get(t)
                .copied()
                .with_context(|| format!("no token {t:?}"))
        };
        merges.push((id(a)?, id(b)?));
    }
    Ok(Bpe::from_merges(merges))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_back_with_q8_0_precision() {
        let bpe = Bpe::train(["hello hello hello there there"].into_iter(), 263);
        let config = Config {
            n_vocab: bpe.n_vocab(),
            n_embd: 64,
            n_layer: 2,
            n_head: 4,
            n_head_kv: 2,
            n_ff: 96,
            n_ctx: 16,
            rms_eps: 1e-5,
            rope_base: 10_000.0,
        };
        let model = Model::init(config, 1);
        let file = write(&model, &bpe);
        let (back, bpe_back) = read(&file).unwrap();
        assert_eq!(back.config, config);
        assert_eq!(bpe_back.merges, bpe.merges);
        let max = model.params.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for (a, b) in model.params.iter().zip(&back.params) {
            // Half a quantisation step of the largest block, and f16's rounding of the scale.
            assert!((a - b).abs() <= max / 127.0 * 0.6, "{a} {b}");
        }
        assert_eq!(write(&back, &bpe).len(), file.len());
        assert!(read(&file[..file.len() / 2]).is_err());
    }
}
