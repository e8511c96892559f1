//! Products of packed rows with activations, for any [`Isa`].
//!
//! A tile is some groups of rows times some tokens: what a group's blocks unpack to
//! serves all tokens of the tile, what the tokens load serves all groups. Groups are
//! the outer loop, so that their blocks stay in the first cache while the tokens go by.
//!
//! # The order of float additions
//! A row's blocks give whole numbers, exact in every version. Their scaled values
//! are added block by block from the first to the last, and nothing is fused. So
//! the scalar twin and every instruction set return the same bits, whatever the
//! number of tokens multiplied together.

#![expect(
    clippy::needless_range_loop,
    reason = "one index runs over several arrays, which stay in registers"
)]

mod simple;
mod super_block;

use std::marker::PhantomData;
use std::ops::Range;

use super::activations::{ActivationKind, Activations, TILE, Tiles};
use super::isa::{InstructionSet, Isa, Work, for_isa};
use super::output::Output;
use super::packed::{MAX_LANES, Packable, Packed};

/// A block type with kernels.
pub(crate) trait Kernel: Packable {
    /// What rows are multiplied with.
    fn activation<S: Isa>() -> ActivationKind;

    /// `G` groups times `T` tokens that lie together.
    ///
    /// # Safety
    /// As for [`Isa`]; `groups` lead to groups of `n_blocks` blocks a row, `y` to the
    /// tokens' blocks in the form [`Self::activation`].
    unsafe fn tile<S: Isa, const G: usize, const T: usize>(
        groups: [*const u8; G],
        n_blocks: usize,
        y: *const u8,
    ) -> [[S::Floats; T]; G];
}

/// One call's work.
#[derive(Clone, Copy)]
struct Job {
    /// The first group of the matrix, and how far apart groups are.
    groups: *const u8,
    group_bytes: usize,
    n_blocks: usize,
    /// The quantised activations.
    y: *const u8,
    tiles: Tiles,
    out: Output,
}

/// Multiplies the groups `range` of a matrix with every token and writes the results.
///
/// # Panics
/// The matrix is not laid out for `set`, the shapes do not fit, or the activations
/// lack the form that is needed.
///
/// # Safety
/// The processor has `set`'s instructions; as for [`Output::set`], for the rows of the groups.
pub(crate) unsafe fn matmul_groups<B: Kernel>(
    set: InstructionSet,
    matrix: &Packed<B>,
    x: &Activations<'_>,
    range: Range<usize>,
    out: Output,
) {
    assert_eq!(x.n_cols(), matrix.n_blocks() * B::LEN);
    assert_eq!(
        (out.n_tokens(), out.n_rows()),
        (x.n_tokens(), matrix.n_rows())
    );
    assert_eq!(matrix.n_lanes(), set.n_lanes());
    assert!(range.end <= matrix.n_groups());
    let (y, tiles) = x.tiles(activation::<B>(set));
    let job = Job {
        groups: matrix.bytes().as_ptr(),
        group_bytes: matrix.group_bytes(),
        n_blocks: matrix.n_blocks(),
        y: y.as_ptr(),
        tiles,
        out,
    };
    // SAFETY: the pointers are those of a whole matrix and of whole activations, as the
    // assertions show; the rest is the caller's promise.
    unsafe { for_isa!(set, S => walk::<B, S>(&job, range)) }
}

/// What rows of `B` are multiplied with where `set` is used.
pub(crate) fn activation<B: Kernel>(set: InstructionSet) -> ActivationKind {
    for_isa!(set, S => B::activation::<S>())
}

/// # Safety
/// As for [`matmul_groups`]; the job's pointers lead to what their names say.
unsafe fn walk<B: Kernel, S: Isa>(job: &Job, range: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe {
        match S::GEMM_GROUPS {
            _ if job.out.n_tokens() < TILE => alone::<B, S>(job, range),
            2 => tiled::<B, S, 2>(job, range),
            _ => tiled::<B, S, 1>(job, range),
        }
    }
}

/// Every token alone. A group at a time, though several would share the loads of the
/// activations: walking through the weights in one line is worth more.
///
/// # Safety
/// As for [`walk`].
unsafe fn alone<B: Kernel, S: Isa>(job: &Job, range: Range<usize>) {
    for group in range {
        for token in 0..job.out.n_tokens() {
            // SAFETY: the caller's promise.
            unsafe { Tile::<B, 1, 1>::run::<S>(job, group, token) };
        }
    }
}

/// Tokens in tiles, `G` groups at a time; what is left over of either, alone.
///
/// # Safety
/// As for [`walk`].
unsafe fn tiled<B: Kernel, S: Isa, const G: usize>(job: &Job, range: Range<usize>) {
    let n_tokens = job.out.n_tokens();
    let n_tiled = n_tokens / TILE * TILE;
    let mut first = range.start;
    while first < range.end {
        let n_groups = if first + G <= range.end { G } else { 1 };
        for token in (0..n_tiled).step_by(TILE) {
            // SAFETY: the caller's promise.
            unsafe {
                if n_groups == G {
                    Tile::<B, G, TILE>::run::<S>(job, first, token);
                } else {
                    Tile::<B, 1, TILE>::run::<S>(job, first, token);
                }
            }
        }
        for group in first..first + n_groups {
            for token in n_tiled..n_tokens {
                // SAFETY: the caller's promise.
                unsafe { Tile::<B, 1, 1>::run::<S>(job, group, token) };
            }
        }
        first += n_groups;
    }
}

/// `G` groups times `T` tokens.
struct Tile<'a, B, const G: usize, const T: usize> {
    job: &'a Job,
    first: usize,
    token: usize,
    block: PhantomData<B>,
}

impl<'a, B: Kernel, const G: usize, const T: usize> Tile<'a, B, G, T> {
    /// # Safety
    /// As for [`walk`]; the groups and the tokens from the first ones on are there.
    unsafe fn run<S: Isa>(job: &'a Job, first: usize, token: usize) {
        let tile = Self {
            job,
            first,
            token,
            block: PhantomData,
        };
        // SAFETY: the caller's promise.
        unsafe { S::enter(&tile) };
    }
}

// No closures in what is entered: a closure is a function of its own and would not be
// compiled with the caller's vector instructions.
impl<B: Kernel, const G: usize, const T: usize> Work for Tile<'_, B, G, T> {
    type Result = ();

    #[inline(always)]
    unsafe fn run<S: Isa>(&self) {
        let job = self.job;
        let mut groups = [job.groups; G];
        for (g, group) in groups.iter_mut().enumerate() {
            // SAFETY: the group is in the matrix.
            *group = unsafe { group.add((self.first + g) * job.group_bytes) };
        }
        // SAFETY: the pointers are valid by the caller's promise.
        let values = unsafe {
            let y = job.y.add(job.tiles.start(self.token));
            B::tile::<S, G, T>(groups, job.n_blocks, y)
        };
        for g in 0..G {
            let row = (self.first + g) * S::LANES;
            let n_rows = (job.out.n_rows() - row).min(S::LANES);
            for t in 0..T {
                // SAFETY: as many rows as there are from here on are written.
                unsafe { store::<S>(values[g][t], n_rows, job.out.at(self.token + t, row)) };
            }
        }
    }
}

/// Writes the first `n` of a vector's floats.
///
/// # Safety
/// As for [`Isa`]; `out` takes `n` floats, at most `S::LANES`.
#[inline(always)]
unsafe fn store<S: Isa>(values: S::Floats, n: usize, out: *mut f32) {
    // SAFETY: the caller's promise; no vector has more than `MAX_LANES` floats.
    unsafe {
        if n == S::LANES {
            S::store(values, out);
        } else {
            let mut all = [0f32; MAX_LANES];
            S::store(values, all.as_mut_ptr());
            std::ptr::copy_nonoverlapping(all.as_ptr(), out, n);
        }
    }
}
