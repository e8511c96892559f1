//! The scalar twins: one row times one token, as plainly as it can be said. What every
//! other version computes is compared with them.

use super::activations::Activations;
use super::blocks::*;
use crate::math::{self, Float, Portable};

/// A block type that rows of the file can be multiplied in, without vectors.
pub(crate) trait Twin: Block {
    /// A row of the file times token `token`.
    ///
    /// # Panics
    /// The activations do not have the form that the type meets, as bytes.
    fn dot(row: &[Self], x: &Activations<'_>, token: usize) -> f32;
}

fn integer_dot(q: &[i8], y: &[i8]) -> i32 {
    q.iter()
        .zip(y)
        .map(|(&q, &y)| i32::from(q) * i32::from(y))
        .sum()
}

fn sum(y: &[i8]) -> i32 {
    y.iter().map(|&y| i32::from(y)).sum()
}

fn dot_simple<B: SimpleBlock>(row: &[B], x: &Activations<'_>, token: usize) -> f32 {
    let mut value = 0.0;
    for (b, block) in row.iter().enumerate() {
        let (y, scale) = x.block::<QK>(token, b);
        let dot = integer_dot(&block.ints(), &y) - B::OFFSET * sum(&y);
        let (d, m) = (block.d().widen(), block.m().widen());
        let term = (d * scale) * dot as f32;
        value += if B::HAS_MIN {
            term + m * (scale * sum(&y) as f32)
        } else {
            term
        };
    }
    value
}

fn dot_super<B: SuperBlock>(row: &[B], x: &Activations<'_>, token: usize) -> f32 {
    let mut value = 0.0;
    for (b, block) in row.iter().enumerate() {
        let (y, scale) = x.block::<QK_K>(token, b);
        let (scales, mins) = (block.scales(), block.mins());
        let (mut dot, mut min) = (0, 0);
        for (i, y) in y.as_chunks::<16>().0.iter().enumerate() {
            let ints = block.ints(i / 2);
            let of_16 = integer_dot(&ints[i % 2 * 16..][..16], y) - B::OFFSET * sum(y);
            dot += i32::from(scales[i]) * of_16;
            min += mins[i] * sum(y);
        }
        let term = (block.d() * scale) * dot as f32;
        value += if B::HAS_MIN {
            term - (block.dmin() * scale) * min as f32
        } else {
            term
        };
    }
    value
}

macro_rules! twin {
    ($($block:ty => $dot:ident),+ $(,)?) => {$(
        impl Twin for $block {
            fn dot(row: &[Self], x: &Activations<'_>, token: usize) -> f32 {
                $dot(row, x, token)
            }
        }
    )+};
}

twin! {
    BlockQ4_0 => dot_simple, BlockQ4_1 => dot_simple,
    BlockQ5_0 => dot_simple, BlockQ5_1 => dot_simple, BlockQ8_0 => dot_simple,
    BlockQ2_K => dot_super, BlockQ3_K => dot_super, BlockQ4_K => dot_super,
    BlockQ5_K => dot_super, BlockQ6_K => dot_super,
}

macro_rules! float_twin {
    ($($number:ty => $row:ident),+) => {$(
        impl Twin for $number {
            fn dot(row: &[Self], x: &Activations<'_>, token: usize) -> f32 {
                // SAFETY: `Portable` asks for nothing.
                let [value] = unsafe { math::dot::<Self, Portable, 1>(row, [x.$row(token)]) };
                value
            }
        }
    )+};
}

float_twin!(f32 => f32_row, half::f16 => f16_row, half::bf16 => f32_row);
