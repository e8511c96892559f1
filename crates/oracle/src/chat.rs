//! `handle_chat.jsonl`: a request, what the model is asked, and the reply.
//!
//! The recorded call was an HTTP request to a server in front of a model server. Its
//! counterpart is the call `handle_chat` with the request's JSON as params: the params
//! are checked, a turn is prepared and taken, and a scripted backend says what the
//! recorded model server said. Compared are the texts of refusals word for word, the
//! reply, the fields of `meta.target` in their order, and what the model was asked:
//! messages, temperature, limit.
//!
//! Not compared are `url` and `has_api_key`, which name another thing here, and the
//! system prompt that stands here where a request brings none. The server's settings
//! are the user's settings here.

use std::cell::RefCell;
use std::rc::Rc;

use futures::FutureExt;
use futures::stream::{self, LocalBoxStream, StreamExt};
use nox_core::{
    AttemptError, Backend, BackendEvent, CancelToken, ChatClient, ChatRequest, Completion,
    GenerateRequest, NOX_CATALOG, PreparedTurn, Router, RuntimeConfig, Settings, TurnContext,
    TurnEvent, extract_instrument_query,
};
use nox_protocol::{FinishReason, HandleChatResult, Timings, Usage};
use serde_json::{Map, Value, json};

use crate::case::{Case, text};
use crate::persona;
use crate::report::{Report, Verdict};

const CALL: &str = "POST /api/chat (ChatRuntimeServer.handle_chat)";
const COMMAND_LINE: &str = "runtime command line";
/// The name of the only backend.
const BACKEND: &str = "local";

/// Compares `handle_chat.jsonl`.
#[must_use]
pub fn check_chat(jsonl: &str) -> Report {
    Report::of("handle_chat.jsonl", jsonl, |case| match sides(case) {
        Ok((ours, recorded)) => Verdict::Compared { ours, recorded },
        Err(reason) => Verdict::LeftOut(reason),
    })
}

type Sides = Result<(Value, Value), &'static str>;

/// Ours and what was recorded.
fn sides(case: &Case) -> Sides {
    let params = params(case)?;
    let http = &case.output["http"];
    let is_asked = case.output["upstream_requests"]
        .as_array()
        .is_some_and(|requests| !requests.is_empty());
    match http["status"].as_u64() {
        Some(200) => answer(case, &params),
        Some(500) if is_asked => Err("the model server failed: a backend has errors of its own"),
        _ => refusal(&params, &http["body"]["error"]),
    }
}

/// What the case calls with, if it has a counterpart at all.
fn params(case: &Case) -> Result<Value, &'static str> {
    const HTTP: &str = "HTTP itself: methods, paths, headers, connections";
    let input = &case.input;
    if case.call == COMMAND_LINE {
        return Err("a program's options: there is no server program");
    }
    let is_plain = case.call == CALL && input["path"] == "/api/chat";
    if !is_plain || input.get("request_headers").is_some() {
        return Err(HTTP);
    }
    check_environment(&input["env"])?;
    if !input["config"]["default_url"].is_string() {
        return Err("a server without an address: there are no addresses here");
    }
    let params = match (input.get("payload"), input["raw_body"].as_str()) {
        (Some(payload), _) => payload.clone(),
        (None, Some(body)) => serde_json::from_str(body)
            .map_err(|_| "a body that is no JSON: here the frame around it would be none")?,
        (None, None) => return Err("bytes that are no text: a frame is text or an object here"),
    };
    check_address(&params["url"])?;
    Ok(params)
}

/// Of the environment only what is about personas has a counterpart.
fn check_environment(env: &Value) -> Result<(), &'static str> {
    let known = |key: &String| {
        key == "NOX_NUM_THREADS" || key == "NOX_SCALE" || key.starts_with("NOX_PERSONA")
    };
    if env.as_object().is_none_or(|env| env.keys().all(known)) {
        Ok(())
    } else {
        Err("environment variables of the server: there are none here")
    }
}

/// A request could name the server to be asked. Where that is the configured one, the
/// rest can be compared.
fn check_address(url: &Value) -> Result<(), &'static str> {
    match url {
        Value::Null => Ok(()),
        Value::String(url) if url.is_empty() || url == "<upstream>" => Ok(()),
        Value::String(url) if url.starts_with("<upstream>/") => Ok(()),
        _ => Err("a caller does not choose whom to ask here"),
    }
}

fn refusal(params: &Value, recorded: &Value) -> Sides {
    if recorded == "Streaming mode is not supported by this runtime." {
        return Err("streaming works here");
    }
    let ours = match ChatRequest::parse(params) {
        Err(error) => error.to_string().into(),
        Ok(_) => Value::Null,
    };
    Ok((ours, recorded.clone()))
}

fn answer(case: &Case, params: &Value) -> Sides {
    let body = &case.output["http"]["body"];
    let recorded_target = &body["meta"]["target"];
    let has_provider = ["instrument", "instrument_warning"]
        .iter()
        .any(|field| !recorded_target[field].is_null());
    if has_provider {
        return Err("a model's name chooses no provider here: an instrument is a setting");
    }
    let limit = &recorded_target["max_tokens"];
    if limit.is_number() && limit.as_i64().is_none() {
        return Err("a limit of more than 64 bits is cut to 64 bits");
    }
    let request = &case.output["upstream_requests"][0];
    let said = upstream_text(text(request, "path"), &case.input["upstream"])
        .ok_or("the model server gave no text that can be read: the backend's")?;
    let asked = &request["body"];
    let recorded = json!({
        "content": body["message"]["content"],
        "target": target(recorded_target),
        "messages": asked["messages"],
        "temperature": asked["options"]["temperature"],
        "limit": asked["options"]["num_predict"],
    });
    let ours = ours(case, params, &said);
    Ok(comparable(ours, recorded, params, &said, asked))
}

/// Both sides without what is meant to differ.
fn comparable(
    mut ours: Value,
    mut recorded: Value,
    params: &Value,
    said: &str,
    asked: &Value,
) -> (Value, Value) {
    if recorded["messages"].is_array() && !has_system(&recorded["messages"]) {
        drop_default_prompt(&mut ours["messages"], params);
    }
    for side in [&mut ours, &mut recorded] {
        *side = with_plain_numbers(side);
        side["messages"] = with_one_system(&side["messages"]);
        // Its cleaning made line feeds of every character that ends a line.
        side["content"] = with_line_feeds(text(side, "content")).into();
        if asked.get("messages").is_none() {
            // One prompt for all, in the words of another provider.
            side["messages"] = Value::Null;
        }
        if asked.get("options").is_none() {
            (side["temperature"], side["limit"]) = (Value::Null, Value::Null);
        }
        if extract_instrument_query(said).is_some() {
            // Nobody read the question there; here it is told why nobody was asked.
            side["target"]["fields"]["instrument_warning"] = Value::Null;
        }
    }
    (ours, recorded)
}

/// Takes away the system prompt that only stands there because the request has none.
fn drop_default_prompt(messages: &mut Value, params: &Value) {
    if let Some(messages) = messages.as_array_mut()
        && !has_system(&params["messages"])
    {
        messages.retain(|message| message["role"] != "system");
    }
}

fn has_system(messages: &Value) -> bool {
    let mut entries = messages.as_array().into_iter().flatten();
    entries.any(|entry| entry["role"] == "system")
}

/// With all system messages as one in front, a paragraph for each: most models' chat
/// templates know no other.
fn with_one_system(messages: &Value) -> Value {
    let Some(messages) = messages.as_array() else {
        return Value::Null;
    };
    let (system, others): (Vec<&Value>, Vec<&Value>) = messages
        .iter()
        .partition(|message| message["role"] == "system");
    let texts: Vec<&str> = system
        .iter()
        .map(|message| text(message, "content").trim())
        .filter(|text| !text.is_empty())
        .collect();
    let one = (!texts.is_empty()).then(|| json!({"role": "system", "content": texts.join("\n\n")}));
    one.into_iter().chain(others.into_iter().cloned()).collect()
}

fn with_line_feeds(text: &str) -> String {
    text.replace(
        [
            '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}',
        ],
        "\n",
    )
}

/// The fields of a target that mean the same on both sides, and the order of all.
fn target(target: &Value) -> Value {
    let fields: Map<String, Value> = target.as_object().cloned().unwrap_or_default();
    let names: Vec<&String> = fields.keys().collect();
    let mut same = fields.clone();
    same.retain(|name, _| name != "url" && name != "has_api_key");
    json!({"names": names, "fields": same})
}

/// With every number as a float of 32 bits, which is what a sampler takes.
fn with_plain_numbers(value: &Value) -> Value {
    match value {
        Value::Number(number) => {
            #[expect(clippy::cast_possible_truncation, reason = "both sides are cut alike")]
            let plain = number.as_f64().map(|number| number as f32);
            json!(plain)
        }
        Value::Array(items) => items.iter().map(with_plain_numbers).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(key, value)| (key.clone(), with_plain_numbers(value)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// What the model server said at this path, where it spoke plainly: one object, or one
/// on each line.
fn upstream_text(path: &str, upstream: &Value) -> Option<String> {
    let status = upstream["status"].as_u64().unwrap_or(200);
    let fields = upstream.as_object()?;
    let is_plain = fields
        .keys()
        .all(|key| matches!(key.as_str(), "status" | "body" | "headers"));
    if !is_plain || !(200..300).contains(&status) {
        return None;
    }
    let body = fields.get("body")?.as_str()?;
    if let Ok(whole) = serde_json::from_str::<Value>(body) {
        return said_in(path, &whole).map(str::to_owned);
    }
    let lines = body.lines().filter(|line| !line.trim().is_empty());
    let lines = lines.map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        said_in(path, &event).map(str::to_owned)
    });
    lines.collect()
}

/// The path says where the text stands.
fn said_in<'a>(path: &str, event: &'a Value) -> Option<&'a str> {
    let (message, response) = (&event["message"]["content"], &event["response"]);
    if path.contains("/api/generate") {
        response.as_str()
    } else if path.contains("/api/chat") {
        message.as_str().or(response.as_str())
    } else {
        event["choices"][0]["message"]["content"].as_str()
    }
}

/// What this system makes of the call, with a model that says `said`.
fn ours(case: &Case, params: &Value, said: &str) -> Value {
    let runtime = RuntimeConfig::default();
    let prepared = match prepare(&case.input, params, &runtime) {
        Ok(prepared) => prepared,
        Err(error) => return json!({ "error": error }),
    };
    match take_turn(runtime, prepared, said) {
        Some((result, asked)) => json!({
            "content": result.message.content,
            "target": target(&json!(result.meta.target)),
            "messages": asked.messages,
            "temperature": asked.sampling.temperature,
            "limit": asked.max_tokens,
        }),
        None => json!({ "error": "the turn ended without a result" }),
    }
}

/// The turn, or why it is refused.
fn prepare(input: &Value, params: &Value, runtime: &RuntimeConfig) -> Result<PreparedTurn, String> {
    let config = &input["config"];
    let settings = json!({
        "model": config["default_model"],
        "strip_reasoning": config["strip_reasoning"],
    });
    let settings = Settings::from_json(&settings).map_err(|error| error.to_string())?;
    let request = ChatRequest::parse_with(params, &settings, runtime);
    let request = request.map_err(|error| error.to_string())?;
    let environment = persona::environment(input).map_err(|error| error.to_string())?;
    let row = NOX_CATALOG.find(None, environment.scale(), Some(&request.model));
    let context = TurnContext {
        persona: row.resolve(&[&persona::overrides(input), environment.overrides()]),
        is_kept: config["log_sessions"] == true,
        ..TurnContext::default()
    };
    Ok(PreparedTurn::new(request, context))
}

/// Takes the turn; gives the result, and what the model was asked.
fn take_turn(
    config: RuntimeConfig,
    prepared: PreparedTurn,
    said: &str,
) -> Option<(HandleChatResult, GenerateRequest)> {
    let backend = Scripted {
        says: said.to_owned(),
        asked: Rc::default(),
    };
    let asked = Rc::clone(&backend.asked);
    let router = Router::new(config, [(BACKEND.to_owned(), backend)])
        .with_model_lookup(|_| Some(BACKEND.to_owned()));
    let events = ChatClient::new(&router)
        .turn(prepared, CancelToken::new())
        .collect::<Vec<_>>();
    // Nothing in it waits for anything.
    match events.now_or_never()?.pop()? {
        Ok(TurnEvent::Done(outcome)) => Some((outcome.result, asked.take()?)),
        _ => None,
    }
}

/// A backend that says one text.
struct Scripted {
    says: String,
    asked: Rc<RefCell<Option<GenerateRequest>>>,
}

/// A scripted backend does not fail.
#[derive(Debug)]
enum Never {}

impl std::fmt::Display for Never {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Never {}

impl AttemptError for Never {
    fn sent_bytes(&self) -> bool {
        match *self {}
    }
}

impl Backend for Scripted {
    type Error = Never;

    fn kind(&self) -> &str {
        BACKEND
    }

    fn leaves_device(&self) -> bool {
        false
    }

    fn generate(
        &self,
        request: GenerateRequest,
    ) -> LocalBoxStream<'_, Result<BackendEvent, Never>> {
        let model = request.model.clone();
        *self.asked.borrow_mut() = Some(request);
        let text = self.says.clone();
        let delta = (!text.is_empty()).then_some(BackendEvent::Delta { text });
        let done = BackendEvent::Done(Completion {
            model,
            finish_reason: FinishReason::Stop,
            usage: Usage::default(),
            timings: Timings::default(),
            lane: None,
        });
        stream::iter(delta.into_iter().chain([done]).map(Ok)).boxed_local()
    }
}
