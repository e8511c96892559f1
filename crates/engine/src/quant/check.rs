//! The kernels of this build against their scalar twins, at run time.
//!
//! One list of kernels serves the native tests, the browser tests of every
//! WebAssembly build, a user's report from a device that nobody has at hand, and
//! the start of a worker, which does not trust a device that it has never seen.

use super::activations::{ActivationKind, ActivationScratch, Activations, Repr};
use super::blocks::*;
use super::isa::InstructionSet;
use super::twin::Twin;
use super::weight::{PendingWeight, Weight, WeightError};
use crate::gguf::{GgmlType, TensorInfo};
use crate::lane::{CpuLane, Lane, MIN_SHARED_WORK, Product};
use crate::math;
use crate::sampler::Pcg32;

/// The digest of every result of [`kernel_check`], on every machine. If it has to
/// change, so does the text that models write.
pub const KERNEL_DIGEST: u64 = 0xd7dc_0bb6_1f81_c7e4;

/// What [`kernel_check`] compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelCheck {
    /// The number of products compared, each bit for bit.
    pub n_products: usize,
    /// [`KERNEL_DIGEST`].
    pub digest: u64,
}

/// A kernel of this build that computes something else than it should.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // the fields are named by the messages
pub enum KernelMismatch {
    /// A vector kernel differs from its scalar twin.
    #[error(
        "the {quant} kernel for {} gives {found:e} for row {row}, token {token} of a product of \
         {n_tokens} tokens with {n_cols} columns; the scalar twin gives {expected:e}",
        set.name()
    )]
    Twin {
        quant: GgmlType,
        set: InstructionSet,
        n_cols: usize,
        n_tokens: usize,
        row: usize,
        token: usize,
        found: f32,
        expected: f32,
    },
    /// Both agree, but not with what other machines compute.
    #[error("the digest of all results is {found:#018x}, other builds have {expected:#018x}")]
    Digest { found: u64, expected: u64 },
}

/// Which products are compared.
struct Shapes {
    block_counts: &'static [usize],
    token_counts: &'static [usize],
    n_rows: usize,
    /// The least number of multiplications; rows are added to reach it.
    min_work: usize,
}

/// Whole groups of rows and one that is not full, tokens in tiles and alone.
const ALL_SHAPES: Shapes = Shapes {
    block_counts: &[1, 2, 3, 7],
    token_counts: &[1, 2, 4, 9, 33],
    n_rows: 37,
    min_work: 0,
};

/// Multiplies random rows of every type by every kernel of this build.
///
/// # Errors
/// The first result whose bits are not the scalar twin's, or results that differ
/// from those of other builds.
pub fn kernel_check() -> Result<KernelCheck, KernelMismatch> {
    let lane = CpuLane::single_threaded();
    let sets = InstructionSet::available().collect();
    let mut check = Check::new(&lane, sets, ALL_SHAPES);
    check.every_kernel()?;
    check.float_functions();
    if check.digest != KERNEL_DIGEST {
        return Err(KernelMismatch::Digest {
            found: check.digest,
            expected: KERNEL_DIGEST,
        });
    }
    Ok(KernelCheck {
        n_products: check.n_products,
        digest: check.digest,
    })
}

/// One product of every type on `lane`, in as many parts as it has threads, compared as
/// by [`kernel_check`]; it takes some milliseconds. A thread that comes late may find its
/// part computed by another.
///
/// # Errors
/// The first result whose bits are not the scalar twin's.
pub fn lane_check(lane: &dyn Lane) -> Result<(), KernelMismatch> {
    let shapes = Shapes {
        block_counts: &[3],
        // A tile and a token beside it.
        token_counts: &[5],
        n_rows: lane.n_threads(),
        min_work: MIN_SHARED_WORK,
    };
    Check::new(lane, vec![InstructionSet::chosen()], shapes).every_kernel()
}

fn bytes<const N: usize>(rng: &mut Pcg32) -> [u8; N] {
    std::array::from_fn(|_| rng.next_u32() as u8)
}

/// Scales of both signs, among them subnormal halves.
fn scale(rng: &mut Pcg32) -> half::f16 {
    let power_of_two = f32::from_bits((127 - 2 * (rng.next_u32() % 12)) << 23);
    half::f16::from_f32((rng.next_f32() - 0.5) * power_of_two)
}

/// What the twin of a type works with.
fn twin_activation<B: Block>() -> ActivationKind {
    match B::QUANT {
        GgmlType::F16 => ActivationKind::F16,
        GgmlType::F32 | GgmlType::BF16 => ActivationKind::F32,
        _ if B::LEN == QK => ActivationKind::Q8(Repr::I8),
        _ => ActivationKind::Q8K(Repr::I8),
    }
}

/// The blocks as a weight read from a file, laid out for `set`.
fn weight<B: Block>(set: InstructionSet, blocks: &[B], n_cols: usize) -> Weight {
    let bytes: Vec<u8> = blocks.iter().flat_map(bytes_of).copied().collect();
    let n_rows = blocks.len() * B::LEN / n_cols;
    let info = TensorInfo {
        name: "check".to_owned(),
        shape: vec![n_rows, n_cols],
        quant: B::QUANT,
        offset: 0,
        size_bytes: bytes.len() as u64,
    };
    let read = || {
        let mut pending = PendingWeight::for_set(set, &info, n_rows, n_cols)?;
        while pending.missing_bytes() > 0 {
            pending.read_more(&bytes, usize::MAX, &CpuLane::single_threaded())?;
        }
        Ok::<_, WeightError>(pending.finish())
    };
    read().expect("the bytes are whole rows in memory")
}

/// Whether two results are the same number: the same bits, or no number both.
fn is_same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

struct Check<'a> {
    lane: &'a dyn Lane,
    sets: Vec<InstructionSet>,
    shapes: Shapes,
    rng: Pcg32,
    n_products: usize,
    digest: u64,
}

impl<'a> Check<'a> {
    fn new(lane: &'a dyn Lane, sets: Vec<InstructionSet>, shapes: Shapes) -> Self {
        Self {
            lane,
            sets,
            shapes,
            rng: Pcg32::new(0x6e6f_7869_6373),
            n_products: 0,
            digest: 0xcbf2_9ce4_8422_2325,
        }
    }

    fn every_kernel(&mut self) -> Result<(), KernelMismatch> {
        self.run::<f32>(32, Self::number)?;
        self.run::<half::f16>(32, |rng| half::f16::from_f32(Self::number(rng)))?;
        self.run::<half::bf16>(32, |rng| half::bf16::from_f32(Self::number(rng)))?;
        self.run(1, |rng| BlockQ4_0 {
            d: scale(rng),
            qs: bytes(rng),
        })?;
        self.run(1, |rng| BlockQ4_1 {
            d: scale(rng),
            m: scale(rng),
            qs: bytes(rng),
        })?;
        self.run(1, |rng| BlockQ5_0 {
            d: scale(rng),
            qh: bytes(rng),
            qs: bytes(rng),
        })?;
        self.run(1, |rng| BlockQ5_1 {
            d: scale(rng),
            m: scale(rng),
            qh: bytes(rng),
            qs: bytes(rng),
        })?;
        self.run(1, |rng| BlockQ8_0 {
            d: scale(rng),
            qs: bytes(rng).map(|byte| byte as i8),
        })?;
        self.run(1, |rng| BlockQ2_K {
            scales: bytes(rng),
            qs: bytes(rng),
            d: scale(rng),
            dmin: scale(rng),
        })?;
        self.run(1, |rng| BlockQ3_K {
            hmask: bytes(rng),
            qs: bytes(rng),
            scales: bytes(rng),
            d: scale(rng),
        })?;
        self.run(1, |rng| BlockQ4_K {
            d: scale(rng),
            dmin: scale(rng),
            scales: bytes(rng),
            qs: bytes(rng),
        })?;
        self.run(1, |rng| BlockQ5_K {
            d: scale(rng),
            dmin: scale(rng),
            scales: bytes(rng),
            qh: bytes(rng),
            qs: bytes(rng),
        })?;
        self.run(1, |rng| BlockQ6_K {
            ql: bytes(rng),
            qh: bytes(rng),
            scales: bytes(rng).map(|byte| byte as i8),
            d: scale(rng),
        })
    }

    fn number(rng: &mut Pcg32) -> f32 {
        (rng.next_f32() - 0.5) * 3.0
    }

    /// `unit` blocks of a row at a time, so that plain numbers come in useful lengths.
    fn run<B: Twin>(
        &mut self,
        unit: usize,
        block: impl Fn(&mut Pcg32) -> B,
    ) -> Result<(), KernelMismatch> {
        for &n_blocks in self.shapes.block_counts {
            // A number more than whole lanes where the type allows it.
            let row_len = n_blocks * unit + usize::from(B::LEN == 1);
            let n_cols = row_len * B::LEN;
            for &n_tokens in self.shapes.token_counts {
                let for_work = self.shapes.min_work.div_ceil(n_cols * n_tokens);
                let n_rows = self.shapes.n_rows.max(for_work);
                let blocks: Vec<B> = (0..n_rows * row_len)
                    .map(|_| block(&mut self.rng))
                    .collect();
                let x: Vec<f32> = (0..n_tokens * n_cols)
                    .map(|_| Self::number(&mut self.rng))
                    .collect();
                self.compare(&blocks, n_cols, &x, n_tokens)?;
            }
        }
        Ok(())
    }

    fn compare<B: Twin>(
        &mut self,
        blocks: &[B],
        n_cols: usize,
        x: &[f32],
        n_tokens: usize,
    ) -> Result<(), KernelMismatch> {
        let rows = blocks.chunks_exact(n_cols / B::LEN);
        let n_rows = rows.len();
        let mut scratch = ActivationScratch::default();
        let kind = twin_activation::<B>();
        let of_twin = Activations::new(x, n_tokens, std::iter::once(kind), &mut scratch);
        let expected: Vec<f32> = (0..n_tokens)
            .flat_map(|token| rows.clone().map(move |row| (token, row)))
            .map(|(token, row)| B::dot(row, &of_twin, token))
            .collect();
        for set in self.sets.clone() {
            let weight = weight(set, blocks, n_cols);
            let mut found = vec![f32::NAN; n_tokens * n_rows];
            let product = Product {
                weight: &weight,
                bias: None,
                out: &mut found,
            };
            self.lane.matmul(x, n_tokens, &mut [product]);
            for (i, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
                if !is_same(found, expected) {
                    return Err(KernelMismatch::Twin {
                        quant: B::QUANT,
                        set,
                        n_cols,
                        n_tokens,
                        row: i % n_rows,
                        token: i / n_rows,
                        found,
                        expected,
                    });
                }
            }
        }
        self.n_products += expected.len();
        for expected in expected {
            self.add(expected);
        }
        Ok(())
    }

    /// FNV-1a over the results' bits.
    fn add(&mut self, result: f32) {
        self.digest = (self.digest ^ u64::from(result.to_bits())).wrapping_mul(0x0100_0000_01b3);
    }

    /// What lies between the products, and has no second version here to differ from.
    fn float_functions(&mut self) {
        for i in -2000i16..2000 {
            let x = f32::from(i) * 0.05;
            let (sin, cos) = libm::sincos(f64::from(x) * 17.0);
            let power = libm::pow(f64::from(x.abs()), -0.37);
            let results = [
                math::exp(x),
                math::silu(x),
                math::gelu_tanh(x),
                math::tanh(x),
            ];
            for result in results
                .into_iter()
                .chain([sin, cos, power].map(|x| x as f32))
            {
                self.add(result);
            }
        }
        let x: Vec<f32> = (0..577).map(|_| Self::number(&mut self.rng)).collect();
        let mut normed = vec![0.0; x.len()];
        math::rms_norm(&x, &x, 1e-5, &mut normed);
        for result in normed {
            self.add(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::LaneKind;
    use crate::quant::SUPPORTED_QUANTS;
    use std::ops::Range;

    #[test]
    fn every_kernel_equals_its_scalar_twin_and_other_machines() {
        let check = kernel_check().unwrap();
        let names: Vec<_> = InstructionSet::available().map(|set| set.name()).collect();
        // Read by those who must know what a machine has checked.
        println!("kernels checked: {}", names.join(", "));
        assert!(check.n_products > 2000, "{check:?}");
    }

    #[test]
    fn every_number_of_threads_passes_the_lane_check() {
        for n_threads in [1, 3] {
            lane_check(&CpuLane::with_threads(n_threads).unwrap()).unwrap();
        }
    }

    /// A device whose products with one type are off by a bit.
    struct Broken {
        lane: CpuLane,
        quant: GgmlType,
    }

    impl Lane for Broken {
        fn kind(&self) -> LaneKind {
            self.lane.kind()
        }

        fn n_threads(&self) -> usize {
            self.lane.n_threads()
        }

        fn matmul(&self, x: &[f32], n_tokens: usize, products: &mut [Product<'_>]) {
            self.lane.matmul(x, n_tokens, products);
            for product in products {
                if product.weight.quant() == self.quant {
                    let last = product.out.last_mut().unwrap();
                    *last = f32::from_bits(last.to_bits() ^ 1);
                }
            }
        }

        fn for_each(&self, n_items: usize, work: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
            self.lane.for_each(n_items, work, body);
        }
    }

    #[test]
    fn the_lane_check_names_the_kernel_that_is_off_by_a_bit() {
        for &quant in SUPPORTED_QUANTS {
            let lane = CpuLane::single_threaded();
            let mismatch = lane_check(&Broken { lane, quant }).unwrap_err();
            let text = mismatch.to_string();
            assert!(
                text.starts_with(&format!("the {quant} kernel for ")),
                "{text}"
            );
        }
    }
}
