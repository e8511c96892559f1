//! The vector operations that the quantised kernels are written in.
//!
//! A kernel is generic over [`Simd`], so it exists once; an instruction set adds
//! an implementation here. All operations are exact, on integers or widening
//! halves: which one runs cannot show in a result. Arithmetic on floats is left to
//! plain Rust in the kernels.

use crate::math::Halves;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) use wasm::Simd128;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, has_avx2};

/// Operations on 32 signed bytes at once and on partial sums of their products.
///
/// # Safety
/// Every method requires a processor with the instruction set that the
/// implementation names, and to be inlined into a function compiled for it.
pub(crate) trait Simd: Halves {
    /// 32 signed bytes.
    type Ints: Copy;
    /// i32 partial sums; only their total means something.
    type Sums: Copy;

    /// 32 bytes as they are.
    unsafe fn load(bytes: &[i8; 32]) -> Self::Ints;

    /// 32 bytes as they are, to be taken apart with [`Self::shift_and_mask`].
    unsafe fn load_bytes(bytes: &[u8; 32]) -> Self::Ints;

    /// The low halves of 16 bytes, then their high halves.
    unsafe fn nibbles(bytes: &[u8; 16]) -> Self::Ints;

    /// Shifts each byte left (right if negative), then keeps the bits of `mask`.
    ///
    /// Bits may cross into neighbouring bytes before the mask is applied, so
    /// `mask` must leave out the `|shift|` positions that they can reach.
    unsafe fn shift_and_mask<const SHIFT: i32>(ints: Self::Ints, mask: u8) -> Self::Ints;

    /// `16` in every byte whose bit is set in `bits`, else `0`.
    unsafe fn fifth_bits(bits: u32) -> Self::Ints;

    /// Bitwise or.
    unsafe fn or(a: Self::Ints, b: Self::Ints) -> Self::Ints;

    /// Sums of nothing.
    unsafe fn zero() -> Self::Sums;

    /// Adds the products of `q` (each in 0..=127) and `y` (each in −127..=127).
    unsafe fn dot_u7(sums: Self::Sums, q: Self::Ints, y: Self::Ints) -> Self::Sums;

    /// Adds the products of `q` (any) and `y` (each in −127..=127).
    unsafe fn dot_i8(sums: Self::Sums, q: Self::Ints, y: Self::Ints) -> Self::Sums;

    /// Adds `low · Σ` over the first 16 products and `high · Σ` over the others;
    /// `q` in 0..=63, `y` in −127..=127.
    unsafe fn dot_u6_scaled(
        sums: Self::Sums,
        q: Self::Ints,
        y: Self::Ints,
        low: i16,
        high: i16,
    ) -> Self::Sums;

    /// The total.
    unsafe fn total(sums: Self::Sums) -> i32;

    /// Four totals.
    unsafe fn totals(sums: [Self::Sums; 4]) -> [i32; 4];
}
