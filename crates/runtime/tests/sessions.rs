//! `sessions.*` and `users.*`, on a database in a file.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use common::{Folder, Host, chats, check_error, in_file, say};
use nox_protocol::ErrorKind;
use nox_store::{Begun, NewMessage, NewTurn, Role, SessionId, Target};
use serde_json::{Value, json};

/// Chats of two users: ada's three, the newest last, and one of the default user's.
struct Kept {
    host: Host,
    ada: Vec<SessionId>,
    other: SessionId,
    _folder: Folder,
}

impl Kept {
    fn new() -> Self {
        let folder = Folder::new();
        let mut store = chats::open(&folder.chats());
        let other = chats::say(&mut store, "default", None, "elsewhere", "a quiet reply");
        let ada = ["first", "second", "third"]
            .map(|asked| chats::say(&mut store, "ada", None, asked, "a loud reply"));
        chats::say(&mut store, "ada", Some(&ada[2]), "once more", "indeed");
        drop(store);
        let host = Host::greeted(in_file(&folder.chats()));
        host.call("users.set", &json!({"user": "ada"})).unwrap();
        Self {
            host,
            ada: ada.to_vec(),
            other,
            _folder: folder,
        }
    }

    fn call(&self, method: &str, params: &Value) -> Value {
        self.host.call(method, params).unwrap()
    }

    fn listed(&self, params: &Value) -> Vec<String> {
        ids(&self.call("sessions.list", params)["sessions"])
    }
}

fn ids(sessions: &Value) -> Vec<String> {
    let sessions = sessions.as_array().unwrap().iter();
    sessions
        .map(|session| session["id"].as_str().unwrap().to_owned())
        .collect()
}

fn texts(ids: &[SessionId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

#[test]
fn chats_are_listed_by_user_newest_first_page_by_page() {
    let kept = Kept::new();
    let newest_first: Vec<String> = texts(&kept.ada).into_iter().rev().collect();
    assert_eq!(kept.listed(&json!({})), newest_first);
    assert_eq!(kept.listed(&json!({"user": "ADA"})), newest_first);
    assert_eq!(
        kept.listed(&json!({"user": "default"})),
        [kept.other.to_string()]
    );
    assert_eq!(kept.listed(&json!({"user": "*"})).len(), 4);
    let page = kept.call("sessions.list", &json!({"offset": 1, "limit": 1}));
    assert_eq!(ids(&page["sessions"]), newest_first[1..2]);
    assert_eq!(page["total"], 3);
    assert_eq!(kept.listed(&json!({"offset": 99})), [""; 0]);
    let info = &kept.call("sessions.list", &json!({"user": "default"}))["sessions"][0];
    assert_eq!(info["turns"], 1);
    assert_eq!(info["kind"], "chat");
    assert_eq!(info["archived"], false);
    assert_eq!(info["model"], "nox");
    assert_eq!(info["title"], Value::Null);
    assert!(info["name"].as_str().unwrap().starts_with("session-2025"));
}

#[test]
fn a_chat_is_read_from_its_end_with_how_its_replies_came_about() {
    let kept = Kept::new();
    let id = kept.ada[2].to_string();
    let whole = kept.call("sessions.get", &json!({"session": id}));
    assert_eq!(whole["session"]["id"], id);
    assert_eq!(whole["system"], "You are Nox.");
    assert_eq!(whole["has_earlier"], false);
    let turns = whole["turns"].as_array().unwrap();
    assert_eq!(turns.len(), 2);
    assert_eq!(turns[0]["turn"], 1);
    assert_eq!(turns[0]["state"], "complete");
    assert_eq!(turns[0]["messages"][0]["content"], "third");
    assert_eq!(turns[0]["messages"][0]["model"], Value::Null);
    assert_eq!(turns[0]["messages"][1]["role"], "assistant");
    assert_eq!(turns[0]["messages"][1]["model"], "nox");
    let telemetry = &turns[1]["telemetry"];
    assert_eq!(telemetry["tokens_per_second"], 100.0);
    assert_eq!(telemetry["finish_reason"], "stop");
    assert_eq!(telemetry["lane"], "native");

    let last = kept.call("sessions.get", &json!({"session": id, "limit": 1}));
    assert_eq!(last["turns"][0]["messages"][0]["content"], "once more");
    assert_eq!(last["has_earlier"], true);
    let before = kept.call("sessions.get", &json!({"session": id, "before_turn": 2}));
    assert_eq!(before["turns"].as_array().unwrap().len(), 1);
    assert_eq!(before["turns"][0]["turn"], 1);
}

#[test]
fn a_turn_that_a_killed_runtime_left_is_told_as_interrupted() {
    let folder = Folder::new();
    let mut store = chats::open(&folder.chats());
    let id = chats::say(&mut store, "default", None, "a", "b");
    let begun = store.begin_turn(&NewTurn {
        target: Target::Session(&id),
        system: None,
        messages: &[NewMessage {
            role: Role::User,
            content: "and then?",
        }],
        model: "nox",
        sanitized: false,
        idempotency_key: None,
    });
    let Begun::Started(handle) = begun.unwrap() else {
        panic!("no key was given");
    };
    store.save_partial(&handle, "well", None).unwrap();
    drop(store);
    let host = Host::greeted(in_file(&folder.chats()));
    let read = host.call("sessions.get", &json!({"session": id.as_str()}));
    let turn = &read.unwrap()["turns"][1];
    assert_eq!(turn["state"], "interrupted");
    assert_eq!(turn["messages"][1]["content"], "well");
    assert_eq!(turn["messages"][1]["partial"], true);
}

#[test]
fn a_chat_is_named_by_its_id_its_name_or_the_end_of_either() {
    let kept = Kept::new();
    let id = kept.ada[0].to_string();
    let name = kept.call("sessions.get", &json!({"session": id}))["session"]["name"].clone();
    let name = name.as_str().unwrap();
    for text in [name, &name[8..], &id[20..]] {
        let found = kept.call("sessions.get", &json!({"session": text}));
        assert_eq!(found["session"]["id"], id, "{text}");
    }
    let error = check_error(
        kept.host.call("sessions.get", &json!({"session": "0"})),
        ErrorKind::InvalidRequest,
        "",
    );
    assert!(
        error.message.contains("no session") || error.message.contains("fits"),
        "{error}"
    );
    check_error(
        kept.host
            .call("sessions.get", &json!({"session": "session-1999"})),
        ErrorKind::InvalidRequest,
        "there is no session \"session-1999\"",
    );
}

#[test]
fn an_end_that_fits_several_chats_is_refused_with_their_ids() {
    let folder = Folder::new();
    let mut store = chats::open(&folder.chats());
    // Of more chats than there are digits two end the same.
    for n in 0..17 {
        chats::say(&mut store, "default", None, &n.to_string(), "b");
    }
    let all = store.sessions(&nox_store::ListQuery::default()).unwrap();
    drop(store);
    let last = |id: &str| id.chars().last().unwrap();
    let ends: Vec<char> = all.sessions.iter().map(|it| last(it.id.as_str())).collect();
    let shared = ends
        .iter()
        .find(|end| ends.iter().filter(|other| other == end).count() > 1)
        .unwrap();
    let host = Host::greeted(in_file(&folder.chats()));
    let error = check_error(
        host.call("sessions.get", &json!({"session": shared.to_string()})),
        ErrorKind::InvalidRequest,
        "give more of the name",
    );
    assert!(error.data.detail["candidates"].as_array().unwrap().len() > 1);
}

#[test]
fn a_chat_is_renamed_and_its_title_taken_away() {
    let kept = Kept::new();
    let id = kept.ada[0].to_string();
    let named = kept.call(
        "sessions.rename",
        &json!({"session": id, "title": " Whales "}),
    );
    assert_eq!(named["session"]["title"], "Whales");
    assert_eq!(named["session"]["title_kind"], "custom");
    let found = kept.call("sessions.search", &json!({"query": "whales"}));
    assert_eq!(found["hits"][0]["session"]["id"], id);
    let bare = kept.call("sessions.rename", &json!({"session": id, "title": null}));
    assert_eq!(bare["session"]["title"], Value::Null);

    check_error(
        kept.host.call("sessions.rename", &json!({"session": id})),
        ErrorKind::InvalidRequest,
        "title is missing",
    );
    let huge = "x".repeat(10 << 20);
    check_error(
        kept.host
            .call("sessions.rename", &json!({"session": id, "title": huge})),
        ErrorKind::InvalidRequest,
        "the title has 10485760 bytes; at most 1024 are kept",
    );
}

#[test]
fn a_deleted_chat_is_gone_everywhere() {
    let kept = Kept::new();
    let id = kept.ada[1].to_string();
    assert_eq!(
        kept.call("sessions.delete", &json!({"session": id}))["deleted"],
        id
    );
    assert_eq!(kept.listed(&json!({})).len(), 2);
    let found = kept.call("sessions.search", &json!({"query": "second"}));
    assert_eq!(found["hits"], json!([]));
    check_error(
        kept.host.call("sessions.delete", &json!({"session": id})),
        ErrorKind::InvalidRequest,
        "there is no session",
    );
}

#[test]
fn chats_are_put_together_and_stay() {
    let kept = Kept::new();
    let wanted = texts(&kept.ada[..2]);
    let merged = kept.call(
        "sessions.merge",
        &json!({"sessions": wanted, "title": "Both"}),
    );
    assert_eq!(merged["session"]["kind"], "merged");
    assert_eq!(merged["session"]["title"], "Both");
    assert_eq!(merged["session"]["user"], "ada");
    assert_eq!(merged["session"]["turns"], 2);
    assert_eq!(kept.listed(&json!({})).len(), 4);
    for sessions in [json!([]), json!([wanted[0]]), json!([wanted[0], wanted[0]])] {
        check_error(
            kept.host
                .call("sessions.merge", &json!({"sessions": sessions})),
            ErrorKind::InvalidRequest,
            "sessions must name at least 2 chats",
        );
    }
}

#[test]
fn archiving_one_users_chats_leaves_the_others() {
    let kept = Kept::new();
    let archived = kept.call("sessions.archive", &json!({}));
    assert_eq!(archived["n_sessions"], 2);
    assert_eq!(archived["session"]["kind"], "archive");
    assert_eq!(archived["session"]["archived"], true);
    assert_eq!(kept.listed(&json!({})), [kept.ada[2].to_string()]);
    assert_eq!(
        kept.listed(&json!({"user": "default"})),
        [kept.other.to_string()]
    );
    let aside = kept.listed(&json!({"archived": true}));
    assert_eq!(aside, [archived["session"]["id"].as_str().unwrap()]);
    let again = kept.call("sessions.archive", &json!({}));
    assert_eq!(again, json!({"session": null, "n_sessions": 0}));
    check_error(
        kept.host.call("sessions.archive", &json!({"user": "*"})),
        ErrorKind::InvalidRequest,
        "there is no user \"*\"",
    );
}

#[test]
fn one_chat_is_put_aside_and_taken_back() {
    let kept = Kept::new();
    let id = kept.ada[0].to_string();
    let aside = kept.call("sessions.archive", &json!({"session": id}));
    assert_eq!(aside["session"]["archived"], true);
    assert_eq!(aside["session"]["kind"], "chat");
    assert_eq!(aside["n_sessions"], 1);
    assert_eq!(kept.listed(&json!({})).len(), 2);
    assert_eq!(
        kept.listed(&json!({"archived": true})),
        std::slice::from_ref(&id)
    );
    let hits = kept.call(
        "sessions.search",
        &json!({"query": "first", "archived": true}),
    );
    assert_eq!(hits["hits"].as_array().unwrap().len(), 1);
    let again = kept.call("sessions.archive", &json!({"session": id}));
    assert_eq!(again["n_sessions"], 0);
    let back = kept.call(
        "sessions.archive",
        &json!({"session": id, "archived": false}),
    );
    assert_eq!(back["session"]["archived"], false);
    assert_eq!(kept.listed(&json!({})).len(), 3);
    check_error(
        kept.host
            .call("sessions.archive", &json!({"archived": false})),
        ErrorKind::InvalidRequest,
        "archived needs session",
    );
}

#[test]
fn a_search_shows_where_the_words_stand_in_units_of_javascript() {
    let folder = Folder::new();
    let mut store = chats::open(&folder.chats());
    chats::say(&mut store, "default", None, "x", "𝄞𝄞 the Whale sings");
    drop(store);
    let host = Host::greeted(in_file(&folder.chats()));
    let found = host.call("sessions.search", &json!({"query": "whale"}));
    let found = found.unwrap();
    let snippet = &found["hits"][0]["snippet"];
    let units: Vec<u16> = snippet["text"].as_str().unwrap().encode_utf16().collect();
    let (start, end) = (&snippet["matches"][0][0], &snippet["matches"][0][1]);
    let place = |unit: &Value| usize::try_from(unit.as_u64().unwrap()).unwrap();
    let shown = String::from_utf16(&units[place(start)..place(end)]).unwrap();
    assert_eq!((shown.as_str(), place(start)), ("Whale", 9));
    assert_eq!(found["has_more"], false);
}

#[test]
fn a_search_is_for_one_user_and_bounded() {
    let kept = Kept::new();
    let count = |params: Value| {
        let found = kept.call("sessions.search", &params);
        (
            found["hits"].as_array().unwrap().len(),
            found["has_more"] == true,
        )
    };
    assert_eq!(count(json!({"query": "reply"})), (3, false));
    assert_eq!(count(json!({"query": "reply", "user": "*"})), (4, false));
    assert_eq!(count(json!({"query": "reply", "limit": 2})), (2, true));
    assert_eq!(count(json!({"query": "quiet"})), (0, false));
    assert_eq!(count(json!({"query": "\"(*) OR"})), (0, false));
    let long = "w ".repeat(2000);
    check_error(
        kept.host.call("sessions.search", &json!({"query": long})),
        ErrorKind::InvalidRequest,
        "the search text has",
    );
}

#[test]
fn wrong_params_are_named() {
    let kept = Kept::new();
    for (method, params, text) in [
        ("sessions.list", json!({"user": 5}), "user must be a string"),
        (
            "sessions.list",
            json!({"user": "nobody"}),
            "there is no user",
        ),
        (
            "sessions.list",
            json!({"limit": 0}),
            "limit must be between 1 and 500",
        ),
        (
            "sessions.list",
            json!({"limit": 501}),
            "limit must be between 1 and 500",
        ),
        (
            "sessions.list",
            json!({"limit": "x"}),
            "limit must be a whole number",
        ),
        (
            "sessions.list",
            json!({"offset": -1}),
            "offset must be a whole number",
        ),
        (
            "sessions.list",
            json!({"archived": 1}),
            "archived must be true or false",
        ),
        ("sessions.get", json!({}), "session is missing"),
        (
            "sessions.get",
            json!({"session": []}),
            "session must be a string",
        ),
        (
            "sessions.get",
            json!({"session": ""}),
            "there is no session",
        ),
        (
            "sessions.get",
            json!({"session": "a", "before_turn": "x"}),
            "before_turn must be a whole number",
        ),
        (
            "sessions.rename",
            json!({"session": "a", "title": 3}),
            "title must be a string or null",
        ),
        ("sessions.delete", json!({}), "session is missing"),
        ("sessions.merge", json!({}), "sessions is missing"),
        (
            "sessions.merge",
            json!({"sessions": "a"}),
            "sessions must be a list of strings",
        ),
        (
            "sessions.merge",
            json!({"sessions": ["a", 1]}),
            "sessions must be a list of strings",
        ),
        ("sessions.search", json!({}), "query is missing"),
        ("users.set", json!({}), "user is missing"),
        ("users.set", json!({"user": " "}), "the name is blank"),
        (
            "users.set",
            json!({"user": "x", "display": 1}),
            "display must be a string",
        ),
        (
            "telemetry.summary",
            json!({"since_ms": "today"}),
            "since_ms must be a whole number",
        ),
        ("sessions.list", json!([]), "params must be an object"),
    ] {
        check_error(
            kept.host.call(method, &params),
            ErrorKind::InvalidRequest,
            text,
        );
    }
    let name = "n".repeat(10 << 20);
    check_error(
        kept.host.call("users.set", &json!({"user": name})),
        ErrorKind::InvalidRequest,
        "the user has 10485760 bytes; at most 512 are kept",
    );
}

#[test]
fn users_are_known_by_name_and_the_current_one_is_kept() {
    let kept = Kept::new();
    let first = kept.call("users.set", &json!({"user": "Jörg"}));
    assert_eq!(first["user"]["id"], "j_rg");
    assert_eq!(first["user"]["current"], true);
    let second = kept.call("users.set", &json!({"user": "Jürg"}));
    assert_eq!(second["user"]["id"], "j_rg_2", "another name, another user");
    assert_eq!(second["user"]["display"], "Jürg");
    let again = kept.call("users.set", &json!({"user": "jörg", "display": "Jörg B."}));
    assert_eq!(again["user"]["id"], "j_rg");
    assert_eq!(again["user"]["display"], "Jörg B.");
    assert_eq!(kept.listed(&json!({})), [""; 0]);

    let users = kept.call("users.list", &json!({}));
    let shown: Vec<(&str, u64, bool)> = users["users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| {
            (
                user["display"].as_str().unwrap(),
                user["n_sessions"].as_u64().unwrap(),
                user["current"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("Jörg B.", 0, true),
            ("ada", 3, false),
            ("default", 1, false),
            ("Jürg", 0, false),
        ]
    );

    let Kept {
        host,
        _folder: folder,
        ..
    } = kept;
    drop(host);
    let host = Host::greeted(in_file(&folder.chats()));
    let users = host.call("users.list", &json!({})).unwrap();
    assert_eq!(users["users"][0]["id"], "j_rg");
}

#[test]
fn telemetry_is_summed_over_all_turns_or_the_newest() {
    let kept = Kept::new();
    let all = kept.call("telemetry.summary", &json!({}));
    assert_eq!(all["turns"], 5);
    assert_eq!(all["left_device"], 0);
    assert_eq!(
        all["finish_reasons"],
        json!([{"finish_reason": "stop", "turns": 5}])
    );
    let model = &all["models"][0];
    assert_eq!(model["model"], "tiny");
    assert_eq!(model["prompt_tokens"], 50);
    assert_eq!(model["completion_tokens"], 25);
    assert_eq!(model["tokens_per_second"], 100.0);
    assert_eq!(model["first_token_ms"], 8.0);
    let none = kept.call(
        "telemetry.summary",
        &json!({"since_ms": 4_000_000_000_000_u64}),
    );
    assert_eq!(none["turns"], 0);
    assert_eq!(none["models"], json!([]));
}

#[test]
fn chats_that_begin_at_the_same_time_never_share_a_session() {
    let folder = Folder::new();
    let host = Host::greeted(in_file(&folder.chats()));
    let calls: Vec<_> = (0..8)
        .map(|n| host.begin("handle_chat", &say(&format!("number {n}"), 3)))
        .collect();
    let mut sessions: Vec<String> = calls
        .iter()
        .map(|id| host.end_chat(id).unwrap().meta.session.unwrap().id)
        .collect();
    for (n, id) in sessions.iter().enumerate() {
        let read = host.call("sessions.get", &json!({"session": id})).unwrap();
        assert_eq!(read["turns"].as_array().unwrap().len(), 1);
        let asked = &read["turns"][0]["messages"][0]["content"];
        assert_eq!(*asked, format!("number {n}"));
    }
    sessions.sort();
    sessions.dedup();
    assert_eq!(sessions.len(), 8);
}
