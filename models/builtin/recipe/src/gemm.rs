//! Matrix products whose bits do not depend on the machine or on the number of threads.
//!
//! Every element of C is one chain of fused multiply-adds over k in ascending order. A wider
//! register only computes more elements at once, and threads split rows, so AVX-512, AVX2 with
//! FMA and plain [`f32::mul_add`] agree bit for bit (a test holds them to it).

use std::sync::Mutex;

/// A matrix inside a slice: element `(i, j)` is `data[i * rs + j * cs]`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Holds at least every element that the view reaches.
    pub data: &'a [f32],
    /// Distance between rows.
    pub rs: usize,
    /// Distance between columns.
    pub cs: usize,
}

impl<'a> View<'a> {
    /// Row-major with rows of `ld` elements.
    pub fn rows(data: &'a [f32], ld: usize) -> Self {
        Self {
            data,
            rs: ld,
            cs: 1,
        }
    }

    /// The transposed view.
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rs: self.cs,
            cs: self.rs,
        }
    }

    fn check(&self, rows: usize, cols: usize) {
        if rows > 0 && cols > 0 {
            let last = (rows - 1) * self.rs + (cols - 1) * self.cs;
            assert!(last < self.data.len(), "view reaches beyond its slice");
        }
    }
}

/// Whether C starts at zero or is added to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// C is overwritten.
    Zero,
    /// The product is added to what C holds.
    Add,
}

/// Which instructions compute the tiles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isa {
    #[cfg(target_arch = "x86_64")]
    /// AVX-512F: tiles of 12 × 32.
    Avx512,
    #[cfg(target_arch = "x86_64")]
    /// AVX2 with FMA: tiles of 6 × 16.
    Avx2,
    /// [`f32::mul_add`], which every machine has: tiles of 4 × 16.
    Portable,
}

impl Isa {
    /// The widest that this machine has.
    pub fn detect() -> Self {
        Self::available()[0]
    }

    /// All that this machine has, widest first.
    pub fn available() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                all.push(Self::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Self::Avx2);
            }
        }
        all.push(Self::Portable);
        all
    }

    /// Rows and columns of a register tile.
    fn tile(self) -> (usize, usize) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => (12, 32),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => (6, 16),
            Self::Portable => (4, 16),
        }
    }
}

/// Number of worker threads and the instructions they use.
#[derive(Clone, Copy, Debug)]
pub struct Compute {
    /// At least one.
    pub threads: usize,
    /// One that [`Isa::available`] lists.
    pub isa: Isa,
}

impl Compute {
    /// The widest instructions of this machine.
    pub fn new(threads: usize) -> Self {
        Self {
            threads: threads.max(1),
            isa: Isa::detect(),
        }
    }

    /// Runs `f` on every item; workers take the next item as they become free. `init` makes
    /// each worker's scratch space.
    pub fn each<T: Send, S>(
        &self,
        items: Vec<T>,
        init: impl Fn() -> S + Sync,
        f: impl Fn(&mut S, T) + Sync,
    ) {
        let n_threads = self.threads.min(items.len());
        if n_threads <= 1 {
            let mut scratch = init();
            items.into_iter().for_each(|item| f(&mut scratch, item));
            return;
        }
        let queue = Mutex::new(items.into_iter());
        let work = || {
            let mut scratch = init();
            loop {
                let next = queue.lock().expect("no worker panicked").next();
                let Some(item) = next else { break };
                f(&mut scratch, item);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..n_threads {
                scope.spawn(work);
            }
            work();
        });
    }

    /// `C[m, n] = A[m, k] · B[k, n]`, or `+=` with [`Start::Add`]; C is row-major.
    #[allow(clippy::too_many_arguments)]
    pub fn gemm(
        &self,
        m: usize,
        n: usize,
        k: usize,
        a: View,
        b: View,
        c: &mut [f32],
        start: Start,
    ) {
        let (mr, nr) = self.isa.tile();
        a.check(m, k);
        b.check(k, n);
        assert_eq!(c.len(), m * n);
        if m == 0 || n == 0 {
            return;
        }
        let one = Self {
            threads: 1,
            isa: self.isa,
        };
        if self.threads == 1 || 2 * m * n * k < 2_000_000 {
            let mut scratch = Scratch::default();
            one.gemm_with(&mut scratch, m, n, k, a, b, c, start);
            return;
        }
        let n_panels = n.div_ceil(nr);
        let mut packed = vec![0.0; n_panels * k * nr];
        let panels: Vec<_> = packed.chunks_mut(k * nr).enumerate().collect();
        self.each(
            panels,
            || (),
            |_, (j, panel)| pack(panel, nr, b.t(), j * nr, n, k),
        );
        let block = (4 * mr).min(m.div_ceil(self.threads).next_multiple_of(mr));
        let blocks: Vec<_> = c.chunks_mut(block * n).enumerate().collect();
        self.each(blocks, Vec::new, |buf, (i, rows)| {
            row_block(
                self.isa,
                buf,
                i * block,
                rows.len() / n,
                n,
                k,
                a,
                &packed,
                rows,
                start,
            );
        });
    }

    /// As [`Compute::gemm`], on the calling thread with scratch space that is kept.
    #[allow(clippy::too_many_arguments)]
    pub fn gemm_with(
        &self,
        scratch: &mut Scratch,
        m: usize,
        n: usize,
        k: usize,
        a: View,
        b: View,
        c: &mut [f32],
        start: Start,
    ) {
        let (mr, nr) = self.isa.tile();
        a.check(m, k);
        b.check(k, n);
        assert_eq!(c.len(), m * n);
        if m == 0 || n == 0 {
            return;
        }
        let n_panels = n.div_ceil(nr);
        scratch.b.resize(n_panels * k * nr, 0.0);
        if k > 0 {
            for (j, panel) in scratch.b.chunks_mut(k * nr).enumerate() {
                pack(panel, nr, b.t(), j * nr, n, k);
            }
        }
        for (i, rows) in c.chunks_mut(4 * mr * n).enumerate() {
            let (i0, n_rows) = (i * 4 * mr, rows.len() / n);
            row_block(
                self.isa,
                &mut scratch.a,
                i0,
                n_rows,
                n,
                k,
                a,
                &scratch.b,
                rows,
                start,
            );
        }
    }
}

/// Packing buffers that survive from one small product to the next.
#[derive(Default)]
pub struct Scratch {
    a: Vec<f32>,
    b: Vec<f32>,
}

/// Lays rows `i0..i0 + width` of `src` (which has `n_rows`) out as `[k][width]`, short panels
/// filled with zeros.
fn pack(panel: &mut [f32], width: usize, src: View, i0: usize, n_rows: usize, k: usize) {
    let live = width.min(n_rows - i0);
    if src.rs == 1 && live == width {
        // A known width makes each copy a few register moves.
        match width {
            4 => copy_panel::<4>(panel, src, i0),
            6 => copy_panel::<6>(panel, src, i0),
            12 => copy_panel::<12>(panel, src, i0),
            16 => copy_panel::<16>(panel, src, i0),
            32 => copy_panel::<32>(panel, src, i0),
            _ => unreachable!("no tile is {width} wide"),
        }
        return;
    }
    if src.rs == 1 {
        for (p, out) in panel.chunks_exact_mut(width).enumerate() {
            let at = p * src.cs + i0;
            out[..live].copy_from_slice(&src.data[at..at + live]);
            out[live..].fill(0.0);
        }
        return;
    }
    if live < width {
        panel.fill(0.0);
    }
    if src.cs == 1 {
        for i in 0..live {
            let at = (i0 + i) * src.rs;
            let row = &src.data[at..at + k];
            for (out, &x) in panel.iter_mut().skip(i).step_by(width).zip(row) {
                *out = x;
            }
        }
        return;
    }
    for p in 0..k {
        for i in 0..live {
            panel[p * width + i] = src.data[(i0 + i) * src.rs + p * src.cs];
        }
    }
}

fn copy_panel<const W: usize>(panel: &mut [f32], src: View, i0: usize) {
    for (out, row) in panel
        .as_chunks_mut::<W>()
        .0
        .iter_mut()
        .zip(src.data[i0..].chunks(src.cs))
    {
        *out = *row.first_chunk().expect("the view was checked");
    }
}

/// Rows `i0..i0 + n_rows` of C against all packed panels of B.
#[allow(clippy::too_many_arguments)]
fn row_block(
    isa: Isa,
    buf: &mut Vec<f32>,
    i0: usize,
    n_rows: usize,
    n: usize,
    k: usize,
    a: View,
    packed_b: &[f32],
    c: &mut [f32],
    start: Start,
) {
    let (mr, nr) = isa.tile();
    let n_panels = n_rows.div_ceil(mr);
    buf.resize(n_panels * mr * k, 0.0);
    for i in 0..n_panels {
        let panel = &mut buf[i * mr * k..(i + 1) * mr * k];
        pack(panel, mr, a, i0 + i * mr, i0 + n_rows, k);
    }
    let mut edge = [0.0f32; 12 * 32];
    for j in 0..n.div_ceil(nr) {
        let b = &packed_b[j * k * nr..(j + 1) * k * nr];
        let cols = nr.min(n - j * nr);
        for i in 0..n_panels {
            let a = &buf[i * mr * k..(i + 1) * mr * k];
            let rows = mr.min(n_rows - i * mr);
            let at = i * mr * n + j * nr;
            if rows == mr && cols == nr {
                tile(isa, k, a, b, &mut c[at..], n, start);
                continue;
            }
            let edge = &mut edge[..mr * nr];
            if start == Start::Add {
                for r in 0..rows {
                    edge[r * nr..r * nr + cols].copy_from_slice(&c[at + r * n..][..cols]);
                }
            }
            tile(isa, k, a, b, edge, nr, start);
            for r in 0..rows {
                c[at + r * n..][..cols].copy_from_slice(&edge[r * nr..r * nr + cols]);
            }
        }
    }
}

/// One register tile: `C[mr, nr] (+)= A[k][mr]ᵀ · B[k][nr]`.
fn tile(isa: Isa, k: usize, a: &[f32], b: &[f32], c: &mut [f32], ldc: usize, start: Start) {
    let (mr, nr) = isa.tile();
    assert!(a.len() == k * mr && b.len() == k * nr);
    assert!(ldc >= nr && c.len() >= (mr - 1) * ldc + nr);
    match isa {
        // SAFETY: `Isa::available` offers this variant only where AVX-512F was detected; the
        // lengths asserted above cover every address that the kernel reads or writes.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { tile_avx512(k, a, b, c, ldc, start) },
        // SAFETY: as above, for AVX2 and FMA.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { tile_avx2(k, a, b, c, ldc, start) },
        Isa::Portable => tile_portable(k, a, b, c, ldc, start),
    }
}

fn tile_portable(k: usize, a: &[f32], b: &[f32], c: &mut [f32], ldc: usize, start: Start) {
    const MR: usize = 4;
    const NR: usize = 16;
    let mut acc = [[0.0f32; NR]; MR];
    if start == Start::Add {
        for (r, row) in acc.iter_mut().enumerate() {
            row.copy_from_slice(&c[r * ldc..r * ldc + NR]);
        }
    }
    for p in 0..k {
        let b = &b[p * NR..(p + 1) * NR];
        for (row, &x) in acc.iter_mut().zip(&a[p * MR..(p + 1) * MR]) {
            for (y, &w) in row.iter_mut().zip(b) {
                *y = x.mul_add(w, *y);
            }
        }
    }
    for (r, row) in acc.iter().enumerate() {
        c[r * ldc..r * ldc + NR].copy_from_slice(row);
    }
}

/// # Safety
/// AVX-512F must be there; `a` holds `k * 12`, `b` `k * 32` elements, `c` twelve rows of 32
/// at distance `ldc`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn tile_avx512(k: usize, a: &[f32], b: &[f32], c: &mut [f32], ldc: usize, start: Start) {
    use std::arch::x86_64::*;
    const MR: usize = 12;
    let mut acc = [[_mm512_setzero_ps(); 2]; MR];
    let cp = c.as_mut_ptr();
    // SAFETY: the caller vouches for the lengths; all offsets below stay within them.
    unsafe {
        if start == Start::Add {
            for (r, row) in acc.iter_mut().enumerate() {
                row[0] = _mm512_loadu_ps(cp.add(r * ldc));
                row[1] = _mm512_loadu_ps(cp.add(r * ldc + 16));
            }
        }
        let (mut ap, mut bp) = (a.as_ptr(), b.as_ptr());
        for _ in 0..k {
            let b0 = _mm512_loadu_ps(bp);
            let b1 = _mm512_loadu_ps(bp.add(16));
            for (r, row) in acc.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*ap.add(r));
                row[0] = _mm512_fmadd_ps(x, b0, row[0]);
                row[1] = _mm512_fmadd_ps(x, b1, row[1]);
            }
            ap = ap.add(MR);
            bp = bp.add(32);
        }
        for (r, row) in acc.iter().enumerate() {
            _mm512_storeu_ps(cp.add(r * ldc), row[0]);
            _mm512_storeu_ps(cp.add(r * ldc + 16), row[1]);
        }
    }
}

/// # Safety
/// AVX2 and FMA must be there; `a` holds `k * 6`, `b` `k * 16` elements, `c` six rows of 16
/// at distance `ldc`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_avx2(k: usize, a: &[f32], b: &[f32], c: &mut [f32], ldc: usize, start: Start) {
    use std::arch::x86_64::*;
    const MR: usize = 6;
    let mut acc = [[_mm256_setzero_ps(); 2]; MR];
    let cp = c.as_mut_ptr();
    // SAFETY: the caller vouches for the lengths; all offsets below stay within them.
    unsafe {
        if start == Start::Add {
            for (r, row) in acc.iter_mut().enumerate() {
                row[0] = _mm256_loadu_ps(cp.add(r * ldc));
                row[1] = _mm256_loadu_ps(cp.add(r * ldc + 8));
            }
        }
        let (mut ap, mut bp) = (a.as_ptr(), b.as_ptr());
        for _ in 0..k {
            let b0 = _mm256_loadu_ps(bp);
            let b1 = _mm256_loadu_ps(bp.add(8));
            for (r, row) in acc.iter_mut().enumerate() {
                let x = _mm256_set1_ps(*ap.add(r));
                row[0] = _mm256_fmadd_ps(x, b0, row[0]);
                row[1] = _mm256_fmadd_ps(x, b1, row[1]);
            }
            ap = ap.add(MR);
            bp = bp.add(16);
        }
        for (r, row) in acc.iter().enumerate() {
            _mm256_storeu_ps(cp.add(r * ldc), row[0]);
            _mm256_storeu_ps(cp.add(r * ldc + 8), row[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn random(n: usize, rng: &mut Rng) -> Vec<f32> {
        (0..n).map(|_| rng.normal()).collect()
    }

    fn bits(v: &[f32]) -> Vec<u32> {
        v.iter().map(|x| x.to_bits()).collect()
    }

    /// The definition itself.
    fn reference(m: usize, n: usize, k: usize, a: View, b: View, c: &mut [f32]) {
        for i in 0..m {
            for j in 0..n {
                for p in 0..k {
                    let (x, w) = (a.data[i * a.rs + p * a.cs], b.data[p * b.rs + j * b.cs]);
                    c[i * n + j] = x.mul_add(w, c[i * n + j]);
                }
            }
        }
    }

    #[test]
    fn every_kernel_and_thread_count_gives_the_same_bits() {
        let mut rng = Rng::new(7);
        for (m, n, k) in [
            (1, 1, 1),
            (5, 3, 7),
            (12, 32, 16),
            (13, 33, 65),
            (97, 70, 130),
            (150, 96, 200),
        ] {
            let (a, b, c) = (
                random(m * k, &mut rng),
                random(k * n, &mut rng),
                random(m * n, &mut rng),
            );
            for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                let av = if ta {
                    View::rows(&a, m).t()
                } else {
                    View::rows(&a, k)
                };
                let bv = if tb {
                    View::rows(&b, k).t()
                } else {
                    View::rows(&b, n)
                };
                for start in [Start::Zero, Start::Add] {
                    let mut want = if start == Start::Add {
                        c.clone()
                    } else {
                        vec![0.0; m * n]
                    };
                    reference(m, n, k, av, bv, &mut want);
                    for isa in Isa::available() {
                        for threads in [1, 2, 3] {
                            let mut got = c.clone();
                            Compute { threads, isa }.gemm(m, n, k, av, bv, &mut got, start);
                            assert_eq!(bits(&want), bits(&got), "{m}x{n}x{k} {isa:?} {threads}");
                        }
                    }
                }
            }
        }
    }
}
