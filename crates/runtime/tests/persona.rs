//! `persona.*` and `config.*`: what the user sets, kept in the database.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use std::rc::Rc;

use common::faults::FaultyStore;
use common::gguf::TinyModel;
use common::{Folder, Host, Setup, check_error, in_file};
use futures::channel::oneshot;
use nox_core::PersonaEnvironment;
use nox_protocol::ErrorKind;
use nox_runtime::{ModelId, ModelStore};
use serde_json::{Value, json};

#[test]
fn the_persona_of_the_default_alias_is_told_with_the_scales() {
    let host = Host::greeted(Setup::default());
    let told = host.call("persona.get", &json!({})).unwrap();
    assert_eq!(told["persona"]["scale"], "nox");
    assert_eq!(told["persona"], told["builtin"]);
    assert_eq!(told["overrides"], json!({"global": {}, "scales": {}}));
    let scales: Vec<&str> = told["scales"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s.as_str().unwrap())
        .collect();
    for scale in ["nox", "nano", "micro", "milli", "centi", "prime"] {
        assert!(scales.contains(&scale), "{scales:?}");
        let one = host.call("persona.get", &json!({"scale": scale})).unwrap();
        assert_eq!(one["persona"]["scale"], scale);
    }
    check_error(
        host.call("persona.get", &json!({"scale": "nanno"})),
        ErrorKind::InvalidRequest,
        "scale names nothing that there is: \"nanno\"; known: nano, micro",
    );
}

#[test]
fn fields_are_set_for_a_scale_or_for_all_and_kept() {
    let folder = Folder::new();
    let host = Host::greeted(in_file(&folder.chats()));
    let set = host
        .call(
            "persona.set",
            &json!({"fields": {"name": "Whale", "strengths": "swims | sings"}}),
        )
        .unwrap();
    assert_eq!(set["persona"]["central_name"], "Whale");
    assert_eq!(set["persona"]["strengths"], json!(["swims", "sings"]));
    assert_ne!(set["builtin"]["central_name"], "Whale");
    let everyone = json!({"scale": null, "fields": {"tagline": "All the same."}});
    host.call("persona.set", &everyone).unwrap();
    host.call(
        "persona.set",
        &json!({"scale": "Nano", "fields": {"name": "Krill"}}),
    )
    .unwrap();
    drop(host);

    let host = Host::greeted(in_file(&folder.chats()));
    let nox = host.call("persona.get", &json!({})).unwrap();
    assert_eq!(nox["persona"]["central_name"], "Whale");
    assert_eq!(nox["persona"]["tagline"], "All the same.");
    let nano = host.call("persona.get", &json!({"scale": "nano"})).unwrap();
    assert_eq!(nano["persona"]["central_name"], "Krill");
    assert_eq!(nano["persona"]["tagline"], "All the same.");
    assert_eq!(
        nano["overrides"]["scales"]["nox"]["strengths"],
        json!(["swims", "sings"])
    );

    // Null takes a field back, and so does reset.
    let set = json!({"fields": {"name": null}});
    let nox = host.call("persona.set", &set).unwrap();
    assert_eq!(
        nox["persona"]["central_name"],
        nox["builtin"]["central_name"]
    );
    let reset = json!({"scale": "nano", "field": "name"});
    let nano = host.call("persona.reset", &reset).unwrap();
    assert_eq!(
        nano["persona"]["central_name"],
        nano["builtin"]["central_name"]
    );
    assert_eq!(nano["persona"]["tagline"], "All the same.");
    let nox = host
        .call("persona.reset", &json!({"field": "tagline"}))
        .unwrap();
    assert_eq!(nox["overrides"]["global"], json!({}));
    assert_ne!(nox["overrides"]["scales"], json!({}));
    let nox = host.call("persona.reset", &json!({})).unwrap();
    assert_eq!(nox["overrides"], json!({"global": {}, "scales": {}}));
}

#[test]
fn a_document_takes_the_place_of_everything_set_before() {
    let host = Host::greeted(Setup::default());
    host.call("persona.set", &json!({"fields": {"name": "Gone"}}))
        .unwrap();
    let document = json!({
        "global": {"tagline": "hello"},
        "scales": {"nox": {"motto": "no", "colour": "blue"}, "nanno": {"name": "x"}, "global": {"name": "y"}},
    });
    let set = host
        .call("persona.set", &json!({"overrides": document}))
        .unwrap();
    assert_eq!(set["persona"]["tagline"], "no");
    assert_eq!(
        set["persona"]["central_name"],
        set["builtin"]["central_name"]
    );
    let notices = set["notices"].to_string();
    for text in [
        "scales.nox.colour",
        "nanno has no effect",
        "global has no effect",
    ] {
        assert!(notices.contains(text), "{text}: {notices}");
    }
    let as_text = json!({"overrides": "{\"nox\": {\"name\": \"Text\"}}"});
    let set = host.call("persona.set", &as_text).unwrap();
    assert_eq!(set["persona"]["central_name"], "Text");
}

#[test]
fn a_wrong_override_is_named_and_changes_nothing() {
    let host = Host::greeted(Setup::default());
    host.call("persona.set", &json!({"fields": {"name": "Whale"}}))
        .unwrap();
    let long = "x".repeat(5000);
    for (params, text) in [
        (json!({}), "give either fields or overrides"),
        (
            json!({"fields": {}, "overrides": {}}),
            "give either fields or overrides",
        ),
        (json!({"fields": []}), "fields must be an object"),
        (
            json!({"fields": {"nmae": "x"}}),
            "nmae is no field of a persona",
        ),
        (
            json!({"fields": {"tagline": "new", "name": {}}}),
            "central_name must be",
        ),
        (
            json!({"fields": {"name": long}}),
            "at most 4096 bytes, not 5000",
        ),
        (
            json!({"scale": "whale", "fields": {}}),
            "scale names nothing",
        ),
        (
            json!({"scale": 3, "fields": {}}),
            "scale must be a string or null",
        ),
        (json!({"overrides": 5}), "overrides must be an object"),
        (json!({"overrides": "{\n \"nox\": {,}}"}), "line 2 column"),
        (
            json!({"overrides": {"scales": {"nox": {"name": {}}}}}),
            "scales.nox.name must be",
        ),
    ] {
        check_error(
            host.call("persona.set", &params),
            ErrorKind::InvalidRequest,
            text,
        );
    }
    check_error(
        host.call("persona.reset", &json!({"field": "colour"})),
        ErrorKind::InvalidRequest,
        "colour is no field",
    );
    let kept = host.call("persona.get", &json!({})).unwrap();
    assert_eq!(
        kept["overrides"],
        json!({"global": {}, "scales": {"nox": {"central_name": "Whale"}}})
    );
}

#[test]
fn the_environment_goes_over_what_the_user_sets() {
    let vars = [("NOX_PERSONA_NAME", "Env"), ("NOX_SCALE", "nano")];
    let host = Host::greeted(Setup {
        persona_environment: PersonaEnvironment::from_vars(vars).unwrap(),
        ..Setup::default()
    });
    let set = host
        .call("persona.set", &json!({"fields": {"name": "Mine"}}))
        .unwrap();
    assert_eq!(set["persona"]["scale"], "nano");
    assert_eq!(set["persona"]["central_name"], "Env");
    assert!(set["notices"][0].as_str().unwrap().contains("environment"));
}

#[test]
fn settings_are_checked_changed_and_kept() {
    let folder = Folder::new();
    let host = Host::greeted(in_file(&folder.chats()));
    let config = host.call("config.get", &json!({})).unwrap();
    assert_eq!(config["settings"], json!({}));
    assert_eq!(config["is_runtime_custom"], false);
    assert_eq!(config["aliases"], json!(["nox"]));
    assert_eq!(config["runtime"]["version"], 1);
    let changes = json!({"settings": {"temperature": 0.2, "sanitize": true, "instrument": "nox"}});
    let config = host.call("config.set", &changes).unwrap();
    assert_eq!(config["settings"], changes["settings"]);
    let changes = json!({"settings": {"sanitize": null, "history_turns": 4}});
    host.call("config.set", &changes).unwrap();
    drop(host);
    let host = Host::greeted(in_file(&folder.chats()));
    let config = host.call("config.get", &json!({})).unwrap();
    assert_eq!(
        config["settings"],
        json!({"temperature": 0.2, "instrument": "nox", "history_turns": 4})
    );
}

#[test]
fn a_change_that_waits_does_not_undo_one_made_meanwhile() {
    let store = Rc::new(FaultyStore::default());
    let plan = Rc::clone(&store.plan);
    let inner = store.inner.clone();
    let host = Host::greeted(Setup {
        store,
        ..Setup::default()
    });
    host.model_ids();
    // Another tab imports a model, so its name is looked up in the storage.
    futures::executor::block_on(async {
        let id = ModelId::parse("newest").unwrap();
        let mut writer = inner.create(&id).await.unwrap();
        let model = TinyModel::default().bytes();
        writer.write(&model).await.unwrap();
        writer.publish().await.unwrap();
    });
    let (go_on, gate) = oneshot::channel();
    plan.list_waits_for.replace(Some(gate));
    let slow = host.begin("config.set", &json!({"settings": {"model": "newest"}}));
    host.run_until(|_| plan.list_waits_for.borrow().is_none());
    host.call("config.set", &json!({"settings": {"sanitize": true}}))
        .unwrap();
    assert!(!host.has_ended(&slow));
    go_on.send(()).unwrap();
    let config = host.end(&slow).unwrap();
    assert_eq!(
        config["settings"],
        json!({"model": "newest", "sanitize": true})
    );
}

#[test]
fn a_wrong_setting_is_named_and_changes_nothing() {
    let host = Host::greeted(Setup::default());
    for (params, text) in [
        (json!({"settings": 5}), "settings must be an object"),
        (json!({"settings": {"temperatur": 1}}), "temperature"),
        (json!({"settings": {"temperature": "hot"}}), "temperature"),
        (json!({"settings": {"temperature": -1}}), "temperature"),
        (json!({"settings": {"sanitize": 1}}), "sanitize"),
        (json!({"settings": {"history_turns": -1}}), "history_turns"),
        (
            json!({"settings": {"system_prompt": "I am {{NOX_NMAE}}"}}),
            "NOX_NMAE",
        ),
        (
            json!({"settings": {"keep_chats": false, "instrument": "oracle"}}),
            "instrument names nothing that there is: \"oracle\"; known: nox",
        ),
    ] {
        check_error(
            host.call("config.set", &params),
            ErrorKind::InvalidRequest,
            text,
        );
    }
    check_error(
        host.call("config.set", &json!({"settings": {"model": "gpt-0"}})),
        ErrorKind::UnknownModel,
        "gpt-0",
    );
    let config = host.call("config.get", &json!({})).unwrap();
    assert_eq!(config["settings"], json!({}));
    let set = host.call("config.set", &json!({"settings": {"model": "nox-builtin"}}));
    assert_eq!(set.unwrap()["settings"]["model"], "nox-builtin");
}

fn routing() -> Value {
    json!({
        "version": 1,
        "backends": {"local": {"kind": "local"}, "desk": {"kind": "ollama"}},
        "aliases": {
            "nox": {"routes": [{"backend": "local"}], "persona": "nano"},
            "big": {"routes": [{"backend": "desk", "model": "qwen3:8b"}]},
        },
    })
}

#[test]
fn a_routing_configuration_is_taken_whole_or_refused_with_the_field() {
    let folder = Folder::new();
    let host = Host::greeted(in_file(&folder.chats()));
    let set = host
        .call(
            "config.set",
            &json!({"runtime": routing(), "settings": {"instrument": "big"}}),
        )
        .unwrap();
    assert_eq!(set["is_runtime_custom"], true);
    assert_eq!(set["runtime"], routing());
    assert_eq!(set["aliases"], json!(["nox", "big"]));
    assert_eq!(set["settings"]["instrument"], "big");
    let persona = host.call("persona.get", &json!({})).unwrap();
    assert_eq!(persona["persona"]["scale"], "nano", "as its alias says");

    let mut wrong = routing();
    wrong["aliases"]["big"]["routes"][0]["backend"] = json!("desc");
    for (runtime, text) in [
        (wrong, "aliases.big.routes[0].backend"),
        (json!({"version": 2}), "version must be 1, not 2"),
        (json!("{\"version\": 1,"), "line 1 column"),
        (json!(5), "runtime must be an object"),
    ] {
        let params = json!({"runtime": runtime, "settings": {"instrument": null}});
        check_error(
            host.call("config.set", &params),
            ErrorKind::InvalidRequest,
            text,
        );
    }
    drop(host);
    let host = Host::greeted(in_file(&folder.chats()));
    let kept = host.call("config.get", &json!({})).unwrap();
    assert_eq!(kept["runtime"], routing());
    assert_eq!(kept["settings"]["instrument"], "big");
    let back = host.call("config.set", &json!({"runtime": null})).unwrap();
    assert_eq!(back["is_runtime_custom"], false);
    assert_eq!(back["aliases"], json!(["nox"]));
}

#[test]
fn what_another_version_stored_is_left_out_and_told() {
    let folder = Folder::new();
    let mut store = common::chats::open(&folder.chats());
    store
        .set_settings(&[
            ("settings", Some(r#"{"temperature": 0.5, "mood": "good"}"#)),
            ("runtime", Some(r#"{"version": 1, "backends": {}}"#)),
        ])
        .unwrap();
    store.set_persona_override("nox", Some("[]")).unwrap();
    drop(store);
    let host = Host::greeted(in_file(&folder.chats()));
    let config = host.call("config.get", &json!({})).unwrap();
    assert_eq!(config["settings"], json!({"temperature": 0.5}));
    assert_eq!(config["is_runtime_custom"], false);
    let status = host.call("status", &json!({})).unwrap();
    let warning = status["chats"]["warning"].as_str().unwrap();
    assert!(
        warning.contains("mood") && warning.contains("routing"),
        "{warning}"
    );
    host.call("persona.get", &json!({})).unwrap();
}
