//! A forward reader over a [`ModelSource`] that fetches a window at a time.
//!
//! A vocabulary is hundreds of thousands of short strings; a call to the source
//! for each would cost a system call (or a trip into the browser) apiece. The
//! window knows the source's true length, so every demand is checked against the
//! bytes that are left before anything is allocated or read.

use super::GgufError;
use crate::source::ModelSource;

/// Bytes fetched at once: large enough that calls do not matter, small enough to
/// be nothing beside a model.
const WINDOW_BYTES: usize = 256 * 1024;

pub(super) struct Window<'a> {
    source: &'a dyn ModelSource,
    size_bytes: u64,
    /// Offset in the source of `buf[0]`.
    start: u64,
    buf: Vec<u8>,
    /// Next unread byte in `buf`.
    at: usize,
}

impl<'a> Window<'a> {
    pub(super) fn new(source: &'a dyn ModelSource) -> Self {
        Self {
            source,
            size_bytes: source.size_bytes(),
            start: 0,
            buf: Vec::new(),
            at: 0,
        }
    }

    /// Offset in the source of the next byte.
    pub(super) fn position(&self) -> u64 {
        self.start + self.at as u64
    }

    pub(super) fn left_bytes(&self) -> u64 {
        self.size_bytes - self.position()
    }

    /// Fails unless `needed_bytes` are left.
    pub(super) fn expect(
        &self,
        needed_bytes: u64,
        what: impl FnOnce() -> String,
    ) -> Result<(), GgufError> {
        if needed_bytes <= self.left_bytes() {
            return Ok(());
        }
        Err(GgufError::Truncated {
            what: what(),
            offset: self.position(),
            needed_bytes,
            left_bytes: self.left_bytes(),
        })
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(
        &mut self,
        what: impl FnOnce() -> String,
    ) -> Result<[u8; N], GgufError> {
        self.expect(N as u64, what)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: impl FnOnce() -> String) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: impl FnOnce() -> String) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Appends the next `n_bytes` to `out`. The caller has set a cap; this checks
    /// that the bytes exist before `out` grows.
    pub(super) fn append(
        &mut self,
        n_bytes: usize,
        out: &mut Vec<u8>,
        what: impl FnOnce() -> String,
    ) -> Result<(), GgufError> {
        self.expect(n_bytes as u64, what)?;
        let mut left = n_bytes;
        while left > 0 {
            self.refill()?;
            let n = left.min(self.buf.len() - self.at);
            out.extend_from_slice(&self.buf[self.at..self.at + n]);
            self.at += n;
            left -= n;
        }
        Ok(())
    }

    /// Fills `out`; the bytes are known to exist.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), GgufError> {
        let mut filled = 0;
        while filled < out.len() {
            self.refill()?;
            let n = (out.len() - filled).min(self.buf.len() - self.at);
            out[filled..filled + n].copy_from_slice(&self.buf[self.at..self.at + n]);
            self.at += n;
            filled += n;
        }
        Ok(())
    }

    /// Makes at least one byte available; only called while bytes are left.
    fn refill(&mut self) -> Result<(), GgufError> {
        if self.at < self.buf.len() {
            return Ok(());
        }
        let offset = self.position();
        // At most `WINDOW_BYTES`, so the cast cannot cut anything off.
        let n_bytes = self.left_bytes().min(WINDOW_BYTES as u64) as usize;
        debug_assert!(n_bytes > 0, "refill at the end of the source");
        self.start = offset;
        self.at = 0;
        self.buf.resize(n_bytes, 0);
        self.source
            .read_at(offset, &mut self.buf)
            .map_err(|source| GgufError::Io {
                offset,
                n_bytes,
                source,
            })
    }
}
