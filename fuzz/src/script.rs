//! Decisions out of an input: targets whose files have a frame around what matters read
//! from here what to put into it. At the end of the input all is zero.

pub(crate) struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.bytes::<1>()[0]
    }

    /// As in a file, little end first.
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let n = N.min(self.rest.len());
        out[..n].copy_from_slice(&self.rest[..n]);
        self.rest = &self.rest[n..];
        out
    }

    /// Up to `n_bytes` of what is left.
    pub(crate) fn up_to(&mut self, n_bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(n_bytes.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// What stands before the next `end`, which is skipped.
    pub(crate) fn until(&mut self, end: u8) -> &'a [u8] {
        let n_bytes = self.rest.iter().position(|&byte| byte == end);
        let taken = self.up_to(n_bytes.unwrap_or(self.rest.len()));
        self.up_to(1);
        taken
    }

    pub(crate) fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[usize::from(self.u8()) % from.len()]
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}
