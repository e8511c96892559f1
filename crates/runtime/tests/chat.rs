//! `handle_chat`: replies, streams, queues, cancellation, repeated keys.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use common::gguf::TinyModel;
use common::{Host, Setup, check_error, has_notification, say};
use nox_protocol::{ErrorKind, FinishReason, Id, RuntimeFrame};
use serde_json::{Value, json};

fn streamed(mut params: Value) -> Value {
    params["stream"] = json!(true);
    params
}

#[test]
fn a_message_gets_a_reply_with_the_facts_about_it() {
    let host = Host::greeted(Setup::default());
    let result = host.chat(&say("hello", 12)).unwrap();
    assert_eq!(result.message.content.chars().count(), 12, "{result:?}");
    let meta = result.meta;
    assert_eq!(meta.finish_reason, FinishReason::Length);
    assert_eq!(meta.usage.completion_tokens, 12);
    assert!(
        meta.usage.prompt_tokens > 80,
        "the system prompt and the message"
    );
    assert_eq!(
        (
            meta.target.model.as_str(),
            meta.target.target_model.as_str()
        ),
        ("nox", "nox-builtin")
    );
    assert_eq!(
        (meta.route.backend.as_str(), meta.route.left_device),
        ("local", false)
    );
    assert_eq!(meta.lane.unwrap().threads, 1);
    let timings = meta.timings;
    assert!(timings.load_ms > 0.0 && timings.prefill_ms > 0.0 && timings.decode_ms > 0.0);
    assert!(timings.first_token_ms >= timings.prefill_ms);
    assert!(timings.tokens_per_second > 0.0);
    let status = host.call("status", &json!({})).unwrap();
    let memory = |part: &str| status["memory"][part].as_u64();
    assert!(memory("resident_bytes") > Some(0));
    // Not every system tells it.
    assert!(memory("peak_bytes").is_none_or(|peak| Some(peak) >= memory("resident_bytes")));
    assert_eq!(status["model"]["id"], "nox-builtin");
    assert_eq!(
        (&status["active_calls"], &status["completed_calls"]),
        (&json!(0), &json!(1))
    );
}

#[test]
fn what_is_streamed_is_what_is_returned() {
    let plain = Host::greeted(Setup::default())
        .chat(&say("hello", 40))
        .unwrap();
    let host = Host::greeted(Setup::default());
    let id = host.begin("handle_chat", &streamed(say("hello", 40)));
    let result = host.end_chat(&id).unwrap();
    assert_eq!(host.streamed_text(&id), result.message.content);
    assert_eq!(result.message.content, plain.message.content);
    let deltas = host.notifications(&id, "chat.delta");
    let seqs: Vec<u64> = deltas
        .iter()
        .map(|delta| delta["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (0..deltas.len() as u64).collect::<Vec<_>>());
    let phases: Vec<Value> = host
        .notifications(&id, "chat.progress")
        .into_iter()
        .map(|progress| progress["phase"].clone())
        .collect();
    assert!(
        phases.contains(&json!("loading")) && phases.contains(&json!("prefill")),
        "{phases:?}"
    );
    // The response is the last frame of a call.
    let last = host.frames().pop().unwrap();
    assert!(matches!(last, RuntimeFrame::Response(response) if response.id == Some(id)));
}

#[test]
fn a_call_that_does_not_stream_sends_no_notifications() {
    let host = Host::greeted(Setup::default());
    let id = host.begin("handle_chat", &say("hello", 5));
    host.end(&id).unwrap();
    assert_eq!(host.notifications(&id, "chat.delta"), [] as [Value; 0]);
    assert_eq!(host.notifications(&id, "chat.progress"), [] as [Value; 0]);
}

#[test]
fn a_further_turn_reuses_the_prefix_and_says_the_same_as_a_full_run() {
    let host = Host::greeted(Setup::default());
    let first = host.chat(&say("hello", 20)).unwrap();
    let second = json!({
        "messages": [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": first.message.content},
            {"role": "user", "content": "and then?"},
        ],
        "temperature": 0, "max_tokens": 20,
    });
    let reused = host.chat(&second).unwrap();
    assert!(reused.meta.usage.cached_tokens >= first.meta.usage.prompt_tokens - 1);
    let fresh = Host::greeted(Setup::default()).chat(&second).unwrap();
    assert_eq!(fresh.meta.usage.cached_tokens, 0);
    assert_eq!(reused.message.content, fresh.message.content);
    assert_eq!(reused.meta.timings.load_ms.to_bits(), 0.0f64.to_bits());
}

#[test]
fn a_seed_makes_a_reply_repeatable_and_stop_strings_end_it() {
    let host = Host::greeted(Setup::default());
    let mut params = say("hello", 30);
    params["temperature"] = json!(1.5);
    params["seed"] = json!(42);
    let first = host.chat(&params).unwrap().message.content;
    assert_eq!(host.chat(&params).unwrap().message.content, first);
    let stop: String = first.chars().skip(9).take(3).collect();
    params["stop"] = json!([stop]);
    let stopped = host.chat(&params).unwrap();
    assert_eq!(stopped.meta.finish_reason, FinishReason::Stop);
    let expected = first.split(stop.as_str()).next().unwrap().trim();
    assert_eq!(stopped.message.content, expected);
}

#[test]
fn two_calls_at_once_are_answered_one_after_the_other() {
    let host = Host::greeted(Setup::default());
    let first = host.begin("handle_chat", &streamed(say("one", 30)));
    let second = host.begin("handle_chat", &streamed(say("two", 30)));
    let results = [
        host.end_chat(&first).unwrap(),
        host.end_chat(&second).unwrap(),
    ];
    assert_eq!(host.streamed_text(&first), results[0].message.content);
    assert_eq!(host.streamed_text(&second), results[1].message.content);
    let alone = Host::greeted(Setup::default())
        .chat(&say("two", 30))
        .unwrap();
    assert_eq!(results[1].message.content, alone.message.content);
    let queued = host.notifications(&second, "chat.progress");
    assert_eq!(
        (&queued[0]["phase"], &queued[0]["total"]),
        (&json!("queued"), &json!(1))
    );
    assert!(results[1].meta.timings.queued_ms > 0.0);
    assert!(
        host.notifications(&first, "chat.progress")
            .iter()
            .all(|p| p["phase"] != "queued")
    );
}

/// Cancels a streaming call as soon as it is in `phase`, and returns the host.
fn cancel_in(phase: &str) -> (Host, Id) {
    let host = Host::greeted(Setup::default());
    let id = host.begin("handle_chat", &streamed(say(&"hello ".repeat(150), -1)));
    host.run_until(|frames| match phase {
        "delta" => has_notification(frames, &id, "chat.delta", ""),
        phase => has_notification(frames, &id, "chat.progress", phase),
    });
    host.cancel(&id);
    (host, id)
}

#[test]
fn cancelling_ends_a_call_in_any_phase_with_what_it_has() {
    for phase in ["loading", "prefill", "delta"] {
        let (host, id) = cancel_in(phase);
        let result = host.end_chat(&id).unwrap();
        assert_eq!(
            result.meta.finish_reason,
            FinishReason::Cancelled,
            "{phase}"
        );
        assert_eq!(result.message.content, host.streamed_text(&id));
        assert_eq!(
            result.message.content.is_empty(),
            phase != "delta",
            "{phase}"
        );
        if phase == "prefill" {
            let progress = host.notifications(&id, "chat.progress");
            let last = progress.last().unwrap();
            assert!(last["done"].as_u64() < last["total"].as_u64(), "{last}");
        }
        // The next call is answered as if nothing had been.
        let next = host.chat(&say("hello", 10)).unwrap();
        let alone = Host::greeted(Setup::default())
            .chat(&say("hello", 10))
            .unwrap();
        assert_eq!(next.message.content, alone.message.content, "{phase}");
    }
}

#[test]
fn cancelling_ends_within_one_token() {
    let (host, id) = cancel_in("delta");
    let n_tokens = host.streamed_text(&id).chars().count() as u64;
    let result = host.end_chat(&id).unwrap();
    // Coalescing may hold back some text, but no token is made after the cancellation.
    assert!(result.meta.usage.completion_tokens >= n_tokens);
    let made = result.meta.usage.completion_tokens;
    let shown = result.message.content.chars().count() as u64;
    assert!(made - shown <= 1, "{made} tokens, {shown} characters");
}

#[test]
fn a_call_in_line_can_be_cancelled_and_does_not_hold_up_others() {
    let host = Host::greeted(Setup::default());
    let first = host.begin("handle_chat", &streamed(say("one", 40)));
    let second = host.begin("handle_chat", &streamed(say("two", 40)));
    let third = host.begin("handle_chat", &streamed(say("three", 5)));
    host.run_until(|frames| has_notification(frames, &third, "chat.progress", "queued"));
    host.cancel(&second);
    let cancelled = host.end_chat(&second).unwrap();
    assert_eq!(cancelled.meta.finish_reason, FinishReason::Cancelled);
    assert_eq!(
        (
            cancelled.message.content.as_str(),
            cancelled.meta.usage.prompt_tokens
        ),
        ("", 0)
    );
    assert_eq!(
        host.end_chat(&first).unwrap().meta.usage.completion_tokens,
        40
    );
    assert_eq!(
        host.end_chat(&third).unwrap().meta.usage.completion_tokens,
        5
    );
    // Cancelling what has ended, or never was, does nothing.
    host.cancel(&second);
    host.cancel(&Id::Number(-5));
}

#[test]
fn status_is_answered_while_a_reply_is_made() {
    let host = Host::greeted(Setup::default());
    let id = host.begin("handle_chat", &streamed(say("hello", 200)));
    host.run_until(|frames| has_notification(frames, &id, "chat.delta", ""));
    let status = host.call("status", &json!({})).unwrap();
    assert_eq!(status["active_calls"], 1);
    assert_eq!(status["model"]["id"], "nox-builtin");
    host.cancel(&id);
    host.end(&id).unwrap();
}

#[test]
fn the_same_key_gives_the_same_reply() {
    let host = Host::greeted(Setup::default());
    let mut params = say("hello", 30);
    params["temperature"] = json!(2);
    params["idempotency_key"] = json!("k1");
    let first = host.begin("handle_chat", &params);
    let meanwhile = host.begin("handle_chat", &params);
    let first = host.end_chat(&first).unwrap();
    assert_eq!(host.end_chat(&meanwhile).unwrap(), first);
    let later = host.begin("handle_chat", &streamed(params.clone()));
    assert_eq!(host.end_chat(&later).unwrap(), first);
    assert_eq!(host.streamed_text(&later), first.message.content);
    params["max_tokens"] = json!(31);
    check_error(
        host.chat(&params),
        ErrorKind::InvalidRequest,
        "another request",
    );
    params["idempotency_key"] = json!("k2");
    assert_ne!(host.chat(&params).unwrap(), first);
}

#[test]
fn a_keyed_reply_that_was_cancelled_is_made_anew() {
    let host = Host::greeted(Setup::default());
    let mut params = streamed(say("hello", 60));
    params["idempotency_key"] = json!("k");
    let first = host.begin("handle_chat", &params);
    let waiting = host.begin("handle_chat", &params);
    host.run_until(|frames| has_notification(frames, &first, "chat.delta", ""));
    host.cancel(&first);
    assert_eq!(
        host.end_chat(&first).unwrap().meta.finish_reason,
        FinishReason::Cancelled
    );
    let second = host.end_chat(&waiting).unwrap();
    assert_eq!(second.meta.usage.completion_tokens, 60);
    assert_eq!(host.streamed_text(&waiting), second.message.content);
    // One that failed is not kept either.
    let mut params = say("hello", 5);
    params["idempotency_key"] = json!("k3");
    params["model"] = json!("nowhere");
    check_error(host.chat(&params), ErrorKind::UnknownModel, "nowhere");
    check_error(host.chat(&params), ErrorKind::UnknownModel, "nowhere");
}

#[test]
fn a_long_conversation_loses_its_oldest_turns_and_a_long_message_is_refused() {
    let host = Host::greeted(Setup::default());
    let mut messages = Vec::new();
    for _ in 0..40 {
        messages.push(json!({"role": "user", "content": "x".repeat(60)}));
        messages.push(json!({"role": "assistant", "content": "y".repeat(60)}));
    }
    messages.push(json!({"role": "user", "content": "the end"}));
    let params = json!({"messages": messages, "temperature": 0, "max_tokens": 8});
    let result = host.chat(&params).unwrap();
    assert_eq!(result.meta.usage.completion_tokens, 8);
    assert!(result.meta.usage.prompt_tokens < 2048);
    let error = check_error(
        host.chat(&say(&"x".repeat(3000), 8)),
        ErrorKind::InvalidRequest,
        "the context has room for 2048",
    );
    assert_eq!(error.data.detail["n_ctx"], 2048);
    host.chat(&say("hello", 3)).unwrap();
}

#[test]
fn a_template_without_a_system_role_gets_the_system_text_another_way() {
    let template = "{% for m in messages %}{% if m.role == 'system' %}\
        {{ raise_exception('no system role') }}{% endif %}{{ m.content }}|{% endfor %}";
    let model = TinyModel {
        template: Some(template),
        ..TinyModel::default()
    };
    let host = Host::greeted(Setup {
        builtin: Some(model.bytes()),
        ..Setup::default()
    });
    let result = host.chat(&say("hello", 4)).unwrap();
    // The default system prompt is in there, too.
    assert!(result.meta.usage.prompt_tokens > 80);
}

#[test]
fn unknown_models_are_named_with_those_that_are_there() {
    let host = Host::greeted(Setup::default());
    let mut params = say("hello", 3);
    params["model"] = json!("qwen");
    let error = check_error(
        host.chat(&params),
        ErrorKind::UnknownModel,
        "installed: nox-builtin",
    );
    assert_eq!(error.data.detail["installed"], json!(["nox-builtin"]));
    params["model"] = json!("nox-builtin");
    assert_eq!(host.chat(&params).unwrap().meta.route.alias, "nox-builtin");
}
