//! Attention over cached keys and values.
//!
//! Positions are taken in spans of [`SPAN`]. Within one, the queries of all heads that
//! share a key-value head, and of several tokens, are multiplied with the same rows of
//! keys, then weighted, then multiplied with the same rows of values; scores are never
//! held for more than a span. Spans are put together in order by the rescaling of an
//! online softmax. They lie at fixed places and every sum runs position by position,
//! so a token's result depends neither on which other tokens are computed with it nor
//! on who computes which span.
//!
//! # Source
//! Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018); the
//! split over positions is Dao et al.'s "Flash-Decoding" (2023).

use std::cell::RefCell;
use std::ops::Range;

use half::f16;

use super::config::ModelConfig;
use super::kv::{KvCache, PAGE};
use super::pages::{HeadPage, Pages, ROW, Row};
use super::shared::Shared;
use super::stored::Stored;
#[cfg(target_arch = "x86_64")]
use super::wide::Avx2Wide;
use super::wide::{N_WIDE, Pair, Wide};
use crate::lane::Lane;
use crate::math;
#[cfg(target_arch = "x86_64")]
use crate::quant::has_avx2;

/// Positions that are computed as one: many enough that putting them together costs
/// nothing beside them, few enough that a short context keeps several threads busy.
const SPAN: usize = 128;
const _: () = assert!(PAGE.is_multiple_of(SPAN) && SPAN.is_multiple_of(ROW));

/// Queries that are computed against the same span: enough to make widening cheap.
const TILE: usize = 32;

/// Queries whose sums are in registers together.
const HELD: usize = 4;

/// Rows of keys or values that are widened at once. Longer heads are widened as they
/// are multiplied.
const MAX_WIDENED: usize = 256;

/// The constants of one layer's attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttentionSpec {
    pub(crate) layer: usize,
    pub(crate) n_head: usize,
    pub(crate) n_head_kv: usize,
    pub(crate) head_dim: usize,
    pub(crate) scale: f32,
    pub(crate) logit_cap: Option<f32>,
    pub(crate) window: Option<usize>,
}

/// Room for what spans give before they are put together: `[n_sets, n_queries,
/// part_len]`. A part is a sum of values, then the greatest score and the total of the
/// weights.
pub(crate) struct AttentionScratch {
    parts: Vec<f32>,
    part_len: usize,
}

/// Sets of parts for a whole chunk; one is the result so far. Fewer tokens have room
/// for more spans at once.
const N_SETS: usize = 3;

impl AttentionScratch {
    pub(crate) fn new(config: &ModelConfig, chunk_len: usize) -> Self {
        Self {
            parts: vec![0.0; Self::n_floats(config, chunk_len)],
            part_len: part_len(config.head_dim),
        }
    }

    pub(crate) fn n_floats(config: &ModelConfig, chunk_len: usize) -> usize {
        N_SETS * chunk_len * config.n_head * part_len(config.head_dim)
    }
}

const fn part_len(head_dim: usize) -> usize {
    head_dim.next_multiple_of(ROW) + 2
}

/// `out = softmax(q · kᵀ · scale) · v` for every head of every token.
///
/// # Shape
/// `q`, `out: [n_tokens, n_head, head_dim] f32`; the tokens stand at `n_past..`,
/// and the cache holds all positions up to theirs.
pub(crate) fn attention(
    lane: &dyn Lane,
    spec: AttentionSpec,
    kv: &KvCache,
    n_past: usize,
    q: &[f32],
    scratch: &mut AttentionScratch,
    out: &mut [f32],
) {
    let n_queries = q.len() / spec.head_dim;
    let part_len = scratch.part_len;
    let set_len = n_queries * part_len;
    let n_sets = scratch.parts.len() / set_len;
    let chunk = Chunk { spec, n_past, q };
    let n_tokens = n_queries / spec.n_head;
    let end = (n_past + n_tokens).div_ceil(SPAN);
    let mut start = chunk.visible(0).start / SPAN;
    // The result so far, and what the spans add to it.
    let n_spans_held = n_sets - 1;
    let parts = Shared::new(&mut scratch.parts[..n_sets * set_len], part_len);
    let heads = Shared::new(out, spec.head_dim);
    let mut is_first = true;
    while start < end {
        let spans = start..end.min(start + n_spans_held);
        chunk.compute(lane, kv, spans.clone(), &parts);
        start = spans.end;
        let work = n_queries * part_len * spans.len();
        lane.for_each(n_queries, work, &|queries| {
            for query in queries {
                // SAFETY: the slices are borrowed, and each query is in one call alone.
                let part = |set: usize| unsafe { parts.get(set * n_queries + query) };
                let sum = part(0);
                for set in 0..spans.len() {
                    if is_first && set == 0 {
                        sum.copy_from_slice(part(1));
                    } else {
                        merge(sum, part(1 + set));
                    }
                }
                if spans.end == end {
                    // SAFETY: as above.
                    finish(sum, unsafe { heads.get(query) });
                }
            }
        });
        is_first = false;
    }
}

/// Adds another span's part to the sum.
fn merge(sum: &mut [f32], part: &[f32]) {
    let n = part.len() - 2;
    let (values, rest) = sum.split_at_mut(n);
    let &[max, total] = &part[n..] else { return };
    if total == 0.0 {
        return; // no position of the span is visible
    }
    if rest[1] == 0.0 {
        sum.copy_from_slice(part);
        return;
    }
    let new_max = if max > rest[0] { max } else { rest[0] };
    let (old_scale, scale) = (math::exp(rest[0] - new_max), math::exp(max - new_max));
    for (sum, value) in values.iter_mut().zip(part) {
        *sum = *sum * old_scale + value * scale;
    }
    rest[0] = new_max;
    rest[1] = rest[1] * old_scale + total * scale;
}

fn finish(sum: &[f32], out: &mut [f32]) {
    let scale = 1.0 / sum[sum.len() - 1];
    for (out, sum) in out.iter_mut().zip(sum) {
        *out = sum * scale;
    }
}

/// Consecutive tokens' queries in one layer.
struct Chunk<'a> {
    spec: AttentionSpec,
    n_past: usize,
    q: &'a [f32],
}

/// Queries of one key-value head, numbered token by token, and the positions of a span.
struct Item {
    kv_head: usize,
    queries: Range<usize>,
    span: usize,
}

impl Chunk<'_> {
    /// Query heads for each key-value head.
    fn group(&self) -> usize {
        self.spec.n_head / self.spec.n_head_kv
    }

    /// The positions that a token of the chunk sees.
    fn visible(&self, token: usize) -> Range<usize> {
        let end = self.n_past + token + 1;
        self.spec
            .window
            .map_or(0, |window| end.saturating_sub(window))..end
    }

    /// How many pairs of queries and positions in `spans` see each other.
    fn n_scores(&self, spans: &Range<usize>) -> usize {
        let (start, end) = (spans.start * SPAN, spans.end * SPAN);
        let n_tokens = self.q.len() / self.spec.head_dim / self.spec.n_head;
        let of_token = |token| {
            let visible = self.visible(token);
            visible
                .end
                .min(end)
                .saturating_sub(visible.start.max(start))
        };
        self.spec.n_head * (0..n_tokens).map(of_token).sum::<usize>()
    }

    /// Where a query of a key-value head is among all queries.
    fn query_idx(&self, kv_head: usize, query: usize) -> usize {
        let group = self.group();
        query / group * self.spec.n_head + kv_head * group + query % group
    }

    /// Computes the parts of every query and span: set `1 + i` has the `i`th span's.
    fn compute(&self, lane: &dyn Lane, kv: &KvCache, spans: Range<usize>, parts: &Shared) {
        let n_queries = self.q.len() / self.spec.head_dim;
        let n_own = n_queries / self.spec.n_head_kv;
        let n_tiles = n_own.div_ceil(TILE);
        let n_items = self.spec.n_head_kv * n_tiles * spans.len();
        let work = self.n_scores(&spans) * self.spec.head_dim * 2;
        // Spans run fastest: each thread then has short ones and long ones.
        lane.for_each(n_items, work, &|items| {
            WORKSPACE.with_borrow_mut(|workspace| {
                for item in items {
                    let tile = item / spans.len();
                    let first = tile % n_tiles * TILE;
                    let set = item % spans.len();
                    let item = Item {
                        kv_head: tile / n_tiles,
                        queries: first..n_own.min(first + TILE),
                        span: spans.start + set,
                    };
                    let set = (1 + set) * n_queries;
                    match kv {
                        KvCache::F16(pages) => self.attend(pages, &item, set, parts, workspace),
                        KvCache::F32(pages) => self.attend(pages, &item, set, parts, workspace),
                        KvCache::Q8(pages) => self.attend(pages, &item, set, parts, workspace),
                    }
                }
            });
        });
    }

    fn attend<F: Stored>(
        &self,
        pages: &Pages<F>,
        item: &Item,
        set: usize,
        parts: &Shared,
        workspace: &mut Workspace,
    ) {
        #[cfg(target_arch = "x86_64")]
        if has_avx2() && !is_portable_only() {
            // SAFETY: AVX2 and F16C are there.
            return unsafe { self.attend_avx2(pages, item, set, parts, workspace) };
        }
        // SAFETY: `Pair` asks for nothing.
        unsafe { self.attend_with::<F, Pair>(pages, item, set, parts, workspace) }
    }

    /// The same code, compiled for wider registers.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,f16c")]
    fn attend_avx2<F: Stored>(
        &self,
        pages: &Pages<F>,
        item: &Item,
        set: usize,
        parts: &Shared,
        workspace: &mut Workspace,
    ) {
        // SAFETY: this function is compiled for AVX2 and F16C.
        unsafe { self.attend_with::<F, Avx2Wide>(pages, item, set, parts, workspace) }
    }

    /// # Safety
    /// As for [`Wide`].
    #[inline(always)]
    unsafe fn attend_with<F: Stored, W: Wide>(
        &self,
        pages: &Pages<F>,
        item: &Item,
        set: usize,
        parts: &Shared,
        workspace: &mut Workspace,
    ) {
        let first_position = item.span * SPAN;
        let page = pages.head(first_position / PAGE, self.spec.layer, item.kv_head);
        let span = SpanOf {
            page,
            start: first_position % PAGE,
            head_dim: self.spec.head_dim,
        };
        let Workspace {
            queries,
            scores,
            buffers,
        } = workspace;
        let n_queries = item.queries.len();
        for (query, own) in item.queries.clone().zip(&mut *queries) {
            let visible = self.visible(query / self.group());
            let inside = |position: usize| position.saturating_sub(first_position).min(SPAN);
            own.idx = self.query_idx(item.kv_head, query);
            own.visible = inside(visible.start)..inside(visible.end);
        }
        let queries = &queries[..n_queries];
        let scores = &mut scores[..n_queries];
        // SAFETY: the caller's promise.
        unsafe { span.score::<W>(queries, self.q, scores, buffers) };
        for (query, scores) in queries.iter().zip(&mut *scores) {
            let (max, total) = weigh(scores, query.visible.clone(), self.spec);
            // SAFETY: the parts are borrowed, and each query and span is in one item alone.
            let part = unsafe { parts.get(set + query.idx) };
            let n = part.len() - 2;
            part[n..].copy_from_slice(&[max, total]);
        }
        for column in 0..self.spec.head_dim.div_ceil(ROW) {
            let mut keep = |query: &Query, sums: &Row<f32>| {
                // SAFETY: as above.
                let part = unsafe { parts.get(set + query.idx) };
                part[column * ROW..][..ROW].copy_from_slice(sums);
            };
            // SAFETY: the caller's promise.
            unsafe { span.weighted_values::<W>(column, queries, scores, buffers, &mut keep) };
        }
    }
}

/// What a thread needs while it computes an item.
struct Workspace {
    queries: [Query; TILE],
    /// Scores, and then weights.
    scores: [[f32; SPAN]; TILE],
    buffers: Buffers,
}

struct Buffers {
    widened: [Row<f32>; MAX_WIDENED],
    /// Weights times the values' scales.
    scaled: [[f32; SPAN]; HELD],
}

#[derive(Clone, Default)]
struct Query {
    /// Among all queries.
    idx: usize,
    /// What it sees of the span.
    visible: Range<usize>,
}

/// Whether a test compares with what any processor computes.
#[cfg(target_arch = "x86_64")]
fn is_portable_only() -> bool {
    #[cfg(test)]
    return PORTABLE_ONLY.get();
    #[cfg(not(test))]
    false
}

#[cfg(test)]
thread_local! {
    static PORTABLE_ONLY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

thread_local! {
    static WORKSPACE: RefCell<Box<Workspace>> = RefCell::new(Box::new(Workspace {
        queries: std::array::from_fn(|_| Query::default()),
        scores: [[0.0; SPAN]; TILE],
        buffers: Buffers {
            widened: [[0.0; ROW]; MAX_WIDENED],
            scaled: [[0.0; SPAN]; HELD],
        },
    }));
}

/// One head's keys and values at the positions of a span.
struct SpanOf<'a, F> {
    page: HeadPage<'a, F>,
    /// The first position, counted from the page's.
    start: usize,
    head_dim: usize,
}

impl<F: Stored> SpanOf<'_, F> {
    /// The queries' products with the keys that they see, and perhaps with others.
    ///
    /// # Safety
    /// As for [`Wide`].
    #[inline(always)]
    unsafe fn score<W: Wide>(
        &self,
        queries: &[Query],
        q: &[f32],
        scores: &mut [[f32; SPAN]],
        buffers: &mut Buffers,
    ) {
        let visible = visible_to_any(queries);
        let n_blocks = F::BLOCK.map_or(0, |block| self.head_dim.div_ceil(block));
        for panel in visible.start / ROW..visible.end.div_ceil(ROW) {
            let idx = self.start / ROW + panel;
            let rows = &self.page.keys[idx * self.head_dim..][..self.head_dim];
            let scales = &self.page.key_scales[idx * n_blocks..][..n_blocks];
            let block = F::BLOCK.unwrap_or(self.head_dim);
            // SAFETY: the caller's promise.
            unsafe {
                if queries.len() > HELD && rows.len() <= MAX_WIDENED {
                    let rows = widen::<W, F>(rows, &mut buffers.widened);
                    score_panel::<W, f32>(rows, (scales, block), queries, q, scores, panel);
                } else {
                    score_panel::<W, F>(rows, (scales, block), queries, q, scores, panel);
                }
            }
        }
    }

    /// One row of the weighted sums of values for each query.
    ///
    /// # Safety
    /// As for [`Wide`].
    #[inline(always)]
    unsafe fn weighted_values<W: Wide>(
        &self,
        column: usize,
        queries: &[Query],
        weights: &[[f32; SPAN]],
        buffers: &mut Buffers,
        keep: &mut impl FnMut(&Query, &Row<f32>),
    ) {
        let rows = &self.page.values[column * PAGE + self.start..][..SPAN];
        let scales = F::BLOCK.map(|block| {
            let first = column * ROW / block * PAGE + self.start;
            &self.page.value_scales[first..][..SPAN]
        });
        let visible = visible_to_any(queries);
        let Buffers { widened, scaled } = buffers;
        // SAFETY: the caller's promise.
        unsafe {
            if queries.len() > HELD {
                widen::<W, F>(&rows[visible.clone()], &mut widened[visible.start..]);
                let rows = &widened[..SPAN];
                add_values::<W, f32>(rows, scales, queries, weights, scaled, keep);
            } else {
                add_values::<W, F>(rows, scales, queries, weights, scaled, keep);
            }
        }
    }
}

/// What at least one of the queries sees, and no more than lies between.
#[inline(always)]
fn visible_to_any(queries: &[Query]) -> Range<usize> {
    let seeing = || queries.iter().filter(|query| !query.visible.is_empty());
    let start = seeing().map(|query| query.visible.start).min();
    let end = seeing().map(|query| query.visible.end).max();
    start.unwrap_or(0)..end.unwrap_or(0)
}

/// # Safety
/// As for [`Wide`].
#[inline(always)]
unsafe fn widen<'a, W: Wide, F: Stored>(
    rows: &[Row<F>],
    widened: &'a mut [Row<f32>],
) -> &'a [Row<f32>] {
    let widened = &mut widened[..rows.len()];
    for (wide, row) in widened.iter_mut().zip(rows) {
        for idx in 0..ROW / N_WIDE {
            // SAFETY: the caller's promise; a row has so many vectors.
            unsafe {
                let numbers = F::widen::<W>(&*vector(row, idx));
                numbers.store(&mut *wide.as_mut_ptr().add(idx * N_WIDE).cast());
            }
        }
    }
    widened
}

/// Runs `$body` for the first `$n` of up to [`HELD`] queries, with `$t` a constant.
macro_rules! with_constant {
    ($n:expr, $t:ident => $body:expr) => {
        match $n {
            1 => {
                const $t: usize = 1;
                $body
            }
            2 => {
                const $t: usize = 2;
                $body
            }
            3 => {
                const $t: usize = 3;
                $body
            }
            _ => {
                const $t: usize = HELD;
                $body
            }
        }
    };
}

/// Scores at the sixteen positions of a panel of keys.
///
/// # Safety
/// As for [`Wide`].
#[inline(always)]
unsafe fn score_panel<W: Wide, F: Stored>(
    rows: &[Row<F>],
    scales: (&[Row<f16>], usize),
    queries: &[Query],
    q: &[f32],
    scores: &mut [[f32; SPAN]],
    panel: usize,
) {
    let positions = panel * ROW..(panel + 1) * ROW;
    for (queries, scores) in queries.chunks(HELD).zip(scores.chunks_mut(HELD)) {
        let visible = visible_to_any(queries);
        if visible.start >= positions.end || visible.end <= positions.start {
            continue;
        }
        with_constant!(queries.len(), T => {
            let mut factors: [&[f32]; T] = [&[]; T];
            for (factors, query) in factors.iter_mut().zip(queries) {
                *factors = &q[query.idx * rows.len()..][..rows.len()];
            }
            // SAFETY: the caller's promise.
            let sums = unsafe { scaled_sums::<W, F, T>(factors, rows, scales) };
            for (scores, sums) in scores.iter_mut().zip(&sums) {
                scores[positions.clone()].copy_from_slice(sums);
            }
        });
    }
}

/// [`accumulate`] block by block, each with its scales.
///
/// # Safety
/// As for [`Wide`].
#[inline(always)]
unsafe fn scaled_sums<W: Wide, F: Stored, const T: usize>(
    factors: [&[f32]; T],
    rows: &[Row<F>],
    (scales, block): (&[Row<f16>], usize),
) -> [Row<f32>; T] {
    let mut totals = [[0f32; ROW]; T];
    if scales.is_empty() {
        // SAFETY: the caller's promise.
        unsafe { accumulate::<W, F, T>(&mut totals, factors, rows) };
        return totals;
    }
    for (idx, (rows, scales)) in rows.chunks(block).zip(scales).enumerate() {
        let mut own = factors;
        for factors in &mut own {
            *factors = &factors[idx * block..][..rows.len()];
        }
        let mut sums = [[0f32; ROW]; T];
        // SAFETY: the caller's promise.
        unsafe { accumulate::<W, F, T>(&mut sums, own, rows) };
        let mut wide = [0f32; ROW];
        for (wide, scale) in wide.iter_mut().zip(scales) {
            *wide = math::f16_to_f32(scale.to_bits());
        }
        for (totals, sums) in totals.iter_mut().zip(&sums) {
            for (lane, total) in totals.iter_mut().enumerate() {
                *total += sums[lane] * wide[lane];
            }
        }
    }
    totals
}

/// Sums of the values in `rows: [SPAN]`, each query's over the positions that it sees.
///
/// # Safety
/// As for [`Wide`].
#[inline(always)]
unsafe fn add_values<W: Wide, F: Stored>(
    rows: &[Row<F>],
    scales: Option<&[f16]>,
    queries: &[Query],
    weights: &[[f32; SPAN]],
    scaled: &mut [[f32; SPAN]; HELD],
    keep: &mut impl FnMut(&Query, &Row<f32>),
) {
    for (queries, weights) in queries.chunks(HELD).zip(weights.chunks(HELD)) {
        let weights = match scales {
            None => weights,
            Some(scales) => {
                let visible = visible_to_any(queries);
                for (scaled, weights) in scaled.iter_mut().zip(weights) {
                    for position in visible.clone() {
                        let scale = math::f16_to_f32(scales[position].to_bits());
                        scaled[position] = weights[position] * scale;
                    }
                }
                &scaled[..weights.len()]
            }
        };
        with_constant!(queries.len(), T => {
            let mut sums = [[0f32; ROW]; T];
            // SAFETY: the caller's promise.
            unsafe { add_visible::<W, F, T>(&mut sums, queries, weights, rows) };
            for (query, sums) in queries.iter().zip(&sums) {
                keep(query, sums);
            }
        });
    }
}

/// What all `T` queries see is added for all at once, the rest one by one.
///
/// # Safety
/// As for [`Wide`].
#[inline(always)]
unsafe fn add_visible<W: Wide, F: Stored, const T: usize>(
    sums: &mut [Row<f32>; T],
    queries: &[Query],
    weights: &[[f32; SPAN]],
    rows: &[Row<F>],
) {
    let start = queries.iter().map(|query| query.visible.start).max();
    let end = queries.iter().map(|query| query.visible.end).min();
    let common = match (start, end) {
        (Some(start), Some(end)) if start < end => start..end,
        // Nothing in common: everything is before it.
        _ => SPAN..SPAN,
    };
    let alone = |sums: &mut Row<f32>, t: usize, positions: Range<usize>| {
        if !positions.is_empty() {
            let weights: &[f32] = &weights[t][positions.clone()];
            // SAFETY: the caller's promise.
            unsafe {
                accumulate::<W, F, 1>(std::array::from_mut(sums), [weights], &rows[positions]);
            }
        }
    };
    for (t, sums) in sums.iter_mut().enumerate() {
        let visible = &queries[t].visible;
        alone(sums, t, visible.start..visible.end.min(common.start));
    }
    let mut factors: [&[f32]; T] = [&[]; T];
    for (factors, weights) in factors.iter_mut().zip(weights) {
        *factors = &weights[common.clone()];
    }
    // SAFETY: the caller's promise.
    unsafe { accumulate::<W, F, T>(sums, factors, &rows[common.clone()]) };
    for (t, sums) in sums.iter_mut().enumerate() {
        let visible = &queries[t].visible;
        alone(sums, t, visible.start.max(common.end)..visible.end);
    }
}

/// `sums[t] += Σ factors[t][i] · rows[i]`, row by row.
///
/// # Safety
/// As for [`Wide`].
#[inline(always)]
unsafe fn accumulate<W: Wide, F: Stored, const T: usize>(
    sums: &mut [Row<f32>; T],
    factors: [&[f32]; T],
    rows: &[Row<F>],
) {
    // SAFETY: the caller's promise.
    unsafe {
        if 2 * T <= W::N_HELD {
            accumulate_at::<W, F, 0, 2, T>(sums, factors, rows);
        } else {
            accumulate_at::<W, F, 0, 1, T>(sums, factors, rows);
            accumulate_at::<W, F, 1, 1, T>(sums, factors, rows);
        }
    }
}

/// [`accumulate`] for `P` vectors of each row, from the vector `FIRST` on.
///
/// # Safety
/// As for [`Wide`].
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "one index runs over several arrays, which stay in registers"
)]
unsafe fn accumulate_at<W: Wide, F: Stored, const FIRST: usize, const P: usize, const T: usize>(
    sums: &mut [Row<f32>; T],
    factors: [&[f32]; T],
    rows: &[Row<F>],
) {
    const { assert!((FIRST + P) * N_WIDE <= ROW) };
    for factors in factors {
        assert_eq!(factors.len(), rows.len());
    }
    // SAFETY: the caller's promise; and all that is read lies in rows and factors, which
    // are equally many, and in what the constants keep inside of a row.
    unsafe {
        let mut held = [[W::splat(0.0); P]; T];
        for t in 0..T {
            for p in 0..P {
                held[t][p] = W::load(&*vector(&sums[t], FIRST + p));
            }
        }
        for (i, row) in rows.iter().enumerate() {
            let mut wide = [W::splat(0.0); P];
            for p in 0..P {
                wide[p] = F::widen::<W>(&*vector(row, FIRST + p));
            }
            for t in 0..T {
                let factor = W::splat(*factors[t].get_unchecked(i));
                for p in 0..P {
                    held[t][p] = held[t][p].add(factor.mul(wide[p]));
                }
            }
        }
        for t in 0..T {
            for p in 0..P {
                let vector = &mut sums[t][(FIRST + p) * N_WIDE..][..N_WIDE];
                held[t][p].store(&mut *vector.as_mut_ptr().cast());
            }
        }
    }
}

/// The `idx`th vector of a row.
///
/// # Safety
/// The row has so many.
#[inline(always)]
unsafe fn vector<T>(row: &Row<T>, idx: usize) -> *const [T; N_WIDE] {
    // SAFETY: the caller's promise.
    unsafe { row.as_ptr().add(idx * N_WIDE).cast() }
}

/// Turns the scores of the visible positions into weights, the greatest of them 1.
/// Returns the greatest score and the total of the weights; weights beside the visible
/// positions, up to a row's borders, are zero.
#[inline(always)]
fn weigh(scores: &mut [f32; SPAN], visible: Range<usize>, spec: AttentionSpec) -> (f32, f32) {
    if visible.is_empty() {
        return (f32::NEG_INFINITY, 0.0);
    }
    let start = visible.start / ROW * ROW;
    let end = visible.end.next_multiple_of(ROW);
    for score in &mut scores[start..end] {
        *score *= spec.scale;
    }
    if let Some(cap) = spec.logit_cap {
        for score in &mut scores[start..end] {
            *score = cap * math::tanh(*score / cap);
        }
    }
    scores[start..visible.start].fill(f32::NEG_INFINITY);
    scores[visible.end..end].fill(f32::NEG_INFINITY);
    let rows = scores[start..end].as_chunks_mut::<ROW>().0;
    let mut maxima = [f32::NEG_INFINITY; ROW];
    for row in &*rows {
        for (max, score) in maxima.iter_mut().zip(row) {
            *max = if *score > *max { *score } else { *max };
        }
    }
    let max = maxima.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut totals = [0f32; ROW];
    for row in rows {
        for (total, score) in totals.iter_mut().zip(row) {
            *score = math::exp(*score - max);
            *total += *score;
        }
    }
    let mut n = ROW;
    while n > 1 {
        n /= 2;
        for lane in 0..n {
            totals[lane] += totals[lane + n];
        }
    }
    (max, totals[0])
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;
