//! An instrument and a grade, from the setting to the database.

use nox_protocol::FinishReason;
use serde_json::json;

use crate::common::has_notification;
use crate::scripted::{Desk, Step, said, say, session_of};

const QUERY: &str = "Let me ask. [INSTRUMENT QUERY]How far, says Ada?[/INSTRUMENT QUERY]";

fn desk() -> Desk {
    let desk = Desk::new();
    desk.set(&json!({"settings": {"instrument": "big"}}));
    desk.host
        .call("users.set", &json!({"user": "Ada"}))
        .unwrap();
    desk
}

#[test]
fn the_instruments_answer_streams_on_and_the_whole_is_kept() {
    let desk = desk();
    desk.script(&[say(QUERY), say("384,400 km.")]);
    desk.cloud_script(&[say("It is 384,400 km.")]);
    let call = desk.begin("How far is the moon?", &json!({"stream": true}));
    let result = desk.host.end_chat(&call).unwrap();
    assert_eq!(result.message.content, "Let me ask.\n\n384,400 km.");
    assert_eq!(desk.host.streamed_text(&call), result.message.content);
    let meta = &result.meta;
    assert!(meta.route.left_device);
    assert_eq!(meta.target.instrument.as_deref(), Some("big"));
    assert_eq!(meta.instrument_warning, None);
    assert_eq!(desk.cloud.last_asked()[1], "How far, says [REDACTED:NAME]?");
    let kept = desk.session(&session_of(&result));
    assert_eq!(said(&kept)[1].1, result.message.content);
    let telemetry = &kept["turns"][0]["telemetry"];
    assert_eq!(telemetry["left_device"], true);
    assert_eq!(telemetry["completion_tokens"], 3);
    assert_eq!(
        telemetry["prompt_tokens"],
        json!(result.meta.usage.prompt_tokens)
    );
}

#[test]
fn without_the_setting_nothing_leaves() {
    let desk = Desk::new();
    desk.script(&[say(QUERY), say("1")]);
    let result = desk.ask("How far?", &json!({"self_score": true}));
    assert!(desk.cloud.asked.borrow().is_empty());
    assert!(!result.meta.route.left_device);
    assert!(result.meta.instrument_warning.is_some());
}

#[test]
fn an_instrument_that_is_switched_off_while_the_model_speaks_is_not_asked() {
    for instrument in [json!(null), json!("either")] {
        let desk = desk();
        let words = std::iter::repeat_n("word ", 50).chain([QUERY]);
        desk.script(&[words.map(|text| Step::Say(text.to_owned())).collect()]);
        let call = desk.begin("How far?", &json!({"stream": true}));
        desk.host
            .run_until(|frames| has_notification(frames, &call, "chat.delta", ""));
        desk.set(&json!({"settings": {"instrument": instrument}}));
        assert!(!desk.host.has_ended(&call), "it was switched off in time");
        let result = desk.host.end_chat(&call).unwrap();
        assert!(desk.cloud.asked.borrow().is_empty());
        assert!(!result.meta.route.left_device);
        assert_eq!(
            result.meta.instrument_warning.as_deref(),
            Some("the instrument big is no longer allowed")
        );
    }
}

#[test]
fn who_has_handed_the_chats_over_goes_by_nothing_but_sanitize() {
    let desk = desk();
    desk.set(&json!({"settings": {"sanitize": true, "system_prompt": "Be brief."}}));
    let _other = desk.hand_over();
    desk.script(&[say(QUERY)]);
    let unkept = json!({"session": null});
    let result = desk.ask("I am me@example.com", &unkept);
    assert!(result.meta.instrument_warning.is_some());
    let asked = desk.local.last_asked();
    assert_eq!(asked[1], "I am [REDACTED:EMAIL]");
    assert_ne!(asked[0], "Be brief.");
    // Nor does the routing hold that the other may have changed.
    desk.ask("hello", &json!({"session": null, "model": "big"}));
    assert!(desk.cloud.asked.borrow().is_empty());
}

#[test]
fn an_instrument_that_fails_leaves_the_reply_as_it_is() {
    let desk = desk();
    desk.script(&[say(QUERY)]);
    desk.cloud_script(&[vec![Step::Fail { sent: false }]]);
    let result = desk.ask("How far?", &json!({}));
    assert_eq!(result.message.content, "Let me ask.");
    let warning = result.meta.instrument_warning.unwrap();
    assert!(
        warning.contains("big") && warning.contains("come back later"),
        "{warning}"
    );
    assert!(!result.meta.route.left_device);
}

#[test]
fn a_grade_is_kept_with_the_turn_and_a_low_one_asks_the_instrument() {
    let desk = desk();
    desk.script(&[say("Far."), say("9")]);
    let good = desk.ask("How far?", &json!({"self_score": true}));
    assert_eq!(good.meta.score, Some(9.0));
    assert!(desk.cloud.asked.borrow().is_empty());
    let kept = desk.session(&session_of(&good));
    assert_eq!(kept["turns"][0]["telemetry"]["score"], 9.0);

    desk.script(&[say("Dunno."), say("2"), say("384,400 km.")]);
    desk.cloud_script(&[say("384,400 km")]);
    let poor = desk.ask("How far?", &json!({"self_score": true}));
    assert_eq!(poor.message.content, "Dunno.\n\n384,400 km.");
    assert_eq!(poor.meta.score, Some(2.0));
    assert!(poor.meta.route.left_device);
    let summary = desk.host.call("telemetry.summary", &json!({})).unwrap();
    assert_eq!(
        (&summary["turns"], &summary["left_device"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(summary["models"][0]["score"], 5.5);
}

#[test]
fn cancelled_while_the_instrument_is_asked_what_was_said_is_kept() {
    let desk = desk();
    desk.script(&[say(QUERY)]);
    desk.cloud_script(&[vec![Step::Hang]]);
    let call = desk.begin("How far?", &json!({"stream": true}));
    desk.host
        .run_until(|frames| has_notification(frames, &call, "chat.delta", ""));
    desk.host
        .run_until(|_| !desk.cloud.asked.borrow().is_empty());
    desk.host.cancel(&call);
    let result = desk.host.end_chat(&call).unwrap();
    assert_eq!(result.meta.finish_reason, FinishReason::Cancelled);
    let kept = desk.session(&session_of(&result));
    assert_eq!(said(&kept)[1].1, "Let me ask.");
    assert_eq!(kept["turns"][0]["messages"][1]["partial"], true);
}
