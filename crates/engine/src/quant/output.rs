//! Where products write.

use std::ops::Range;

/// Where a product's results go: `[n_tokens, n_rows] f32`, written by several
/// threads at once, each its own rows.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    first: *mut f32,
    n_tokens: usize,
    n_rows: usize,
}

// SAFETY: `set` is the only access; its contract keeps threads at different elements.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    /// Lends `out` for the writes of one product.
    ///
    /// # Panics
    /// `out` has not `n_tokens · n_rows` elements.
    pub(crate) fn new(out: &mut [f32], n_tokens: usize, n_rows: usize) -> Self {
        assert_eq!(out.len(), n_tokens * n_rows);
        Self {
            first: out.as_mut_ptr(),
            n_tokens,
            n_rows,
        }
    }

    /// # Safety
    /// The slice given to [`Self::new`] is still borrowed for this product, and no
    /// other thread writes this row.
    #[inline(always)]
    pub(crate) unsafe fn set(&self, token: usize, row: usize, value: f32) {
        debug_assert!(token < self.n_tokens && row < self.n_rows);
        // SAFETY: inside the slice by the assertion in `new`; the caller vouches for the rest.
        unsafe { *self.first.add(token * self.n_rows + row) = value }
    }

    /// Where the result of `token` and `row` goes.
    ///
    /// # Safety
    /// They are inside; and as for [`Self::set`] for what is written there.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, token: usize, row: usize) -> *mut f32 {
        debug_assert!(token < self.n_tokens && row < self.n_rows);
        // SAFETY: inside the slice by the caller's promise.
        unsafe { self.first.add(token * self.n_rows + row) }
    }

    pub(crate) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Adds `bias[row]` to every token's result in rows `range`.
    ///
    /// # Safety
    /// As for [`Self::set`], for the rows in `range`.
    pub(crate) unsafe fn add_bias(&self, range: Range<usize>, bias: &[f32]) {
        assert!(range.end <= self.n_rows);
        for token in 0..self.n_tokens {
            for row in range.clone() {
                // SAFETY: inside the slice by the assertions here and in `new`.
                unsafe { *self.first.add(token * self.n_rows + row) += bias[row] };
            }
        }
    }
}
