//! The routing configuration, the choice of route, and routers over scripted
//! backends.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::cell::RefCell;
use std::rc::Rc;

use futures::executor::block_on_stream;
use futures::stream::{self, LocalBoxStream, StreamExt};
use nox_core::{
    AttemptEnd, AttemptError, Backend, BackendEvent, BackendKind, CancelToken, ChatClient,
    ChatRequest, Completion, GenerateRequest, KeySource, Phase, PreparedTurn, RouteError, Router,
    RuntimeConfig, TurnContext, TurnEvent, TurnFailure, routing_limits, runtime_schema,
};
use nox_protocol::{ChatMeta, FinishReason, RouteFallback, Timings, Usage};
use serde_json::{Value, json};

fn document() -> Value {
    json!({
        "version": 1,
        "backends": {
            "local": {"kind": "local"},
            "desk": {"kind": "ollama"},
            "cluster": {"kind": "openai-compatible", "url": "https://models.example/v1"},
            "cloud": {"kind": "openai", "key": {"env": "OPENAI_API_KEY"}},
            "other": {"kind": "anthropic", "key": {"id": "work"}}
        },
        "aliases": {
            "nox": {
                "routes": [
                    {"backend": "cluster", "model": "big"},
                    {"backend": "desk", "model": "small"},
                    {"backend": "local"}
                ],
                "options": {"temperature": 0.2, "stop": ["END"]},
                "persona": "nano"
            },
            "quick": {"routes": [{"backend": "local", "model": "tiny"}]}
        }
    })
}

/// The document with one place set; `null` takes it away.
fn with(pointer: &str, value: &Value) -> Value {
    let mut document = document();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(map) => {
            map.insert(key.to_owned(), value.clone());
        }
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value.clone(),
        other => panic!("{other} has no fields"),
    }
    document
}

fn refusal(document: &Value) -> String {
    RuntimeConfig::from_json(document).unwrap_err().to_string()
}

fn config() -> RuntimeConfig {
    RuntimeConfig::parse(&document().to_string()).unwrap()
}

#[test]
fn a_whole_document_is_read() {
    let config = config();
    let names: Vec<&str> = config.backends().map(|(name, _)| name).collect();
    assert_eq!(names, ["local", "desk", "cluster", "cloud", "other"]);
    let aliases: Vec<&str> = config.aliases().map(|(name, _)| name).collect();
    assert_eq!(aliases, ["nox", "quick"]);
    let cloud = config.backend("cloud").unwrap();
    assert_eq!(cloud.kind, BackendKind::Openai);
    assert_eq!(cloud.url.as_deref(), Some("https://api.openai.com/v1"));
    assert_eq!(cloud.key, Some(KeySource::Env("OPENAI_API_KEY".to_owned())));
    let other = config.backend("other").unwrap();
    assert_eq!(other.key, Some(KeySource::Id("work".to_owned())));
    let leaving = |name: &str| config.backend(name).unwrap().leaves_device();
    assert!(!leaving("local") && !leaving("desk"));
    assert!(leaving("cluster") && leaving("cloud") && leaving("other"));
    let nox = config.alias("nox").unwrap();
    assert_eq!(nox.persona.as_deref(), Some("nano"));
    assert_eq!(nox.routes[2].model, None);
}

#[test]
fn without_a_file_the_default_alias_is_answered_here() {
    let config = RuntimeConfig::default();
    let plan = config.plan("nox", |_| None).unwrap();
    let route = plan.current().unwrap();
    assert_eq!((route.kind, route.model.as_str()), ("local", "nox"));
    assert!(
        config
            .backends()
            .all(|(_, backend)| !backend.leaves_device())
    );
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let name = "x".repeat(routing_limits::MAX_NAME_BYTES + 1);
    let routes: Vec<Value> = (0..=routing_limits::MAX_ROUTES)
        .map(|idx| json!({"backend": "desk", "model": idx.to_string()}))
        .collect();
    for (pointer, value, message) in [
        ("/version", json!(null), "version is missing; it must be 1"),
        ("/version", json!(2), "version must be 1, not 2"),
        ("/version", json!("1"), "version must be 1, not \"1\""),
        (
            "/alias",
            json!({}),
            "alias is no field of runtime.json (did you mean aliases?)",
        ),
        ("/zebra", json!({}), "zebra is no field of runtime.json"),
        (
            "/backends",
            json!(null),
            "backends is missing; it must be an object of backends",
        ),
        (
            "/backends",
            json!([]),
            "backends must be an object, not a list",
        ),
        (
            "/backends",
            json!({}),
            "backends: it must name at least one",
        ),
        (
            "/backends/desk",
            json!(7),
            "backends.desk must be an object, not a number",
        ),
        (
            "/backends/desk/kind",
            json!(null),
            "backends.desk.kind is missing",
        ),
        (
            "/backends/desk/kind",
            json!("olama"),
            "backends.desk.kind names no kind of backend: olama (did you mean ollama?); known: \
             local, ollama, openai-compatible, openai, anthropic",
        ),
        (
            "/backends/desk/port",
            json!(1),
            "backends.desk.port is no field of runtime.json",
        ),
        (
            "/backends/desk/ulr",
            json!(""),
            "backends.desk.ulr is no field of runtime.json (did you mean url?)",
        ),
        (
            "/backends/local/url",
            json!("http://x"),
            "backends.local.url: a local backend has none",
        ),
        (
            "/backends/cluster/url",
            json!(null),
            "backends.cluster.url is missing",
        ),
        (
            "/backends/a b",
            json!({"kind": "oh"}),
            "backends.\"a b\".kind names no",
        ),
        (
            "/backends/ ",
            json!({"kind": "local"}),
            "backends.\" \": it must not be blank",
        ),
        (
            "/aliases/nox",
            json!(null),
            "aliases.nox must be an object, not null",
        ),
        (
            "/aliases",
            json!({}),
            "aliases.nox is missing; it must be the alias of requests",
        ),
        (
            "/aliases/nox/routes",
            json!(null),
            "aliases.nox.routes is missing",
        ),
        (
            "/aliases/nox/routes",
            json!([]),
            "aliases.nox.routes: it must have at least one",
        ),
        (
            "/aliases/nox/routes",
            json!(routes),
            "aliases.nox.routes may have at most 16 routes, not 17",
        ),
        (
            "/aliases/nox/routes/1",
            json!("desk"),
            "aliases.nox.routes[1] must be an object, not a text",
        ),
        (
            "/aliases/nox/routes/1/backend",
            json!("desc"),
            "aliases.nox.routes[1].backend names no backend: desc (did you mean desk?); known: local, desk",
        ),
        (
            "/aliases/nox/routes/1/backend",
            json!(null),
            "aliases.nox.routes[1].backend is missing",
        ),
        (
            "/aliases/nox/routes/1/model",
            json!(null),
            "aliases.nox.routes[1].model is missing",
        ),
        (
            "/aliases/nox/routes/1/model",
            json!(name),
            "aliases.nox.routes[1].model may have at most 256 bytes, not 257",
        ),
        (
            "/aliases/nox/routes/1/modle",
            json!("x"),
            "aliases.nox.routes[1].modle is no field of runtime.json (did you mean model?)",
        ),
        (
            "/aliases/nox/routes/2",
            json!({"backend": "desk", "model": "small"}),
            "aliases.nox.routes[2]: the same route stands before",
        ),
        (
            "/aliases/nox/persona",
            json!("nanno"),
            "aliases.nox.persona names no persona: nanno (did you mean nano?)",
        ),
        (
            "/aliases/nox/options",
            json!([]),
            "aliases.nox.options must be an object, not a list",
        ),
        (
            "/aliases/nox/options/temprature",
            json!(1),
            "aliases.nox.options.temprature is no field of runtime.json (did you mean temperature?)",
        ),
        (
            "/aliases/nox/options/temperature",
            json!("1"),
            "aliases.nox.options.temperature must be a number, not a text",
        ),
        (
            "/aliases/nox/options/temperature",
            json!(101),
            "aliases.nox.options.temperature: temperature must be between 0 and 100, not 101",
        ),
        (
            "/aliases/nox/options/top_k",
            json!(0.5),
            "aliases.nox.options.top_k must be an integer, not a number",
        ),
        (
            "/aliases/nox/options/top_p",
            json!(0),
            "aliases.nox.options.top_p: top_p must be above 0",
        ),
        (
            "/aliases/nox/options/sanitize",
            json!(1),
            "aliases.nox.options.sanitize must be true or false, not a number",
        ),
        (
            "/aliases/nox/options/stop",
            json!([1]),
            "aliases.nox.options.stop must be a text or a list of texts",
        ),
    ] {
        let text = refusal(&with(pointer, &value));
        assert!(
            text.starts_with(message),
            "{pointer}\n  {text}\n  {message}"
        );
    }
    assert!(refusal(&json!([])).starts_with("runtime.json must be an object, not a list"));
}

#[test]
fn the_published_schema_is_up_to_date() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/runtime.schema.json"
    );
    let published = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        published,
        format!("{:#}\n", runtime_schema()),
        "`cargo run -p nox-core --example runtime_schema` prints docs/runtime.schema.json"
    );
}

#[test]
fn the_schema_and_the_reader_agree() {
    let schema = runtime_schema();
    let definition = |name: &str| &schema["$defs"][name];
    // A field that the schema knows is none that the reader calls unknown.
    for (pointer, fields) in [
        ("", &schema),
        ("/backends/desk", definition("backend")),
        ("/backends/cloud/key", definition("key")),
        ("/aliases/nox", definition("alias")),
        ("/aliases/nox/routes/0", definition("route")),
        ("/aliases/nox/options", definition("options")),
    ] {
        for field in fields["properties"].as_object().unwrap().keys() {
            let text = match RuntimeConfig::from_json(&with(
                &format!("{pointer}/{field}"),
                &json!(null),
            )) {
                Ok(_) => continue,
                Err(error) => error.to_string(),
            };
            assert!(!text.contains("is no field"), "{pointer}/{field}: {text}");
        }
    }
    let is_read = |option: &str, value: f64| {
        // Whole numbers as such, for the options that are integers.
        let whole = json!(value as i64);
        let value = if value.fract() == 0.0 {
            whole
        } else {
            json!(value)
        };
        let pointer = format!("/aliases/nox/options/{option}");
        RuntimeConfig::from_json(&with(&pointer, &value)).is_ok()
    };
    let mut n_bounds = 0;
    for (option, schema) in definition("options")["properties"].as_object().unwrap() {
        let bound = |keyword: &str| schema[keyword].as_f64();
        for (bound, beyond, is_inside) in [
            (bound("minimum"), -1.0, true),
            (bound("exclusiveMinimum"), -1.0, false),
            (bound("maximum"), 1.0, true),
        ] {
            let Some(bound) = bound else { continue };
            assert_eq!(is_read(option, bound), is_inside, "{option} {bound}");
            assert!(!is_read(option, bound + beyond), "{option} beyond {bound}");
            n_bounds += 1;
        }
    }
    assert!(n_bounds >= 11, "{n_bounds}");
}

#[test]
fn documents_beyond_the_caps_are_refused() {
    let many = |n: usize, value: &Value| -> Value {
        let entries = (0..n).map(|idx| (format!("n{idx}"), value.clone()));
        Value::Object(entries.collect())
    };
    let backends = many(routing_limits::MAX_BACKENDS + 1, &json!({"kind": "local"}));
    assert_eq!(
        refusal(&with("/backends", &backends)),
        "backends may have at most 64 entries, not 65"
    );
    let aliases = many(routing_limits::MAX_ALIASES + 1, &json!({}));
    assert_eq!(
        refusal(&with("/aliases", &aliases)),
        "aliases may have at most 256 entries, not 257"
    );
    let text = " ".repeat(routing_limits::MAX_DOCUMENT_BYTES + 1);
    let error = RuntimeConfig::parse(&text).unwrap_err().to_string();
    assert!(error.contains("at most 1048576 bytes"), "{error}");
    for broken in ["", "{", "nonsense", &"[".repeat(100_000)] {
        let error = RuntimeConfig::parse(broken).unwrap_err().to_string();
        assert!(error.contains("not valid JSON"), "{error}");
    }
    let marked = format!("\u{feff}{}", document());
    assert_eq!(RuntimeConfig::parse(&marked).unwrap(), config());
}

#[test]
fn a_secret_is_neither_accepted_nor_repeated() {
    const SECRET: &str = "sk-3f9c2d";
    for (pointer, value) in [
        ("/backends/cloud/key", json!(SECRET)),
        ("/backends/cloud/key", json!([SECRET])),
        ("/backends/cloud/key", json!({})),
        ("/backends/cloud/key", json!({"env": SECRET})),
        ("/backends/cloud/key", json!({"env": "A", "id": "b"})),
        (
            "/backends/cluster/url",
            json!(format!("https://me:{SECRET}@models.example/v1")),
        ),
        (
            "/backends/cluster/url",
            json!(format!("https://models.example/v1?key={SECRET}")),
        ),
    ] {
        let text = refusal(&with(pointer, &value));
        assert!(!text.contains("3f9c2d"), "{text}");
        assert!(text.starts_with(&pointer[1..].replace('/', ".")), "{text}");
    }
}

#[test]
fn addresses_are_plain_http_or_https() {
    for bad in [
        "models.example",
        "ftp://x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://",
        "http:///x",
        "http://x:0",
        "http://x:99999",
        "http://x:y",
        "http://[::1",
        "http://[x]",
        "http://a b",
        "http://x\\y",
        "http://x#y",
        "http://é.example",
    ] {
        let text = refusal(&with("/backends/cluster/url", &json!(bad)));
        assert!(
            text.starts_with("backends.cluster.url: it must"),
            "{bad}: {text}"
        );
    }
    for (url, leaves_device) in [
        ("http://localhost:8080/v1", false),
        ("http://127.9.9.9", false),
        ("https://[::1]:443/", false),
        ("http://192.168.0.7:8080", true),
        ("http://localhost.example", true),
        ("http://127.0.0.1.example", true),
        ("http://0.0.0.0", true),
    ] {
        let config = RuntimeConfig::from_json(&with("/backends/cluster/url", &json!(url)));
        let config = config.unwrap();
        let cluster = config.backend("cluster").unwrap();
        assert_eq!(cluster.leaves_device(), leaves_device, "{url}");
    }
}

#[test]
fn a_key_is_not_sent_in_clear_text_over_a_network() {
    let cluster =
        |url: &str| json!({"kind": "openai-compatible", "url": url, "key": {"env": "KEY"}});
    let read = |url: &str| RuntimeConfig::from_json(&with("/backends/cluster", &cluster(url)));
    assert!(read("https://models.example").is_ok());
    assert!(read("http://127.0.0.1:1234").is_ok());
    let error = read("http://models.example").unwrap_err().to_string();
    assert!(
        error.starts_with("backends.cluster.url: a key would be sent"),
        "{error}"
    );
}

#[test]
fn an_aliass_options_stand_behind_the_requests() {
    let config = config();
    let options = &config.alias("nox").unwrap().options;
    assert!(!options.is_empty());
    let fill = |params: Value| {
        let Value::Object(mut params) = params else {
            panic!("params are an object")
        };
        options.fill(&mut params);
        Value::Object(params)
    };
    assert_eq!(
        fill(json!({"temperature": 1})),
        json!({"temperature": 1, "stop": ["END"]})
    );
    assert_eq!(
        fill(json!({"temperature": null})),
        json!({"temperature": 0.2, "stop": ["END"]})
    );
    assert!(config.alias("quick").unwrap().options.is_empty());
}

#[test]
fn a_name_is_an_alias_then_a_configured_model_then_an_installed_one() {
    let config = config();
    let lookup = |model: &str| (model == "mine").then(|| "local".to_owned());
    let route = |name: &str| {
        let plan = config.plan(name, lookup).unwrap();
        assert_eq!(plan.alias(), name);
        let route = plan.current().unwrap();
        (route.backend.clone(), route.model.clone())
    };
    let is = |backend: &str, model: &str| (backend.to_owned(), model.to_owned());
    assert_eq!(route("nox"), is("cluster", "big"));
    assert_eq!(route("small"), is("desk", "small"));
    assert_eq!(route("mine"), is("local", "mine"));
    let error = config.plan("qick", lookup).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no model or alias qick (did you mean quick?); known aliases: nox, quick"
    );
    let nowhere = |_: &str| Some("nowhere".to_owned());
    assert!(config.plan("x", nowhere).is_err());
}

#[test]
fn only_a_failure_before_the_first_delta_has_a_next_route() {
    let failed = |reason: &str| AttemptEnd::BeforeDelta {
        reason: reason.to_owned(),
    };
    let fallback = |backend: &str, reason: &str| RouteFallback {
        backend: backend.to_owned(),
        reason: reason.to_owned(),
    };
    let start = config().plan("nox", |_| None).unwrap();
    let mut plan = start.clone();
    assert_eq!(plan.end_attempt(failed("down")).unwrap().backend, "desk");
    assert_eq!(
        plan.end_attempt(failed("no\n such  model"))
            .unwrap()
            .backend,
        "local"
    );
    let both = [
        fallback("openai-compatible", "cluster: down"),
        fallback("ollama", "desk: no such model"),
    ];
    assert_eq!(plan.fallback_from(), both);
    assert_eq!(plan.end_attempt(failed("broken")), None);
    // A backend that is called as its kind is needs no name.
    assert_eq!(plan.fallback_from()[2], fallback("local", "broken"));
    assert_eq!(plan.end_attempt(failed("again")), None);
    for end in [AttemptEnd::AfterDelta, AttemptEnd::Cancelled] {
        let mut plan = start.clone();
        assert_eq!(plan.end_attempt(end), None);
        assert!(plan.fallback_from().is_empty());
        assert_eq!(plan.end_attempt(failed("late")), None);
        assert!(plan.fallback_from().is_empty());
    }
    let mut plan = start;
    plan.end_attempt(failed(&"é".repeat(1 << 20)));
    assert!(plan.fallback_from()[0].reason.len() <= routing_limits::MAX_REASON_BYTES);
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
struct ScriptedError {
    text: &'static str,
    sent_bytes: bool,
}

impl AttemptError for ScriptedError {
    fn sent_bytes(&self) -> bool {
        self.sent_bytes
    }
}

/// What a scripted backend does.
#[derive(Debug, Clone, Copy)]
enum Step {
    Progress,
    Delta(&'static str),
    /// The user cancels here.
    Cancel,
    Done,
    Fail {
        text: &'static str,
        sent_bytes: bool,
    },
}

const REFUSED: Step = Step::Fail {
    text: "connection refused",
    sent_bytes: false,
};
const BROKEN: Step = Step::Fail {
    text: "broken off",
    sent_bytes: true,
};

type Log = Rc<RefCell<Vec<String>>>;

struct Scripted {
    name: &'static str,
    leaves_device: bool,
    steps: &'static [Step],
    /// Which backends were asked for which model.
    log: Log,
}

impl Backend for Scripted {
    type Error = ScriptedError;

    fn kind(&self) -> &str {
        "scripted"
    }

    fn leaves_device(&self) -> bool {
        self.leaves_device
    }

    fn generate(
        &self,
        request: GenerateRequest,
    ) -> LocalBoxStream<'_, Result<BackendEvent, ScriptedError>> {
        self.log
            .borrow_mut()
            .push(format!("{}/{}", self.name, request.model));
        let steps = stream::iter(self.steps.iter().copied());
        let events = steps.filter_map(move |step| {
            let event = match step {
                Step::Progress => Some(Ok(BackendEvent::Progress {
                    phase: Phase::Loading,
                    done: 0,
                    total: 1,
                })),
                Step::Delta(text) => Some(Ok(BackendEvent::Delta {
                    text: text.to_owned(),
                })),
                Step::Cancel => {
                    request.cancel.cancel();
                    None
                }
                Step::Done => Some(Ok(BackendEvent::Done(Completion {
                    model: request.model.clone(),
                    finish_reason: if request.cancel.is_cancelled() {
                        FinishReason::Cancelled
                    } else {
                        FinishReason::Stop
                    },
                    usage: Usage::default(),
                    timings: Timings::default(),
                    lane: None,
                }))),
                Step::Fail { text, sent_bytes } => Some(Err(ScriptedError { text, sent_bytes })),
            };
            std::future::ready(event)
        });
        events.boxed_local()
    }
}

/// The outcome of one turn through a router.
struct Run {
    /// The text of the deltas.
    said: String,
    end: Result<ChatMeta, TurnFailure<ScriptedError>>,
    asked: Vec<String>,
}

/// One turn for `model`; the cluster leaves the device, the others don't.
fn run(model: &str, scripts: &[(&'static str, &'static [Step])]) -> Run {
    let log = Log::default();
    let backends = scripts.iter().map(|&(name, steps)| {
        let backend = Scripted {
            name,
            leaves_device: name == "cluster",
            steps,
            log: Rc::clone(&log),
        };
        (name.to_owned(), backend)
    });
    let router = Router::new(config(), backends)
        .with_model_lookup(|model| (model == "mine").then(|| "local".to_owned()));
    let client = ChatClient::new(&router);
    let request = json!({"messages": [{"role": "user", "content": "q"}], "model": model});
    let request = ChatRequest::parse(&request).unwrap();
    let mut said = String::new();
    let mut end = None;
    let turn = client.turn(
        PreparedTurn::new(request, TurnContext::default()),
        CancelToken::new(),
    );
    for event in block_on_stream(turn) {
        assert!(end.is_none(), "there is one end");
        match event {
            Ok(TurnEvent::Progress { .. }) => {}
            Ok(TurnEvent::Delta(piece)) => said.push_str(&piece.text),
            Ok(TurnEvent::Done(outcome)) => end = Some(Ok(outcome.result.meta)),
            Err(failure) => end = Some(Err(failure)),
        }
    }
    let asked = log.take();
    Run {
        said,
        end: end.unwrap(),
        asked,
    }
}

#[test]
fn the_second_route_answers_when_the_first_fails_before_a_delta() {
    let run = run(
        "nox",
        &[
            ("cluster", &[Step::Progress, REFUSED]),
            ("desk", &[Step::Progress, Step::Delta("Hello"), Step::Done]),
            ("local", &[Step::Done]),
        ],
    );
    assert_eq!(run.said, "Hello");
    assert_eq!(run.asked, ["cluster/big", "desk/small"]);
    let meta = run.end.unwrap();
    assert_eq!(meta.route.alias, "nox");
    assert_eq!(meta.route.backend, "ollama");
    assert_eq!(meta.route.model, "small");
    assert_eq!(meta.target.url.as_deref(), Some("http://127.0.0.1:11434"));
    assert_eq!(
        meta.route.fallback_from,
        [RouteFallback {
            backend: "openai-compatible".to_owned(),
            reason: "cluster: connection refused".to_owned(),
        }]
    );
    // A refused connection carried nothing.
    assert!(!meta.route.left_device);
}

#[test]
fn what_a_failed_route_sent_has_left_the_device() {
    let broken = run("nox", &[("cluster", &[BROKEN]), ("desk", &[Step::Done])]);
    assert!(broken.end.unwrap().route.left_device);
    // What only a local backend was given never left.
    let local = run("quick", &[("local", &[BROKEN])]);
    assert!(!local.end.unwrap_err().left_device);
    let answered = run("nox", &[("cluster", &[Step::Delta("x"), Step::Done])]);
    let meta = answered.end.unwrap();
    assert!(meta.route.left_device && meta.route.fallback_from.is_empty());
    assert_eq!(meta.route.backend, "openai-compatible");
}

#[test]
fn nothing_else_is_tried_after_a_delta() {
    let run = run(
        "nox",
        &[
            (
                "cluster",
                &[Step::Delta("Half a "), Step::Delta("reply"), BROKEN],
            ),
            ("desk", &[Step::Delta("no"), Step::Done]),
        ],
    );
    assert_eq!(run.asked, ["cluster/big"]);
    assert!("Half a reply".starts_with(&run.said) && !run.said.is_empty());
    let failure = run.end.unwrap_err();
    assert_eq!(failure.to_string(), "broken off");
    assert!(failure.left_device);
    let partial = failure.partial.unwrap().result;
    assert_eq!(partial.message.content, run.said);
    assert_eq!(partial.meta.finish_reason, FinishReason::Error);
    assert_eq!(partial.meta.route.model, "big");
    assert!(partial.meta.route.left_device && partial.meta.route.fallback_from.is_empty());
}

#[test]
fn nothing_else_is_tried_after_a_cancel() {
    for steps in [
        &[Step::Cancel, Step::Done][..],
        // A backend may fail because of it; the caller is told of no error.
        &[Step::Cancel, REFUSED],
        &[Step::Delta("x"), Step::Cancel, BROKEN],
    ] {
        let run = run("nox", &[("cluster", steps), ("desk", &[Step::Done])]);
        assert_eq!(run.asked, ["cluster/big"]);
        let meta = run.end.unwrap();
        assert_eq!(meta.finish_reason, FinishReason::Cancelled);
        assert!(meta.route.fallback_from.is_empty());
    }
}

#[test]
fn an_empty_reply_is_an_answer() {
    let run = run(
        "nox",
        &[("cluster", &[Step::Done]), ("desk", &[Step::Done])],
    );
    assert_eq!(run.asked, ["cluster/big"]);
    assert!(run.end.is_ok());
}

#[test]
fn when_every_route_fails_the_error_names_them_all() {
    let all = run(
        "nox",
        &[
            ("cluster", &[REFUSED]),
            ("desk", &[BROKEN]),
            ("local", &[BROKEN]),
        ],
    );
    assert_eq!(all.asked, ["cluster/big", "desk/small", "local/nox"]);
    let failure = all.end.unwrap_err();
    assert!(failure.partial.is_none() && !failure.left_device);
    assert_eq!(
        failure.to_string(),
        "broken off; before that openai-compatible failed (cluster: connection refused), ollama \
         failed (desk: broken off)"
    );
    let RouteError::Failed { error, .. } = failure.error else {
        panic!("{}", failure.error)
    };
    assert_eq!(error.text, "broken off");
}

#[test]
fn a_backend_that_this_host_lacks_is_passed_over() {
    let some = run("nox", &[("local", &[Step::Delta("x"), Step::Done])]);
    let meta = some.end.unwrap();
    assert_eq!(meta.route.backend, "local");
    assert_eq!(meta.route.fallback_from.len(), 2);
    assert!(!meta.route.left_device);
    let none = run("quick", &[]).end.unwrap_err();
    assert_eq!(
        none.to_string(),
        "the backend local is not available on this host"
    );
}

#[test]
fn an_unknown_name_is_told_with_the_known_ones() {
    let unknown = run("noxx", &[("local", &[Step::Done])]);
    assert!(unknown.asked.is_empty());
    assert_eq!(
        unknown.end.unwrap_err().to_string(),
        "there is no model or alias noxx (did you mean nox?); known aliases: nox, quick"
    );
    let installed = run("mine", &[("local", &[Step::Done])]);
    assert_eq!(installed.asked, ["local/mine"]);
    assert!(installed.end.is_ok());
}
