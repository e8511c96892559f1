//! A call's params, its alias's options, the user's settings, the persona.

use serde_json::json;

use crate::common::has_notification;
use crate::scripted::{Desk, Step, session_of};

#[test]
fn a_call_goes_before_its_alias_and_that_before_the_settings() {
    let desk = Desk::new();
    desk.set(&json!({"settings": {"temperature": 0.875, "max_tokens": 9, "model": "poet"}}));
    let target = |params: &serde_json::Value| desk.ask("hi", params).meta.target;
    let own = target(&json!({"temperature": 0.125}));
    assert_eq!(
        (own.model.as_str(), own.temperature, own.max_tokens),
        ("poet", 0.125, 9)
    );
    let alias = target(&json!({}));
    assert_eq!((alias.model.as_str(), alias.temperature), ("poet", 1.5));
    let user = target(&json!({"model": "nox"}));
    assert_eq!((user.model.as_str(), user.temperature), ("nox", 0.875));
    let asked = desk.local.asked.borrow();
    let temperatures: Vec<f32> = asked.iter().map(|it| it.sampling.temperature).collect();
    assert_eq!(temperatures, [0.125, 1.5, 0.875]);
    assert!(asked.iter().all(|it| it.max_tokens == Some(9)));
}

#[test]
fn the_alias_brings_its_persona_and_the_users_changes_show() {
    let desk = Desk::new();
    let poet = desk.ask("hi", &json!({"model": "poet"})).meta.target;
    assert_eq!(poet.central_scale, "prime");
    let name = json!({"scale": "nox", "fields": {"name": "ada"}});
    desk.host.call("persona.set", &name).unwrap();
    let nox = desk.ask("hi", &json!({})).meta.target;
    assert_eq!(
        (nox.central_name.as_str(), nox.central_scale.as_str()),
        ("ada", "nox")
    );
    assert!(desk.local.last_asked()[0].starts_with("You are Ada, "));
    desk.set(&json!({"settings": {"system_prompt": "I am {{NOX_NAME}}."}}));
    desk.ask("hi", &json!({}));
    assert_eq!(desk.local.last_asked()[0], "I am ada.");
}

#[test]
fn settings_hold_after_a_restart() {
    let desk = Desk::new();
    desk.set(&json!({"settings": {"temperature": 0.375}}));
    let desk = desk.restart();
    let result = desk.ask("hi", &json!({}));
    assert_eq!(result.meta.target.temperature, 0.375);
    assert_eq!(desk.session(&session_of(&result))["session"]["turns"], 1);
}

#[test]
fn a_call_that_waited_goes_by_what_is_set_when_its_turn_comes() {
    let desk = Desk::new();
    let id = session_of(&desk.ask("zero", &json!({})));
    desk.script(&[vec![Step::Say("a".to_owned()), Step::Hang]]);
    let params = json!({"session": id, "stream": true});
    let first = desk.begin("one", &params);
    let second = desk.begin("I am me@example.com", &params);
    desk.host
        .run_until(|frames| has_notification(frames, &second, "chat.progress", "queued"));
    desk.set(&json!({"settings": {"sanitize": true, "system_prompt": "Be brief."}}));
    desk.host.cancel(&first);
    let result = desk.host.end_chat(&second).unwrap();
    assert!(result.meta.target.sanitize);
    let asked = desk.local.last_asked();
    assert_eq!(asked[0], "Be brief.");
    assert_eq!(asked.last().unwrap(), "I am [REDACTED:EMAIL]");
    let kept = desk.session(&id);
    assert!(!kept.to_string().contains("me@example.com"));
}
