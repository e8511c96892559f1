//! One turn as a record of the exchanged tree, both ways.
//!
//! A record is `{"messages": [system?, user, assistant, ...], "meta": {...}}`. What
//! older systems did not know stands in `meta.nox`. Whatever else a record holds is
//! kept beside the turn, so that a file comes out as it went in.

use rusqlite::Connection;
use serde_json::{Map, Value, json};

use crate::error::check_bytes;
use crate::session::{Message, Role, SessionInfo, SessionKind};
use crate::telemetry::{self, TurnTelemetry};
use crate::timestamp::is_moment;
use crate::turn::{self, MessageRow, TurnRow};
use crate::{StoreError, What, display_name, format_timestamp, limits, names, parse_timestamp};

/// The model that merged sessions are said to be of.
pub(crate) const MERGED_MODEL: &str = "merged";

/// A turn with all that is known of it.
#[derive(Debug, Clone)]
pub(crate) struct StoredTurn {
    pub(crate) state: i64,
    pub(crate) at_ms: i64,
    pub(crate) model: Option<String>,
    pub(crate) sanitized: bool,
    pub(crate) system: Option<String>,
    pub(crate) messages: Vec<Message>,
    pub(crate) telemetry: Option<TurnTelemetry>,
    /// A record without its messages, where it is not the usual one.
    pub(crate) rest: Option<String>,
    /// A record, or a line that is none, as it came.
    pub(crate) source: Option<String>,
}

impl StoredTurn {
    /// A line that is no record.
    pub(crate) fn kept(line: &str, at_ms: i64) -> Self {
        StoredTurn {
            state: turn::KEPT_LINE,
            at_ms,
            model: None,
            sanitized: false,
            system: None,
            messages: Vec::new(),
            telemetry: None,
            rest: None,
            source: Some(line.to_owned()),
        }
    }

    /// Writes the turn into a session.
    pub(crate) fn insert(
        &self,
        conn: &Connection,
        session: i64,
        number: i64,
    ) -> Result<(), StoreError> {
        let key = turn::insert_turn(
            conn,
            &TurnRow {
                session,
                number,
                state: self.state,
                at_ms: self.at_ms,
                model: self.model.as_deref(),
                sanitized: self.sanitized,
                system: self.system.as_deref(),
                rest: self.rest.as_deref(),
                source: self.source.as_deref(),
            },
        )?;
        for message in &self.messages {
            turn::insert_message(
                conn,
                &MessageRow {
                    turn: key,
                    role: message.role,
                    content: &message.content,
                    reasoning: message.reasoning.as_deref(),
                    model: message.model.as_deref(),
                    at_ms: message.at_ms,
                    partial: message.partial,
                },
            )?;
        }
        if let Some(telemetry) = &self.telemetry {
            telemetry::insert(conn, key, self.at_ms, telemetry)?;
        }
        Ok(())
    }
}

/// All that a session holds, lines that are no records included.
pub(crate) fn load(conn: &Connection, session: i64) -> Result<Vec<StoredTurn>, StoreError> {
    let mut turns = Vec::new();
    let mut statement = conn.prepare_cached(
        "SELECT t.key, t.state, t.at_ms, t.model, t.sanitized, p.text, t.rest, t.source
         FROM turns t LEFT JOIN prompts p ON p.key = t.prompt
         WHERE t.session = ?1 ORDER BY t.number",
    )?;
    let mut messages = conn.prepare_cached(
        "SELECT role, content, reasoning, model, at_ms, partial FROM messages
         WHERE turn = ?1 ORDER BY key",
    )?;
    let mut rows = statement.query([session])?;
    while let Some(row) = rows.next()? {
        let key: i64 = row.get(0)?;
        turns.push(StoredTurn {
            state: row.get(1)?,
            at_ms: row.get(2)?,
            model: row.get(3)?,
            sanitized: row.get(4)?,
            system: row.get(5)?,
            rest: row.get(6)?,
            source: row.get(7)?,
            messages: messages
                .query_map([key], |row| {
                    Ok(Message {
                        role: Role::from_code(row.get(0)?),
                        content: row.get(1)?,
                        reasoning: row.get(2)?,
                        model: row.get(3)?,
                        at_ms: row.get(4)?,
                        partial: row.get(5)?,
                    })
                })?
                .collect::<Result<_, _>>()?,
            telemetry: telemetry::of_turn(conn, key)?,
        });
    }
    Ok(turns)
}

/// The record of a turn. `number` is its place among the session's turns, from 1.
pub(crate) fn build(info: &SessionInfo, number: u64, turn: &StoredTurn) -> Value {
    if let Some(source) = &turn.source
        && let Ok(record) = serde_json::from_str(source)
    {
        return record;
    }
    let mut record = Map::new();
    let system = turn
        .system
        .iter()
        .map(|text| json!({"role": "system", "content": text}));
    let messages = turn
        .messages
        .iter()
        .map(|message| json!({"role": message.role.as_str(), "content": message.content}));
    record.insert("messages".into(), system.chain(messages).collect());
    match turn.rest.as_deref().map(serde_json::from_str) {
        Some(Ok(Value::Object(rest))) => record.extend(rest),
        _ => {
            record.insert("meta".into(), usual_meta(info, number, turn).into());
        }
    }
    Value::Object(record)
}

/// The `meta` of a record that was written here.
pub(crate) fn usual_meta(info: &SessionInfo, number: u64, turn: &StoredTurn) -> Map<String, Value> {
    // A merged session says when and as what it was merged; what its turns were
    // before stands beside it.
    let merged = info.kind != SessionKind::Chat;
    let said = if merged { info.created_ms } else { turn.at_ms };
    let model = if merged {
        Some(MERGED_MODEL)
    } else {
        turn.model.as_deref()
    };
    let sanitized = if merged {
        info.sanitized.unwrap_or(false)
    } else {
        turn.sanitized
    };
    // An archive is a merged session put aside: its records keep the name they had.
    let name = info.name().replace("early-archive", "merged");
    let file_name = if info.kind == SessionKind::Archive {
        format!("{name}.jsonl")
    } else {
        names::file_name(&info.path).to_owned()
    };
    let mut meta = Map::new();
    meta.insert("model".into(), model.into());
    meta.insert("sanitized".into(), sanitized.into());
    meta.insert("turn".into(), number.into());
    meta.insert("ts".into(), format_timestamp(said).into());
    meta.insert("file_name".into(), file_name.into());
    meta.insert("display_name".into(), display_name(&name).into());

    let mut nox = Map::new();
    if parse_timestamp(&format_timestamp(said)) != Some(turn.at_ms) {
        nox.insert("at_ms".into(), turn.at_ms.into());
    }
    if merged {
        nox.insert("model".into(), turn.model.clone().into());
        nox.insert("sanitized".into(), turn.sanitized.into());
    }
    if matches!(turn.state, turn::OPEN | turn::INTERRUPTED) {
        nox.insert("interrupted".into(), true.into());
    }
    let details: Vec<Value> = turn
        .messages
        .iter()
        .map(|message| {
            let mut detail = Map::new();
            if let Some(reasoning) = &message.reasoning {
                detail.insert("reasoning".into(), reasoning.clone().into());
            }
            if let Some(model) = &message.model {
                detail.insert("model".into(), model.clone().into());
            }
            if message.at_ms != turn.at_ms {
                detail.insert("at_ms".into(), message.at_ms.into());
            }
            if message.partial {
                detail.insert("partial".into(), true.into());
            }
            Value::Object(detail)
        })
        .collect();
    if details.iter().any(|detail| *detail != json!({})) {
        nox.insert("messages".into(), details.into());
    }
    if let Some(telemetry) = &turn.telemetry {
        nox.insert("telemetry".into(), telemetry_to_json(telemetry));
    }
    if !nox.is_empty() {
        meta.insert("nox".into(), nox.into());
    }
    meta
}

fn telemetry_to_json(t: &TurnTelemetry) -> Value {
    json!({
        "alias": t.alias, "backend": t.backend, "model": t.model, "lane": t.lane,
        "left_device": t.left_device, "fallbacks": t.fallbacks,
        "prompt_tokens": t.prompt_tokens, "cached_tokens": t.cached_tokens,
        "completion_tokens": t.completion_tokens, "queued_ms": t.queued_ms,
        "load_ms": t.load_ms, "prefill_ms": t.prefill_ms, "decode_ms": t.decode_ms,
        "first_token_ms": t.first_token_ms, "finish_reason": t.finish_reason,
        "score": t.score,
    })
}

fn telemetry_from_json(value: &Value) -> Option<TurnTelemetry> {
    let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
    let count = |key: &str| value.get(key)?.as_u64();
    let number = |key: &str| value.get(key)?.as_f64();
    let telemetry = TurnTelemetry {
        alias: text("alias")?,
        backend: text("backend")?,
        model: text("model")?,
        lane: text("lane"),
        left_device: value.get("left_device")?.as_bool()?,
        fallbacks: u32::try_from(count("fallbacks")?).ok()?,
        prompt_tokens: count("prompt_tokens"),
        cached_tokens: count("cached_tokens"),
        completion_tokens: count("completion_tokens"),
        queued_ms: number("queued_ms"),
        load_ms: number("load_ms"),
        prefill_ms: number("prefill_ms"),
        decode_ms: number("decode_ms"),
        first_token_ms: number("first_token_ms"),
        finish_reason: text("finish_reason")?,
        score: number("score"),
    };
    telemetry::check(&telemetry).ok()?;
    Some(telemetry)
}

/// The text of a message's content: a text, or the texts of a list's parts.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<String> = parts
                .iter()
                .map(|part| {
                    let inner = part.get("text").or_else(|| part.get("value"));
                    text_of(inner.unwrap_or(part))
                })
                .collect();
            texts.join("\n")
        }
        Value::Null | Value::Object(_) => String::new(),
        other => other.to_string(),
    }
}

/// The list of messages in a value, which makes it a record.
pub(crate) fn messages_of(value: &Value) -> Option<&Vec<Value>> {
    value.get("messages")?.as_array()
}

/// Reads a record. `None` for a value that is none; it is kept as it is.
///
/// # Errors
/// [`StoreError::TooLarge`].
pub(crate) fn parse(
    info: &SessionInfo,
    number: u64,
    record: &Value,
    fallback_ms: i64,
) -> Result<Option<StoredTurn>, StoreError> {
    let Some(listed) = messages_of(record) else {
        return Ok(None);
    };
    let meta = record.get("meta");
    let said = |key: &str| meta.and_then(|meta| meta.get(key));
    let own = |key: &str| said("nox").and_then(|nox| nox.get(key));
    let merged = info.kind != SessionKind::Chat && said("nox").is_some();
    let at_ms = own("at_ms")
        .and_then(Value::as_i64)
        .filter(|at_ms| is_moment(*at_ms))
        .or_else(|| said("ts").and_then(Value::as_str).and_then(parse_timestamp))
        .unwrap_or(fallback_ms);
    let model = if merged { own("model") } else { said("model") };
    let model = model.and_then(Value::as_str).map(str::to_owned);
    let sanitized = if merged {
        own("sanitized")
    } else {
        said("sanitized")
    };
    let mut turn = StoredTurn {
        state: if own("interrupted") == Some(&Value::Bool(true)) {
            turn::INTERRUPTED
        } else {
            turn::FINISHED
        },
        at_ms,
        model,
        sanitized: sanitized.and_then(Value::as_bool).unwrap_or(false),
        system: None,
        messages: Vec::new(),
        telemetry: own("telemetry").and_then(telemetry_from_json),
        rest: None,
        source: None,
    };
    for message in listed {
        let role = match message.get("role").and_then(Value::as_str) {
            Some("system") => None,
            Some("user") => Some(Role::User),
            Some("assistant") => Some(Role::Assistant),
            _ => continue,
        };
        let content = text_of(message.get("content").unwrap_or(&Value::Null));
        check_bytes(What::Message, &content, limits::MESSAGE_BYTES)?;
        let Some(role) = role else {
            turn.system.get_or_insert(content);
            continue;
        };
        let detail = own("messages").and_then(|details| details.get(turn.messages.len()));
        let text = |key: &str| {
            let text = detail?.get(key)?.as_str()?;
            (text.len() <= limits::MESSAGE_BYTES).then(|| text.to_owned())
        };
        turn.messages.push(Message {
            role,
            content,
            reasoning: text("reasoning"),
            model: text("model"),
            at_ms: detail
                .and_then(|detail| detail.get("at_ms")?.as_i64())
                .filter(|at_ms| is_moment(*at_ms))
                .unwrap_or(at_ms),
            partial: detail.and_then(|detail| detail.get("partial")?.as_bool()) == Some(true),
        });
    }
    keep_the_rest(info, number, record, &mut turn);
    Ok(Some(turn))
}

/// Keeps of a record what the turn would not give back by itself.
fn keep_the_rest(info: &SessionInfo, number: u64, record: &Value, turn: &mut StoredTurn) {
    let built = build(info, number, turn);
    if built == *record {
        return;
    }
    if built.get("messages") == record.get("messages") {
        let mut rest = record.as_object().cloned().unwrap_or_default();
        rest.remove("messages");
        turn.rest = Some(Value::Object(rest).to_string());
    } else {
        turn.source = Some(record.to_string());
    }
}

/// A copy of a turn for a session that it is merged into.
pub(crate) fn moved(turn: &StoredTurn, into: &SessionInfo, number: u64) -> StoredTurn {
    let mut copy = StoredTurn {
        // Nobody writes to the copy.
        state: match turn.state {
            turn::OPEN => turn::INTERRUPTED,
            state => state,
        },
        rest: None,
        source: None,
        // How a turn went is counted once.
        telemetry: None,
        ..turn.clone()
    };
    if turn.rest.is_none() && turn.source.is_none() {
        return copy;
    }
    // An unusual record stays one, under the description of its new place.
    let mut record = build(into, number, turn);
    if let Some(fields) = record.as_object_mut() {
        let mut meta = fields
            .get("meta")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        meta.remove("nox");
        meta.extend(usual_meta(into, number, &copy));
        fields.insert("meta".into(), meta.into());
    }
    keep_the_rest(into, number, &record, &mut copy);
    copy
}
