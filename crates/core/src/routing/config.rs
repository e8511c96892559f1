//! `runtime.json`, version 1, made into types that can't be wrong inside.
//!
//! ```json
//! {
//!   "version": 1,
//!   "backends": {
//!     "local": { "kind": "local" },
//!     "desk": { "kind": "ollama", "url": "http://127.0.0.1:11434" },
//!     "cloud": { "kind": "openai", "key": { "env": "OPENAI_API_KEY" } }
//!   },
//!   "aliases": {
//!     "nox": {
//!       "routes": [{ "backend": "local" }, { "backend": "desk", "model": "qwen2.5:0.5b" }],
//!       "options": { "temperature": 0.7 },
//!       "persona": "nox"
//!     }
//!   }
//! }
//! ```
//!
//! Nothing is guessed: unknown fields, names that stand for nothing and values out
//! of range are refused with the field's place. Fields that are left out have the
//! values that the types name as defaults.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};

use super::nearest::nearest;
use super::read::{Fields, check_count, check_name, list, object, place, wrong_type, wrong_value};
use super::{ConfigError, RoutePlan, RouteTarget, UnknownModel};
use crate::persona::{DEFAULT_ALIAS, NOX_CATALOG, SCALE_CATALOG};
use crate::request::ChatRequest;

/// Caps on what a configuration may hold.
pub mod routing_limits {
    /// Bytes of a document.
    pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;
    /// Backends.
    pub const MAX_BACKENDS: usize = 64;
    /// Aliases.
    pub const MAX_ALIASES: usize = 256;
    /// Routes of one alias.
    pub const MAX_ROUTES: usize = 16;
    /// Bytes of an alias, the name of a backend or variable, or a model's id.
    pub const MAX_NAME_BYTES: usize = 256;
    /// Bytes of an address.
    pub const MAX_URL_BYTES: usize = 2048;
    /// Bytes of a reason in `fallback_from`.
    pub const MAX_REASON_BYTES: usize = 512;
}

use routing_limits::{
    MAX_ALIASES, MAX_BACKENDS, MAX_DOCUMENT_BYTES, MAX_NAME_BYTES, MAX_ROUTES, MAX_URL_BYTES,
};

/// The version that is read and written.
pub(super) const VERSION: u64 = 1;

/// The kinds of backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// The engine on this device.
    Local,
    /// An Ollama server.
    Ollama,
    /// Any server that speaks OpenAI's chat completions.
    OpenaiCompatible,
    /// OpenAI.
    Openai,
    /// Anthropic.
    Anthropic,
}

impl BackendKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Local,
        Self::Ollama,
        Self::OpenaiCompatible,
        Self::Openai,
        Self::Anthropic,
    ];

    /// Its name in the configuration and in `meta.route.backend`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Ollama => "ollama",
            Self::OpenaiCompatible => "openai-compatible",
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
        }
    }

    /// The address where none is given; `None` where one has to be.
    const fn default_url(self) -> Option<&'static str> {
        match self {
            Self::Local | Self::OpenaiCompatible => None,
            Self::Ollama => Some("http://127.0.0.1:11434"),
            Self::Openai => Some("https://api.openai.com/v1"),
            Self::Anthropic => Some("https://api.anthropic.com/v1"),
        }
    }
}

/// Where a key is found. The key itself never stands in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In an environment variable of this name.
    Env(String),
    /// In the host's store of secrets, under this id.
    Id(String),
}

/// A backend as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendConfig {
    /// What it is.
    pub kind: BackendKind,
    /// Its address; `None` for the local one and no other. It has no user, query or
    /// fragment, so it can be shown.
    pub url: Option<String>,
    /// Where its key is found.
    pub key: Option<KeySource>,
}

impl BackendConfig {
    /// Whether what it is sent leaves this device.
    pub fn leaves_device(&self) -> bool {
        let host = self
            .url
            .as_deref()
            .and_then(|url| Some(Url::parse(url)?.host));
        self.kind != BackendKind::Local && !host.is_some_and(is_loopback)
    }
}

/// One way to answer an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteConfig {
    /// The name of a backend that is configured.
    pub backend: String,
    /// The model to ask it for; `None` (local backends only) leaves the choice to it.
    pub model: Option<String>,
}

/// What an alias stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct AliasConfig {
    /// The ways to answer, the best first; at least one.
    pub routes: Vec<RouteConfig>,
    /// Values for what a request leaves out.
    pub options: AliasOptions,
    /// The scale of the persona; `None` lets the model's name decide.
    pub persona: Option<String>,
}

/// What an alias sets where a request doesn't: some of the fields of `handle_chat`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AliasOptions {
    fields: Map<String, Value>,
}

/// Options and the JSON type that each must have.
pub(super) const OPTIONS: [(&str, OptionType); 10] = [
    ("temperature", OptionType::Number),
    ("top_k", OptionType::Integer),
    ("top_p", OptionType::Number),
    ("min_p", OptionType::Number),
    ("repeat_penalty", OptionType::Number),
    ("seed", OptionType::Integer),
    ("max_tokens", OptionType::Integer),
    ("stop", OptionType::Texts),
    ("strip_reasoning", OptionType::Switch),
    ("sanitize", OptionType::Switch),
];

#[derive(Debug, Clone, Copy)]
pub(super) enum OptionType {
    Number,
    Integer,
    Switch,
    Texts,
}

impl OptionType {
    fn expected(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Integer => "an integer",
            Self::Switch => "true or false",
            Self::Texts => "a text or a list of texts",
        }
    }

    fn admits(self, value: &Value) -> bool {
        match self {
            Self::Number => value.is_number(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Switch => value.is_boolean(),
            Self::Texts => match value {
                Value::Array(items) => items.iter().all(Value::is_string),
                other => other.is_string(),
            },
        }
    }
}

impl AliasOptions {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The options by name.
    pub(crate) fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// Puts the options into params of `handle_chat`, where those leave them out.
    pub fn fill(&self, params: &mut Map<String, Value>) {
        for (field, value) in &self.fields {
            let slot = params.entry(field.clone()).or_insert(Value::Null);
            if slot.is_null() {
                slot.clone_from(value);
            }
        }
    }

    fn read(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let fields = Fields::new(path, value, &OPTIONS.map(|(name, _)| name))?;
        let mut options = Map::new();
        for (name, option_type) in OPTIONS {
            let Some(value) = fields.get(name) else {
                continue;
            };
            let path = fields.place(name);
            if !option_type.admits(value) {
                return Err(wrong_type(&path, option_type.expected(), value));
            }
            // The ranges are those of requests, so there they are asked for.
            let request = json!({
                "messages": [{"role": "user", "content": ""}],
                name: value,
            });
            if let Err(error) = ChatRequest::parse(&request) {
                return Err(wrong_value(&path, error.to_string()));
            }
            options.insert(name.to_owned(), value.clone());
        }
        Ok(Self { fields: options })
    }
}

/// The whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeConfig {
    /// By name, in the document's order.
    backends: Vec<(String, BackendConfig)>,
    /// By alias, in the document's order. Every route names one of the backends.
    aliases: Vec<(String, AliasConfig)>,
}

impl Default for RuntimeConfig {
    /// What is in force without a file: the default alias is answered on this device.
    fn default() -> Self {
        let local = BackendKind::Local.as_str().to_owned();
        let backend = BackendConfig {
            kind: BackendKind::Local,
            url: None,
            key: None,
        };
        let alias = AliasConfig {
            routes: vec![RouteConfig {
                backend: local.clone(),
                model: None,
            }],
            options: AliasOptions::default(),
            persona: None,
        };
        Self {
            backends: vec![(local, backend)],
            aliases: vec![(DEFAULT_ALIAS.to_owned(), alias)],
        }
    }
}

impl RuntimeConfig {
    /// Reads a document from its text.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(ConfigError::DocumentTooLarge {
                limit: MAX_DOCUMENT_BYTES,
                found: text.len(),
            });
        }
        // Editors of some systems put a byte order mark in front.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let document = serde_json::from_str(text).map_err(|error| ConfigError::NotJson {
            reason: error.to_string(),
        })?;
        Self::from_json(&document)
    }

    /// Reads a document that is JSON already.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn from_json(document: &Value) -> Result<Self, ConfigError> {
        // The version first: another one may have other fields.
        let version = object("", document)?.get("version");
        match version {
            None | Some(Value::Null) => {
                return Err(ConfigError::Missing {
                    path: "version".to_owned(),
                    expected: "1",
                });
            }
            Some(version) if version.as_u64() != Some(VERSION) => {
                return Err(ConfigError::Version {
                    supported: VERSION,
                    found: version.to_string().chars().take(20).collect(),
                });
            }
            Some(_) => {}
        }
        let fields = Fields::new("", document, &["$schema", "version", "backends", "aliases"])?;
        let backends = backends(fields.required("backends", "an object of backends")?)?;
        let aliases = aliases(
            fields.required("aliases", "an object of aliases")?,
            &backends,
        )?;
        Ok(Self { backends, aliases })
    }

    /// The backends by name, in the document's order.
    pub fn backends(&self) -> impl Iterator<Item = (&str, &BackendConfig)> {
        self.backends.iter().map(|(name, it)| (name.as_str(), it))
    }

    /// The backend with this name.
    pub fn backend(&self, name: &str) -> Option<&BackendConfig> {
        find(&self.backends, name)
    }

    /// The aliases, in the document's order.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &AliasConfig)> {
        self.aliases.iter().map(|(name, it)| (name.as_str(), it))
    }

    /// What an alias stands for.
    pub fn alias(&self, name: &str) -> Option<&AliasConfig> {
        find(&self.aliases, name)
    }

    /// The plan for an alias or a model's id. An alias goes before a model of the
    /// same name; a model is asked of the backends that some route asks it of, and
    /// then of the one that `lookup` names, which knows what is installed.
    ///
    /// # Errors
    /// Nothing has this name.
    pub fn plan(
        &self,
        name: &str,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<RoutePlan, UnknownModel> {
        let routes = match self.alias(name) {
            Some(alias) => alias.routes.clone(),
            None => self.model_routes(name, lookup),
        };
        let targets = routes.iter().filter_map(|route| self.target(route));
        RoutePlan::new(name, targets.collect()).ok_or_else(|| UnknownModel {
            name: name.chars().take(MAX_NAME_BYTES).collect(),
            nearest: nearest(name, self.aliases().map(|(alias, _)| alias)).map(str::to_owned),
            known: self.aliases().map(|(alias, _)| alias.to_owned()).collect(),
        })
    }

    fn model_routes(
        &self,
        model: &str,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Vec<RouteConfig> {
        let configured = self.aliases.iter().flat_map(|(_, alias)| &alias.routes);
        let configured = configured.filter(|route| route.model.as_deref() == Some(model));
        let mut backends: Vec<&str> = Vec::new();
        for route in configured {
            if !backends.contains(&route.backend.as_str()) {
                backends.push(&route.backend);
            }
        }
        let installed = lookup(model);
        if let Some(name) = installed.as_deref().filter(|name| !backends.contains(name)) {
            backends.push(name);
        }
        let route = |backend: &str| RouteConfig {
            backend: backend.to_owned(),
            model: Some(model.to_owned()),
        };
        backends.into_iter().map(route).collect()
    }

    /// `None` where the backend is not configured, which no checked route has.
    fn target(&self, route: &RouteConfig) -> Option<RouteTarget> {
        let backend = self.backend(&route.backend)?;
        Some(RouteTarget {
            backend: route.backend.clone(),
            kind: backend.kind.as_str(),
            model: route.model.as_deref().unwrap_or(DEFAULT_ALIAS).to_owned(),
            url: backend.url.clone(),
            has_api_key: backend.key.is_some(),
        })
    }
}

fn find<'a, T>(entries: &'a [(String, T)], name: &str) -> Option<&'a T> {
    let mut entries = entries.iter();
    let (_, entry) = entries.find(|(other, _)| other == name)?;
    Some(entry)
}

fn backends(value: &Value) -> Result<Vec<(String, BackendConfig)>, ConfigError> {
    let entries = object("backends", value)?;
    check_count("backends", MAX_BACKENDS, "entries", entries.len())?;
    if entries.is_empty() {
        return Err(wrong_value("backends", "it must name at least one"));
    }
    let read = |(name, value): (&String, &Value)| {
        let path = place("backends", name);
        check_name(&path, name, MAX_NAME_BYTES)?;
        Ok((name.clone(), backend(&path, value)?))
    };
    entries.iter().map(read).collect()
}

fn backend(path: &str, value: &Value) -> Result<BackendConfig, ConfigError> {
    let fields = Fields::new(path, value, &["kind", "url", "key"])?;
    let kind_name = fields.name("kind", MAX_NAME_BYTES)?;
    let kind_name = kind_name.ok_or_else(|| ConfigError::Missing {
        path: fields.place("kind"),
        expected: "a kind of backend",
    })?;
    let mut kinds = BackendKind::ALL.into_iter();
    let kind = kinds.find(|kind| kind.as_str() == kind_name);
    let kind = kind.ok_or_else(|| {
        let known = BackendKind::ALL.map(BackendKind::as_str);
        unknown_name(&fields.place("kind"), "kind of backend", kind_name, &known)
    })?;
    let url = fields.name("url", MAX_URL_BYTES)?;
    let key = fields.get("key");
    if kind == BackendKind::Local {
        for (field, is_given) in [("url", url.is_some()), ("key", key.is_some())] {
            if is_given {
                return Err(wrong_value(
                    &fields.place(field),
                    "a local backend has none; remove it",
                ));
            }
        }
        return Ok(BackendConfig {
            kind,
            url: None,
            key: None,
        });
    }
    let url_path = fields.place("url");
    let text = url
        .or(kind.default_url())
        .ok_or_else(|| ConfigError::Missing {
            path: url_path.clone(),
            expected: "the address of the server",
        })?;
    let url = check_url(&url_path, text)?;
    let key = key.map(|value| key_source(&fields.place("key"), value));
    let key = key.transpose()?;
    if key.is_some() && url.scheme == "http" && !is_loopback(url.host) {
        return Err(wrong_value(
            &url_path,
            "a key would be sent over the network in clear text; use https, or remove the key",
        ));
    }
    Ok(BackendConfig {
        kind,
        url: Some(text.to_owned()),
        key,
    })
}

fn key_source(path: &str, value: &Value) -> Result<KeySource, ConfigError> {
    const ADVICE: &str = "a key itself does not belong here; write {\"env\": \"NAME_OF_A_VARIABLE\"} \
                          or {\"id\": \"name of a kept key\"}";
    if !value.is_object() {
        return Err(wrong_value(path, ADVICE));
    }
    let fields = Fields::new(path, value, &["env", "id"])?;
    let env = fields.name("env", MAX_NAME_BYTES)?;
    let id = fields.name("id", MAX_NAME_BYTES)?;
    match (env, id) {
        (Some(name), None) if is_variable_name(name) => Ok(KeySource::Env(name.to_owned())),
        // What is no variable's name may be the key, so it is not repeated.
        (Some(_), None) => Err(wrong_value(
            &fields.place("env"),
            "it must be the name of an environment variable: letters, digits and _",
        )),
        (None, Some(id)) => Ok(KeySource::Id(id.to_owned())),
        _ => Err(wrong_value(path, ADVICE)),
    }
}

fn is_variable_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn aliases(
    value: &Value,
    backends: &[(String, BackendConfig)],
) -> Result<Vec<(String, AliasConfig)>, ConfigError> {
    let entries = object("aliases", value)?;
    check_count("aliases", MAX_ALIASES, "entries", entries.len())?;
    if !entries.contains_key(DEFAULT_ALIAS) {
        return Err(ConfigError::Missing {
            path: place("aliases", DEFAULT_ALIAS),
            expected: "the alias of requests that name no model",
        });
    }
    let read = |(name, value): (&String, &Value)| {
        let path = place("aliases", name);
        check_name(&path, name, MAX_NAME_BYTES)?;
        Ok((name.clone(), alias(&path, value, backends)?))
    };
    entries.iter().map(read).collect()
}

fn alias(
    path: &str,
    value: &Value,
    backends: &[(String, BackendConfig)],
) -> Result<AliasConfig, ConfigError> {
    let fields = Fields::new(path, value, &["routes", "options", "persona"])?;
    let routes_path = fields.place("routes");
    let items = list(&routes_path, fields.required("routes", "a list of routes")?)?;
    check_count(&routes_path, MAX_ROUTES, "routes", items.len())?;
    if items.is_empty() {
        return Err(wrong_value(&routes_path, "it must have at least one route"));
    }
    let mut routes: Vec<RouteConfig> = Vec::with_capacity(items.len());
    for (idx, item) in items.iter().enumerate() {
        let path = format!("{routes_path}[{idx}]");
        let route = route(&path, item, backends)?;
        if routes.contains(&route) {
            return Err(wrong_value(
                &path,
                "the same route stands before; remove it",
            ));
        }
        routes.push(route);
    }
    let options = fields.get("options");
    let options = options.map(|value| AliasOptions::read(&fields.place("options"), value));
    Ok(AliasConfig {
        routes,
        options: options.transpose()?.unwrap_or_default(),
        persona: persona(&fields)?,
    })
}

fn route(
    path: &str,
    value: &Value,
    backends: &[(String, BackendConfig)],
) -> Result<RouteConfig, ConfigError> {
    let fields = Fields::new(path, value, &["backend", "model"])?;
    let name = fields.name("backend", MAX_NAME_BYTES)?;
    let name = name.ok_or_else(|| ConfigError::Missing {
        path: fields.place("backend"),
        expected: "the name of a backend",
    })?;
    let backend = find(backends, name).ok_or_else(|| {
        let known: Vec<&str> = backends.iter().map(|(name, _)| name.as_str()).collect();
        unknown_name(&fields.place("backend"), "backend", name, &known)
    })?;
    let model = fields.name("model", MAX_NAME_BYTES)?;
    if model.is_none() && backend.kind != BackendKind::Local {
        return Err(ConfigError::Missing {
            path: fields.place("model"),
            expected: "the model's name at that backend",
        });
    }
    Ok(RouteConfig {
        backend: name.to_owned(),
        model: model.map(str::to_owned),
    })
}

fn persona(fields: &Fields<'_>) -> Result<Option<String>, ConfigError> {
    let Some(scale) = fields.name("persona", MAX_NAME_BYTES)? else {
        return Ok(None);
    };
    let known = persona_scales();
    if known.contains(&scale) {
        return Ok(Some(scale.to_owned()));
    }
    Err(unknown_name(
        &fields.place("persona"),
        "persona",
        scale,
        &known,
    ))
}

/// The scales that an alias can name.
pub(super) fn persona_scales() -> Vec<&'static str> {
    let catalogs = [NOX_CATALOG, SCALE_CATALOG];
    let rows = catalogs.iter().flat_map(|catalog| catalog.rows());
    rows.map(|row| row.central_scale).collect()
}

fn unknown_name(path: &str, what: &'static str, name: &str, known: &[&str]) -> ConfigError {
    ConfigError::UnknownName {
        path: path.to_owned(),
        what,
        name: name.to_owned(),
        nearest: nearest(name, known.iter().copied()).map(str::to_owned),
        known: known.iter().map(|&name| name.to_owned()).collect(),
    }
}

/// The parts of an address that matter here.
struct Url<'a> {
    scheme: &'a str,
    /// Without a port; an IPv6 address with its brackets.
    host: &'a str,
}

impl<'a> Url<'a> {
    /// `None` for all but `http(s)://host[:port][/path]` in plain ASCII.
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        if !matches!(scheme, "http" | "https") || rest.contains(['@', '?', '#', '\\']) {
            return None;
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let authority = rest.split('/').next()?;
        let (host, port) = if authority.starts_with('[') {
            let end = authority.find(']')? + 1;
            authority[1..end - 1].parse::<Ipv6Addr>().ok()?;
            authority.split_at(end)
        } else {
            authority.split_at(authority.find(':').unwrap_or(authority.len()))
        };
        let is_port = match port.strip_prefix(':') {
            None => port.is_empty(),
            Some(digits) => {
                digits.bytes().all(|byte| byte.is_ascii_digit())
                    && digits.parse::<u16>().is_ok_and(|port| port > 0)
            }
        };
        (!host.is_empty() && is_port).then_some(Self { scheme, host })
    }
}

fn check_url<'a>(path: &str, text: &'a str) -> Result<Url<'a>, ConfigError> {
    // What is refused may hold a password, so it is not repeated.
    Url::parse(text).ok_or_else(|| {
        wrong_value(
            path,
            "it must be http:// or https:// with a host, and may have a port and a path; users, \
             passwords, queries and fragments do not belong here",
        )
    })
}

/// Whether a host is this device by its name alone.
fn is_loopback(host: &str) -> bool {
    let v6 = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
        || v6
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| address.is_loopback())
}
