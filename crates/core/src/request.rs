//! Params of `handle_chat` as hosts send them, made into a request that cannot be wrong.
//!
//! Hosts are many and old, so reading is lenient where the meaning is plain: a
//! number may come as text, a switch as a number, content as a list of parts.
//! Unknown fields are ignored. What is refused is refused with a text that names
//! the field; texts that hosts already know are kept word for word.
//!
//! What a request leaves out is taken from its alias's options, then from the user's
//! settings, then from the defaults.

use nox_protocol::{Message, Role};
use serde_json::{Map, Value};

use crate::backend::{ReplyFormat, SamplingOptions};
use crate::persona::DEFAULT_ALIAS;
use crate::routing::RuntimeConfig;
use crate::settings::Settings;

/// Caps on what one request may hold.
pub mod limits {
    /// Messages of a conversation.
    pub const MAX_MESSAGES: usize = 10_000;
    /// Bytes of all their contents together.
    pub const MAX_CONTENT_BYTES: usize = 16 << 20;
    /// Stop strings.
    pub const MAX_STOP_STRINGS: usize = 16;
    /// Bytes of one stop string.
    pub const MAX_STOP_BYTES: usize = 256;
    /// Bytes of an id, key or name.
    pub const MAX_NAME_BYTES: usize = 256;
    /// Temperatures beyond this are as good as drawing at random.
    pub const MAX_TEMPERATURE: f64 = 100.0;
    /// No vocabulary is larger.
    pub const MAX_TOP_K: u32 = 1_000_000;
    /// Repeat penalties beyond this forbid every token seen.
    pub const MAX_REPEAT_PENALTY: f64 = 10.0;
}

/// Why a request is refused. The texts are for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The params are no object.
    #[error("JSON payload must be an object")]
    NotAnObject,
    /// `messages` is missing, no list, or holds nothing usable.
    #[error("Payload must include at least one message.")]
    NoMessage,
    /// The conversation does not end with the user.
    #[error("Last message in the list must be a user turn.")]
    LastNotUser,
    /// `temperature` is not a number.
    #[error("temperature must be a float")]
    TemperatureNotAFloat,
    /// `max_tokens` is not an integer.
    #[error("max_tokens must be an integer")]
    MaxTokensNotAnInteger,
    /// A field has the wrong type.
    #[error("{field} must be {expected}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A number is outside its range.
    #[error("{field} must be {range}, not {found}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// The range, in words.
        range: &'static str,
        /// The value that came.
        found: String,
    },
    /// There is more of something than is allowed.
    #[error("{field} may hold at most {limit} {unit}, not {found}")]
    TooMuch {
        /// The field.
        field: &'static str,
        /// How much is allowed.
        limit: usize,
        /// Of what.
        unit: &'static str,
        /// How much came.
        found: usize,
    },
}

/// A request that was checked; see `HandleChatParams` in `nox-protocol` for the
/// meaning of the fields.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The conversation; not empty, and the last message is the user's.
    pub messages: Vec<Message>,
    /// Alias or model id.
    pub model: String,
    /// The chat it belongs to: `None` a new one, `Some(None)` no chat at all.
    pub session: Option<Option<String>>,
    /// The temperature in `sampling`, as it was given.
    pub temperature: f64,
    /// How tokens are chosen.
    pub sampling: SamplingOptions,
    /// As given; zero and below mean no limit.
    pub max_tokens: i64,
    /// Texts that end the reply; none is empty.
    pub stop: Vec<String>,
    /// What the reply has to be.
    pub format: ReplyFormat,
    /// Whether the host wants notifications.
    pub stream: bool,
    /// Whether reasoning is kept apart.
    pub strip_reasoning: bool,
    /// Whether personal data is replaced.
    pub sanitize: bool,
    /// Whether the model grades its reply.
    pub self_score: bool,
    /// Whose memory the chat belongs to.
    pub memory_user: Option<String>,
    /// How that user is shown.
    pub memory_user_display: Option<String>,
    /// The same key gives the same reply.
    pub idempotency_key: Option<String>,
}

/// The params and what stands in for those that are left out, the first layer on
/// top. `null` counts as left out.
struct Fields<'a> {
    layers: [&'a Map<String, Value>; 3],
}

impl<'a> Fields<'a> {
    fn get(&self, field: &str) -> Option<&'a Value> {
        let mut layers = self.layers.into_iter();
        layers.find_map(|layer| layer.get(field).filter(|value| !value.is_null()))
    }

    /// A field that only a call itself can have.
    fn own(&self, field: &str) -> Option<&'a Value> {
        self.layers[0].get(field)
    }
}

impl ChatRequest {
    /// Reads the params of `handle_chat` with nothing to stand in for what they leave
    /// out.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(params: &Value) -> Result<Self, RequestError> {
        let params = params.as_object().ok_or(RequestError::NotAnObject)?;
        let nothing = Map::new();
        let model = own_model(params)?;
        Self::read(&[params, &nothing, &nothing], model)
    }

    /// Reads the params of `handle_chat`. What they leave out is taken from the
    /// options of the alias, then from the settings.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse_with(
        params: &Value,
        settings: &Settings,
        config: &RuntimeConfig,
    ) -> Result<Self, RequestError> {
        let params = params.as_object().ok_or(RequestError::NotAnObject)?;
        let model = own_model(params)?.or_else(|| settings.model().map(str::to_owned));
        let alias = config.alias(model.as_deref().unwrap_or(DEFAULT_ALIAS));
        let nothing = Map::new();
        let options = alias.map_or(&nothing, |alias| alias.options.fields());
        Self::read(&[params, options, settings.fields()], model)
    }

    fn read(
        layers: &[&Map<String, Value>; 3],
        model: Option<String>,
    ) -> Result<Self, RequestError> {
        let fields = &Fields { layers: *layers };
        let messages = messages(fields.own("messages"))?;
        Ok(Self {
            messages,
            model: model.unwrap_or_else(|| DEFAULT_ALIAS.to_owned()),
            session: session(fields)?,
            temperature: temperature(fields)?,
            sampling: sampling(fields)?,
            max_tokens: max_tokens(fields.get("max_tokens"))?,
            stop: stop(fields.get("stop"))?,
            format: format(fields.own("format"))?,
            stream: switch(fields, "stream", false)?,
            strip_reasoning: switch(fields, "strip_reasoning", true)?,
            sanitize: switch(fields, "sanitize", false)?,
            self_score: switch(fields, "self_score", false)?,
            memory_user: name("memory_user", fields.own("memory_user"))?,
            memory_user_display: name("memory_user_display", fields.own("memory_user_display"))?,
            idempotency_key: name("idempotency_key", fields.own("idempotency_key"))?,
        })
    }

    /// The limit on the reply's tokens, if there is one.
    pub fn token_limit(&self) -> Option<u64> {
        u64::try_from(self.max_tokens)
            .ok()
            .filter(|&limit| limit > 0)
    }
}

fn messages(value: Option<&Value>) -> Result<Vec<Message>, RequestError> {
    let entries = value
        .and_then(Value::as_array)
        .ok_or(RequestError::NoMessage)?;
    if entries.len() > limits::MAX_MESSAGES {
        return Err(RequestError::TooMuch {
            field: "messages",
            limit: limits::MAX_MESSAGES,
            unit: "entries",
            found: entries.len(),
        });
    }
    let messages: Vec<Message> = entries.iter().filter_map(message).collect();
    let n_bytes = messages.iter().map(|message| message.content.len()).sum();
    if n_bytes > limits::MAX_CONTENT_BYTES {
        return Err(RequestError::TooMuch {
            field: "messages",
            limit: limits::MAX_CONTENT_BYTES,
            unit: "bytes of content",
            found: n_bytes,
        });
    }
    match messages.last() {
        None => Err(RequestError::NoMessage),
        Some(last) if last.role != Role::User => Err(RequestError::LastNotUser),
        Some(_) => Ok(messages),
    }
}

/// Entries that are no objects, and roles other than the three, are dropped.
fn message(entry: &Value) -> Option<Message> {
    let entry = entry.as_object()?;
    let role = match entry.get("role")?.as_str()? {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => return None,
    };
    let content = match entry.get("content") {
        Some(Value::Array(parts)) => {
            let texts: Vec<&str> = parts.iter().filter_map(part_text).collect();
            texts.join("\n")
        }
        Some(Value::Null) | None => String::new(),
        Some(number @ (Value::Number(_) | Value::Bool(_))) => number.to_string(),
        Some(part) => part_text(part).unwrap_or_default().to_owned(),
    };
    Some(Message { role, content })
}

fn part_text(part: &Value) -> Option<&str> {
    match part {
        Value::String(text) => Some(text),
        Value::Object(fields) => ["text", "value"]
            .into_iter()
            .find_map(|key| fields.get(key)?.as_str()),
        _ => None,
    }
}

fn format(value: Option<&Value>) -> Result<ReplyFormat, RequestError> {
    match value {
        None | Some(Value::Null) => Ok(ReplyFormat::Text),
        Some(Value::String(name)) if name == "text" || name.is_empty() => Ok(ReplyFormat::Text),
        Some(Value::String(name)) if name == "json" => Ok(ReplyFormat::Json),
        // Whether a reply can be held to it is for the backend to say.
        Some(Value::Object(schema)) => Ok(ReplyFormat::Schema(schema.clone())),
        Some(_) => Err(RequestError::WrongType {
            field: "format",
            expected: "\"text\", \"json\" or a JSON Schema",
        }),
    }
}

fn own_model(params: &Map<String, Value>) -> Result<Option<String>, RequestError> {
    name("model", params.get("model"))
}

fn session(fields: &Fields<'_>) -> Result<Option<Option<String>>, RequestError> {
    match fields.own("session") {
        Some(Value::Null) => Ok(Some(None)),
        value => Ok(name("session", value)?.map(Some)),
    }
}

/// A short text; `null` and the empty text count as absent.
fn name(field: &'static str, value: Option<&Value>) -> Result<Option<String>, RequestError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() > limits::MAX_NAME_BYTES => {
            Err(RequestError::TooMuch {
                field,
                limit: limits::MAX_NAME_BYTES,
                unit: "bytes",
                found: text.len(),
            })
        }
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(RequestError::WrongType {
            field,
            expected: "a string",
        }),
    }
}

fn switch(fields: &Fields<'_>, field: &'static str, default: bool) -> Result<bool, RequestError> {
    let wrong = RequestError::WrongType {
        field,
        expected: "true or false",
    };
    match fields.get(field) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::Number(number)) => Ok(number.as_f64() != Some(0.0)),
        Some(Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "" | "false" | "0" | "no" | "off" => Ok(false),
            "true" | "1" | "yes" | "on" => Ok(true),
            _ => Err(wrong),
        },
        Some(_) => Err(wrong),
    }
}

/// A number, also as text; `None` when absent, `Err(())` when it is neither.
fn number(value: Option<&Value>) -> Result<Option<f64>, ()> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(f64::from(u8::from(*value)))),
        Some(Value::Number(number)) => number.as_f64().map(Some).ok_or(()),
        Some(Value::String(text)) => text.trim().parse().map(Some).map_err(|_| ()),
        Some(_) => Err(()),
    }
}

fn temperature(fields: &Fields<'_>) -> Result<f64, RequestError> {
    number(fields.get("temperature"))
        .map(|value| value.unwrap_or(0.7))
        .map_err(|()| RequestError::TemperatureNotAFloat)
}

fn sampling(fields: &Fields<'_>) -> Result<SamplingOptions, RequestError> {
    Ok(SamplingOptions {
        temperature: check_range(
            "temperature",
            temperature(fields)?,
            "between 0 and 100",
            |value| (0.0..=limits::MAX_TEMPERATURE).contains(&value),
        )?,
        // The next three are llama.cpp's defaults.
        top_k: top_k(fields)?,
        top_p: float(fields, "top_p", 0.95, "above 0 and at most 1", |value| {
            value > 0.0 && value <= 1.0
        })?,
        min_p: float(fields, "min_p", 0.05, "between 0 and 1", |value| {
            (0.0..=1.0).contains(&value)
        })?,
        repeat_penalty: float(
            fields,
            "repeat_penalty",
            1.0,
            "above 0 and at most 10",
            |value| value > 0.0 && value <= limits::MAX_REPEAT_PENALTY,
        )?,
        seed: seed(fields)?,
    })
}

fn float(
    fields: &Fields<'_>,
    field: &'static str,
    default: f64,
    range: &'static str,
    is_inside: impl Fn(f64) -> bool,
) -> Result<f32, RequestError> {
    let value = number(fields.get(field)).map_err(|()| RequestError::WrongType {
        field,
        expected: "a number",
    })?;
    check_range(field, value.unwrap_or(default), range, is_inside)
}

/// NaN is inside no range.
fn check_range(
    field: &'static str,
    value: f64,
    range: &'static str,
    is_inside: impl Fn(f64) -> bool,
) -> Result<f32, RequestError> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the ranges lie well inside f32's"
    )]
    let narrow = value as f32;
    if is_inside(value) && is_inside(f64::from(narrow)) {
        return Ok(narrow);
    }
    Err(RequestError::OutOfRange {
        field,
        range,
        found: value.to_string(),
    })
}

/// A whole number of at most 64 bits, also as text or as a float without fraction.
fn integer(fields: &Fields<'_>, field: &'static str) -> Result<Option<i128>, RequestError> {
    let wrong = RequestError::WrongType {
        field,
        expected: "an integer",
    };
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => {
            let exact = number
                .as_i64()
                .map(i128::from)
                .or_else(|| number.as_u64().map(i128::from));
            // Beyond 64 bits the value is out of every range that is asked for here.
            let rounded = number.as_f64().filter(|value| value.fract() == 0.0);
            #[expect(clippy::cast_possible_truncation, reason = "saturates")]
            exact
                .or_else(|| rounded.map(|value| value as i128))
                .map(Some)
                .ok_or(wrong)
        }
        Some(Value::String(text)) => text.trim().parse().map(Some).map_err(|_| wrong),
        Some(_) => Err(wrong),
    }
}

fn top_k(fields: &Fields<'_>) -> Result<u32, RequestError> {
    let Some(value) = integer(fields, "top_k")? else {
        return Ok(40);
    };
    u32::try_from(value)
        .ok()
        .filter(|&top_k| top_k <= limits::MAX_TOP_K)
        .ok_or_else(|| RequestError::OutOfRange {
            field: "top_k",
            range: "between 0 and 1000000",
            found: value.to_string(),
        })
}

/// -1 is a common way to say "any".
fn seed(fields: &Fields<'_>) -> Result<Option<u64>, RequestError> {
    match integer(fields, "seed")? {
        None | Some(-1) => Ok(None),
        Some(value) => u64::try_from(value)
            .map(Some)
            .map_err(|_| RequestError::OutOfRange {
                field: "seed",
                range: "between 0 and 18446744073709551615, or -1 for any",
                found: value.to_string(),
            }),
    }
}

/// Fractions of a number are cut off, as hosts of old relied on; text must be whole.
fn max_tokens(value: Option<&Value>) -> Result<i64, RequestError> {
    let wrong = RequestError::MaxTokensNotAnInteger;
    match value {
        None | Some(Value::Null) => Ok(-1),
        Some(Value::Bool(value)) => Ok(i64::from(*value)),
        Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(exact), _) => Ok(exact),
            #[expect(clippy::cast_possible_truncation, reason = "saturates")]
            (None, Some(value)) if value.is_finite() => Ok(value as i64),
            _ => Err(wrong),
        },
        Some(Value::String(text)) => text.trim().parse().map_err(|_| wrong),
        Some(_) => Err(wrong),
    }
}

fn stop(value: Option<&Value>) -> Result<Vec<String>, RequestError> {
    const WRONG: RequestError = RequestError::WrongType {
        field: "stop",
        expected: "a string or a list of strings",
    };
    let texts: Vec<String> = match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(entries)) => entries
            .iter()
            .map(|entry| entry.as_str().map(str::to_owned).ok_or(WRONG))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(WRONG),
    };
    let texts: Vec<String> = texts.into_iter().filter(|text| !text.is_empty()).collect();
    if texts.len() > limits::MAX_STOP_STRINGS {
        return Err(RequestError::TooMuch {
            field: "stop",
            limit: limits::MAX_STOP_STRINGS,
            unit: "texts",
            found: texts.len(),
        });
    }
    match texts.iter().map(String::len).max() {
        Some(longest) if longest > limits::MAX_STOP_BYTES => Err(RequestError::TooMuch {
            field: "stop",
            limit: limits::MAX_STOP_BYTES,
            unit: "bytes in one text",
            found: longest,
        }),
        _ => Ok(texts),
    }
}
