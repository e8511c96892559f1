//! The element types a GGUF tensor can have, with the sizes of their blocks.
//!
//! Sizes alone: how a block's bytes become numbers is the quantisation code's
//! matter, and a type being named here does not mean that the engine computes
//! with it.

use std::fmt;

macro_rules! ggml_types {
    ($($variant:ident = $id:literal, $block_len:literal, $block_bytes:literal;)+) => {
        /// The type of a tensor's elements, named as ggml names it.
        ///
        /// # Source
        /// `enum ggml_type` in ggml's `ggml.h`, block sizes in `ggml-common.h`.
        /// Ids that ggml has retired (4, 5, 31–33, 36–38) are unknown here too.
        #[allow(non_camel_case_types, missing_docs)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum GgmlType {
            $($variant = $id,)+
        }

        impl GgmlType {
            /// Every type that GGUF files may name, in the order of their ids.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The type behind the number in a file, if ggml knows it.
            pub fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The name as ggml writes it, e.g. `Q4_K`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)+
                }
            }

            /// How many elements a block holds; 1 for plain numbers.
            pub fn block_len(self) -> usize {
                match self {
                    $(Self::$variant => $block_len,)+
                }
            }

            /// How many bytes a block takes.
            pub fn block_bytes(self) -> usize {
                match self {
                    $(Self::$variant => $block_bytes,)+
                }
            }
        }
    };
}

ggml_types! {
    F32 = 0, 1, 4;
    F16 = 1, 1, 2;
    Q4_0 = 2, 32, 18;
    Q4_1 = 3, 32, 20;
    Q5_0 = 6, 32, 22;
    Q5_1 = 7, 32, 24;
    Q8_0 = 8, 32, 34;
    Q8_1 = 9, 32, 36;
    Q2_K = 10, 256, 84;
    Q3_K = 11, 256, 110;
    Q4_K = 12, 256, 144;
    Q5_K = 13, 256, 176;
    Q6_K = 14, 256, 210;
    Q8_K = 15, 256, 292;
    IQ2_XXS = 16, 256, 66;
    IQ2_XS = 17, 256, 74;
    IQ3_XXS = 18, 256, 98;
    IQ1_S = 19, 256, 50;
    IQ4_NL = 20, 32, 18;
    IQ3_S = 21, 256, 110;
    IQ2_S = 22, 256, 82;
    IQ4_XS = 23, 256, 136;
    I8 = 24, 1, 1;
    I16 = 25, 1, 2;
    I32 = 26, 1, 4;
    I64 = 27, 1, 8;
    F64 = 28, 1, 8;
    IQ1_M = 29, 256, 56;
    BF16 = 30, 1, 2;
    TQ1_0 = 34, 256, 54;
    TQ2_0 = 35, 256, 66;
    MXFP4 = 39, 32, 17;
    NVFP4 = 40, 64, 36;
    Q1_0 = 41, 128, 18;
    Q2_0 = 42, 64, 18;
}

impl GgmlType {
    /// The number that stands for this type in a file.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// The bytes that `n_elements` take, or `None` if they do not fill whole
    /// blocks or the product overflows.
    pub fn size_bytes(self, n_elements: u64) -> Option<u64> {
        let block_len = self.block_len() as u64;
        if !n_elements.is_multiple_of(block_len) {
            return None;
        }
        (n_elements / block_len).checked_mul(self.block_bytes() as u64)
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lead_back_to_their_types() {
        for &quant in GgmlType::ALL {
            assert_eq!(GgmlType::from_id(quant.id()), Some(quant));
        }
        for retired_or_unknown in [4, 5, 31, 32, 33, 36, 37, 38, 1000, u32::MAX] {
            assert_eq!(GgmlType::from_id(retired_or_unknown), None);
        }
    }

    #[test]
    fn sizes_count_whole_blocks_only() {
        assert_eq!(GgmlType::Q4_0.size_bytes(64), Some(36));
        assert_eq!(GgmlType::Q4_0.size_bytes(65), None);
        assert_eq!(GgmlType::Q6_K.size_bytes(256), Some(210));
        assert_eq!(GgmlType::F64.size_bytes(u64::MAX), None);
    }
}
