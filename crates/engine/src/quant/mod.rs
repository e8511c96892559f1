//! Quantised weights and their products with activations.
//!
//! Weights go from the source into the place where the kernels use them, a bounded
//! piece at a time: the file's bytes, laid out so that a vector's lanes are rows
//! ([`packed`]). A product quantises its activations once to 8 bits and then works on
//! integers; only the scales are floats. [`kernels`] are written once, over the
//! operations of an instruction set ([`isa`]).
//!
//! **Every build computes the same bits.** Integer sums are exact, float sums
//! have one fixed order ([`kernels`] and [`crate::math`] say which), and nothing
//! is fused. Text chosen greedily is therefore the same from the scalar code, from
//! AVX2, AVX-512, NEON and from the simd128, relaxed and threaded WebAssembly builds;
//! [`kernel_check`] proves it for the build that it runs in, [`lane_check`] for a
//! device, quickly, before a worker answers.
//!
//! This module knows no layers and no threads: who multiplies which rows is the
//! [lane](crate::lane)'s decision.

mod activations;
mod blocks;
mod candle;
mod check;
mod floats;
mod isa;
mod kernels;
mod output;
mod packed;
mod rows;
mod twin;
mod weight;

pub(crate) use activations::ForEach;
pub use activations::{ActivationKind, ActivationScratch, Activations, Repr};
pub use blocks::{
    Block, BlockQ2_K, BlockQ3_K, BlockQ4_0, BlockQ4_1, BlockQ4_K, BlockQ5_0, BlockQ5_1, BlockQ5_K,
    BlockQ6_K, BlockQ8_0, QK, QK_K,
};
pub(crate) use candle::candle_type;
pub use check::{KERNEL_DIGEST, KernelCheck, KernelMismatch, kernel_check, lane_check};
pub use isa::InstructionSet;
#[cfg(target_arch = "x86_64")]
pub(crate) use isa::has_avx2;
#[cfg(target_arch = "aarch64")]
pub(crate) use isa::widen;
pub(crate) use output::Output;
pub use weight::{PendingWeight, SUPPORTED_QUANTS, Weight, WeightError, check_tensor, read_weight};
