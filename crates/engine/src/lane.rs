//! Where the arithmetic runs.
//!
//! A [`Lane`] multiplies weights with activations and shares out loops; the
//! decoder is written against it and knows neither threads nor instruction sets.
//! Lanes give equal bits (see [`crate::quant`]): which one runs shows in speed alone.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use crate::pool::ThreadPool;
use crate::quant::{ActivationScratch, Activations, ForEach, Output, Weight};

/// The kind of a lane, as reported with every reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LaneKind {
    /// Machine code outside a browser.
    Native,
    /// WebAssembly with simd128.
    WasmSimd,
    /// WebAssembly with relaxed SIMD.
    WasmRelaxed,
    /// WebAssembly with relaxed SIMD and shared memory.
    WasmThreads,
}

impl LaneKind {
    /// The kind that this build's CPU lane is.
    pub const fn of_this_build() -> Self {
        if !cfg!(target_arch = "wasm32") {
            Self::Native
        } else if cfg!(target_feature = "atomics") {
            Self::WasmThreads
        } else if cfg!(target_feature = "relaxed-simd") {
            Self::WasmRelaxed
        } else {
            Self::WasmSimd
        }
    }

    /// The name in the protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::WasmSimd => "wasm-simd",
            Self::WasmRelaxed => "wasm-relaxed",
            Self::WasmThreads => "wasm-threads",
        }
    }
}

impl fmt::Display for LaneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One weight that the activations of [`Lane::matmul`] are multiplied with.
pub struct Product<'a> {
    /// The rows: `[n_rows, n_cols]`.
    pub weight: &'a Weight,
    /// Added to every token's result: `[n_rows] f32`.
    pub bias: Option<&'a [f32]>,
    /// Where the result goes: `[n_tokens, n_rows] f32`.
    pub out: &'a mut [f32],
}

/// Something that multiplies matrices and runs loops.
pub trait Lane {
    /// What kind this is.
    fn kind(&self) -> LaneKind;

    /// How many threads take part.
    fn n_threads(&self) -> usize;

    /// Computes every product over the same activations, which are quantised once.
    ///
    /// # Shape
    /// `x: [n_tokens, n_cols] f32`
    ///
    /// # Panics
    /// The shapes do not fit.
    fn matmul(&self, x: &[f32], n_tokens: usize, products: &mut [Product<'_>]);

    /// Runs `body` over `0..n_items`, each item in exactly one call.
    ///
    /// `work` is about the number of multiplications in all; too little is not shared out.
    fn for_each(&self, n_items: usize, work: usize, body: &(dyn Fn(Range<usize>) + Sync));
}

/// Below so many multiplications, waking other threads costs more than they save.
pub(crate) const MIN_SHARED_WORK: usize = 30_000;

/// The processor: SIMD kernels on a thread pool.
pub struct CpuLane {
    pool: ThreadPool,
    scratch: RefCell<ActivationScratch>,
}

impl CpuLane {
    /// A lane on the threads of `pool`.
    pub fn new(pool: ThreadPool) -> Self {
        Self {
            pool,
            scratch: RefCell::default(),
        }
    }

    /// A lane on the calling thread.
    pub fn single_threaded() -> Self {
        Self::new(ThreadPool::single())
    }

    /// At most `n_threads` of the lane's threads compute from now on.
    pub fn use_threads(&self, n_threads: usize) {
        self.pool.use_threads(n_threads);
    }

    /// A lane on `n_threads` threads of the operating system.
    ///
    /// # Errors
    /// A thread cannot be started.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn with_threads(n_threads: usize) -> std::io::Result<Self> {
        ThreadPool::new(n_threads, &crate::pool::OsThreads).map(Self::new)
    }
}

impl Lane for CpuLane {
    fn kind(&self) -> LaneKind {
        LaneKind::of_this_build()
    }

    fn n_threads(&self) -> usize {
        self.pool.n_threads()
    }

    fn matmul(&self, x: &[f32], n_tokens: usize, products: &mut [Product<'_>]) {
        let mut scratch = self.scratch.borrow_mut();
        let kinds = products.iter().map(|product| product.weight.activation());
        let for_each: &ForEach<'_> = &|n_items, work, body| self.for_each(n_items, work, body);
        let x = Activations::new_on(for_each, x, n_tokens, kinds, &mut scratch);
        let mut n_groups = 0;
        let parts: Vec<_> = products
            .iter_mut()
            .map(|product| {
                let weight = product.weight;
                let first_group = n_groups;
                n_groups += weight.n_groups();
                let out = Output::new(product.out, n_tokens, weight.n_rows());
                if let Some(bias) = product.bias {
                    assert_eq!(bias.len(), weight.n_rows());
                }
                (first_group, weight, product.bias, out)
            })
            .collect();
        let n_rows: usize = parts.iter().map(|part| part.1.n_rows()).sum();
        // The groups of all products make one range, so that one hand-out serves all.
        self.for_each(n_groups, n_rows * x.n_cols() * n_tokens, &|groups| {
            for &(first, weight, bias, out) in &parts {
                let start = groups.start.clamp(first, first + weight.n_groups()) - first;
                let end = groups.end.clamp(first, first + weight.n_groups()) - first;
                if start == end {
                    continue;
                }
                // SAFETY: `out` is borrowed by `products`, and each group is in one call alone.
                unsafe {
                    weight.matmul_groups(&x, start..end, out);
                    if let Some(bias) = bias {
                        let rows = start * weight.group_len()..end * weight.group_len();
                        out.add_bias(rows.start..rows.end.min(weight.n_rows()), bias);
                    }
                }
            }
        });
    }

    fn for_each(&self, n_items: usize, work: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        if work < MIN_SHARED_WORK {
            if n_items > 0 {
                body(0..n_items);
            }
        } else {
            self.pool.run(n_items, body);
        }
    }
}
