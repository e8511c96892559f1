//! A part of a [`Context`] as bytes, and back: what a chat computed need not be
//! computed again after a restart, or in another chat with the same beginning.
//!
//! A snapshot is cut into blocks of [`BLOCK_TOKENS`] positions; the last one of a
//! chat may be shorter. A block is named by what it depends on: the [`PrefixKey`] of
//! all tokens before it, which begins with the model. Blocks of two chats with the
//! same beginning are therefore the same ones.
//!
//! # Format
//! Little-endian, without gaps:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `noxkv`, 0, CR, LF |
//! | 4 | version |
//! | 4 | what is stored; 1: keys and values of all layers; 2: and what short convolutions remember |
//! | 16 | key of the empty prefix: the model and the code that computes |
//! | 16 | key of the tokens before the block |
//! | 4 | bytes per position |
//! | 4 | `n`, the number of positions |
//! | 4 `n` | the tokens |
//! | … | the positions one after the other, each as the KV cache copies it out |
//! | … | what short convolutions need for the position after the last one |
//! | 8 | checksum of everything before |
//!
//! # Trust
//! A block comes from outside and may hold anything. What does not fit, to the byte,
//! is an error, and nothing is allocated by its word. Numbers that another version of
//! the code computed are found out: of the positions that a restoration brings, the
//! first ones are computed as well, and must be equal bit for bit. A block made on
//! purpose can still hold wrong numbers, and then the reply is wrong, as it would be
//! with such a model; it can't harm the program.
//!
//! This module knows neither where blocks are kept nor for how long.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::checksum::Checksum;
use crate::context::Context;
use crate::decoder::{DecoderMemory, KvCopyError};
use crate::error::EngineError;
use crate::model::Model;
use crate::quant::KERNEL_DIGEST;

/// Positions of a whole block: few enough that little is computed again where two
/// chats part, many enough that a long chat is some dozens of files.
pub const BLOCK_TOKENS: usize = 64;

/// What a block may take; no model that a device like this can run needs more.
pub const MAX_BLOCK_BYTES: usize = 64 << 20;

/// Positions that are computed to be compared with stored ones.
const PROBE_TOKENS: usize = 8;

const MAGIC: [u8; 8] = *b"noxkv\0\r\n";
const VERSION: u32 = 1;
/// Keys and values of all layers.
const STATE_KV: u32 = 1;
/// And behind the last position, what short convolutions need to go on from there.
const STATE_KV_CONV: u32 = 2;
const HEADER_BYTES: usize = 56;
const CHECKSUM_BYTES: usize = 8;

/// Stands for a model and the tokens of a text's beginning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrefixKey([u8; 16]);

impl PrefixKey {
    /// The key of these tokens behind this prefix.
    pub fn then(self, tokens: &[u32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        for token in tokens {
            hash.update(token.to_le_bytes());
        }
        Self::cut(hash)
    }

    /// The key in `text`, if it is one: 32 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(is_hex) {
            return None;
        }
        u128::from_str_radix(text, 16)
            .ok()
            .map(|key| Self(key.to_be_bytes()))
    }

    fn cut(hash: Sha256) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&hash.finalize()[..16]);
        Self(key)
    }
}

impl fmt::Display for PrefixKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for PrefixKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrefixKey({self})")
    }
}

/// Why a block can't be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are named by the messages
pub enum SnapshotError {
    #[error("the snapshot has {found} bytes, {expected} were expected")]
    WrongSize { found: usize, expected: u64 },
    #[error("this is no snapshot")]
    WrongMagic,
    #[error("the snapshot is of version {found}, this is {VERSION}")]
    WrongVersion { found: u32 },
    #[error("the snapshot holds states of kind {found}, known are {STATE_KV} and {STATE_KV_CONV}")]
    WrongState { found: u32 },
    #[error("a snapshot has 1 to {BLOCK_TOKENS} positions, this one {found}")]
    WrongCount { found: u32 },
    #[error("the snapshot is damaged")]
    Damaged,
    /// Another file, other settings, or another version of the code.
    #[error("the snapshot is of another model")]
    OtherModel,
    #[error("the snapshot belongs behind another text")]
    OtherPrefix,
    /// The code has changed and its version has not, or the numbers are made up.
    #[error("the snapshot holds other numbers than are computed now")]
    OtherNumbers,
    /// The snapshot is in order.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A block that was read and is sound in itself.
#[derive(Debug, Clone)]
pub struct Block<'a> {
    root: PrefixKey,
    parent: PrefixKey,
    position_size_bytes: usize,
    tokens: Vec<u32>,
    positions: &'a [u8],
    /// Behind the last position; of no use behind another.
    conv_state: &'a [u8],
}

impl<'a> Block<'a> {
    /// Reads a block.
    ///
    /// # Errors
    /// It is none of this version, or not whole. Never [`SnapshotError::Engine`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, SnapshotError> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(wrong_size(bytes, HEADER_BYTES as u64));
        };
        if header[..8] != MAGIC {
            return Err(SnapshotError::WrongMagic);
        }
        let found = word(header, 8);
        if found != VERSION {
            return Err(SnapshotError::WrongVersion { found });
        }
        let state = word(header, 12);
        if ![STATE_KV, STATE_KV_CONV].contains(&state) {
            return Err(SnapshotError::WrongState { found: state });
        }
        let (position_size_bytes, n_tokens) = (word(header, 48), word(header, 52));
        if !(1..=BLOCK_TOKENS as u32).contains(&n_tokens) {
            return Err(SnapshotError::WrongCount { found: n_tokens });
        }
        // Two numbers of 32 bits, one of them small: no overflow.
        let expected = (HEADER_BYTES + CHECKSUM_BYTES) as u64
            + u64::from(n_tokens) * (4 + u64::from(position_size_bytes));
        let n_more_bytes = (bytes.len() as u64).checked_sub(expected);
        if !n_more_bytes.is_some_and(|n| n == 0 || state == STATE_KV_CONV) {
            return Err(wrong_size(bytes, expected));
        }
        let (summed, sum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
        if sum != Checksum::of(summed).to_le_bytes() {
            return Err(SnapshotError::Damaged);
        }
        let (tokens, rest) = rest.split_at(4 * n_tokens as usize);
        let (tokens, _) = tokens.as_chunks::<4>();
        let rest = &rest[..rest.len() - CHECKSUM_BYTES];
        let (positions, conv_state) =
            rest.split_at(n_tokens as usize * position_size_bytes as usize);
        Ok(Self {
            root: key(header, 16),
            parent: key(header, 32),
            position_size_bytes: position_size_bytes as usize,
            tokens: tokens.iter().copied().map(u32::from_le_bytes).collect(),
            positions,
            conv_state,
        })
    }

    /// The tokens whose positions it holds.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
}

/// Gives bytes that were changed the checksum that fits them, as whoever makes a block
/// on purpose does: for tests of what such a block can do.
pub fn reseal(bytes: &mut [u8]) {
    if let Some((summed, sum)) = bytes.split_last_chunk_mut::<CHECKSUM_BYTES>() {
        *sum = Checksum::of(summed).to_le_bytes();
    }
}

fn wrong_size(bytes: &[u8], expected: u64) -> SnapshotError {
    SnapshotError::WrongSize {
        found: bytes.len(),
        expected,
    }
}

fn word(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

fn key(header: &[u8; HEADER_BYTES], at: usize) -> PrefixKey {
    let mut key = [0; 16];
    key.copy_from_slice(&header[at..at + 16]);
    PrefixKey(key)
}

/// The bytes of a block of `n_tokens`, if it is not too large to be one.
fn block_size_bytes(memory: &DecoderMemory, n_tokens: usize) -> Option<usize> {
    let per_position = memory.kv.position_size_bytes().checked_add(4)?;
    let size_bytes = per_position
        .checked_mul(n_tokens)?
        .checked_add(memory.conv.state_size_bytes())?
        .checked_add(HEADER_BYTES + CHECKSUM_BYTES)?;
    (size_bytes <= MAX_BLOCK_BYTES).then_some(size_bytes)
}

impl Model {
    /// Stands for this model's empty prefix: its file, how it is run, and the code that
    /// runs it.
    pub fn prefix_key(&self) -> PrefixKey {
        let mut hash = Sha256::new();
        hash.update(MAGIC);
        hash.update(VERSION.to_le_bytes());
        hash.update(env!("CARGO_PKG_VERSION"));
        hash.update(KERNEL_DIGEST.to_le_bytes());
        hash.update(format!("{:?}", self.kv_type()));
        // Long contexts may have other factors for RoPE.
        let is_long = self
            .config()
            .is_some_and(|config| self.n_ctx() > config.n_ctx_orig);
        hash.update([u8::from(is_long)]);
        hash.update(self.file_checksum().to_le_bytes());
        PrefixKey::cut(hash)
    }

    /// The block from `first_position` on, up to a whole one, of what `ctx` holds.
    /// `None` where there is nothing, or it can't be kept.
    ///
    /// # Panics
    /// `ctx` belongs to another model, or `first_position` is not where a block begins.
    pub fn block(&self, ctx: &Context, first_position: usize) -> Option<Vec<u8>> {
        self.check_owns(ctx);
        assert!(first_position.is_multiple_of(BLOCK_TOKENS));
        let end = ctx.n_past().min(first_position + BLOCK_TOKENS);
        let tokens = ctx.tokens().get(first_position..end)?;
        if tokens.is_empty() {
            return None;
        }
        let memory = ctx.own()?;
        let position_size_bytes = memory.kv.position_size_bytes();
        let size_bytes = block_size_bytes(memory, tokens.len())?;
        let mut bytes = Vec::with_capacity(size_bytes);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        let state = match memory.conv.state_size_bytes() {
            0 => STATE_KV,
            _ => STATE_KV_CONV,
        };
        bytes.extend_from_slice(&state.to_le_bytes());
        bytes.extend_from_slice(&self.prefix_key().0);
        bytes.extend_from_slice(&self.key_of(&ctx.tokens()[..first_position]).0);
        for number in [position_size_bytes, tokens.len()] {
            // Both are below the cap on a block.
            bytes.extend_from_slice(&(number as u32).to_le_bytes());
        }
        for token in tokens {
            bytes.extend_from_slice(&token.to_le_bytes());
        }
        memory.kv.copy_out(first_position..end, &mut bytes);
        memory.conv.copy_out(end, &mut bytes);
        let sum = Checksum::of(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        debug_assert_eq!(bytes.len(), size_bytes);
        Some(bytes)
    }

    /// The key of whole blocks of tokens.
    fn key_of(&self, tokens: &[u32]) -> PrefixKey {
        let blocks = tokens.chunks(BLOCK_TOKENS);
        blocks.fold(self.prefix_key(), PrefixKey::then)
    }

    /// Begins to bring back what blocks hold of `prompt`'s beginning. Of what `ctx`
    /// holds, the common prefix stays.
    ///
    /// # Errors
    /// As for [`Model::generate`].
    ///
    /// # Panics
    /// `ctx` belongs to another model.
    pub fn restore<'a>(
        &'a self,
        ctx: &'a mut Context,
        prompt: &'a [u32],
    ) -> Result<Restoration<'a>, EngineError> {
        self.check_tokens(prompt)?;
        self.check_owns(ctx);
        ctx.keep_common_prefix(prompt);
        Ok(Restoration {
            model: self,
            ctx,
            prompt,
            counts: Restored::default(),
        })
    }
}

/// What a restoration did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Positions that came from blocks.
    pub n_restored: usize,
    /// Positions that were computed in order to check the first block.
    pub n_computed: usize,
}

/// Brings blocks back into a context, one after the other.
///
/// # Cancel safety
/// Dropping it leaves the context with what has been brought back so far.
pub struct Restoration<'a> {
    model: &'a Model,
    ctx: &'a mut Context,
    prompt: &'a [u32],
    counts: Restored,
}

impl Restoration<'_> {
    /// The bytes that a block of so many positions has; `None` where a model's
    /// positions are too large to be kept, or not all that it remembers.
    pub fn block_size_bytes(&self, n_tokens: usize) -> Option<usize> {
        block_size_bytes(self.ctx.own()?, n_tokens)
    }

    /// Positions that the context holds now.
    pub fn n_past(&self) -> usize {
        self.ctx.n_past()
    }

    /// What was done so far.
    pub fn counts(&self) -> Restored {
        self.counts
    }

    /// Adds what the block that begins at `first_position` has of the prompt beyond
    /// what is there. The first block that adds anything is checked by computing some
    /// of its positions.
    ///
    /// # Errors
    /// The block does not belong here. The context is as it was, but for positions
    /// that were computed, which are right.
    ///
    /// # Panics
    /// `first_position` is not where a block begins, or beyond what the context holds.
    pub fn add(&mut self, first_position: usize, bytes: &[u8]) -> Result<(), SnapshotError> {
        assert!(first_position.is_multiple_of(BLOCK_TOKENS) && first_position <= self.n_past());
        let block = Block::decode(bytes)?;
        self.check(first_position, &block)?;
        // The last token's logits are needed, so it is computed in any case.
        let wanted = &self.prompt[first_position..self.prompt.len() - 1];
        let pairs = block.tokens.iter().zip(wanted);
        let n_common = pairs.take_while(|(stored, new)| stored == new).count();
        let end = first_position + n_common;
        // What convolutions remember stands behind the last position alone.
        let is_cut = n_common < block.tokens.len() && !block.conv_state.is_empty();
        if end <= self.n_past() || is_cut {
            return Ok(());
        }
        if self.counts.n_computed == 0 {
            self.probe(first_position, end, &block)?;
        }
        let n_past = self.n_past();
        if n_past == end {
            return Ok(());
        }
        let missing = n_past - first_position..n_common;
        let tokens = &self.prompt[n_past..end];
        self.ctx
            .append(tokens, part(&block, missing), block.conv_state)
            .map_err(|error| match error {
                KvCopyError::OutOfMemory(error) => SnapshotError::Engine(error.into()),
                // No cache ever held such numbers.
                KvCopyError::NotFinite
                | KvCopyError::NoWholePositions { .. }
                | KvCopyError::TooFar { .. } => SnapshotError::OtherNumbers,
            })?;
        self.counts.n_restored += end - n_past;
        Ok(())
    }

    fn check(&self, first_position: usize, block: &Block<'_>) -> Result<(), SnapshotError> {
        if block.root != self.model.prefix_key() {
            return Err(SnapshotError::OtherModel);
        }
        if block.parent != self.model.key_of(&self.prompt[..first_position]) {
            return Err(SnapshotError::OtherPrefix);
        }
        let sizes = self.ctx.own().map(|memory| {
            (
                memory.kv.position_size_bytes(),
                memory.conv.state_size_bytes(),
            )
        });
        if sizes != Some((block.position_size_bytes, block.conv_state.len())) {
            return Err(SnapshotError::OtherModel);
        }
        Ok(())
    }

    /// Computes the first of the missing positions and compares them.
    fn probe(
        &mut self,
        first_position: usize,
        end: usize,
        block: &Block<'_>,
    ) -> Result<(), SnapshotError> {
        let start = self.n_past();
        let end = end.min(start + PROBE_TOKENS);
        self.model.extend(self.ctx, &self.prompt[..end])?;
        self.counts.n_computed += end - start;
        let mut computed = Vec::new();
        let memory = self.ctx.own().ok_or(SnapshotError::OtherModel)?;
        memory.kv.copy_out(start..end, &mut computed);
        if part(block, start - first_position..end - first_position) != computed {
            return Err(SnapshotError::OtherNumbers);
        }
        Ok(())
    }
}

/// Some of a block's positions, counted from its first.
fn part<'a>(block: &Block<'a>, positions: std::ops::Range<usize>) -> &'a [u8] {
    let size_bytes = block.position_size_bytes;
    &block.positions[positions.start * size_bytes..positions.end * size_bytes]
}

impl fmt::Debug for Restoration<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restoration")
            .field("n_past", &self.n_past())
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
