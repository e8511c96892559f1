//! Attention against its definition, and against itself in other portions.

use super::*;
use crate::decoder::kv::{KvShape, KvType};
use crate::lane::CpuLane;
use crate::sampler::Pcg32;

/// Random queries, keys and values: `[n_positions, n_head or n_head_kv, head_dim]`.
struct Case {
    spec: AttentionSpec,
    n_positions: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Case {
    fn new(n_head: usize, n_head_kv: usize, head_dim: usize, n_positions: usize) -> Self {
        let mut rng = Pcg32::new((n_head * 1000 + head_dim) as u64);
        let mut random = |n: usize| -> Vec<f32> {
            let numbers = (0..n).map(|_| (rng.next_f32() - 0.5) * 4.0);
            numbers.collect()
        };
        Self {
            spec: AttentionSpec {
                layer: 0,
                n_head,
                n_head_kv,
                head_dim,
                scale: 1.0 / (head_dim as f32).sqrt(),
                logit_cap: None,
                window: None,
            },
            n_positions,
            q: random(n_positions * n_head * head_dim),
            k: random(n_positions * n_head_kv * head_dim),
            v: random(n_positions * n_head_kv * head_dim),
        }
    }

    fn cache(&self, kv_type: KvType) -> KvCache {
        let spec = self.spec;
        let shape = KvShape {
            n_layer: 1,
            n_head_kv: spec.n_head_kv,
            head_dim: spec.head_dim,
        };
        let mut kv = KvCache::new(shape, kv_type);
        kv.reserve(self.n_positions).unwrap();
        let n_kv = spec.n_head_kv * spec.head_dim;
        for position in 0..self.n_positions {
            let of = |all: &[f32]| all[position * n_kv..][..n_kv].to_vec();
            assert!(kv.store(0, position, &of(&self.k), &of(&self.v)));
        }
        kv
    }

    /// The last `n_last` tokens, computed in chunks of `chunk_len` on `n_threads`.
    fn run(&self, kv: &KvCache, n_last: usize, chunk_len: usize, n_threads: usize) -> Vec<f32> {
        let spec = self.spec;
        let lane = CpuLane::with_threads(n_threads).unwrap();
        let n_q = spec.n_head * spec.head_dim;
        let part_len = part_len(spec.head_dim);
        let mut scratch = AttentionScratch {
            parts: vec![f32::NAN; N_SETS * chunk_len * spec.n_head * part_len],
            part_len,
        };
        let mut all = Vec::new();
        let first = self.n_positions - n_last;
        for start in (first..self.n_positions).step_by(chunk_len) {
            let end = self.n_positions.min(start + chunk_len);
            let mut out = vec![0.0; (end - start) * n_q];
            let q = &self.q[start * n_q..end * n_q];
            attention(&lane, spec, kv, start, q, &mut scratch, &mut out);
            all.extend(out);
        }
        all
    }

    /// By the definition, in f64 and on numbers as they are.
    fn expected(&self, n_last: usize) -> Vec<f64> {
        let spec = self.spec;
        let head_dim = spec.head_dim;
        let group = spec.n_head / spec.n_head_kv;
        let mut all = Vec::new();
        for position in self.n_positions - n_last..self.n_positions {
            for head in 0..spec.n_head {
                let q = &self.q[(position * spec.n_head + head) * head_dim..][..head_dim];
                let first = spec.window.map_or(0, |n| (position + 1).saturating_sub(n));
                let row = |all: &'_ [f32], at: usize| -> Vec<f64> {
                    let start = (at * spec.n_head_kv + head / group) * head_dim;
                    all[start..start + head_dim]
                        .iter()
                        .map(|x| f64::from(*x))
                        .collect()
                };
                let weights: Vec<f64> = (first..=position)
                    .map(|at| {
                        let products = row(&self.k, at).into_iter().zip(q);
                        let dot: f64 = products.map(|(k, q)| k * f64::from(*q)).sum();
                        let score = dot * f64::from(spec.scale);
                        let capped = spec.logit_cap.map_or(score, |cap| {
                            f64::from(cap) * (score / f64::from(cap)).tanh()
                        });
                        capped.exp()
                    })
                    .collect();
                let total: f64 = weights.iter().sum();
                let mut sums = vec![0.0; head_dim];
                for (at, weight) in (first..).zip(&weights) {
                    for (sum, v) in sums.iter_mut().zip(row(&self.v, at)) {
                        *sum += weight / total * v;
                    }
                }
                all.extend(sums);
            }
        }
        all
    }
}

/// Shapes of published models, and ones that end within a row, a tile or a group of
/// registers; contexts that end within a page, and windows that begin within a span.
fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new(9, 3, 64, 300),
        Case::new(4, 4, 32, 140),
        Case::new(14, 2, 64, 150),
        Case::new(8, 1, 256, 200),
        Case::new(2, 1, 512, 70),
        Case::new(40, 1, 32, 60),
        Case::new(6, 2, 96, 530),
    ];
    let mut windowed = Case::new(8, 2, 64, 400);
    windowed.spec.window = Some(150);
    let mut capped = Case::new(4, 2, 64, 150);
    capped.spec.logit_cap = Some(2.0);
    let mut narrow = Case::new(4, 2, 32, 300);
    narrow.spec.window = Some(5);
    cases.extend([windowed, capped, narrow]);
    cases
}

#[test]
fn results_follow_the_definition_within_the_storage_types_precision() {
    // Values lie within ±2. An f16 is within 2^-11 of its number, a Q8 within half a
    // 127th of the greatest; scores, and with them weights, are off by about as much.
    let mut cases = cases();
    cases.push(Case::new(4, 2, 8, 140));
    cases.push(Case::new(3, 1, 80, 140));
    for case in cases {
        for (kv_type, bound) in [(KvType::F32, 1e-5), (KvType::F16, 2e-3), (KvType::Q8, 3e-2)] {
            if !kv_type.supports(case.spec.head_dim) {
                continue;
            }
            let found = case.run(&case.cache(kv_type), 60, 32, 1);
            let expected = case.expected(60);
            assert_eq!(found.len(), expected.len());
            let pairs = found.iter().zip(&expected);
            let worst = pairs
                .map(|(a, b)| (f64::from(*a) - b).abs())
                .fold(0.0, f64::max);
            assert!(worst < bound, "{kv_type:?}, {:?}: {worst:.1e}", case.spec);
        }
    }
}

#[test]
fn portions_and_threads_change_no_bit() {
    for case in cases() {
        for kv_type in [KvType::F32, KvType::F16, KvType::Q8] {
            let kv = case.cache(kv_type);
            let bits = |chunk_len, n_threads| -> Vec<u32> {
                let found = case.run(&kv, 48, chunk_len, n_threads);
                found.iter().map(|number| number.to_bits()).collect()
            };
            let expected = bits(1, 1);
            for (chunk_len, n_threads) in [(2, 1), (5, 1), (32, 1), (48, 1), (1, 3), (32, 2)] {
                let found = bits(chunk_len, n_threads);
                assert!(found == expected, "{chunk_len} {n_threads} {:?}", case.spec);
            }
        }
    }
}

#[test]
fn vectors_of_any_width_give_the_same_bits() {
    let case = Case::new(9, 3, 64, 300);
    for kv_type in [KvType::F32, KvType::F16, KvType::Q8] {
        let kv = case.cache(kv_type);
        let expected = case.run(&kv, 5, 5, 1);
        let portable = PORTABLE_ONLY.with(|only| {
            only.set(true);
            let found = case.run(&kv, 5, 5, 1);
            only.set(false);
            found
        });
        assert!(expected == portable, "{kv_type:?}");
    }
}

#[test]
fn positions_beyond_a_token_do_not_reach_it() {
    let mut case = Case::new(6, 2, 64, 200);
    let before = case.run(&case.cache(KvType::F16), 40, 32, 1);
    let n_kv = case.spec.n_head_kv * case.spec.head_dim;
    for number in case.k[199 * n_kv..]
        .iter_mut()
        .chain(&mut case.v[199 * n_kv..])
    {
        *number = 6e4;
    }
    let after = case.run(&case.cache(KvType::F16), 40, 32, 1);
    let n_before_last = 39 * case.spec.n_head * case.spec.head_dim;
    assert_eq!(before[..n_before_last], after[..n_before_last]);
    assert_ne!(before[n_before_last..], after[n_before_last..]);
}
