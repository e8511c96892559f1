//! Aliases, fallback, and what has no route.

use nox_protocol::ErrorKind;
use serde_json::json;

use crate::common::check_error;
use crate::scripted::{Desk, Step, asking, say, session_of};

#[test]
fn a_route_that_fails_is_followed_by_the_next_and_meta_says_why() {
    for (sent, left_device) in [(false, false), (true, true)] {
        let desk = Desk::new();
        desk.cloud_script(&[vec![Step::Fail { sent }]]);
        let result = desk.ask("hi", &json!({"model": "either"}));
        let route = &result.meta.route;
        assert_eq!(
            (route.alias.as_str(), route.backend.as_str()),
            ("either", "local")
        );
        assert_eq!(route.left_device, left_device);
        assert_eq!(route.fallback_from.len(), 1);
        assert_eq!(route.fallback_from[0].backend, "openai");
        assert_eq!(route.fallback_from[0].reason, "cloud: come back later");
        let kept = desk.session(&session_of(&result));
        let telemetry = &kept["turns"][0]["telemetry"];
        assert_eq!(telemetry["n_fallbacks"], 1);
        assert_eq!(telemetry["left_device"], left_device);
    }
}

#[test]
fn an_answer_from_elsewhere_says_so() {
    let desk = Desk::new();
    desk.cloud_script(&[say("From afar.")]);
    let result = desk.ask("hi", &json!({"model": "big"}));
    assert!(result.meta.route.left_device);
    assert_eq!(
        result.meta.target.url.as_deref(),
        Some("https://api.openai.com/v1")
    );
    assert!(result.meta.target.has_api_key);
    assert_eq!(result.meta.target.max_tokens, 77);
}

#[test]
fn when_every_route_fails_the_error_names_them() {
    let desk = Desk::new();
    desk.cloud_script(&[vec![Step::Fail { sent: false }]]);
    desk.script(&[vec![Step::Fail { sent: false }]]);
    check_error(
        desk.chat(&asking("hi", &json!({"model": "either"}))),
        ErrorKind::RateLimited,
        "come back later; before that openai failed (cloud: come back later)",
    );
}

#[test]
fn a_model_that_is_installed_is_answered_by_the_engine() {
    let desk = Desk::new();
    let params = json!({"model": "nox-builtin", "max_tokens": 4, "temperature": 0});
    let meta = desk.ask("hi", &params).meta;
    assert_eq!(
        (meta.route.backend.as_str(), meta.route.model.as_str()),
        ("local", "nox-builtin")
    );
    assert!(meta.lane.is_some() && desk.local.asked.borrow().is_empty());
    check_error(
        desk.chat(&asking("hi", &json!({"model": "nowhere"}))),
        ErrorKind::UnknownModel,
        "installed: nox-builtin",
    );
}

#[test]
fn a_backend_that_the_host_lacks_is_told() {
    let desk = Desk::new();
    let config = json!({
        "version": 1,
        "backends": {"desk": {"kind": "ollama"}, "local": {"kind": "local"}},
        "aliases": {
            "nox": {"routes": [{"backend": "local"}]},
            "desk": {"routes": [{"backend": "desk", "model": "m"}]}
        }
    });
    desk.set(&json!({ "runtime": config }));
    check_error(
        desk.chat(&asking("hi", &json!({"model": "desk"}))),
        ErrorKind::Upstream,
        "the backend desk is not available on this host",
    );
    assert_eq!(desk.n_sessions(), 0);
}
