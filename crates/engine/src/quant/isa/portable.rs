//! [`Isa`] in plain Rust, for processors without an implementation of their own. The
//! arrays have the length of a vector, so compilers make vectors of them where they can;
//! the larger operations are not inlined, which would compile for minutes.

use super::{Isa, Work};
use crate::math::f16_to_f32;
use crate::quant::activations::Repr;

const LANES: usize = 4;

/// Plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

fn map<A: Copy, B: Copy, C>(a: [A; LANES], b: [B; LANES], f: impl Fn(A, B) -> C) -> [C; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

fn dot(sum: i32, q: [u8; 4], y: [i8; 4]) -> i32 {
    q.iter()
        .zip(y)
        .fold(sum, |sum, (&q, y)| sum + i32::from(q as i8) * i32::from(y))
}

#[allow(clippy::undocumented_unsafe_blocks)] // reads and writes are the caller's promise
impl Isa for Portable {
    const LANES: usize = LANES;
    const GEMM_GROUPS: usize = 1;
    const STEPS_U5: usize = 8;
    const STEPS_U6: usize = 4;
    const REPR: Repr = Repr::I8;
    const SIGNED_REPR: Repr = Repr::I8;

    type Bytes = [[u8; 4]; LANES];
    type Quad = [i8; 4];
    type SignedQuad = [i8; 4];
    type Part = [i32; LANES];
    type SignedPart = [i32; LANES];
    type Ints = [i32; LANES];
    type Floats = [f32; LANES];
    type Factors = [i32; LANES];
    type Pairs = [[i32; 2]; LANES];

    #[inline(always)]
    unsafe fn enter<W: Work>(work: &W) -> W::Result {
        /// # Safety
        /// As for [`Isa`].
        #[inline(never)]
        unsafe fn compiled<W: Work>(work: &W) -> W::Result {
            // SAFETY: the caller's promise.
            unsafe { work.run::<Portable>() }
        }
        unsafe { compiled(work) }
    }

    unsafe fn load(words: *const u8) -> Self::Bytes {
        unsafe { words.cast::<Self::Bytes>().read_unaligned() }
    }

    #[inline(never)]
    unsafe fn shift_and_mask<const BY: i32>(bytes: Self::Bytes, mask: u8) -> Self::Bytes {
        let by = BY.unsigned_abs();
        bytes.map(|word| {
            word.map(|byte| {
                let shifted = if BY < 0 { byte << by } else { byte >> by };
                shifted & mask
            })
        })
    }

    #[inline(never)]
    unsafe fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        map(a, b, |a, b| std::array::from_fn(|i| a[i] | b[i]))
    }

    unsafe fn quad(activations: *const u8) -> [i8; 4] {
        unsafe { activations.cast::<[i8; 4]>().read() }
    }

    unsafe fn part() -> Self::Part {
        [0; LANES]
    }

    #[inline(never)]
    unsafe fn step(part: Self::Part, q: Self::Bytes, y: [i8; 4]) -> Self::Part {
        map(part, q, |sum, q| dot(sum, q, y))
    }

    unsafe fn add_part(sums: Self::Ints, part: Self::Part) -> Self::Ints {
        map(sums, part, |a, b| a + b)
    }

    #[inline(never)]
    unsafe fn add_scaled(sums: Self::Ints, part: Self::Part, factors: Self::Factors) -> Self::Ints {
        let scaled = map(part, factors, |a, b| a * b);
        map(sums, scaled, |a, b| a + b)
    }

    unsafe fn signed_quad(activations: *const u8) -> [i8; 4] {
        unsafe { activations.cast::<[i8; 4]>().read() }
    }

    unsafe fn signed_part() -> Self::Part {
        [0; LANES]
    }

    #[inline(never)]
    unsafe fn signed_step(part: Self::Part, q: Self::Bytes, y: [i8; 4]) -> Self::Part {
        map(part, q, |sum, q| dot(sum, q, y))
    }

    unsafe fn signed_sums(part: Self::Part, _: *const i32) -> Self::Ints {
        part
    }

    unsafe fn splat(value: *const i32) -> Self::Ints {
        [unsafe { value.read_unaligned() }; LANES]
    }

    unsafe fn shl<const BY: u32>(ints: Self::Ints) -> Self::Ints {
        ints.map(|int| int << BY)
    }

    unsafe fn sub_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints {
        map(a, b, |a, b| a - b)
    }

    unsafe fn no_ints() -> Self::Ints {
        [0; LANES]
    }

    unsafe fn factors_i8(bytes: *const i8) -> Self::Factors {
        unsafe { bytes.cast::<[i8; LANES]>().read() }.map(i32::from)
    }

    #[inline(never)]
    unsafe fn pairs(first: *const i8, second: *const i8) -> Self::Pairs {
        let (first, second) = unsafe {
            (
                first.cast::<[i8; LANES]>().read(),
                second.cast::<[i8; LANES]>().read(),
            )
        };
        map(first, second, |a, b| [i32::from(a), i32::from(b)])
    }

    #[inline(never)]
    unsafe fn dot_pairs(sums: Self::Ints, pairs: Self::Pairs, pair: *const [i16; 2]) -> Self::Ints {
        let [a, b] = unsafe { pair.read_unaligned() }.map(i32::from);
        map(sums, pairs, |sum, pair| sum + pair[0] * a + pair[1] * b)
    }

    unsafe fn widen(halves: *const u16) -> Self::Floats {
        unsafe { halves.cast::<[u16; LANES]>().read_unaligned() }.map(f16_to_f32)
    }

    unsafe fn splat_f32(value: *const f32) -> Self::Floats {
        [unsafe { value.read_unaligned() }; LANES]
    }

    unsafe fn zero() -> Self::Floats {
        [0.0; LANES]
    }

    unsafe fn to_floats(ints: Self::Ints) -> Self::Floats {
        ints.map(|int| int as f32)
    }

    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        map(a, b, |a, b| a * b)
    }

    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        map(a, b, |a, b| a + b)
    }

    unsafe fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        map(a, b, |a, b| a - b)
    }

    unsafe fn store(values: Self::Floats, out: *mut f32) {
        unsafe { out.cast::<Self::Floats>().write_unaligned(values) }
    }
}
