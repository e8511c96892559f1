//! `sessions.jsonl`: the session store, step by step.
//!
//! Each operation works on the recorded directory tree: it is imported into an empty
//! database, the operation is done, and the tree is exported again. Files are compared
//! as parsed JSON; descriptions have to say all that the recorded ones say.

#![expect(
    clippy::unwrap_used,
    reason = "a recording that is none, or a store that fails, is told by a panic"
)]

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use nox_store::{
    ArchiveEarly, FinishedTurn, Host, ImportOptions, ListQuery, Message, NewMessage, NewSession,
    NewTurn, Role, SearchQuery, SessionInfo, Store, StoreError, Target, TitleKind, TreeFile,
    TurnContent, UserId, format_timestamp, parse_timestamp,
};
use serde_json::{Map, Value, json};

use crate::case::{Case, text};
use crate::report::{Report, Verdict};

/// Compares `sessions.jsonl`. What is done in the place of its defects is pinned by
/// tests of the store.
#[must_use]
pub fn check_sessions(jsonl: &str) -> Report {
    Report::of("sessions.jsonl", jsonl, judge)
}

/// A host whose clock is set, with randomness that counts.
#[derive(Clone, Default)]
struct RecordedHost {
    now_ms: Rc<Cell<i64>>,
    drawn: Rc<Cell<u8>>,
}

impl Host for RecordedHost {
    fn now_ms(&self) -> i64 {
        self.now_ms.get()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        for byte in bytes {
            self.drawn.set(self.drawn.get().wrapping_add(0x9d));
            *byte = self.drawn.get();
        }
    }
}

/// A title as simple as the cases need: the first eight words of the user's.
fn title_of(messages: &[Message]) -> Option<String> {
    let first = messages.iter().find(|message| message.role == Role::User)?;
    let words: Vec<&str> = first.content.split_whitespace().take(8).collect();
    Some(words.join(" ")).filter(|title| !title.is_empty())
}

const IMPORT: ImportOptions<'static> = ImportOptions {
    title_of: &title_of,
};

/// Why a case is not compared.
struct NoCounterpart(&'static str);

/// What an operation came to.
enum Outcome {
    /// Its result, compared with the recorded one.
    Is(Value),
    /// It failed, as the recorded one has to.
    Failed,
    /// Its result belongs to something else than the store.
    NotOurs,
}

#[derive(Clone)]
struct Open {
    path: String,
    model: String,
    sanitized: bool,
    system: Option<String>,
}

#[derive(Default)]
struct World {
    files: BTreeMap<String, (Vec<u8>, Option<i64>)>,
    host: RecordedHost,
    open: HashMap<String, Open>,
}

fn relative(path: &str) -> &str {
    path.strip_prefix("<root>/").unwrap_or(path)
}

fn timestamp(text: &str) -> i64 {
    parse_timestamp(text).unwrap()
}

/// JSON as far as it can be compared: without what only one side knows.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut out = Map::new();
            for (key, value) in fields {
                let default_user =
                    matches!(key.as_str(), "user_id" | "user_display") && value == "default";
                // Folders of the original's disk, and what is ours alone.
                if matches!(key.as_str(), "nox" | "user_meta") || default_user || value.is_null() {
                    continue;
                }
                let value = match (key.as_str(), value.as_str()) {
                    ("path", Some(path)) => relative(path).into(),
                    _ => plain(value),
                };
                out.insert(key.clone(), value);
            }
            Value::Object(out)
        }
        Value::Array(items) => items.iter().map(plain).collect(),
        other => other.clone(),
    }
}

/// Whether a description says all that the recorded one says. It may say more where
/// the original did not know: the model of a session without a description, say.
fn describes(ours: &Value, recorded: &Value) -> bool {
    let untitled = recorded.get("title").is_some_and(Value::is_null);
    let (ours, recorded) = (plain(ours), plain(recorded));
    let (Some(ours), Some(recorded)) = (ours.as_object(), recorded.as_object()) else {
        return ours == recorded;
    };
    recorded
        .iter()
        .all(|(key, value)| same_entry(key, ours.get(key), value))
        && !(untitled && ours.contains_key("title"))
}

fn same_entry(key: &str, ours: Option<&Value>, recorded: &Value) -> bool {
    let Some(ours) = ours else { return false };
    match key {
        // The original put the archived sessions newest first, which is one of its
        // defects; here they stand in the order of time.
        "sources" => sorted(ours) == sorted(recorded),
        // A time that the original could not read either, and only passed on.
        "updated" | "created" if recorded.as_str().and_then(parse_timestamp).is_none() => true,
        "meta" => describes(ours, recorded),
        _ => ours == recorded,
    }
}

fn sorted(list: &Value) -> Vec<String> {
    let mut items: Vec<String> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(Value::to_string)
        .collect();
    items.sort();
    items
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).map_or_else(|_| line.into(), |v| plain(&v)))
        .collect()
}

/// Whether two files say the same.
fn same_file(path: &str, ours: &str, recorded: &str) -> bool {
    if path.ends_with(".jsonl") {
        return lines(ours) == lines(recorded);
    }
    let parsed = (
        serde_json::from_str::<Value>(ours),
        serde_json::from_str::<Value>(recorded),
    );
    let (Ok(ours_json), Ok(recorded_json)) = parsed else {
        return ours == recorded;
    };
    if path.ends_with(".meta.json") {
        return describes(&ours_json, &recorded_json);
    }
    let (Some(ours), Some(recorded)) = (ours_json.as_array(), recorded_json.as_array()) else {
        return plain(&ours_json) == plain(&recorded_json);
    };
    if path.starts_with("early-archives/") {
        // Compared without their order: see `same_entry`.
        let records = |list: &[Value]| {
            let mut list: Vec<Value> = list.iter().map(plain).collect();
            for record in &mut list {
                record["meta"]["turn"].take();
            }
            sorted(&list.into())
        };
        return records(ours) == records(recorded);
    }
    ours.len() == recorded.len()
        && ours.iter().zip(recorded).all(|(ours, recorded)| {
            if path.ends_with("day.json") {
                describes(ours, recorded)
            } else {
                plain(ours) == plain(recorded)
            }
        })
}

impl World {
    fn load(&self) -> Store {
        let mut store = Store::open_in_memory(Box::new(self.host.clone())).unwrap();
        let files = self
            .files
            .iter()
            .map(|(path, (bytes, modified_ms))| TreeFile {
                path: path.clone(),
                bytes: bytes.clone(),
                modified_ms: *modified_ms,
            })
            .collect();
        store.import(files, &IMPORT).unwrap();
        store
    }

    /// Does something with the database that the tree makes, and takes over what
    /// that changed of the tree.
    fn with<T>(&mut self, f: impl FnOnce(&mut Store, &Self) -> T) -> T {
        let mut store = self.load();
        let before = store.export(None).unwrap();
        let result = f(&mut store, self);
        for file in before {
            self.files.entry(file.path).and_modify(|(bytes, _)| {
                // Marks the file as one that the database accounts for.
                bytes.insert(0, 0xff);
            });
        }
        for file in store.export(None).unwrap() {
            let known = self.files.remove(&file.path);
            let kept = known.filter(|(bytes, _)| {
                let bytes = bytes.strip_prefix(&[0xff]).unwrap_or(bytes);
                bytes == file.bytes
                    || (!bytes.is_empty()
                        && same_file(
                            &file.path,
                            &String::from_utf8_lossy(&file.bytes),
                            &String::from_utf8_lossy(bytes),
                        )
                        && same_file(
                            &file.path,
                            &String::from_utf8_lossy(bytes),
                            &String::from_utf8_lossy(&file.bytes),
                        ))
            });
            let (mut bytes, modified_ms) =
                kept.unwrap_or((file.bytes, Some(self.host.now_ms.get())));
            if bytes.first() == Some(&0xff) {
                bytes.remove(0);
            }
            self.files.insert(file.path, (bytes, modified_ms));
        }
        self.files
            .retain(|_, (bytes, _)| bytes.first() != Some(&0xff));
        result
    }

    fn label(&self, op: &Value) -> Open {
        self.open[text(op, "session")].clone()
    }

    /// The description of a session as the original would list it.
    fn listed(&self, store: &Store, info: &SessionInfo) -> Value {
        let meta = store
            .export(Some(std::slice::from_ref(&info.id)))
            .unwrap()
            .into_iter()
            .find(|file| file.path.ends_with(".meta.json"))
            .and_then(|file| serde_json::from_slice(&file.bytes).ok());
        let mut entry = match meta {
            Some(Value::Object(meta)) => meta,
            _ => Map::new(),
        };
        entry.entry("id").or_insert_with(|| info.name().into());
        for (key, value) in [
            ("path", json!(info.path)),
            ("turns", json!(info.turns)),
            ("title", json!(info.title)),
            ("custom", json!(info.title_kind == TitleKind::Custom)),
            ("file_name", json!(info.path.rsplit('/').next())),
            ("display_name", json!(info.display_name())),
            ("user_id", json!(info.user.as_str())),
            ("user_display", json!(info.user_display)),
            ("updated", json!(format_timestamp(info.updated_ms))),
        ] {
            entry.insert(key.into(), value);
        }
        Value::Object(entry)
    }

    fn list(&self, store: &Store, op: &Value) -> Vec<SessionInfo> {
        let user = op["user"].as_str();
        let root = op["root"]
            .as_str()
            .map(|root| format!("{}/", relative(root)));
        let page = store
            .sessions(&ListQuery {
                user,
                ..ListQuery::default()
            })
            .unwrap();
        // A folder of the tree is a part of the list.
        page.sessions
            .into_iter()
            .filter(|info| {
                root.as_deref()
                    .is_none_or(|root| info.path.starts_with(root))
            })
            .collect()
    }

    fn run(&mut self, op: &Value, recorded: &Value) -> Result<Outcome, NoCounterpart> {
        let name = text(op, "op");
        let is = |value| Ok(Outcome::Is(value));
        match name {
            "clock" => self.host.now_ms.set(timestamp(text(op, "now"))),
            "write" => {
                let path = relative(text(op, "path")).to_owned();
                let now_ms = self.host.now_ms.get();
                self.files
                    .insert(path, (text(op, "text").into(), Some(now_ms)));
            }
            "remove" => {
                let path = relative(text(op, "path"));
                let folder = format!("{path}/");
                self.files
                    .retain(|file, _| file != path && !file.starts_with(&folder));
            }
            "mkdir" => return Ok(Outcome::NotOurs),
            "mtime" => {
                if let Some(file) = self.files.get_mut(relative(text(op, "path"))) {
                    file.1 = op["unix"].as_i64().map(|unix| unix * 1000);
                }
            }
            "start" | "chat_open" => return self.start(op),
            "open" => {
                let found = self.with(|store, world| {
                    let info = store.resolve(relative(text(op, "path"))).ok()?;
                    let turns = store.turns(&info.id).unwrap().len();
                    let meta = world.listed(store, &info);
                    Some(json!({"turn": turns, "user_id": meta["user_id"],
                        "user_display": meta["user_display"],
                        "title": if info.title_kind == TitleKind::Derived { Value::Null } else { meta["title"].clone() },
                        "custom": meta["custom"], "display_name": meta["display_name"]}))
                });
                let Some(found) = found else {
                    return Err(NoCounterpart(
                        "opens a file that is not there, and so makes it",
                    ));
                };
                self.open.insert(
                    text(op, "as").into(),
                    Open {
                        path: relative(text(op, "path")).into(),
                        model: op["model"].as_str().unwrap_or("test-model").into(),
                        sanitized: op["sanitized"].as_bool().unwrap_or(false),
                        system: None,
                    },
                );
                return is(found);
            }
            "turn" => {
                let mut open = self.label(op);
                open.system = (op["system"] != json!(false)).then(|| "sys".to_owned());
                self.turn(
                    &open,
                    &[(Role::User, text(op, "user"))],
                    text(op, "assistant"),
                );
            }
            "log_turn" => return self.log_turn(op),
            "set_title" | "chat_set_title" | "rename" => {
                let path = match name {
                    "rename" => relative(text(op, "path")).to_owned(),
                    _ => self.label(op).path,
                };
                let title = op["title"].as_str();
                let custom = op["custom"].as_bool().unwrap_or(true);
                let found = self.with(|store, _| {
                    let info = store.resolve(&path).ok()?;
                    if custom {
                        store.rename(&info.id, title).unwrap();
                    } else {
                        store.set_automatic_title(&info.id, title).unwrap();
                    }
                    Some(info)
                });
                if found.is_none() {
                    return Err(NoCounterpart("titles a file that is not there"));
                }
                if name != "rename" {
                    return Ok(Outcome::NotOurs);
                }
            }
            "get_meta" => {
                let path = self.label(op).path;
                return is(self.with(|store, world| {
                    store
                        .resolve(&path)
                        .map_or(Value::Null, |info| world.listed(store, &info))
                }));
            }
            "load_meta" => {
                let found = self.with(|store, world| {
                    let info = store.resolve(relative(text(op, "path"))).ok()?;
                    Some(world.listed(store, &info))
                });
                return found.map_or(Ok(Outcome::NotOurs), is);
            }
            "list" => {
                return is(self.with(|store, world| {
                    let list = world.list(store, op);
                    list.iter().map(|info| world.listed(store, info)).collect()
                }));
            }
            "ids" => {
                return is(self.with(|store, world| {
                    let list = world.list(store, op);
                    list.iter()
                        .map(|info| world.listed(store, info)["id"].clone())
                        .collect()
                }));
            }
            "search" => {
                return is(self.with(|store, world| {
                    let page = store
                        .search(&SearchQuery {
                            text: text(op, "text"),
                            ..SearchQuery::default()
                        })
                        .unwrap();
                    page.hits
                        .iter()
                        .map(|hit| world.listed(store, &hit.session)["id"].clone())
                        .collect()
                }));
            }
            "resolve" | "resolve_index" => {
                if op["root"].is_string() {
                    return Err(NoCounterpart("looks for a session in one folder only"));
                }
                let ident = relative(text(op, "ident")).to_owned();
                return is(self.with(|store, _| {
                    let found = if name == "resolve" {
                        store.resolve(&ident)
                    } else {
                        store.resolve_listed(&ident, &ListQuery::default())
                    };
                    found.map_or(Value::Null, |info| format!("<root>/{}", info.path).into())
                }));
            }
            "load" => {
                return is(self.with(|store, _| {
                    let Ok(info) = store.resolve(relative(text(op, "path"))) else {
                        return json!([]);
                    };
                    let system = store.first_system(&info.id).unwrap();
                    let turns = store.turns(&info.id).unwrap();
                    system
                        .map(|text| json!({"role": "system", "content": text}))
                        .into_iter()
                        .chain(turns.iter().flat_map(TurnContent::spoken))
                        .collect()
                }));
            }
            "records" => {
                return Ok(self.with(|store, _| {
                    let Ok(info) = store.resolve(relative(text(op, "path"))) else {
                        return if recorded["error"].is_string() {
                            Outcome::Failed
                        } else {
                            Outcome::Is(json!([]))
                        };
                    };
                    let file = store.export(Some(&[info.id])).unwrap().remove(0);
                    let text = String::from_utf8(file.bytes).unwrap();
                    if file.path.ends_with(".json") {
                        return Outcome::Is(serde_json::from_str(&text).unwrap_or(json!([])));
                    }
                    let records = text
                        .lines()
                        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
                    Outcome::Is(records.collect())
                }));
            }
            "has_dialogue" => {
                return is(self.with(|store, _| {
                    store
                        .resolve(relative(text(op, "path")))
                        .is_ok_and(|info| {
                            let turns = store.turns(&info.id).unwrap();
                            turns.iter().any(|turn| !turn.messages.is_empty())
                        })
                        .into()
                }));
            }
            "user_meta" => return Ok(Outcome::NotOurs),
            "merge" => return self.merge(op),
            "archive" => {
                if op["root"].is_string() {
                    return Err(NoCounterpart("archives one folder only"));
                }
                return is(self.with(|store, _| {
                    let archived = store
                        .archive_early(&ArchiveEarly {
                            keep_sources: op["delete_sources"] == json!(false),
                            ..ArchiveEarly::default()
                        })
                        .unwrap();
                    archived.map_or(Value::Null, |archived| {
                        format!("<root>/{}", archived.archive.path).into()
                    })
                }));
            }
            "delete_empty" | "chat_close_empty" => {
                let path = match name {
                    "delete_empty" => relative(text(op, "path")).to_owned(),
                    _ => self.label(op).path,
                };
                return is(self.with(|store, _| match store.resolve(&path) {
                    Ok(info) => store.delete_if_empty(&info.id).unwrap().into(),
                    Err(_) => false.into(),
                }));
            }
            "day_log" | "chat_day_log" => {
                if op["meta"].is_object() {
                    return Err(NoCounterpart(
                        "notes another description than the session's",
                    ));
                }
                let path = match name {
                    "day_log" => relative(text(op, "path")).to_owned(),
                    _ => self.label(op).path,
                };
                let noted = self.with(|store, _| {
                    let info = store.resolve(&path)?;
                    store.note_day(&info.id)
                });
                return match noted {
                    Ok(path) => is(format!("<root>/{path}").into()),
                    Err(_) => Ok(Outcome::Failed),
                };
            }
            "chat_turn" => {
                let open = self.label(op);
                if open.sanitized {
                    return Err(NoCounterpart("replaces personal data before it is stored"));
                }
                // What the client makes of the model's answer is recorded; a call
                // without an answer stores nothing.
                if let Some(reply) = recorded["result"].as_str() {
                    self.turn(&open, &[(Role::User, text(op, "user"))], reply);
                }
                return Ok(Outcome::NotOurs);
            }
            "chat_auto_title" => {
                let path = self.label(op).path;
                if let Some(title) = recorded["result"].as_str() {
                    self.with(|store, _| {
                        let info = store.resolve(&path).unwrap();
                        store.set_automatic_title(&info.id, Some(title)).unwrap();
                    });
                }
                return Ok(Outcome::NotOurs);
            }
            "chat_get_title" => {
                let path = self.label(op).path;
                return is(self.with(|store, _| json!(store.resolve(&path).unwrap().title)));
            }
            "chat_log_path" => return is(format!("<root>/{}", self.label(op).path).into()),
            "chat_messages" => return Ok(Outcome::NotOurs),
            "chat_adopt" => {
                let path = relative(text(op, "path")).to_owned();
                self.open.get_mut(text(op, "session")).unwrap().path = path;
                return Ok(Outcome::NotOurs);
            }
            "chat_record" => return Err(NoCounterpart("cleans a reply before it is stored")),
            "chat_instrument" => return Err(NoCounterpart("asks an instrument")),
            "chat_reset" => return Err(NoCounterpart("changes what the client remembers")),
            _ => return Err(NoCounterpart("an operation that is not known here")),
        }
        is(Value::Null)
    }

    fn start(&mut self, op: &Value) -> Result<Outcome, NoCounterpart> {
        let model = op["model"].as_str().unwrap_or("test-model").to_owned();
        let sanitized = ["sanitized", "sanitize"]
            .iter()
            .any(|key| op[*key] == json!(true));
        let given = |names: [&str; 2]| names.iter().find_map(|name| op[*name].as_str());
        let user = given(["user_id", "memory_user"])
            .map(UserId::parse)
            .transpose();
        let Ok(user) = user else {
            return Ok(Outcome::Failed);
        };
        let info = self.with(|store, _| {
            store
                .create_session(&NewSession {
                    user,
                    user_display: given(["user_display", "memory_user_display"]),
                    model: Some(&model),
                    sanitized,
                })
                .unwrap()
        });
        let mut systems = op["messages"].as_array().into_iter().flatten();
        let system = systems
            .rfind(|message| message["role"] == "system")
            .and_then(|message| message["content"].as_str());
        let path = format!("<root>/{}", info.path);
        self.open.insert(
            text(op, "as").into(),
            Open {
                path: info.path,
                model,
                sanitized,
                system: system.map(str::to_owned),
            },
        );
        Ok(Outcome::Is(path.into()))
    }

    fn turn(&mut self, open: &Open, said: &[(Role, &str)], reply: &str) {
        let messages: Vec<NewMessage<'_>> = said
            .iter()
            .map(|&(role, content)| NewMessage { role, content })
            .collect();
        self.with(|store, _| {
            let id = store.resolve(&open.path).unwrap().id;
            store
                .record_turn(
                    &NewTurn {
                        target: Target::Session(&id),
                        system: open.system.as_deref(),
                        messages: &messages,
                        model: &open.model,
                        sanitized: open.sanitized,
                        idempotency_key: None,
                    },
                    &FinishedTurn {
                        content: reply,
                        ..FinishedTurn::default()
                    },
                )
                .unwrap();
        });
    }

    fn log_turn(&mut self, op: &Value) -> Result<Outcome, NoCounterpart> {
        let mut open = self.label(op);
        let mut said: Vec<(Role, &str)> = Vec::new();
        open.system = None;
        for (at, message) in op["messages"].as_array().into_iter().flatten().enumerate() {
            let content = message["content"].as_str();
            let plain = message.as_object().is_some_and(|fields| fields.len() == 2);
            match (message["role"].as_str(), content) {
                (Some("system"), Some(text)) if at == 0 && plain => open.system = Some(text.into()),
                (Some("user"), Some(text)) if plain => said.push((Role::User, text)),
                (Some("assistant"), Some(text)) if plain => said.push((Role::Assistant, text)),
                _ => return Err(NoCounterpart("logs messages that no turn consists of")),
            }
        }
        let Some((Role::Assistant, reply)) = said.pop() else {
            return Err(NoCounterpart("logs messages that no turn consists of"));
        };
        self.turn(&open, &said, reply);
        Ok(Outcome::Is(Value::Null))
    }

    fn merge(&mut self, op: &Value) -> Result<Outcome, NoCounterpart> {
        if op["root"].is_string() {
            return Err(NoCounterpart("writes sessions outside of the tree"));
        }
        let merged = self.with(|store, _| {
            let sources = op["paths"].as_array().unwrap().iter();
            let sources = sources
                .map(|path| Ok(store.resolve(relative(path.as_str().unwrap()))?.id))
                .collect::<Result<Vec<_>, StoreError>>()?;
            store.merge(&sources, op["title"].as_str(), Some(&UserId::default()))
        });
        match merged {
            Ok(info) => Ok(Outcome::Is(format!("<root>/{}", info.path).into())),
            Err(StoreError::NotFound { .. }) => {
                Err(NoCounterpart("merges a file that is not there, as nothing"))
            }
            Err(error) => panic!("{error}"),
        }
    }
}

trait Spoken {
    fn spoken(&self) -> Vec<Value>;
}

impl Spoken for TurnContent {
    fn spoken(&self) -> Vec<Value> {
        self.messages
            .iter()
            .map(|message| json!({"role": message.role.as_str(), "content": message.content}))
            .collect()
    }
}

fn same_result(name: &str, ours: &Value, recorded: &Value) -> bool {
    match name {
        "get_meta" | "load_meta" | "open" => describes(ours, recorded),
        "list" => {
            let (Some(ours), Some(recorded)) = (ours.as_array(), recorded.as_array()) else {
                return false;
            };
            ours.len() == recorded.len() && ours.iter().zip(recorded).all(|(o, r)| describes(o, r))
        }
        // Fields that no message has here are kept for the way back only.
        "load" => {
            let spoken = |list: &Value| -> Vec<Value> {
                let list = list.as_array().into_iter().flatten();
                list.map(|m| json!([m["role"], m["content"]])).collect()
            };
            spoken(ours) == spoken(recorded)
        }
        "records" => plain(ours) == plain(recorded),
        _ => ours == recorded,
    }
}

fn judge(case: &Case) -> Verdict {
    let mut world = World::default();
    let (input, output) = (&case.input, &case.output);
    world.host.now_ms.set(timestamp(text(input, "clock_start")));
    let operations = input["operations"].as_array().into_iter().flatten();
    let steps = output["steps"].as_array().into_iter().flatten();
    for (op, recorded) in operations.zip(steps) {
        let differs = |ours: Value| Verdict::Compared {
            ours: json!({"operation": op, "ours": ours}),
            recorded: recorded.clone(),
        };
        match world.run(op, recorded) {
            Err(NoCounterpart(reason)) => return Verdict::LeftOut(reason),
            Ok(Outcome::NotOurs) => {}
            Ok(Outcome::Failed) if recorded["error"].is_string() => {}
            Ok(Outcome::Failed) => return differs("failed".into()),
            Ok(Outcome::Is(ours)) => {
                let same = same_result(text(op, "op"), &ours, &recorded["result"]);
                if recorded["error"].is_string() || !same {
                    return differs(ours);
                }
            }
        }
    }
    world.compare_files(&output["files"])
}

impl World {
    fn compare_files(&self, recorded: &Value) -> Verdict {
        let recorded: BTreeMap<&str, &str> = recorded
            .as_object()
            .into_iter()
            .flatten()
            .map(|(path, text)| (relative(path), text.as_str().unwrap_or_default()))
            .collect();
        let ours: BTreeMap<&str, String> = self
            .files
            .iter()
            .map(|(path, (bytes, _))| (path.as_str(), String::from_utf8_lossy(bytes).into_owned()))
            .collect();
        let same = recorded.keys().eq(ours.keys())
            && recorded
                .iter()
                .all(|(path, recorded)| same_file(path, &ours[path], recorded));
        Verdict::Compared {
            ours: if same { json!(recorded) } else { json!(ours) },
            recorded: json!(recorded),
        }
    }
}
