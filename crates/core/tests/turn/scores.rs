//! The model grades its reply.

use nox_protocol::Role;
use serde_json::json;

use crate::scripted::{BROKEN, Chat, Step, roles, say, texts};

#[test]
fn the_grade_is_asked_for_in_one_short_call_that_is_not_shown() {
    let chat = Chat::new(
        vec![say("Far."), say("<think>ok</think>\nScore: 8/10")],
        vec![],
    );
    let run = chat.ask(json!({"self_score": true, "temperature": 1, "stop": "END"}));
    assert_eq!(run.text, "Far.");
    let meta = run.done().result.meta;
    assert_eq!(meta.score, Some(8.0));
    assert_eq!(meta.usage.prompt_tokens, 20);
    let asked = chat.local_asked();
    let [first, second] = &asked[..] else {
        panic!("two calls")
    };
    // The model has read it all but the question.
    assert_eq!(first.messages[..], second.messages[..first.messages.len()]);
    assert_eq!(roles(&second.messages)[2..], [Role::Assistant, Role::User]);
    assert_eq!(texts(&second.messages)[2], "Far.");
    assert_eq!(second.sampling.temperature, 0.0);
    assert!(second.max_tokens.unwrap() <= 16 && second.stop.is_empty());
}

#[test]
fn nobody_grades_unasked_or_an_empty_or_broken_reply() {
    for (params, script) in [
        (json!({}), say("Far.")),
        (json!({"self_score": true}), say("[SET TITLE]x[/SET TITLE]")),
        (
            json!({"self_score": true}),
            vec![Step::Say("Far.".to_owned()), Step::Cancel],
        ),
    ] {
        let chat = Chat::new(vec![script], vec![]);
        assert_eq!(chat.ask(params).done().result.meta.score, None);
        assert_eq!(chat.local_asked().len(), 1);
    }
}

#[test]
fn a_grade_that_is_none_is_absent() {
    for grading in [
        say("I'd say ten"),
        say("11"),
        say("-1"),
        say(""),
        vec![BROKEN],
    ] {
        let chat = Chat::with_instrument(vec![say("Far."), grading], vec![]);
        let meta = chat.ask(json!({"self_score": true})).done().result.meta;
        assert_eq!(meta.score, None);
        assert_eq!(meta.instrument_warning, None);
        assert!(!meta.route.left_device);
    }
}

#[test]
fn a_low_grade_asks_the_instrument_the_users_question_once() {
    let chat = Chat::with_instrument(
        vec![say("Dunno."), say("5"), say("384,400 km.")],
        vec![say("384,400 km")],
    );
    let run = chat.ask(json!({"self_score": true, "messages": [
        {"role": "user", "content": "How far, me@example.com?"}
    ]}));
    assert_eq!(run.text, "Dunno.\n\n384,400 km.");
    let outcome = run.done();
    assert_eq!(
        outcome.instrument.unwrap().question,
        "How far, [REDACTED:EMAIL]?"
    );
    assert_eq!(outcome.result.meta.score, Some(5.0));
    assert!(outcome.result.meta.route.left_device);
    assert_eq!((chat.local_asked().len(), chat.cloud_asked().len()), (3, 1));
}

#[test]
fn a_grade_above_five_asks_nobody() {
    let chat = Chat::with_instrument(vec![say("Far."), say("5.5")], vec![]);
    let meta = chat.ask(json!({"self_score": true})).done().result.meta;
    assert_eq!(meta.score, Some(5.5));
    assert!(!meta.route.left_device);
}

#[test]
fn an_instrument_that_was_asked_already_is_not_asked_again() {
    let query = say("[INSTRUMENT QUERY]How far?[/INSTRUMENT QUERY]");
    for cloud in [say("384,400 km"), vec![BROKEN]] {
        let answers = !matches!(cloud[0], Step::Fail { .. });
        let scripts = if answers {
            vec![query.clone(), say("Far."), say("2")]
        } else {
            vec![query.clone()]
        };
        let chat = Chat::with_instrument(scripts, vec![cloud]);
        let meta = chat.ask(json!({"self_score": true})).done().result.meta;
        assert_eq!(meta.score, answers.then_some(2.0));
        assert_eq!(chat.cloud_asked().len(), 1);
    }
}
