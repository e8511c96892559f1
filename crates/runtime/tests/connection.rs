//! Frames: what a connection accepts, refuses and carries.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use common::{Host, Setup, check_error, hello_params, say};
use nox_protocol::{ErrorKind, Id, ResponseOutcome, RuntimeFrame};
use serde_json::{Value, json};

/// Sends a frame and returns the id and error of the one answer.
fn refusal(host: &Host, frame: &Value) -> (Option<Id>, nox_protocol::RpcError) {
    let n_before = host.frames().len();
    host.send_frame(frame);
    let frames = host.frames();
    assert_eq!(frames.len(), n_before + 1, "{frame}");
    match frames.last() {
        Some(RuntimeFrame::Response(response)) => match &response.outcome {
            ResponseOutcome::Error(error) => (response.id.clone(), error.clone()),
            ResponseOutcome::Result(result) => panic!("{frame} gave {result}"),
        },
        other => panic!("{frame} gave {other:?}"),
    }
}

#[test]
fn malformed_frames_get_one_error_each() {
    let host = Host::greeted(Setup::default());
    for (frame, id, text) in [
        (json!(5), None, "a frame must be an object"),
        (json!(null), None, "a frame must be an object"),
        (json!([]), None, "batches are not supported"),
        (json!({}), None, "jsonrpc must be \"2.0\""),
        (
            json!({"jsonrpc": "1.0", "id": 7, "method": "status"}),
            Some(Id::Number(7)),
            "jsonrpc",
        ),
        (
            json!({"jsonrpc": 2, "id": "a", "method": "status"}),
            Some(Id::Text("a".into())),
            "jsonrpc",
        ),
        (
            json!({"jsonrpc": "2.0", "id": 7}),
            Some(Id::Number(7)),
            "method must be a string",
        ),
        (
            json!({"jsonrpc": "2.0", "id": 7, "method": 1}),
            Some(Id::Number(7)),
            "method",
        ),
        (
            json!({"jsonrpc": "2.0", "id": null, "method": "status"}),
            None,
            "id must be",
        ),
        (
            json!({"jsonrpc": "2.0", "id": 1.5, "method": "status"}),
            None,
            "id must be",
        ),
        (
            json!({"jsonrpc": "2.0", "id": [1], "method": "status"}),
            None,
            "id must be",
        ),
    ] {
        let (found, error) = refusal(&host, &frame);
        assert_eq!(found, id, "{frame}");
        check_error::<()>(Err(error), ErrorKind::InvalidRequest, text);
    }
    // The connection still works.
    host.call("status", &json!({})).unwrap();
}

#[test]
fn text_that_is_not_json_gets_an_error() {
    let host = Host::greeted(Setup::default());
    for text in ["", "{", "{\"jsonrpc\": \"2.0\", \"id\": NaN}", "\"\u{0}\""] {
        let n_before = host.frames().len();
        host.send_text(text);
        assert_eq!(host.frames().len(), n_before + 1, "{text:?}");
    }
    host.send_text(r#"{"jsonrpc": "2.0", "id": "t", "method": "status"}"#);
    assert!(host.end(&Id::Text("t".into())).is_ok());
}

#[test]
fn nothing_works_before_hello() {
    let host = Host::new(Setup::default());
    for method in ["status", "handle_chat", "models.list", "no.such"] {
        let frame = json!({"jsonrpc": "2.0", "id": 1, "method": method});
        let (_, error) = refusal(&host, &frame);
        check_error::<()>(Err(error), ErrorKind::InvalidRequest, "send hello before");
    }
    host.call("hello", &hello_params()).unwrap();
    host.call("status", &json!({})).unwrap();
}

#[test]
fn hello_tells_what_the_runtime_is() {
    let host = Host::new(Setup::default());
    let hello = host.call("hello", &hello_params()).unwrap();
    assert_eq!(hello["protocol"], 1);
    assert_eq!(hello["instance"], host.runtime.instance());
    assert_eq!(hello["build"]["name"], "native");
    assert_eq!(hello["storage"]["kind"], "memory");
    assert_eq!(hello["lanes"][0]["kind"], "native");
    assert_eq!(hello["models"][0]["id"], "nox-builtin");
    assert_eq!(hello["models"][0]["builtin"], true);
}

#[test]
fn hello_negotiates_the_version_and_can_be_repeated() {
    let host = Host::new(Setup::default());
    let hello = |protocol: Value| {
        let mut params = hello_params();
        params["protocol"] = protocol;
        host.call("hello", &params)
    };
    assert_eq!(hello(json!([1, 9])).unwrap()["protocol"], 1);
    assert_eq!(hello(json!([0, 1])).unwrap()["protocol"], 1);
    let error = check_error(
        hello(json!([2, 3])),
        ErrorKind::InvalidRequest,
        "speaks 1 to 1",
    );
    assert_eq!(error.data.detail, json!({"protocol": [1, 1]}));
    check_error(hello(json!([0, 0])), ErrorKind::InvalidRequest, "0 to 0");
    check_error(hello(json!([3, 1])), ErrorKind::InvalidRequest, "3 to 1");
    check_error(
        hello(json!("1")),
        ErrorKind::InvalidRequest,
        "protocol must be",
    );
    check_error(
        hello(json!([-1, 1])),
        ErrorKind::InvalidRequest,
        "protocol must be",
    );
    check_error(
        hello(json!(null)),
        ErrorKind::InvalidRequest,
        "protocol is missing",
    );
    let params = json!({"protocol": [1, 1], "host": 5});
    check_error(
        host.call("hello", &params),
        ErrorKind::InvalidRequest,
        "host must be",
    );
}

#[test]
fn every_frame_carries_the_instance_and_the_nonce() {
    let host = Host::new(Setup::default());
    let mut params = hello_params();
    params["nonce"] = json!("n1");
    host.call("hello", &params).unwrap();
    for nonce in [json!(null), json!("n2"), json!(1)] {
        let frame = json!({"jsonrpc": "2.0", "id": 1, "method": "status", "nonce": nonce});
        let (_, error) = refusal(&host, &frame);
        check_error::<()>(Err(error), ErrorKind::InvalidRequest, "nonce");
    }
    let mut frame = json!({
        "jsonrpc": "2.0", "id": 2, "method": "handle_chat", "nonce": "n1",
        "params": say("hi", 3),
    });
    frame["params"]["stream"] = json!(true);
    host.send_frame(&frame);
    host.end(&Id::Number(2)).unwrap();
    assert!(host.frames().len() > 5);
    for frame in host.frames() {
        let frame = serde_json::to_value(frame).unwrap();
        assert_eq!(frame["instance"], host.runtime.instance());
        assert_eq!(frame["nonce"], "n1", "{frame}");
    }
    // A host that was reloaded does not know the old nonce; hello needs none.
    host.call("hello", &hello_params()).unwrap();
    host.call("status", &json!({})).unwrap();
}

#[test]
fn an_unknown_method_is_refused_and_an_unknown_notification_ignored() {
    let host = Host::greeted(Setup::default());
    check_error(
        host.call("sessions.guess", &json!({})),
        ErrorKind::UnknownMethod,
        "sessions.guess",
    );
    let n_before = host.frames().len();
    for method in ["no.such", "status", "$/cancel"] {
        host.send_frame(&json!({"jsonrpc": "2.0", "method": method}));
        host.send_frame(&json!({"jsonrpc": "2.0", "method": method, "params": {"id": 77}}));
    }
    assert_eq!(host.frames().len(), n_before);
}

#[test]
fn an_id_that_is_open_is_refused_until_its_call_has_ended() {
    let host = Host::greeted(Setup::default());
    let frame =
        json!({"jsonrpc": "2.0", "id": "x", "method": "handle_chat", "params": say("a", 5)});
    host.send_frame(&frame);
    host.send_frame(&frame);
    let frames = host.frames();
    let Some(RuntimeFrame::Response(refused)) = frames.last() else {
        panic!("{frames:?}");
    };
    assert_eq!(refused.id, Some(Id::Text("x".into())));
    assert!(matches!(&refused.outcome, ResponseOutcome::Error(error)
        if error.message.contains("still open")));
    // The first call is not disturbed.
    host.run_until(|frames| frames.iter().filter(|frame| is_result(frame, "x")).count() == 1);
    host.send_frame(&frame);
    host.run_until(|frames| frames.iter().filter(|frame| is_result(frame, "x")).count() == 2);
}

fn is_result(frame: &RuntimeFrame, id: &str) -> bool {
    matches!(frame, RuntimeFrame::Response(response)
        if response.id == Some(Id::Text(id.into()))
            && matches!(response.outcome, ResponseOutcome::Result(_)))
}

#[test]
fn params_that_do_not_fit_name_the_field() {
    let host = Host::greeted(Setup::default());
    for (method, params, text) in [
        ("models.load", json!([1]), "params must be an object"),
        ("models.load", json!({}), "model is missing"),
        ("models.load", json!({"model": 5}), "model must be a string"),
        (
            "models.load",
            json!({"model": "nox", "n_ctx": "x"}),
            "n_ctx must be a whole number",
        ),
        (
            "models.load",
            json!({"model": "nox", "n_ctx": -1}),
            "n_ctx must be a whole number",
        ),
        (
            "models.load",
            json!({"model": "nox", "n_ctx": 0}),
            "n_ctx must be between",
        ),
        (
            "models.load",
            json!({"model": "nox", "n_ctx": 99999}),
            "n_ctx",
        ),
        (
            "models.load",
            json!({"model": "nox", "kv_type": "q5"}),
            "kv_type must be \"f16\" or \"q8\"",
        ),
        ("models.import", json!({"url": 1}), "url must be a string"),
        (
            "models.import",
            json!({"url": "u", "replace": 3}),
            "replace must be true or false",
        ),
        (
            "handle_chat",
            json!({}),
            "Payload must include at least one message.",
        ),
        (
            "handle_chat",
            json!({"messages": [{"role": "user", "content": ""}], "top_p": 2}),
            "top_p",
        ),
    ] {
        check_error(host.call(method, &params), ErrorKind::InvalidRequest, text);
    }
    check_error(
        host.call("models.load", &json!({"model": "../secret"})),
        ErrorKind::UnknownModel,
        "../secret",
    );
}

#[test]
fn too_many_open_calls_are_refused() {
    let host = Host::greeted(Setup::default());
    let ids: Vec<Id> = (0..80)
        .map(|_| host.begin("handle_chat", &say("a", 1)))
        .collect();
    let outcomes: Vec<_> = ids.iter().map(|id| host.end(id)).collect();
    let n_busy = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(error) if error.data.kind == ErrorKind::Busy))
        .count();
    let n_answered = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    // One at work, 16 in line; everyone got exactly one answer.
    assert_eq!(n_busy + n_answered, 80);
    assert!((16..=18).contains(&n_answered), "{n_answered}");
}

#[test]
fn a_host_that_leaves_cancels_its_calls() {
    let host = Host::greeted(Setup::default());
    let id = host.begin("handle_chat", &say("hello", -1));
    host.disconnect();
    let result = host.end_chat(&id).unwrap();
    assert_eq!(
        result.meta.finish_reason,
        nox_protocol::FinishReason::Cancelled
    );
}
