//! Pages of the KV cache, in the order in which attention reads them.
//!
//! Numbers lie in rows of [`ROW`], so that attention multiplies whole vectors and never
//! adds across one: a row of keys holds one element of a head at sixteen neighbouring
//! positions, a row of values sixteen elements at one position. For each layer and head
//! a page holds the keys, `[PAGE / ROW, head_dim] rows`, then the values,
//! `[head_dim / ROW, PAGE] rows` (a head that ends within a row is padded). Types with
//! scales have theirs beside them: `[PAGE / ROW, n_blocks] rows` for the keys, then
//! `[n_blocks, PAGE / ROW] rows` for the values.

use std::ops::Range;

use half::f16;

use super::kv::{KvOutOfMemory, KvShape, PAGE};
use super::stored::Stored;

/// Numbers in a row.
pub(crate) const ROW: usize = 16;
/// See [`ROW`].
pub(crate) type Row<F> = [F; ROW];

/// The longest block of any type, and what is narrowed at once without blocks.
const MAX_BLOCK: usize = 32;

/// The pages of a cache.
pub(crate) struct Pages<F> {
    pages: Vec<Page<F>>,
    shape: KvShape,
}

struct Page<F> {
    numbers: Box<[Row<F>]>,
    scales: Box<[Row<f16>]>,
}

/// One head of one layer in one page.
#[derive(Clone, Copy)]
pub(crate) struct HeadPage<'a, F> {
    /// `[PAGE / ROW, head_dim] rows`
    pub(crate) keys: &'a [Row<F>],
    /// `[head_dim / ROW, PAGE] rows`
    pub(crate) values: &'a [Row<F>],
    /// `[PAGE / ROW, n_blocks] rows`
    pub(crate) key_scales: &'a [Row<f16>],
    /// `[n_blocks, PAGE]`
    pub(crate) value_scales: &'a [f16],
}

/// Rows for one head of one layer: of numbers, and of scales.
const fn head_rows(head_dim: usize, block: Option<usize>) -> (u64, u64) {
    let numbers = PAGE / ROW * head_dim + head_dim.div_ceil(ROW) * PAGE;
    let scales = match block {
        None => 0,
        Some(block) => 2 * (PAGE / ROW) * head_dim.div_ceil(block),
    };
    (numbers as u64, scales as u64)
}

/// Bytes of a page; the caps in the configuration keep this below 2^44.
pub(crate) fn page_size_bytes<F: Stored>(shape: KvShape) -> u64 {
    let (numbers, scales) = head_rows(shape.head_dim, F::BLOCK);
    let head_bytes = ROW as u64 * (numbers * size_of::<F>() as u64 + scales * 2);
    (shape.n_layer * shape.n_head_kv) as u64 * head_bytes
}

impl<F: Stored> Pages<F> {
    pub(crate) fn new(shape: KvShape) -> Self {
        Self {
            pages: Vec::new(),
            shape,
        }
    }

    pub(crate) fn truncate(&mut self, n_pages: usize) {
        self.pages.truncate(n_pages);
    }

    /// Bytes of all pages.
    pub(crate) fn size_bytes(&self) -> usize {
        // What is allocated fits the address space.
        self.pages.len() * page_size_bytes::<F>(self.shape) as usize
    }

    pub(crate) fn reserve(&mut self, n_pages: usize) -> Result<(), KvOutOfMemory> {
        while self.pages.len() < n_pages {
            let n_heads = (self.shape.n_layer * self.shape.n_head_kv) as u64;
            let (numbers, scales) = head_rows(self.shape.head_dim, F::BLOCK);
            let page = || {
                Some(Page {
                    numbers: zeroed([F::ZERO; ROW], n_heads * numbers)?,
                    scales: zeroed([f16::ZERO; ROW], n_heads * scales)?,
                })
            };
            let size_bytes = page_size_bytes::<F>(self.shape);
            self.pages.push(page().ok_or(KvOutOfMemory {
                size_bytes: usize::try_from(size_bytes).unwrap_or(usize::MAX),
            })?);
        }
        Ok(())
    }

    /// Stores a position's keys and values of one layer, all of them finite.
    pub(crate) fn store(&mut self, layer: usize, position: usize, k: &[f32], v: &[f32]) {
        let head_dim = self.shape.head_dim;
        for (side, heads) in [(Side::Keys, k), (Side::Values, v)] {
            for (head, values) in heads.chunks_exact(head_dim).enumerate() {
                let place = self.place(layer, side, head, position);
                self.store_head(place, values);
            }
        }
    }

    fn store_head(&mut self, place: Place, values: &[f32]) {
        let block_len = F::BLOCK.unwrap_or(ROW);
        let page = &mut self.pages[place.page];
        let numbers = page.numbers.as_flattened_mut();
        for (idx, block) in values.chunks(block_len).enumerate() {
            let mut narrow = [F::ZERO; MAX_BLOCK];
            let narrow = &mut narrow[..block.len()];
            let scale = F::narrow(block, narrow);
            for (i, number) in narrow.iter().enumerate() {
                numbers[place.number(idx * block_len + i)] = *number;
            }
            if F::BLOCK.is_some() {
                page.scales.as_flattened_mut()[place.scale(idx)] = scale;
            }
        }
    }

    /// Where one head's keys or values of one position are.
    #[inline(always)]
    fn place(&self, layer: usize, side: Side, head: usize, position: usize) -> Place {
        let head_dim = self.shape.head_dim;
        let (numbers, scales) = head_rows(head_dim, F::BLOCK);
        let (numbers, scales) = (numbers as usize * ROW, scales as usize * ROW);
        let idx = layer * self.shape.n_head_kv + head;
        let (page, position) = (position / PAGE, position % PAGE);
        match side {
            Side::Keys => Place {
                page,
                first_number: idx * numbers + position / ROW * head_dim * ROW + position % ROW,
                side,
                first_scale: idx * scales
                    + position / ROW * (scales / (2 * PAGE)) * ROW
                    + position % ROW,
            },
            Side::Values => Place {
                page,
                first_number: idx * numbers + PAGE * head_dim + position * ROW,
                side,
                first_scale: idx * scales + scales / 2 + position,
            },
        }
    }

    /// One head's keys and values in `page`.
    #[inline(always)]
    pub(crate) fn head(&self, page: usize, layer: usize, head: usize) -> HeadPage<'_, F> {
        let (numbers, scales) = head_rows(self.shape.head_dim, F::BLOCK);
        let (numbers, scales) = (numbers as usize, scales as usize);
        let idx = layer * self.shape.n_head_kv + head;
        let page = &self.pages[page];
        let (keys, values) =
            page.numbers[idx * numbers..][..numbers].split_at(PAGE / ROW * self.shape.head_dim);
        let (key_scales, value_scales) = page.scales[idx * scales..][..scales].split_at(scales / 2);
        HeadPage {
            keys,
            values,
            key_scales,
            value_scales: value_scales.as_flattened(),
        }
    }

    pub(crate) fn position_size_bytes(&self) -> usize {
        let head_dim = self.shape.head_dim;
        let scales = F::BLOCK.map_or(0, |block| 2 * head_dim.div_ceil(block));
        let head_bytes = head_dim * size_of::<F>() + scales;
        self.shape.n_layer * 2 * self.shape.n_head_kv * head_bytes
    }

    /// Appends `positions` as bytes: see [`super::KvCache`].
    pub(crate) fn copy_out(&self, positions: Range<usize>, out: &mut Vec<u8>) {
        out.reserve(positions.len() * self.position_size_bytes());
        for position in positions {
            for (layer, side, head) in parts(self.shape) {
                let place = self.place(layer, side, head, position);
                let page = &self.pages[place.page];
                for element in 0..self.shape.head_dim {
                    if let Some(block) = starts_block::<F>(element) {
                        let scale = page.scales.as_flattened()[place.scale(block)];
                        out.extend_from_slice(&scale.to_le_bytes());
                    }
                    page.numbers.as_flattened()[place.number(element)].put(out);
                }
            }
        }
    }

    /// Stores whole positions; `None` at the first number that is not finite.
    pub(crate) fn copy_in(&mut self, first_position: usize, bytes: &[u8]) -> Option<()> {
        let positions = bytes.chunks_exact(self.position_size_bytes());
        for (position, mut bytes) in (first_position..).zip(positions) {
            for (layer, side, head) in parts(self.shape) {
                let place = self.place(layer, side, head, position);
                let page = &mut self.pages[place.page];
                for element in 0..self.shape.head_dim {
                    if let Some(block) = starts_block::<F>(element) {
                        let scale = f16::get(bytes.split_off(..size_of::<f16>())?)?;
                        page.scales.as_flattened_mut()[place.scale(block)] = scale;
                    }
                    let number = F::get(bytes.split_off(..size_of::<F>())?)?;
                    page.numbers.as_flattened_mut()[place.number(element)] = number;
                }
            }
        }
        Some(())
    }
}

/// Which half of a head.
#[derive(Clone, Copy)]
enum Side {
    Keys,
    Values,
}

/// See [`Pages::place`].
#[derive(Clone, Copy)]
struct Place {
    page: usize,
    side: Side,
    first_number: usize,
    first_scale: usize,
}

impl Place {
    /// Where `element` is among the page's numbers.
    #[inline(always)]
    fn number(self, element: usize) -> usize {
        self.first_number
            + match self.side {
                Side::Keys => element * ROW,
                Side::Values => element / ROW * PAGE * ROW + element % ROW,
            }
    }

    /// Where the scale of `block` is among the page's scales.
    #[inline(always)]
    fn scale(self, block: usize) -> usize {
        self.first_scale
            + match self.side {
                Side::Keys => block * ROW,
                Side::Values => block * PAGE,
            }
    }
}

/// The block that `element` is the first of, where blocks have scales.
#[inline(always)]
fn starts_block<F: Stored>(element: usize) -> Option<usize> {
    let block = F::BLOCK?;
    element.is_multiple_of(block).then_some(element / block)
}

/// A position's parts in the order in which they are copied.
fn parts(shape: KvShape) -> impl Iterator<Item = (usize, Side, usize)> {
    (0..shape.n_layer).flat_map(move |layer| {
        [Side::Keys, Side::Values]
            .into_iter()
            .flat_map(move |side| (0..shape.n_head_kv).map(move |head| (layer, side, head)))
    })
}

fn zeroed<T: Copy>(zero: T, n: u64) -> Option<Box<[T]>> {
    let n = usize::try_from(n).ok()?;
    let mut numbers = Vec::new();
    numbers.try_reserve_exact(n).ok()?;
    numbers.resize(n, zero);
    Some(numbers.into_boxed_slice())
}
