//! Replies for programs: given as they are, and nothing read into them.

use nox_core::ReplyFormat;
use serde_json::json;

use crate::scripted::{Chat, Step, say};

/// Everything that is taken out of a reply for people.
const MARKED: &str = "{\"a\": \"<think>x</think> [SET TITLE] t [/SET TITLE]\\r\\n Nox: \
                      [INSTRUMENT QUERY]q[/INSTRUMENT QUERY] <|user|>\"}\r\n ";

#[test]
fn a_structured_reply_is_given_as_it_is() {
    for format in [json!("json"), json!({"type": "object"})] {
        let halves = MARKED.split_at(20);
        let script = vec![
            Step::Say(halves.0.to_owned()),
            Step::Say(halves.1.to_owned()),
        ];
        let chat = Chat::with_instrument(vec![script], vec![]);
        let run = chat.ask(json!({ "format": format }));
        assert_eq!(run.text, MARKED);
        let outcome = run.done();
        assert_eq!((outcome.title, outcome.instrument), (None, None));
        assert_eq!(outcome.result.meta.instrument_warning, None);
        assert_eq!(outcome.result.meta.target.instrument, None);
    }
}

#[test]
fn the_backend_is_told_the_format_and_no_stop_strings() {
    let schema = json!({"type": "object"});
    let chat = Chat::with_instrument(vec![say("{}")], vec![]);
    chat.ask(json!({"format": schema, "stop": ["}"]}));
    let asked = &chat.local_asked()[0];
    assert!(matches!(&asked.format, ReplyFormat::Schema(fields) if fields["type"] == "object"));
    assert!(asked.stop.is_empty());
    // Nor of an instrument that it could ask.
    assert!(!asked.messages[0].content.contains("INSTRUMENT QUERY"));
}

#[test]
fn a_grade_is_plain_text_whatever_the_format() {
    let chat = Chat::with_instrument(vec![say("{}"), say("2")], vec![]);
    let run = chat.ask(json!({"format": "json", "self_score": true}));
    assert_eq!(run.text, "{}");
    assert_eq!(run.done().result.meta.score, Some(2.0));
    let formats: Vec<_> = chat.local_asked().into_iter().map(|it| it.format).collect();
    assert_eq!(formats, [ReplyFormat::Json, ReplyFormat::Text]);
}
