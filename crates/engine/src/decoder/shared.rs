//! Slices that several threads write, each its own pieces.

use crate::lane::Lane;

/// Equal pieces of a slice, each for one thread at a time.
pub(crate) struct Shared {
    first: *mut f32,
    n_pieces: usize,
    piece_len: usize,
}

// SAFETY: `get`'s contract keeps threads at different pieces.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(all: &mut [f32], piece_len: usize) -> Self {
        Self {
            first: all.as_mut_ptr(),
            n_pieces: all.len() / piece_len,
            piece_len,
        }
    }

    /// # Safety
    /// The slice given to `new` is still borrowed, and nobody else has this piece.
    #[allow(clippy::mut_from_ref)]
    #[inline(always)]
    pub(crate) unsafe fn get(&self, idx: usize) -> &mut [f32] {
        assert!(idx < self.n_pieces);
        // SAFETY: inside the slice by the assertion; the caller vouches for the rest.
        unsafe {
            std::slice::from_raw_parts_mut(self.first.add(idx * self.piece_len), self.piece_len)
        }
    }
}

/// What is done with a piece, by its number, of two slices.
pub(crate) type OnPiece<'a> = dyn Fn(usize, &mut [f32], &mut [f32]) + Sync + 'a;

/// Calls `body` for every piece of both slices, a token's row as a rule, with its
/// number; on all threads if the `work` for one piece, in multiplications, makes it
/// worthwhile.
///
/// # Shape
/// `a: [n_pieces, a_len]`, `b: [n_pieces, b_len]`
pub(crate) fn for_each_piece(
    lane: &dyn Lane,
    (a, a_len): (&mut [f32], usize),
    (b, b_len): (&mut [f32], usize),
    work: usize,
    body: &OnPiece<'_>,
) {
    let n_pieces = a.len() / a_len;
    assert_eq!(n_pieces, b.len() / b_len);
    let (a, b) = (Shared::new(a, a_len), Shared::new(b, b_len));
    lane.for_each(n_pieces, n_pieces * work, &|pieces| {
        for piece in pieces {
            // SAFETY: both slices are borrowed, and each piece is in one call alone.
            unsafe { body(piece, a.get(piece), b.get(piece)) };
        }
    });
}
