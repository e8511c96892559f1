//! SplitMix64: the same numbers for the same seed, on every machine.
//!
//! # Source
//! Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.

pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    /// A stream of its own for each `stream` of one seed, so that a tensor's numbers
    /// do not depend on what was written before it.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut streams = Self(seed ^ stream.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        Self(streams.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
