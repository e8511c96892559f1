//! Writes GGUF files for tests: a tiny Llama whose vocabulary is the 256 bytes, and
//! variations of it.

/// A chat template that every test can read.
pub const TEMPLATE: &str = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}\
     {% if add_generation_prompt %}[assistant]{% endif %}";

const N_EMBD: usize = 32;
const N_FF: usize = 48;
const N_SPECIAL: usize = 3;
const N_VOCAB: usize = N_SPECIAL + 256;
const EOS: usize = 2;
const ALIGNMENT: usize = 32;

/// What a test may want to be different.
#[derive(Clone)]
pub struct TinyModel {
    pub name: &'static str,
    pub architecture: &'static str,
    pub context_length: u32,
    pub template: Option<&'static str>,
    pub has_tokenizer: bool,
    /// The type id that `output.weight` claims to have.
    pub output_type: u32,
    pub seed: u64,
    /// Two feed-forward parts to choose from: a model that only the fallback runs.
    pub has_experts: bool,
    /// They divide 32 elements between them, and share one head of keys and values.
    pub n_head: u32,
}

impl Default for TinyModel {
    fn default() -> Self {
        Self {
            name: "Tiny",
            architecture: "llama",
            context_length: 2048,
            template: Some(TEMPLATE),
            has_tokenizer: true,
            output_type: 0,
            seed: 1,
            has_experts: false,
            n_head: 2,
        }
    }
}

impl TinyModel {
    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        file(&self.metadata(), &self.tensors())
    }

    /// The same model in `count` files.
    pub fn parts(&self, count: usize) -> Vec<Vec<u8>> {
        let tensors = self.tensors();
        let per_part = tensors.len().div_ceil(count);
        let part = |(no, mine): (usize, &[Tensor])| {
            let mut metadata = match no {
                0 => self.metadata(),
                _ => Metadata::default(),
            };
            metadata.u32("split.no", u32::try_from(no).unwrap());
            metadata.u32("split.count", u32::try_from(count).unwrap());
            metadata.u32("split.tensors.count", u32::try_from(tensors.len()).unwrap());
            file(&metadata, mine)
        };
        tensors.chunks(per_part).enumerate().map(part).collect()
    }

    fn metadata(&self) -> Metadata {
        let mut metadata = Metadata::default();
        let arch = self.architecture;
        metadata.str("general.architecture", arch);
        metadata.str("general.name", self.name);
        metadata.str("general.license", "mit");
        for (key, value) in [
            ("context_length", self.context_length),
            ("embedding_length", N_EMBD as u32),
            ("block_count", 1),
            ("feed_forward_length", N_FF as u32),
            ("attention.head_count", self.n_head),
            ("attention.head_count_kv", 1),
            ("rope.dimension_count", N_EMBD as u32 / self.n_head),
        ] {
            metadata.u32(&format!("{arch}.{key}"), value);
        }
        metadata.f32(&format!("{arch}.attention.layer_norm_rms_epsilon"), 1e-5);
        if self.has_experts {
            metadata.u32(&format!("{arch}.expert_count"), 2);
            metadata.u32(&format!("{arch}.expert_used_count"), 1);
        }
        if self.has_tokenizer {
            let tokens: Vec<String> = ["<unk>", "<s>", "</s>"]
                .into_iter()
                .map(str::to_owned)
                .chain((0..256).map(|byte| format!("<0x{byte:02X}>")))
                .collect();
            // Unknown, control, control, then bytes.
            let types: Vec<i32> = [2, 3, 3].into_iter().chain([6; 256]).collect();
            metadata.str("tokenizer.ggml.model", "llama");
            metadata.str_array("tokenizer.ggml.tokens", &tokens);
            metadata.f32_array("tokenizer.ggml.scores", &[0.0; N_VOCAB]);
            metadata.i32_array("tokenizer.ggml.token_type", &types);
            metadata.u32("tokenizer.ggml.bos_token_id", 1);
            metadata.u32("tokenizer.ggml.eos_token_id", EOS as u32);
        }
        if let Some(template) = self.template {
            metadata.str("tokenizer.chat_template", template);
        }
        metadata
    }

    fn tensors(&self) -> Vec<Tensor> {
        let head_dim = N_EMBD / self.n_head as usize;
        let mut random = Random(self.seed);
        let mut matrix = |name: &str, n_rows: usize, n_cols: usize| Tensor {
            name: name.to_owned(),
            dims: vec![n_cols, n_rows],
            type_id: 0,
            values: (0..n_rows * n_cols).map(|_| random.next()).collect(),
        };
        let norm = |name: &str| Tensor {
            name: name.to_owned(),
            dims: vec![N_EMBD],
            type_id: 0,
            values: vec![1.0; N_EMBD],
        };
        let mut output = matrix("output.weight", N_VOCAB, N_EMBD);
        output.type_id = self.output_type;
        // Only printable characters are ever likely, and the end never comes by itself.
        for (token, row) in output.values.chunks_mut(N_EMBD).enumerate() {
            let is_printable = (0x20..0x7f).contains(&token.wrapping_sub(N_SPECIAL));
            if !is_printable {
                row.fill(0.0);
            }
        }
        let mut tensors = vec![
            matrix("token_embd.weight", N_VOCAB, N_EMBD),
            norm("output_norm.weight"),
            output,
            norm("blk.0.attn_norm.weight"),
            matrix("blk.0.attn_q.weight", N_EMBD, N_EMBD),
            matrix("blk.0.attn_k.weight", head_dim, N_EMBD),
            matrix("blk.0.attn_v.weight", head_dim, N_EMBD),
            matrix("blk.0.attn_output.weight", N_EMBD, N_EMBD),
            norm("blk.0.ffn_norm.weight"),
        ];
        if self.has_experts {
            tensors.push(matrix("blk.0.ffn_gate_inp.weight", 2, N_EMBD));
        }
        for (part, n_rows, n_cols) in [
            ("ffn_gate", N_FF, N_EMBD),
            ("ffn_up", N_FF, N_EMBD),
            ("ffn_down", N_EMBD, N_FF),
        ] {
            if self.has_experts {
                let mut experts = matrix(&format!("blk.0.{part}_exps.weight"), 2 * n_rows, n_cols);
                experts.dims = vec![n_cols, n_rows, 2];
                tensors.push(experts);
            } else {
                tensors.push(matrix(&format!("blk.0.{part}.weight"), n_rows, n_cols));
            }
        }
        tensors
    }
}

fn file(metadata: &Metadata, tensors: &[Tensor]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(b"GGUF");
    put_u32(&mut file, 3);
    put_u64(&mut file, tensors.len());
    put_u64(&mut file, metadata.n_entries);
    file.extend(&metadata.bytes);
    let mut offset = 0;
    for tensor in tensors {
        put_str(&mut file, &tensor.name);
        put_u32(&mut file, u32::try_from(tensor.dims.len()).unwrap());
        for &dim in &tensor.dims {
            put_u64(&mut file, dim);
        }
        put_u32(&mut file, tensor.type_id);
        put_u64(&mut file, offset);
        offset += (4 * tensor.values.len()).next_multiple_of(ALIGNMENT);
    }
    for tensor in tensors {
        file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
        file.extend(tensor.values.iter().flat_map(|value| value.to_le_bytes()));
    }
    file
}

struct Tensor {
    name: String,
    /// As GGUF stores them: innermost first.
    dims: Vec<usize>,
    type_id: u32,
    values: Vec<f32>,
}

/// A xorshift generator; numbers between -0.5 and 0.5.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }
}

#[derive(Default)]
struct Metadata {
    bytes: Vec<u8>,
    n_entries: usize,
}

impl Metadata {
    fn key(&mut self, key: &str, value_type: u32) {
        self.n_entries += 1;
        put_str(&mut self.bytes, key);
        put_u32(&mut self.bytes, value_type);
    }

    fn array(&mut self, key: &str, element_type: u32, n_elements: usize) {
        self.key(key, 9);
        put_u32(&mut self.bytes, element_type);
        put_u64(&mut self.bytes, n_elements);
    }

    fn u32(&mut self, key: &str, value: u32) {
        self.key(key, 4);
        put_u32(&mut self.bytes, value);
    }

    fn f32(&mut self, key: &str, value: f32) {
        self.key(key, 6);
        self.bytes.extend(value.to_le_bytes());
    }

    fn str(&mut self, key: &str, value: &str) {
        self.key(key, 8);
        put_str(&mut self.bytes, value);
    }

    fn str_array(&mut self, key: &str, values: &[String]) {
        self.array(key, 8, values.len());
        for value in values {
            put_str(&mut self.bytes, value);
        }
    }

    fn f32_array(&mut self, key: &str, values: &[f32]) {
        self.array(key, 6, values.len());
        self.bytes
            .extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    fn i32_array(&mut self, key: &str, values: &[i32]) {
        self.array(key, 5, values.len());
        self.bytes
            .extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
}

fn put_u32(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend(value.to_le_bytes());
}

fn put_u64(bytes: &mut Vec<u8>, value: usize) {
    bytes.extend((value as u64).to_le_bytes());
}

fn put_str(bytes: &mut Vec<u8>, text: &str) {
    put_u64(bytes, text.len());
    bytes.extend(text.as_bytes());
}
