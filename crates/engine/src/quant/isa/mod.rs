//! The vector operations that the quantised kernels are written in.
//!
//! A kernel is generic over [`Isa`], so it exists once; an instruction set adds an
//! implementation here, and its name to [`InstructionSet`]. A vector's lanes are
//! *rows* of the weight matrix: every lane does what the scalar twin does for its
//! row, so no sum runs across lanes and the order of float additions is the twin's.
//!
//! Operations on integers are exact, operations on floats are IEEE and not fused:
//! which implementation runs cannot show in a result.

use super::activations::Repr;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod set;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::{Avx2, has_avx2};
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::{Neon, NeonHalves, Sdot, Smlal, widen};
pub(crate) use portable::Portable;
pub use set::InstructionSet;
pub(crate) use set::for_isa;
#[cfg(all(
    target_arch = "wasm32",
    target_feature = "simd128",
    not(target_feature = "relaxed-simd")
))]
pub(crate) use wasm::{Extended, Wide};
#[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
pub(crate) use wasm::{Relaxed16, Relaxed32};
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) use wasm::{Simd128, Wasm};

/// Something written in the operations of an [`Isa`].
pub(crate) trait Work {
    type Result;

    /// Does the work; inlined into [`Isa::enter`].
    ///
    /// # Safety
    /// As for [`Isa`].
    unsafe fn run<S: Isa>(&self) -> Self::Result;
}

/// Products of the integers of `LANES` rows with activations, a row in each lane.
///
/// Weights come in words of four consecutive bytes of a row, `LANES` rows beside each
/// other; activations as the four that meet those bytes, the same for every row. A
/// [`Self::Part`] takes the products of some steps, then is added to one i32 a row.
///
/// # Safety
/// Every method requires a processor with the instruction set that the implementation
/// names, and to be inlined into a function compiled for it; pointers are valid for
/// what the method says it reads or writes, at any alignment.
pub(crate) trait Isa: Copy {
    /// Rows in a vector, and in a group of the packed layout.
    const LANES: usize;
    /// Groups that share one load of the activations, where several tokens share the
    /// weights.
    const GEMM_GROUPS: usize;
    /// Steps that a part may take if no integer exceeds 31; up to 15 it is always 8.
    const STEPS_U5: usize;
    /// The same up to 63.
    const STEPS_U6: usize;
    /// The activations that [`Self::quad`] reads.
    const REPR: Repr;
    /// The activations that [`Self::signed_quad`] reads.
    const SIGNED_REPR: Repr;

    /// Does the work in a function compiled for the instruction set.
    unsafe fn enter<W: Work>(work: &W) -> W::Result;

    /// Four bytes for each row.
    type Bytes: Copy;
    /// Four activations, to meet integers in 0..=63.
    type Quad: Copy;
    /// Four activations, to meet any signed bytes.
    type SignedQuad: Copy;
    /// Unfinished sums of products with integers in 0..=63.
    type Part: Copy;
    /// Unfinished sums of products with signed bytes.
    type SignedPart: Copy;
    /// An i32 for each row.
    type Ints: Copy;
    /// An f32 for each row.
    type Floats: Copy;
    /// A factor in −128..=127 for each row.
    type Factors: Copy;
    /// Two numbers in −128..=127 for each row.
    type Pairs: Copy;

    /// Reads `4 · LANES` bytes.
    unsafe fn load(words: *const u8) -> Self::Bytes;
    /// Shifts each byte right (left if `BY` is negative) and keeps the bits of `mask`.
    ///
    /// Bits may come over from neighbouring bytes before the mask is applied, so it
    /// must leave out the positions that they reach.
    unsafe fn shift_and_mask<const BY: i32>(bytes: Self::Bytes, mask: u8) -> Self::Bytes;
    /// Bitwise or.
    unsafe fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;

    /// Reads four activations in [`Self::REPR`].
    unsafe fn quad(activations: *const u8) -> Self::Quad;
    /// Sums of nothing.
    unsafe fn part() -> Self::Part;
    /// Adds the products of `q`, each in 0..=63, with four activations.
    unsafe fn step(part: Self::Part, q: Self::Bytes, y: Self::Quad) -> Self::Part;
    /// Adds a part to whole sums.
    unsafe fn add_part(sums: Self::Ints, part: Self::Part) -> Self::Ints;
    /// Adds a part, times a factor for each row, to whole sums.
    unsafe fn add_scaled(sums: Self::Ints, part: Self::Part, factors: Self::Factors) -> Self::Ints;

    /// Reads four activations in [`Self::SIGNED_REPR`].
    unsafe fn signed_quad(activations: *const u8) -> Self::SignedQuad;
    /// Sums of nothing.
    unsafe fn signed_part() -> Self::SignedPart;
    /// Adds the products of any signed bytes with four activations, up to eight times.
    unsafe fn signed_step(
        part: Self::SignedPart,
        q: Self::Bytes,
        y: Self::SignedQuad,
    ) -> Self::SignedPart;
    /// Finishes the sums of 32 elements; `sum_x8` is −8 times the sum of the activations.
    unsafe fn signed_sums(part: Self::SignedPart, sum_x8: *const i32) -> Self::Ints;

    /// The same number for every row.
    unsafe fn splat(value: *const i32) -> Self::Ints;
    /// Shifts left.
    unsafe fn shl<const BY: u32>(ints: Self::Ints) -> Self::Ints;
    unsafe fn sub_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    unsafe fn no_ints() -> Self::Ints;

    /// `LANES` signed bytes.
    unsafe fn factors_i8(bytes: *const i8) -> Self::Factors;
    /// `LANES` signed bytes and `LANES` others.
    unsafe fn pairs(first: *const i8, second: *const i8) -> Self::Pairs;
    /// Adds each row's first number times `pair[0]` and its second times `pair[1]`.
    unsafe fn dot_pairs(sums: Self::Ints, pairs: Self::Pairs, pair: *const [i16; 2]) -> Self::Ints;

    /// Reads `LANES` IEEE halves.
    unsafe fn widen(halves: *const u16) -> Self::Floats;
    /// The same number for every row.
    unsafe fn splat_f32(value: *const f32) -> Self::Floats;
    unsafe fn zero() -> Self::Floats;
    unsafe fn to_floats(ints: Self::Ints) -> Self::Floats;
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// Writes `LANES` floats.
    unsafe fn store(values: Self::Floats, out: *mut f32);
}
