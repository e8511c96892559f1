//! `command` and `commands.list`: slash commands through the frames of a host.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use common::{Folder, Host, Setup, chats, check_error, in_file};
use nox_protocol::ErrorKind;
use nox_store::SessionId;
use serde_json::{Value, json};

struct Typed {
    host: Host,
    ids: Vec<SessionId>,
    _folder: Folder,
}

impl Typed {
    /// A user with three chats; the newest is the one that is going on.
    fn new() -> Self {
        let folder = Folder::new();
        let mut store = chats::open(&folder.chats());
        let ids = ["one", "two", "three"]
            .map(|asked| chats::say(&mut store, "default", None, asked, "a reply"));
        drop(store);
        Self {
            host: Host::greeted(in_file(&folder.chats())),
            ids: ids.to_vec(),
            _folder: folder,
        }
    }

    fn run(&self, line: &str) -> Value {
        let params = json!({"line": line, "session": self.ids[2].as_str()});
        self.host.call("command", &params).unwrap()
    }

    fn text(&self, line: &str) -> String {
        let done = self.run(line);
        assert_eq!(done["is_error"], false, "{line}: {done}");
        done["text"].as_str().unwrap().to_owned()
    }

    /// What a refused line is answered with.
    fn refusal(&self, line: &str) -> String {
        let done = self.run(line);
        assert_eq!(done["is_error"], true, "{line}: {done}");
        assert_eq!(done["effect"], Value::Null);
        done["text"].as_str().unwrap().to_owned()
    }
}

#[test]
fn the_catalogue_of_commands_is_told() {
    let host = Host::greeted(Setup::default());
    let list = host.call("commands.list", &json!({})).unwrap();
    let commands = list["commands"].as_array().unwrap();
    let names: Vec<&str> = commands
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    for name in [
        "/help",
        "/config",
        "/models",
        "/reset",
        "/title",
        "/sessions",
        "/show",
        "/load",
        "/rename",
        "/merge",
        "/archive",
        "/search",
        "/export",
        "/persona",
        "/iam",
        "/instrument",
        "/model",
        "/exit",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    let models = commands.iter().find(|it| it["name"] == "/models").unwrap();
    assert_eq!(models["aliases"], json!(["/list-models"]));
}

#[test]
fn help_reset_and_exit_answer_by_themselves() {
    let typed = Typed::new();
    let help = typed.text("/help");
    assert!(help.contains("/rename CHAT TITLE"), "{help}");
    assert_eq!(typed.run("/exit")["effect"]["kind"], "exit");
    let reset = typed.run("/RESET now");
    assert_eq!(reset["effect"]["kind"], "reset");
    assert_eq!(reset["text"], "Context reset.\n");
}

#[test]
fn a_line_that_is_no_command_or_a_wrong_one_is_answered_in_words() {
    let typed = Typed::new();
    for (line, text) in [
        ("/noSuch thing", "Unknown command: /noSuch"),
        ("hello there", "Unknown command: hello there"),
        ("", "Unknown command"),
        ("/rename", "Say which chat"),
        ("/show nobody", "There is no chat nobody"),
        ("/load \"open", "A quote is not closed"),
        ("/merge 1", "Name at least two chats"),
        ("/merge 1 1", "Name at least two chats"),
        ("/merge 1 2 99", "There is no chat 99"),
        ("/persona colour blue", "colour is no field"),
        ("/instrument oracle", "known: nox"),
        ("/model gpt-0", "gpt-0"),
    ] {
        let refusal = typed.refusal(line);
        assert!(refusal.contains(text), "{line}: {refusal}");
    }
    let line = format!("/title {}", "x".repeat(10 << 20));
    let refusal = typed.refusal(&line);
    assert!(refusal.contains("at most 1024 bytes"), "{refusal}");
    assert!(refusal.len() < 500);
    for (params, text) in [
        (json!({}), "line is missing"),
        (json!({"line": 5}), "line must be a string"),
        (
            json!({"line": "/title", "session": 5}),
            "session must be a string",
        ),
    ] {
        check_error(
            typed.host.call("command", &params),
            ErrorKind::InvalidRequest,
            text,
        );
    }
}

#[test]
fn config_and_models_read_as_they_always_did() {
    let typed = Typed::new();
    typed.run("/persona name Whale");
    let config = typed.text("/config");
    for line in [
        "Runtime configuration:\n",
        "  url: None\n",
        "  model: nox\n",
        "  target_model: nox-builtin\n",
        "  central_name: Whale\n",
        "  central_scale: nox\n",
        "  temperature: 0.7\n",
        "  max_tokens: -1\n",
        "  stream: False\n",
        "  sanitize: False\n",
    ] {
        assert!(config.contains(line), "{line:?} is not in {config}");
    }
    let models = typed.text("/models");
    assert_eq!(models, "Model aliases:\n  nox          installed\n");
    assert_eq!(typed.text("/list-models"), models);

    let host = Host::greeted(Setup {
        builtin: None,
        ..Setup::default()
    });
    let models = host.call("command", &json!({"line": "/models"})).unwrap();
    assert!(
        models["text"].as_str().unwrap().contains("missing"),
        "{models}"
    );
}

#[test]
fn the_chats_are_listed_with_numbers_that_name_them() {
    let typed = Typed::new();
    let list = typed.text("/sessions");
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[0].starts_with("* 1  ") && lines[1].starts_with("  2  "),
        "{list}"
    );
    assert!(lines[0].contains("1 turn, 2025-01-02"), "{list}");
    let loaded = typed.run("/load 3");
    assert_eq!(loaded["effect"]["kind"], "open_session");
    assert_eq!(loaded["effect"]["session"]["id"], typed.ids[0].as_str());
    let newest = typed.run("/load");
    assert_eq!(newest["effect"]["session"]["id"], typed.ids[2].as_str());
    let shown = typed.text("/show 2");
    assert!(
        shown.contains("you:\ntwo\n") && shown.contains("nox:\na reply\n"),
        "{shown}"
    );
    assert!(typed.text("/show").contains("three"));
    assert!(typed.text("/last").contains("three"));
    let found = typed.text("/search two");
    assert!(found.contains("two"), "{found}");
    assert!(typed.text("/search whale").contains("Nothing was found"));
}

#[test]
fn a_title_is_told_set_and_given_to_any_chat() {
    let typed = Typed::new();
    assert!(typed.text("/title").contains("no title yet"));
    let titled = typed.run("/title \"Deep water\"");
    assert_eq!(titled["effect"]["kind"], "sessions_changed");
    assert_eq!(titled["effect"]["session"]["title"], "Deep water");
    assert_eq!(
        typed.text("/title"),
        "This chat is called \"Deep water\".\n"
    );
    let renamed = typed.run("/rename 3 Old things");
    assert_eq!(renamed["effect"]["session"]["id"], typed.ids[0].as_str());
    // Renamed, it is the one that changed last.
    assert!(
        typed
            .text("/sessions")
            .lines()
            .next()
            .unwrap()
            .contains("Old things")
    );
    let nothing_is_going_on = json!({"line": "/title New"});
    let refused = typed.host.call("command", &nothing_is_going_on).unwrap();
    assert_eq!(refused["is_error"], true);
    assert!(refused["text"].as_str().unwrap().contains("going on"));
}

#[test]
fn chats_are_merged_archived_and_exported() {
    let typed = Typed::new();
    let merged = typed.run("/merge 2 3");
    assert_eq!(merged["effect"]["session"]["kind"], "merged");
    assert!(
        merged["text"]
            .as_str()
            .unwrap()
            .starts_with("2 chats are one now")
    );
    let exported = typed.run("/export");
    assert_eq!(exported["effect"]["kind"], "file");
    assert_eq!(exported["effect"]["file"]["n_sessions"], 1);
    assert!(exported["effect"]["file"]["data_base64"].is_string());
    assert_eq!(typed.run("/export all")["effect"]["file"]["n_sessions"], 4);
    let archived = typed.run("/archive");
    assert_eq!(archived["text"], "Archived 3 chats.\n");
    assert_eq!(archived["effect"]["session"]["kind"], "archive");
    let nothing = typed.run("/archive");
    assert_eq!(nothing["text"], "There is nothing to archive.\n");
    assert_eq!(nothing["effect"], Value::Null);
}

#[test]
fn the_persona_the_user_and_the_settings_are_changed() {
    let typed = Typed::new();
    let changed = typed.run("/persona tagline Sings at night.");
    assert_eq!(changed["effect"]["kind"], "persona_changed");
    assert!(typed.text("/persona").contains("Sings at night."));
    typed.run("/persona reset tagline");
    assert!(!typed.text("/persona").contains("Sings at night."));

    assert_eq!(typed.text("/iam"), "These are the chats of default.\n");
    let named = typed.run("/iam Ada Example");
    assert_eq!(
        named["effect"],
        json!({"kind": "user_changed", "user": "ada_example"})
    );
    assert_eq!(typed.run("/iam ada example")["effect"], Value::Null);
    assert!(typed.text("/sessions").contains("no chats yet"));

    assert_eq!(typed.text("/model"), "nox answers.\n");
    let model = typed.run("/model nox-builtin");
    assert_eq!(model["effect"]["settings"]["model"], "nox-builtin");
    assert_eq!(typed.text("/model"), "nox-builtin answers.\n");
    let allowed = typed.run("/instrument nox");
    assert_eq!(allowed["effect"]["settings"]["instrument"], "nox");
    let none = typed.run("/instrument");
    assert_eq!(none["text"], "No instrument may be asked.\n");
    assert_eq!(none["effect"]["settings"]["instrument"], Value::Null);
}
