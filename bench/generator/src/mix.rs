//! Which block type each matrix of a file has.
//!
//! # Source
//! `llama_tensor_get_type` in llama.cpp's `llama-quant.cpp`, for dense models.

/// How a file is quantised, as its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum Quant {
    /// Every matrix in blocks of 32 four-bit weights; llama.cpp calls that pure.
    Q4_0,
    /// Every matrix in blocks of 32 eight-bit weights.
    Q8_0,
    /// What llama.cpp makes under this name: four bits, six for the head and for half of
    /// the values and of the feed-forward parts' ends, and blocks of 32 for rows that
    /// blocks of 256 do not fill.
    Q4_K_M,
}

impl Quant {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Q4_0, Self::Q8_0, Self::Q4_K_M];

    /// The name as llama.cpp writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q8_0 => "Q8_0",
            Self::Q4_K_M => "Q4_K_M",
        }
    }

    /// llama.cpp's number for files that are mostly of this type.
    pub(crate) fn file_type(self) -> u32 {
        match self {
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Q4_K_M => 15,
        }
    }

    /// The type of a matrix with rows of `n_inputs`. `layer` is the one that it lies in,
    /// and the number of layers.
    pub(crate) fn of_matrix(
        self,
        name: &str,
        layer: Option<(usize, usize)>,
        n_inputs: usize,
    ) -> BlockType {
        let wanted = match self {
            Self::Q4_0 => return BlockType::Q4_0,
            Self::Q8_0 => return BlockType::Q8_0,
            // The embeddings are the head.
            Self::Q4_K_M if name == "token_embd.weight" => BlockType::Q6_K,
            Self::Q4_K_M => {
                let is_sensitive =
                    name.ends_with(".attn_v.weight") || name.ends_with(".ffn_down.weight");
                match is_sensitive && layer.is_some_and(has_more_bits) {
                    true => BlockType::Q6_K,
                    false => BlockType::Q4_K,
                }
            }
        };
        match wanted {
            wanted if n_inputs.is_multiple_of(wanted.block_len()) => wanted,
            BlockType::Q6_K => BlockType::Q8_0,
            _ => BlockType::Q5_0,
        }
    }
}

/// The first and the last eighth of the layers, and of the others every third.
fn has_more_bits((layer_idx, n_layer): (usize, usize)) -> bool {
    let eighth = n_layer / 8;
    layer_idx < eighth || layer_idx >= 7 * n_layer / 8 || (layer_idx - eighth) % 3 == 2
}

/// ggml's types, those that occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub(crate) enum BlockType {
    F32,
    Q4_0,
    Q5_0,
    Q8_0,
    Q4_K,
    Q6_K,
}

impl BlockType {
    /// ggml's number.
    pub(crate) fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::Q4_0 => 2,
            Self::Q5_0 => 6,
            Self::Q8_0 => 8,
            Self::Q4_K => 12,
            Self::Q6_K => 14,
        }
    }

    /// Weights in a block.
    pub(crate) fn block_len(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 => 32,
            Self::Q4_K | Self::Q6_K => 256,
        }
    }

    /// Bytes of a block.
    pub(crate) fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Q4_0 => 18,
            Self::Q5_0 => 22,
            Self::Q8_0 => 34,
            Self::Q4_K => 144,
            Self::Q6_K => 210,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_has_more_bits_where_llama_cpp_has_them() {
        let down = |layer_idx| {
            Quant::Q4_K_M.of_matrix("blk.0.ffn_down.weight", Some((layer_idx, 16)), 8192)
        };
        let sixes: Vec<_> = (0..16)
            .filter(|&idx| down(idx) == BlockType::Q6_K)
            .collect();
        assert_eq!(sixes, [0, 1, 4, 7, 10, 13, 14, 15]);
        let gate = Quant::Q4_K_M.of_matrix("blk.0.ffn_gate.weight", Some((0, 16)), 2048);
        assert_eq!(gate, BlockType::Q4_K);
        let head = Quant::Q4_K_M.of_matrix("token_embd.weight", None, 2048);
        assert_eq!(head, BlockType::Q6_K);
    }

    #[test]
    fn rows_that_large_blocks_do_not_fill_have_small_ones() {
        let of = |name| Quant::Q4_K_M.of_matrix(name, Some((0, 24)), 896);
        assert_eq!(of("blk.0.attn_q.weight"), BlockType::Q5_0);
        assert_eq!(of("blk.0.attn_v.weight"), BlockType::Q8_0);
        assert_eq!(of("token_embd.weight"), BlockType::Q8_0);
    }
}
