//! Gated short convolutions, and what they remember.
//!
//! A layer multiplies its input with a gate and sums the last few products, each
//! with a weight of its own per channel: `n_taps` of them, so a context has to
//! remember the `n_taps - 1` products before the next token, and no more. But a
//! context may also be cut back to an earlier token. To hold the products of every
//! position would take more memory than keys and values do, so [`ConvMemory`] holds
//! those of the last [`RECENT`] positions, and what each [`INTERVAL`]th position
//! needs: a context can be cut exactly where the products are held, and else a
//! little before, from where the tokens are computed again, to the same bits.
//!
//! # Source
//! Liquid AI's LFM2, as in llama.cpp's `src/models/lfm2.cpp`.

use std::ops::Range;

use super::PREFILL_CHUNK;
use super::config::{Mixer, ModelConfig};
use super::kv::{KvCopyError, KvOutOfMemory};

/// How many positions' products are held: those of a chunk and of the one before it.
const RECENT: usize = 2 * PREFILL_CHUNK;

/// The distance of the positions that can always be gone back to.
pub(crate) const INTERVAL: usize = 64;

/// `y = c · Σ taps · (b · x)`, channel by channel.
///
/// # Shape
/// `projected: [n_tokens, 3, n_embd]`, which are b, c and x; `taps: [n_taps, n_embd]`,
/// the oldest position first; `y: [n_tokens, n_embd]`
pub(crate) fn short_conv(
    memory: &mut ConvMemory,
    layer: usize,
    n_past: usize,
    projected: &[f32],
    taps: &[f32],
    y: &mut [f32],
) {
    let n_embd = memory.shape.n_embd;
    let n_taps = memory.shape.n_kept + 1;
    let tokens = projected.chunks_exact(3 * n_embd);
    for (i, (projected, y)) in tokens.zip(y.chunks_exact_mut(n_embd)).enumerate() {
        let position = n_past + i;
        let (b, cx) = projected.split_at(n_embd);
        let (c, x) = cx.split_at(n_embd);
        for (product, (b, x)) in memory
            .product_mut(layer, position)
            .iter_mut()
            .zip(b.iter().zip(x))
        {
            *product = b * x;
        }
        y.fill(0.0);
        for (tap, taps) in taps.chunks_exact(n_embd).enumerate() {
            // Before the first position there is nothing.
            let Some(position) = (position + tap + 1).checked_sub(n_taps) else {
                continue;
            };
            let products = memory.product(layer, position);
            for (y, (product, tap)) in y.iter_mut().zip(products.iter().zip(taps)) {
                *y += product * tap;
            }
        }
        for (y, c) in y.iter_mut().zip(c) {
            *y *= c;
        }
    }
}

/// What of a model decides on the memory's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ConvShape {
    n_layer: usize,
    n_embd: usize,
    /// The positions that the next one needs.
    n_kept: usize,
}

impl ConvShape {
    fn of(config: &ModelConfig) -> Self {
        let taps = config.layers.iter().filter_map(|layer| match layer.mixer {
            Mixer::ShortConv { n_taps } => Some(n_taps),
            Mixer::Attention(_) => None,
        });
        Self {
            n_layer: taps.clone().count(),
            n_embd: config.n_embd,
            n_kept: taps.max().unwrap_or(1) - 1,
        }
    }

    /// Numbers for the recent positions; the caps in the configuration keep it
    /// below 2^40.
    fn n_recent(self) -> u64 {
        (self.n_layer * self.n_embd) as u64 * RECENT as u64
    }

    /// Numbers from which one position can go on.
    fn n_state(self) -> u64 {
        (self.n_layer * self.n_embd) as u64 * self.n_kept as u64
    }
}

/// Bytes that the memory takes for `n_ctx` positions.
pub(crate) fn conv_size_bytes(config: &ModelConfig, n_ctx: usize) -> u64 {
    let shape = ConvShape::of(config);
    let n_states = (n_ctx / INTERVAL) as u64;
    4 * (shape.n_recent() + n_states * shape.n_state())
}

/// The products that a context's short convolutions go on from.
pub(crate) struct ConvMemory {
    shape: ConvShape,
    /// `[n_layer, RECENT, n_embd]`, a position in place `position % RECENT`.
    recent: Vec<f32>,
    /// The positions whose products `recent` holds.
    held: Range<usize>,
    /// What positions `INTERVAL`, `2 · INTERVAL`, … need: `[n_layer, n_kept, n_embd]` each.
    states: Vec<Vec<f32>>,
    /// How many of `states` are filled.
    n_states: usize,
}

impl ConvMemory {
    pub(crate) fn new(config: &ModelConfig) -> Self {
        Self {
            shape: ConvShape::of(config),
            recent: Vec::new(),
            held: 0..0,
            states: Vec::new(),
            n_states: 0,
        }
    }

    /// Whether the model has no such layers.
    pub(crate) fn is_unused(&self) -> bool {
        self.shape.n_layer == 0
    }

    /// Makes room for positions `0..n_positions`.
    pub(crate) fn reserve(&mut self, n_positions: usize) -> Result<(), KvOutOfMemory> {
        if self.is_unused() {
            return Ok(());
        }
        if self.recent.is_empty() {
            self.recent = zeros(self.shape.n_recent())?;
        }
        while self.states.len() < n_positions / INTERVAL {
            self.states.push(zeros(self.shape.n_state())?);
        }
        Ok(())
    }

    /// Forgets everything and gives the memory back.
    pub(crate) fn clear(&mut self) {
        self.recent = Vec::new();
        self.states = Vec::new();
        self.held = 0..0;
        self.n_states = 0;
    }

    /// The bytes that are allocated.
    pub(crate) fn size_bytes(&self) -> usize {
        let states: usize = self.states.iter().map(Vec::len).sum();
        4 * (self.recent.len() + states)
    }

    /// Goes back to `n_positions` or, if what they need is not held any more, to the
    /// last position before that can be gone on from; says which.
    pub(crate) fn rewind(&mut self, n_positions: usize) -> usize {
        let n_kept = self.shape.n_kept;
        if self.shape.n_layer == 0 {
            return n_positions;
        }
        debug_assert!(n_positions <= self.held.end);
        if self.held.start <= n_positions.saturating_sub(n_kept) {
            self.held.end = n_positions;
        } else {
            let n_states = (n_positions / INTERVAL).min(self.n_states);
            let end = n_states * INTERVAL;
            self.held = end.saturating_sub(n_kept)..end;
            if n_states > 0 {
                self.copy_state(n_states - 1, Way::IntoRecent);
            }
        }
        self.n_states = self.n_states.min(self.held.end / INTERVAL);
        self.held.end
    }

    /// Prepares for the products of `n_tokens` at `n_past..`.
    ///
    /// # Panics
    /// The positions before are not those that are held.
    pub(crate) fn begin(&mut self, n_past: usize, n_tokens: usize) {
        if self.shape.n_layer == 0 {
            return;
        }
        assert_eq!(self.held.end, n_past, "positions without their products");
        // Their places are about to be taken.
        let n_lost = (n_past + n_tokens).saturating_sub(RECENT);
        self.held.start = self.held.start.max(n_lost);
    }

    /// All layers have stored the products of `n_tokens`.
    pub(crate) fn commit(&mut self, n_tokens: usize) {
        if self.shape.n_layer == 0 {
            return;
        }
        self.held.end += n_tokens;
        self.keep_states();
    }

    /// Keeps what the last position that can always be gone back to needs.
    fn keep_states(&mut self) {
        while self.n_states < self.held.end / INTERVAL {
            self.n_states += 1;
            self.copy_state(self.n_states - 1, Way::OutOfRecent);
        }
    }

    /// Bytes of what a position needs of those before it, in the form of
    /// [`Self::copy_out`]; 0 for a model without short convolutions.
    pub(crate) fn state_size_bytes(&self) -> usize {
        usize::try_from(4 * self.shape.n_state()).unwrap_or(usize::MAX)
    }

    /// Appends what `position` needs of those before it: layer by layer, the oldest
    /// position first, little-endian; before the first position there is zero.
    ///
    /// # Panics
    /// It is not held: see [`Self::rewind`].
    pub(crate) fn copy_out(&self, position: usize, out: &mut Vec<u8>) {
        let ConvShape {
            n_layer,
            n_embd,
            n_kept,
        } = self.shape;
        let is_recent = self.held.start <= position.saturating_sub(n_kept);
        let state = (!is_recent).then(|| {
            assert!(position.is_multiple_of(INTERVAL), "what is not held");
            &self.states[position / INTERVAL - 1]
        });
        for layer in 0..n_layer {
            for i in 0..n_kept {
                let products = match (state, (position + i).checked_sub(n_kept)) {
                    (Some(state), _) => Some(&state[(layer * n_kept + i) * n_embd..][..n_embd]),
                    (None, Some(position)) => Some(self.product(layer, position)),
                    (None, None) => None,
                };
                match products {
                    Some(products) => {
                        out.extend(products.iter().flat_map(|product| product.to_le_bytes()));
                    }
                    None => out.resize(out.len() + 4 * n_embd, 0),
                }
            }
        }
    }

    /// Goes on from `position`, at most [`INTERVAL`] beyond the last one, by the bytes
    /// that were copied out there. There must be room for it.
    ///
    /// # Errors
    /// A number is not finite; nothing is changed.
    ///
    /// # Panics
    /// They are of another size.
    pub(crate) fn copy_in(&mut self, position: usize, bytes: &[u8]) -> Result<(), KvCopyError> {
        assert_eq!(bytes.len(), self.state_size_bytes());
        let ConvShape { n_embd, n_kept, .. } = self.shape;
        if bytes.is_empty() {
            return Ok(());
        }
        let (products, _) = bytes.as_chunks::<4>();
        if !products
            .iter()
            .all(|bytes| f32::from_le_bytes(*bytes).is_finite())
        {
            return Err(KvCopyError::NotFinite);
        }
        let rows = bytes.chunks_exact(4 * n_embd).enumerate();
        for (row, bytes) in rows {
            let (layer, i) = (row / n_kept, row % n_kept);
            let Some(position) = (position + i).checked_sub(n_kept) else {
                continue;
            };
            let products = self.product_mut(layer, position);
            for (product, bytes) in products.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *product = f32::from_le_bytes(*bytes);
            }
        }
        self.held = position.saturating_sub(n_kept)..position;
        self.keep_states();
        Ok(())
    }

    fn product(&self, layer: usize, position: usize) -> &[f32] {
        let start = self.product_start(layer, position);
        &self.recent[start..start + self.shape.n_embd]
    }

    fn product_mut(&mut self, layer: usize, position: usize) -> &mut [f32] {
        let start = self.product_start(layer, position);
        &mut self.recent[start..start + self.shape.n_embd]
    }

    fn product_start(&self, layer: usize, position: usize) -> usize {
        (layer * RECENT + position % RECENT) * self.shape.n_embd
    }

    /// Copies between `recent` and the state of position `(idx + 1) · INTERVAL`.
    fn copy_state(&mut self, idx: usize, way: Way) {
        let ConvShape {
            n_layer,
            n_embd,
            n_kept,
        } = self.shape;
        let end = (idx + 1) * INTERVAL;
        for layer in 0..n_layer {
            for i in 0..n_kept {
                let start = self.product_start(layer, end - n_kept + i);
                let recent = &mut self.recent[start..start + n_embd];
                let state = &mut self.states[idx][(layer * n_kept + i) * n_embd..][..n_embd];
                match way {
                    Way::IntoRecent => recent.copy_from_slice(state),
                    Way::OutOfRecent => state.copy_from_slice(recent),
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Way {
    IntoRecent,
    OutOfRecent,
}

fn zeros(n: u64) -> Result<Vec<f32>, KvOutOfMemory> {
    let out_of_memory = |_| KvOutOfMemory {
        size_bytes: usize::try_from(4 * n).unwrap_or(usize::MAX),
    };
    let mut zeros = Vec::new();
    let n = usize::try_from(n).unwrap_or(usize::MAX);
    zeros.try_reserve_exact(n).map_err(out_of_memory)?;
    zeros.resize(n, 0.0);
    Ok(zeros)
}

/// Products stay held long enough for a chunk, a state is taken while its products
/// are held, and what a state needs lies after position 0.
const _: () = assert!(
    RECENT >= PREFILL_CHUNK + super::config::MAX_CONV_TAPS
        && INTERVAL >= super::config::MAX_CONV_TAPS
);

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ConvShape = ConvShape {
        n_layer: 2,
        n_embd: 3,
        n_kept: 2,
    };

    fn memory() -> ConvMemory {
        ConvMemory {
            shape: SHAPE,
            recent: Vec::new(),
            held: 0..0,
            states: Vec::new(),
            n_states: 0,
        }
    }

    /// A product that every place has for itself.
    fn product(layer: usize, position: usize, channel: usize) -> f32 {
        (layer * 100_000 + position * 10 + channel) as f32
    }

    /// Stores made-up products for `n_tokens` more positions, in chunks of up to `chunk`.
    fn extend(memory: &mut ConvMemory, n_tokens: usize, chunk: usize) {
        let end = memory.held.end + n_tokens;
        memory.reserve(end).unwrap();
        while memory.held.end < end {
            let start = memory.held.end;
            let n = chunk.min(end - start);
            memory.begin(start, n);
            for layer in 0..SHAPE.n_layer {
                for position in start..start + n {
                    for (channel, stored) in
                        memory.product_mut(layer, position).iter_mut().enumerate()
                    {
                        *stored = product(layer, position, channel);
                    }
                }
            }
            memory.commit(n);
        }
    }

    /// What the next position would find.
    fn state(memory: &ConvMemory) -> Vec<u8> {
        let mut bytes = Vec::new();
        memory.copy_out(memory.held.end, &mut bytes);
        bytes
    }

    fn expected_state(position: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for layer in 0..SHAPE.n_layer {
            for i in 0..SHAPE.n_kept {
                for channel in 0..SHAPE.n_embd {
                    let number = (position + i)
                        .checked_sub(SHAPE.n_kept)
                        .map_or(0.0, |position| product(layer, position, channel));
                    bytes.extend(number.to_le_bytes());
                }
            }
        }
        bytes
    }

    #[test]
    fn recent_positions_are_gone_back_to_exactly() {
        for chunk in [1, 7, PREFILL_CHUNK] {
            for n_back in 0..=PREFILL_CHUNK {
                let mut memory = memory();
                extend(&mut memory, 300, chunk);
                assert_eq!(memory.rewind(300 - n_back), 300 - n_back);
                assert_eq!(state(&memory), expected_state(300 - n_back));
            }
        }
    }

    #[test]
    fn far_positions_are_gone_back_to_at_intervals() {
        for target in 0..200 {
            let mut memory = memory();
            extend(&mut memory, 300, PREFILL_CHUNK);
            let reached = memory.rewind(target);
            assert_eq!(reached, target / INTERVAL * INTERVAL);
            assert_eq!(state(&memory), expected_state(reached));
            // What comes next is remembered as before.
            extend(&mut memory, 300 - reached, 5);
            assert_eq!(state(&memory), expected_state(300));
            assert_eq!(memory.rewind(130), 128);
            assert_eq!(state(&memory), expected_state(128));
            assert_eq!(memory.rewind(100), 64);
            assert_eq!(state(&memory), expected_state(64));
        }
    }

    #[test]
    fn states_leave_and_come_back() {
        let mut kept = memory();
        extend(&mut kept, 140, PREFILL_CHUNK);
        let mut memory = memory();
        memory.reserve(140).unwrap();
        for position in [64, 128, 140] {
            let mut bytes = Vec::new();
            kept.copy_out(position, &mut bytes);
            assert_eq!(bytes, expected_state(position));
            memory.copy_in(position, &bytes).unwrap();
            assert_eq!(state(&memory), bytes);
        }
        assert_eq!(memory.rewind(139), 128);
        assert_eq!(state(&memory), expected_state(128));
    }

    #[test]
    fn a_model_without_convolutions_remembers_nothing() {
        let mut memory = memory();
        memory.shape = ConvShape {
            n_layer: 0,
            n_kept: 0,
            ..SHAPE
        };
        memory.reserve(1000).unwrap();
        memory.begin(77, 9);
        memory.commit(9);
        assert_eq!(memory.rewind(33), 33);
        assert_eq!((memory.size_bytes(), memory.state_size_bytes()), (0, 0));
    }
}
