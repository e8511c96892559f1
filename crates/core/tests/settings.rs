//! The user's settings, and what they and an alias's options mean for a request.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use nox_core::{ChatRequest, RuntimeConfig, Settings, settings_limits};
use serde_json::{Value, json};

fn settings(fields: &Value) -> Settings {
    Settings::from_json(fields).unwrap()
}

fn refusal(fields: &Value) -> String {
    Settings::from_json(fields).unwrap_err().to_string()
}

fn everything() -> Value {
    json!({
        "model": "big",
        "system_prompt": "You are {{NOX_NAME}}.",
        "temperature": 0.5,
        "max_tokens": 100,
        "strip_reasoning": false,
        "sanitize": true,
        "self_score": true,
        "instrument": "cloud",
        "history_turns": 8,
        "keep_chats": false,
        "warm_start_mib": 512
    })
}

#[test]
fn all_settings_are_read_and_given_back() {
    let all = settings(&everything());
    assert_eq!(Value::Object(all.fields().clone()), everything());
    assert_eq!(serde_json::to_value(all.to_wire()).unwrap(), everything());
    assert_eq!(all.model(), Some("big"));
    assert_eq!(all.system_prompt(), Some("You are {{NOX_NAME}}."));
    assert_eq!(all.instrument(), Some("cloud"));
    assert_eq!(all.history_limits().max_turns, Some(8));
    assert!(!all.keep_chats());
    assert_eq!(all.warm_start_mib(), Some(512));
    assert_eq!(
        Settings::NAMES.len(),
        everything().as_object().unwrap().len()
    );
}

#[test]
fn nothing_set_is_the_default() {
    let none = settings(&json!({"model": null, "instrument": "", "system_prompt": " \n"}));
    assert_eq!(none, Settings::default());
    assert_eq!(none.history_limits().max_turns, None);
    assert!(none.keep_chats());
    assert_eq!(serde_json::to_value(none.to_wire()).unwrap(), json!({}));
}

#[test]
fn a_change_leaves_the_rest_and_null_takes_back() {
    let before = settings(&everything());
    let after = before
        .patched(&json!({"temperature": null, "history_turns": 0, "model": " "}))
        .unwrap();
    assert_eq!(
        (after.model(), after.history_limits().max_turns),
        (None, Some(0))
    );
    assert_eq!(after.to_wire().temperature, None);
    assert_eq!(after.instrument(), Some("cloud"));
    before
        .patched(&json!({"model": "x", "temperature": "hot"}))
        .unwrap_err();
    assert_eq!(before, settings(&everything()));
}

#[test]
fn what_is_wrong_is_named() {
    for (fields, text) in [
        (json!([]), "settings must be an object"),
        (
            json!({"temprature": 1}),
            "temprature is no setting (did you mean temperature?); known: model, system_prompt, \
             temperature, max_tokens, strip_reasoning, sanitize, self_score, instrument, \
             history_turns, keep_chats, warm_start_mib",
        ),
        (json!({"model": 7}), "model must be a string"),
        (
            json!({"instrument": " big"}),
            "instrument must have no blanks at its ends and no control characters",
        ),
        (
            json!({"model": "a\nb"}),
            "model must have no blanks at its ends and no control characters",
        ),
        (
            json!({"model": "m".repeat(257)}),
            "model may hold at most 256 bytes, not 257",
        ),
        (json!({"temperature": "1"}), "temperature must be a number"),
        (
            json!({"temperature": 101}),
            "temperature must be between 0 and 100, not 101",
        ),
        (json!({"max_tokens": 1.5}), "max_tokens must be an integer"),
        (
            json!({"max_tokens": u64::MAX}),
            "max_tokens must be an integer",
        ),
        (json!({"sanitize": 1}), "sanitize must be true or false"),
        (
            json!({"warm_start_mib": 70_000}),
            "warm_start_mib must be a whole number between 0 and 65536, not 70000",
        ),
        (
            json!({"warm_start_mib": true}),
            "warm_start_mib must be an integer",
        ),
        (
            json!({"keep_chats": "yes"}),
            "keep_chats must be true or false",
        ),
        (
            json!({"history_turns": true}),
            "history_turns must be an integer",
        ),
        (
            json!({"history_turns": -1}),
            "history_turns must be a whole number between 0 and 10000, not -1",
        ),
        (
            json!({"history_turns": 10_001}),
            "history_turns must be a whole number between 0 and 10000, not 10001",
        ),
        (
            json!({"system_prompt": "{{NOX_NAME}} {{NOPE}} {{NOX_NAM}}"}),
            "system_prompt has placeholders that stand for nothing: NOPE, NOX_NAM",
        ),
    ] {
        assert_eq!(refusal(&fields), text);
    }
}

#[test]
fn a_system_prompt_is_kept_up_to_its_cap() {
    let limit = settings_limits::MAX_SYSTEM_PROMPT_BYTES;
    settings(&json!({"system_prompt": "p".repeat(limit)}));
    assert_eq!(
        refusal(&json!({"system_prompt": "p".repeat(limit + 1)})),
        "system_prompt may hold at most 65536 bytes, not 65537"
    );
}

#[test]
fn of_stored_settings_the_sound_ones_are_used() {
    let stored = json!({"temperature": 3, "max_tokens": "x", "of_a_newer_version": 1});
    let fields = stored.as_object().unwrap();
    let stored = fields.iter().map(|(name, value)| (name.as_str(), value));
    let (read, errors) = Settings::from_stored(stored);
    assert_eq!(read, settings(&json!({"temperature": 3})));
    assert_eq!(errors.len(), 2, "{errors:?}");
}

fn config() -> RuntimeConfig {
    RuntimeConfig::from_json(&json!({
        "version": 1,
        "backends": {"local": {"kind": "local"}},
        "aliases": {
            "nox": {"routes": [{"backend": "local"}]},
            "big": {
                "routes": [{"backend": "local", "model": "m"}],
                "options": {"temperature": 0.25, "top_k": 7, "sanitize": false}
            }
        }
    }))
    .unwrap()
}

fn request(params: &Value, settings: &Value) -> ChatRequest {
    let mut params = params.clone();
    params["messages"] = json!([{"role": "user", "content": "q"}]);
    let settings = Settings::from_json(settings).unwrap();
    ChatRequest::parse_with(&params, &settings, &config()).unwrap()
}

#[test]
fn a_call_goes_before_its_alias_and_that_before_the_settings() {
    let set = json!({"temperature": 1.5, "max_tokens": 9, "sanitize": true, "self_score": true});
    let own = request(&json!({"model": "big", "temperature": 0.5}), &set);
    assert_eq!(own.temperature, 0.5);
    assert_eq!((own.sampling.top_k, own.max_tokens), (7, 9));
    assert!(!own.sanitize && own.self_score && own.strip_reasoning);
    let alias = request(&json!({"model": "big", "temperature": null}), &set);
    assert_eq!(alias.temperature, 0.25);
    assert_eq!(alias.sampling.temperature, 0.25);
    let user = request(&json!({}), &set);
    assert_eq!((user.temperature, user.sampling.top_k), (1.5, 40));
    assert!(user.sanitize);
    assert_eq!(request(&json!({}), &json!({})).temperature, 0.7);
}

#[test]
fn the_model_that_is_set_brings_its_aliass_options() {
    for params in [json!({}), json!({"model": null}), json!({"model": ""})] {
        let request = request(&params, &json!({"model": "big", "temperature": 1.5}));
        assert_eq!((request.model.as_str(), request.temperature), ("big", 0.25));
    }
    let own = request(&json!({"model": "nox"}), &json!({"model": "big"}));
    assert_eq!((own.model.as_str(), own.temperature), ("nox", 0.7));
}
