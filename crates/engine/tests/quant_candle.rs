//! Block types and kernels against candle's, an independent implementation.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{Device, Module, Tensor};
use nox_engine::gguf::{GgmlType, TensorInfo};
use nox_engine::lane::Product;
use nox_engine::quant::{SUPPORTED_QUANTS, Weight, kernel_check, read_weight};
use nox_engine::sampler::Pcg32;
use nox_engine::{CpuLane, Lane};

const N_ROWS: usize = 24;
const N_COLS: usize = 768;
const N_TOKENS: usize = 5;

fn candle_type(quant: GgmlType) -> GgmlDType {
    match quant {
        GgmlType::F32 => GgmlDType::F32,
        GgmlType::F16 => GgmlDType::F16,
        GgmlType::BF16 => GgmlDType::BF16,
        GgmlType::Q4_0 => GgmlDType::Q4_0,
        GgmlType::Q4_1 => GgmlDType::Q4_1,
        GgmlType::Q5_0 => GgmlDType::Q5_0,
        GgmlType::Q5_1 => GgmlDType::Q5_1,
        GgmlType::Q8_0 => GgmlDType::Q8_0,
        GgmlType::Q2_K => GgmlDType::Q2K,
        GgmlType::Q3_K => GgmlDType::Q3K,
        GgmlType::Q4_K => GgmlDType::Q4K,
        GgmlType::Q5_K => GgmlDType::Q5K,
        GgmlType::Q6_K => GgmlDType::Q6K,
        other => panic!("{other} has no kernels"),
    }
}

/// Roughly normal numbers.
fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Pcg32::new(seed);
    (0..n)
        .map(|_| (0..4).map(|_| rng.next_f32() - 0.5).sum())
        .collect()
}

/// The same bytes as candle's tensor and as our weight.
fn both(quant: GgmlType) -> (QTensor, Weight) {
    let values =
        Tensor::from_vec(random(N_ROWS * N_COLS, 1), (N_ROWS, N_COLS), &Device::Cpu).unwrap();
    let theirs = QTensor::quantize(&values, candle_type(quant)).unwrap();
    let bytes = theirs.data().unwrap().to_vec();
    let info = TensorInfo {
        name: "weight".to_owned(),
        shape: vec![N_ROWS, N_COLS],
        quant,
        offset: 0,
        size_bytes: bytes.len() as u64,
    };
    let ours = read_weight(&bytes, &info, N_ROWS, N_COLS).unwrap();
    // One group of rows may not be full.
    let most = bytes.len() + 16 * bytes.len() / N_ROWS;
    assert!((bytes.len()..most).contains(&ours.size_bytes()), "{quant}");
    (theirs, ours)
}

fn dequantized(weight: &Weight) -> Vec<f32> {
    let mut values = vec![0.0; N_ROWS * N_COLS];
    for (row, values) in values.chunks_exact_mut(N_COLS).enumerate() {
        weight.dequantize_row(row, values);
    }
    values
}

#[test]
fn the_kernels_of_this_build_equal_their_scalar_twins() {
    kernel_check().unwrap();
}

#[test]
fn every_type_dequantises_as_in_candle() {
    for &quant in SUPPORTED_QUANTS {
        let (theirs, ours) = both(quant);
        let theirs = theirs
            .dequantize(&Device::Cpu)
            .unwrap()
            .flatten_all()
            .unwrap();
        for (ours, theirs) in dequantized(&ours)
            .iter()
            .zip(theirs.to_vec1::<f32>().unwrap())
        {
            // The same products, perhaps in another order: a few units in the last place.
            assert!((ours - theirs).abs() <= 1e-6, "{quant}: {ours} {theirs}");
        }
    }
}

#[test]
fn products_agree_with_candle_and_with_plain_floats() {
    let lane = CpuLane::single_threaded();
    let x = random(N_TOKENS * N_COLS, 2);
    let x_tensor = Tensor::from_vec(x.clone(), (N_TOKENS, N_COLS), &Device::Cpu).unwrap();
    for &quant in SUPPORTED_QUANTS {
        let (theirs, ours) = both(quant);
        let mut found = vec![0.0; N_TOKENS * N_ROWS];
        let product = Product {
            weight: &ours,
            bias: None,
            out: &mut found,
        };
        lane.matmul(&x, N_TOKENS, &mut [product]);

        // Activations in 8 bits are off by a 250th of their block's maximum at most
        // (halves by 2⁻¹²); the errors of 768 products add up as a random walk.
        let bound = match quant {
            GgmlType::F32 | GgmlType::BF16 => 1e-4,
            GgmlType::F16 => 1e-2,
            _ => 0.25,
        };
        let values = dequantized(&ours);
        for token in 0..N_TOKENS {
            for row in 0..N_ROWS {
                let exact: f64 = values[row * N_COLS..][..N_COLS]
                    .iter()
                    .zip(&x[token * N_COLS..])
                    .map(|(w, x)| f64::from(*w) * f64::from(*x))
                    .sum();
                let found = f64::from(found[token * N_ROWS + row]);
                assert!((found - exact).abs() < bound, "{quant}: {found} {exact}");
            }
        }
        let theirs = QMatMul::from_qtensor(theirs)
            .unwrap()
            .forward(&x_tensor)
            .unwrap();
        let through_candle = QMatMul::from_qtensor(ours.into_qtensor().unwrap()).unwrap();
        let through_candle = through_candle.forward(&x_tensor).unwrap();
        for other in [theirs, through_candle] {
            let other = other.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (found, other) in found.iter().zip(other) {
                assert!(
                    f64::from((found - other).abs()) < 2.0 * bound,
                    "{quant}: {found} {other}"
                );
            }
        }
    }
}

#[test]
fn a_bias_is_added_to_every_token() {
    let lane = CpuLane::single_threaded();
    let (_, weight) = both(GgmlType::Q8_0);
    let x = random(N_TOKENS * N_COLS, 3);
    let bias: Vec<f32> = (0..N_ROWS).map(|row| row as f32 * 10.0).collect();
    let (mut plain, mut biased) = (vec![0.0; N_TOKENS * N_ROWS], vec![0.0; N_TOKENS * N_ROWS]);
    lane.matmul(
        &x,
        N_TOKENS,
        &mut [
            Product {
                weight: &weight,
                bias: None,
                out: &mut plain,
            },
            Product {
                weight: &weight,
                bias: Some(&bias),
                out: &mut biased,
            },
        ],
    );
    for (i, (plain, biased)) in plain.iter().zip(biased).enumerate() {
        assert_eq!(plain + bias[i % N_ROWS], biased);
    }
}
