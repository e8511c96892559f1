//! Takes white space away from both ends of a text that streams in.

use super::scan::is_space;

/// A run of white space inside a text is cut to this: it has to be held back until
/// something follows, and memory is not the model's to fill.
const MAX_SPACE_BYTES: usize = 4096;

/// Gives text on without the white space at its ends: white space is held back
/// until something else follows.
#[derive(Debug, Clone, Default)]
pub(super) struct Trimmed {
    /// White space that was held back.
    held: String,
    /// Whether anything but white space came since the block began.
    in_block: bool,
    started: bool,
}

impl Trimmed {
    pub(super) fn push(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            if !is_space(c) {
                out.push_str(&self.held);
                out.push(c);
                self.held.clear();
                self.in_block = true;
                self.started = true;
            } else if self.in_block && self.held.len() < MAX_SPACE_BYTES {
                self.held.push(c);
            }
        }
    }

    /// Whether anything was given out.
    pub(super) fn has_started(&self) -> bool {
        self.started
    }

    /// Begins a block that is set off from an earlier one by a line break.
    pub(super) fn begin_block(&mut self) {
        self.held.clear();
        if self.started {
            self.held.push('\n');
        }
        self.in_block = false;
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.held.len()
    }
}
