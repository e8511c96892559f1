//! How turns went: figures per turn, and sums over many. They are rows of this
//! database and go nowhere else.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::check_bytes;
use crate::{Store, StoreError, What, limits};

/// How one turn went.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TurnTelemetry {
    /// The alias that was asked for.
    pub alias: String,
    /// What answered: the kind of route.
    pub backend: String,
    /// The model that answered.
    pub model: String,
    /// How it was computed, where it was computed here.
    pub lane: Option<String>,
    /// Whether bytes left the device.
    pub left_device: bool,
    /// How many routes failed before this one.
    pub fallbacks: u32,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Those of them that were still evaluated from before.
    pub cached_tokens: Option<u64>,
    /// Tokens of the reply.
    pub completion_tokens: Option<u64>,
    /// Time in the queue.
    pub queued_ms: Option<f64>,
    /// Time to load the model.
    pub load_ms: Option<f64>,
    /// Time to evaluate the prompt.
    pub prefill_ms: Option<f64>,
    /// Time to make the reply.
    pub decode_ms: Option<f64>,
    /// Time to the first piece of text.
    pub first_token_ms: Option<f64>,
    /// Why it ended.
    pub finish_reason: String,
    /// What the model gave its own reply, from 0 to 10.
    pub score: Option<f64>,
}

/// Sums over the turns of one model and lane.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSummary {
    /// The model.
    pub model: String,
    /// What answered.
    pub backend: String,
    /// How it was computed.
    pub lane: Option<String>,
    /// How many turns.
    pub turns: u64,
    /// Tokens of all prompts.
    pub prompt_tokens: u64,
    /// Those of them that were still evaluated from before.
    pub cached_tokens: u64,
    /// Tokens of all replies.
    pub completion_tokens: u64,
    /// Tokens per second while replies were made, over all turns that say so.
    pub tokens_per_second: Option<f64>,
    /// Mean time to the first piece of text.
    pub first_token_ms: Option<f64>,
    /// Mean score.
    pub score: Option<f64>,
}

/// Sums over turns.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetrySummary {
    /// How many turns.
    pub turns: u64,
    /// How many of them left the device.
    pub left_device: u64,
    /// How many were answered by another route than the first.
    pub fell_back: u64,
    /// Turns by why they ended.
    pub finish_reasons: Vec<(String, u64)>,
    /// By model and lane, the most used first.
    pub models: Vec<ModelSummary>,
}

pub(crate) fn check(telemetry: &TurnTelemetry) -> Result<(), StoreError> {
    let names = [
        &telemetry.alias,
        &telemetry.backend,
        &telemetry.model,
        &telemetry.finish_reason,
    ];
    for name in names.into_iter().chain(&telemetry.lane) {
        check_bytes(What::Name, name, limits::NAME_BYTES)?;
    }
    Ok(())
}

/// A count as SQLite holds it.
fn stored(n: Option<u64>) -> Option<i64> {
    n.map(|n| i64::try_from(n).unwrap_or(i64::MAX))
}

/// A time in whole microseconds; one that is no number is none.
fn micros(ms: Option<f64>) -> Option<i64> {
    // The conversion saturates, as an absurd time may.
    ms.filter(|ms| ms.is_finite())
        .map(|ms| (ms * 1000.0).round() as i64)
}

fn names_key(conn: &Connection, t: &TurnTelemetry) -> Result<i64, StoreError> {
    let names = params![
        t.model,
        t.backend,
        t.lane.as_deref().unwrap_or_default(),
        t.alias,
        t.finish_reason
    ];
    let known = conn
        .prepare_cached(
            "SELECT key FROM telemetry_names WHERE model = ?1 AND backend = ?2 AND lane = ?3
                 AND alias = ?4 AND finish_reason = ?5",
        )?
        .query_row(names, |row| row.get(0))
        .optional()?;
    if let Some(key) = known {
        return Ok(key);
    }
    conn.prepare_cached(
        "INSERT INTO telemetry_names (model, backend, lane, alias, finish_reason)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(names)?;
    Ok(conn.last_insert_rowid())
}

pub(crate) fn insert(
    conn: &Connection,
    turn: i64,
    at_ms: i64,
    t: &TurnTelemetry,
) -> Result<(), StoreError> {
    let names = names_key(conn, t)?;
    conn.prepare_cached(
        "INSERT INTO telemetry (turn, at_ms, names, left_device, fallbacks, prompt_tokens,
             cached_tokens, completion_tokens, queued_us, load_us, prefill_us, decode_us,
             first_token_us, score)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?
    .execute(params![
        turn,
        at_ms,
        names,
        t.left_device,
        t.fallbacks,
        stored(t.prompt_tokens),
        stored(t.cached_tokens),
        stored(t.completion_tokens),
        micros(t.queued_ms),
        micros(t.load_ms),
        micros(t.prefill_ms),
        micros(t.decode_ms),
        micros(t.first_token_ms),
        t.score.filter(|score| score.is_finite()),
    ])?;
    Ok(())
}

/// The telemetry of one turn.
pub(crate) fn of_turn(conn: &Connection, turn: i64) -> Result<Option<TurnTelemetry>, StoreError> {
    let count = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
    let ms = |us: Option<i64>| us.map(|us| us as f64 / 1000.0);
    Ok(conn
        .prepare_cached(
            "SELECT n.alias, n.backend, n.model, nullif(n.lane, ''), t.left_device, t.fallbacks,
                 t.prompt_tokens, t.cached_tokens, t.completion_tokens, t.queued_us, t.load_us,
                 t.prefill_us, t.decode_us, t.first_token_us, n.finish_reason, t.score
             FROM telemetry t JOIN telemetry_names n ON n.key = t.names WHERE t.turn = ?1",
        )?
        .query_row([turn], |row| {
            Ok(TurnTelemetry {
                alias: row.get(0)?,
                backend: row.get(1)?,
                model: row.get(2)?,
                lane: row.get(3)?,
                left_device: row.get(4)?,
                fallbacks: row.get(5)?,
                prompt_tokens: count(row.get(6)?),
                cached_tokens: count(row.get(7)?),
                completion_tokens: count(row.get(8)?),
                queued_ms: ms(row.get(9)?),
                load_ms: ms(row.get(10)?),
                prefill_ms: ms(row.get(11)?),
                decode_ms: ms(row.get(12)?),
                first_token_ms: ms(row.get(13)?),
                finish_reason: row.get(14)?,
                score: row.get(15)?,
            })
        })
        .optional()?)
}

impl Store {
    /// Sums over the turns that were finished since a moment.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn telemetry_summary(&self, since_ms: i64) -> Result<TelemetrySummary, StoreError> {
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        let (turns, left_device, fell_back) = self.conn.query_row(
            "SELECT count(*), coalesce(sum(left_device), 0), coalesce(sum(fallbacks > 0), 0)
             FROM telemetry WHERE at_ms >= ?1",
            [since_ms],
            |row| Ok((count(row.get(0)?), count(row.get(1)?), count(row.get(2)?))),
        )?;
        let finish_reasons = self
            .conn
            .prepare_cached(
                "SELECT n.finish_reason, count(*) FROM telemetry t
                     JOIN telemetry_names n ON n.key = t.names
                 WHERE t.at_ms >= ?1
                 GROUP BY n.finish_reason ORDER BY count(*) DESC, n.finish_reason",
            )?
            .query_map([since_ms], |row| Ok((row.get(0)?, count(row.get(1)?))))?
            .collect::<Result<_, _>>()?;
        // Sums of counts from outside may be large: as floating point they saturate.
        let models = self
            .conn
            .prepare_cached(
                "SELECT n.model, n.backend, nullif(n.lane, ''), count(*), total(prompt_tokens),
                     total(cached_tokens), total(completion_tokens),
                     total(completion_tokens) FILTER (WHERE decode_us > 0),
                     total(decode_us) FILTER (WHERE decode_us > 0 AND completion_tokens IS NOT NULL),
                     avg(first_token_us), avg(score)
                 FROM telemetry t JOIN telemetry_names n ON n.key = t.names
                 WHERE t.at_ms >= ?1
                 GROUP BY n.model, n.backend, n.lane
                 ORDER BY count(*) DESC, n.model, n.backend, n.lane",
            )?
            .query_map([since_ms], |row| {
                let (timed_tokens, decode_us): (f64, f64) = (row.get(7)?, row.get(8)?);
                Ok(ModelSummary {
                    model: row.get(0)?,
                    backend: row.get(1)?,
                    lane: row.get(2)?,
                    turns: count(row.get(3)?),
                    prompt_tokens: row.get::<_, f64>(4)? as u64,
                    cached_tokens: row.get::<_, f64>(5)? as u64,
                    completion_tokens: row.get::<_, f64>(6)? as u64,
                    tokens_per_second: (decode_us > 0.0).then(|| timed_tokens * 1e6 / decode_us),
                    first_token_ms: row.get::<_, Option<f64>>(9)?.map(|us| us / 1000.0),
                    score: row.get(10)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        Ok(TelemetrySummary {
            turns,
            left_device,
            fell_back,
            finish_reasons,
            models,
        })
    }
}
