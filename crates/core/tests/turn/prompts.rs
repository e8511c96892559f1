//! What a model is given: the system prompt, the history, and what is redacted.

use nox_core::{Conversation, FULL_CATALOG, HistoryLimits, PersonaOverrides};
use nox_protocol::Role;
use serde_json::{Value, json};

use crate::scripted::{Chat, message, roles, say, texts};

/// The texts that the model was given.
fn given(chat: &Chat, params: Value) -> Vec<String> {
    chat.ask(params);
    let asked = chat.local_asked();
    texts(&asked[0].messages)
        .into_iter()
        .map(str::to_owned)
        .collect()
}

fn chat() -> Chat {
    Chat::new(vec![say("x")], vec![])
}

#[test]
fn a_conversation_without_system_message_gets_the_default_one() {
    let given = given(&chat(), json!({}));
    assert_eq!(
        given[0],
        "You are Nox, the private assistant of Noxics. You run on the user's device."
    );
    assert_eq!(given[1], "How far is the moon?");
}

#[test]
fn the_default_prompt_follows_the_persona() {
    for (name, shown) in [
        ("ada", "Ada"),
        ("HAL 9000", "HAL 9000"),
        ("deep-blue", "Deep Blue"),
    ] {
        let mut chat = chat();
        let overrides = PersonaOverrides::from_json(&json!({"global": {"name": name}}));
        let layers = [&overrides.unwrap().overrides];
        chat.context.persona = FULL_CATALOG.find(None, None, Some("nox")).resolve(&layers);
        let given = given(&chat, json!({}));
        assert!(
            given[0].starts_with(&format!("You are {shown}, the private")),
            "{}",
            given[0]
        );
    }
}

#[test]
fn the_requests_system_message_goes_before_the_users_own_prompt() {
    let mut chat = chat();
    chat.context.system_prompt = Some("Be {{NOX_NAME}}; {{NO_SUCH}}.".to_owned());
    assert_eq!(given(&chat, json!({}))[0], "Be nox; {{NO_SUCH}}.");
    let mut chat = self::chat();
    chat.context.system_prompt = Some("unused".to_owned());
    let messages = json!([
        {"role": "system", "content": "A {{NOX_SCALE}}"},
        {"role": "user", "content": "q1"},
        {"role": "system", "content": " B "},
        {"role": "user", "content": "q2"},
    ]);
    assert_eq!(
        given(&chat, json!({"messages": messages})),
        ["A nox\n\nB", "q1", "q2"]
    );
}

#[test]
fn stored_history_goes_in_front_of_a_single_message() {
    let mut chat = chat();
    chat.context.history = vec![
        message(Role::System, "an old prompt"),
        message(Role::User, "q1"),
        message(Role::Assistant, "a1"),
    ];
    let alone = json!([{"role": "system", "content": "S"}, {"role": "user", "content": "q2"}]);
    assert_eq!(
        given(&chat, json!({"messages": alone})),
        ["S", "q1", "a1", "q2"]
    );
}

#[test]
fn a_request_with_a_history_of_its_own_is_used_as_sent() {
    let mut chat = chat();
    chat.context.history = vec![message(Role::User, "old"), message(Role::Assistant, "old")];
    let own = json!([
        {"role": "user", "content": "mine"},
        {"role": "assistant", "content": "yours"},
        {"role": "user", "content": "q"},
    ]);
    assert_eq!(
        given(&chat, json!({"messages": own}))[1..],
        ["mine", "yours", "q"]
    );
}

#[test]
fn only_so_many_turns_of_history_are_sent() {
    for (max_turns, expected) in [
        (None, &["q1", "a1", "q2", "a2", "q3"][..]),
        (Some(1), &["q2", "a2", "q3"]),
        (Some(0), &["q3"]),
    ] {
        let mut chat = chat();
        chat.context.history_limits = HistoryLimits {
            max_turns,
            max_messages: None,
        };
        chat.context.history = vec![
            message(Role::User, "q1"),
            message(Role::Assistant, "a1"),
            message(Role::User, "q2"),
            message(Role::Assistant, "a2"),
        ];
        let alone = json!([{"role": "user", "content": "q3"}]);
        assert_eq!(given(&chat, json!({"messages": alone}))[1..], *expected);
    }
}

#[test]
fn sanitize_covers_everything_that_is_sent_and_stored() {
    let mut chat = chat();
    chat.context.system_prompt = Some("for user@example.com".to_owned());
    chat.context.history = vec![
        message(Role::User, "call 415-555-1212"),
        message(Role::Assistant, "from 10.0.0.1?"),
    ];
    let alone = json!([{"role": "user", "content": "mail me@example.com"}]);
    let params = json!({"messages": alone, "sanitize": true});
    let prepared = chat.prepare(&params);
    assert_eq!(prepared.user_text(), "mail [REDACTED:EMAIL]");
    assert_eq!(prepared.system_prompt(), Some("for [REDACTED:EMAIL]"));
    assert_eq!(
        given(&chat, params),
        [
            "for [REDACTED:EMAIL]",
            "call [REDACTED:PHONE]",
            "from [REDACTED:IP]?",
            "mail [REDACTED:EMAIL]"
        ]
    );
}

#[test]
fn a_title_is_made_from_the_first_thing_that_was_said() {
    let mut chat = chat();
    chat.context.history = vec![
        message(Role::User, "Plan a trip to Rome"),
        message(Role::Assistant, "When?"),
    ];
    let prepared = chat.prepare(&json!({"messages": [{"role": "user", "content": "May"}]}));
    assert_eq!(
        prepared.automatic_title().as_deref(),
        Some("Plan a trip to Rome")
    );
}

#[test]
fn the_target_tells_the_persona_and_the_settings() {
    let mut chat = chat();
    chat.context.persona = FULL_CATALOG.find(None, None, Some("qwen3:4b")).resolve(&[]);
    chat.context.is_kept = true;
    let params = json!({"temperature": 0.25, "max_tokens": 5, "sanitize": true, "stream": true});
    let target = chat.ask(params).done().result.meta.target;
    assert_eq!(target.central_name, "milli-nox");
    assert_eq!(target.central_scale, "milli");
    assert_eq!(target.model_target, "qwen3:4b");
    assert!(target.logging_enabled && target.sanitize && target.stream);
    assert_eq!((target.temperature, target.max_tokens), (0.25, 5));
    assert_eq!((target.instrument, target.instrument_warning), (None, None));
}

#[test]
fn a_models_name_finds_its_persona_and_any_other_is_nox() {
    for (scale, model, found) in [
        (None, "nox", "nox"),
        (None, "qwen3-0.6b-instruct", "nano"),
        (None, "tiny-qwen2", "nox"),
        (None, "my-nano-nox-2", "nano"),
        (Some("prime"), "nox", "prime"),
        (Some("nox"), "qwen3:8b", "nox"),
    ] {
        let persona = FULL_CATALOG.find(scale, None, Some(model));
        assert_eq!(persona.central_scale, found, "{scale:?} {model}");
    }
}

#[test]
fn a_conversation_is_recorded_and_forgotten() {
    let mut conversation = Conversation::new(Some(" S "));
    conversation.record_turn("q1", "a1");
    conversation.record_turn("q2", " ");
    let messages = conversation.messages();
    assert_eq!(texts(&messages), ["S", "q1", "a1", "q2"]);
    assert_eq!(
        roles(&messages),
        [Role::System, Role::User, Role::Assistant, Role::User]
    );
    assert_eq!(conversation.title().as_deref(), Some("q1"));
    conversation.reset();
    assert_eq!(texts(&conversation.messages()), ["S"]);
    conversation.set_messages(vec![
        message(Role::User, "q"),
        message(Role::System, "T"),
        message(Role::System, "U"),
    ]);
    assert_eq!(texts(&conversation.messages()), ["T\n\nU", "q"]);
    conversation.set_messages(vec![message(Role::User, "r")]);
    assert_eq!(texts(&conversation.messages()), ["T\n\nU", "r"]);
}
