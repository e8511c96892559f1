//! Elementary functions and reductions that give the same bits everywhere: plain additions and
//! multiplications in a fixed order, never the platform's mathematics library.

/// `e^x` to within two units in the last place for `|x| < 87`; clamped beyond. Written without
/// branches so that the compiler can vectorise loops over it.
///
/// # Source
/// The range reduction and polynomial of Cephes `expf`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 · 2²³: adding it rounds to an integer
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + MAGIC) - MAGIC;
    let r = x - n * 0.693_359_4;
    let r = r - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4f32;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5e-1;
    let y = p * (r * r) + r + 1.0;
    y * f32::from_bits((((n as i32) + 127) << 23) as u32)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `Σ a·b` in eight interleaved sums that are then added pairwise.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (ac, bc) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f32 = ac
        .remainder()
        .iter()
        .zip(bc.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in ac.zip(bc) {
        for i in 0..8 {
            lanes[i] += x[i] * y[i];
        }
    }
    fold(lanes) + tail
}

/// Sum in the same fixed order as [`dot`].
pub fn sum(a: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let chunks = a.chunks_exact(8);
    let tail: f32 = chunks.remainder().iter().sum();
    for x in chunks {
        for i in 0..8 {
            lanes[i] += x[i];
        }
    }
    fold(lanes) + tail
}

fn fold(l: [f32; 8]) -> f32 {
    ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
}

/// Turns a row of scores into probabilities in place; returns `ln Σ e^x` of the row.
pub fn softmax(row: &mut [f32]) -> f32 {
    let max = row.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
    for x in row.iter_mut() {
        *x = exp(*x - max);
    }
    let total = sum(row);
    let inv = 1.0 / total;
    for x in row.iter_mut() {
        *x *= inv;
    }
    max + libm::logf(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_exact_value() {
        for i in -8000..8000 {
            let x = i as f32 * 0.01;
            let want = libm::exp(x as f64);
            let error = ((exp(x) as f64 - want) / want).abs();
            assert!(error < 3e-7, "exp({x}) is off by {error}");
        }
    }

    #[test]
    fn softmax_sums_to_one() {
        let mut row: Vec<f32> = (0..37).map(|i| (i % 7) as f32).collect();
        softmax(&mut row);
        assert!((sum(&row) - 1.0).abs() < 1e-6);
    }
}
