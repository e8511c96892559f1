//! Sessions, turns, users, settings and telemetry, as the product uses them.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use common::{memory, say};
use nox_store::{
    ArchiveEarly, Begun, FinishedTurn, ListQuery, NewMessage, NewSession, NewTurn, Role,
    SearchQuery, SessionId, Store, StoreError, Target, TitleKind, TurnHandle, TurnState,
    TurnTelemetry, UserId, What, limits,
};

const ASKED: [NewMessage<'static>; 1] = [NewMessage {
    role: Role::User,
    content: "what is a whale?",
}];

fn new_turn<'a>(target: Target<'a>, key: Option<&'a str>) -> NewTurn<'a> {
    NewTurn {
        target,
        system: None,
        messages: &ASKED,
        model: "nox",
        sanitized: false,
        idempotency_key: key,
    }
}

fn begin(store: &mut Store, target: Target<'_>) -> TurnHandle {
    match store.begin_turn(&new_turn(target, None)).unwrap() {
        Begun::Started(handle) => handle,
        other => panic!("{other:?}"),
    }
}

fn reply(content: &str) -> FinishedTurn<'_> {
    FinishedTurn {
        content,
        ..FinishedTurn::default()
    }
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn session_of(store: &mut Store, name: &str, text: &str) -> SessionId {
    let target = Target::New(NewSession {
        user: Some(user(name)),
        ..NewSession::default()
    });
    let handle = begin(store, target);
    store.finish_turn(&handle, &reply(text)).unwrap();
    handle.session().clone()
}

fn ids(store: &Store, query: &ListQuery<'_>) -> Vec<SessionId> {
    let page = store.sessions(query).unwrap();
    page.sessions.into_iter().map(|info| info.id).collect()
}

fn found(store: &Store, text: &str) -> Vec<SessionId> {
    let page = store
        .search(&SearchQuery {
            text,
            ..SearchQuery::default()
        })
        .unwrap();
    page.hits.into_iter().map(|hit| hit.session.id).collect()
}

#[test]
fn a_turn_is_stored_with_its_telemetry_title_and_reasoning() {
    let (mut store, host) = memory();
    let handle = begin(&mut store, Target::New(NewSession::default()));
    host.now_ms.set(host.now_ms.get() + 2500);
    let telemetry = TurnTelemetry {
        alias: "nox".into(),
        backend: "local".into(),
        model: "qwen".into(),
        lane: Some("wasm-simd".into()),
        prompt_tokens: Some(100),
        cached_tokens: Some(60),
        completion_tokens: Some(40),
        decode_ms: Some(2000.0),
        first_token_ms: Some(300.0),
        finish_reason: "stop".into(),
        score: Some(f64::NAN),
        ..TurnTelemetry::default()
    };
    let info = store
        .finish_turn(
            &handle,
            &FinishedTurn {
                content: "A mammal.",
                reasoning: Some("Easy."),
                model: Some("qwen"),
                automatic_title: Some("Whales"),
                telemetry: Some(telemetry),
                ..FinishedTurn::default()
            },
        )
        .unwrap();
    assert_eq!(info.title.as_deref(), Some("Whales"));
    assert_eq!((info.turns, info.title_kind), (1, TitleKind::Automatic));
    assert_eq!(info.updated_ms - info.created_ms, 2500);
    let turns = store.turns(&info.id).unwrap();
    let [asked, said] = &turns[0].messages[..] else {
        panic!("two messages")
    };
    assert_eq!(
        (asked.role, asked.content.as_str()),
        (Role::User, ASKED[0].content)
    );
    assert_eq!(said.reasoning.as_deref(), Some("Easy."));
    assert_eq!(said.at_ms - asked.at_ms, 2500);
    assert_eq!(turns[0].state, TurnState::Finished);

    let summary = store.telemetry_summary(0).unwrap();
    assert_eq!((summary.turns, summary.left_device), (1, 0));
    assert_eq!(summary.finish_reasons, [("stop".to_owned(), 1)]);
    let model = &summary.models[0];
    assert_eq!((model.prompt_tokens, model.cached_tokens), (100, 60));
    assert_eq!(model.tokens_per_second, Some(20.0));
    assert_eq!(model.score, None, "a score that is no number is none");
    assert_eq!(store.telemetry_summary(i64::MAX).unwrap().turns, 0);
    store.check().unwrap();
}

#[test]
fn what_was_said_so_far_is_kept_and_marked() {
    let (mut store, _) = memory();
    let handle = begin(&mut store, Target::New(NewSession::default()));
    store.save_partial(&handle, "A mam", None).unwrap();
    store.save_partial(&handle, "A mammal", Some("hm")).unwrap();
    let turn = &store.turns(handle.session()).unwrap()[0];
    assert_eq!(turn.state, TurnState::Open);
    assert_eq!(turn.messages.len(), 2, "one reply, replaced");
    assert!(turn.messages[1].partial);
    assert_eq!(found(&store, "mammal").len(), 1);

    store.finish_turn(&handle, &reply("A fish.")).unwrap();
    let turn = &store.turns(handle.session()).unwrap()[0];
    assert_eq!(turn.messages[1].content, "A fish.");
    assert!(!turn.messages[1].partial);
    assert!(found(&store, "mammal").is_empty());
    assert!(matches!(
        store.finish_turn(&handle, &reply("again")),
        Err(StoreError::NotFound {
            what: What::Turn,
            ..
        })
    ));
    assert!(store.save_partial(&handle, "late", None).is_err());
}

#[test]
fn a_turn_that_came_to_nothing_leaves_nothing() {
    let (mut store, _) = memory();
    let handle = begin(&mut store, Target::New(NewSession::default()));
    store.abandon_turn(&handle).unwrap();
    assert!(matches!(
        store.session(handle.session()),
        Err(StoreError::NotFound {
            what: What::Session,
            ..
        })
    ));
    let id = say(&mut store, None, "hi", "ok");
    let handle = begin(&mut store, Target::Session(&id));
    store.abandon_turn(&handle).unwrap();
    assert_eq!(store.session(&id).unwrap().turns, 1);
    assert!(found(&store, "whale").is_empty());
}

#[test]
fn the_same_key_stores_one_turn_and_gives_the_same_reply() {
    let (mut store, _) = memory();
    let new = || new_turn(Target::New(NewSession::default()), Some("k1"));
    let Begun::Started(handle) = store.begin_turn(&new()).unwrap() else {
        panic!("a new key")
    };
    let session = handle.session().clone();
    assert_eq!(
        store.begin_turn(&new()).unwrap(),
        Begun::InFlight {
            session: session.clone()
        }
    );
    store
        .finish_turn(
            &handle,
            &FinishedTurn {
                content: "yes",
                reply: Some("{\"full\": \"reply\"}"),
                ..FinishedTurn::default()
            },
        )
        .unwrap();
    assert_eq!(
        store.begin_turn(&new()).unwrap(),
        Begun::Replay {
            session: session.clone(),
            reply: "{\"full\": \"reply\"}".into()
        }
    );
    assert_eq!(store.session(&session).unwrap().turns, 1);
    assert_eq!(store.sessions(&ListQuery::default()).unwrap().total, 1);
    assert_eq!(store.forget_idempotency_keys(i64::MAX).unwrap(), 1);
    assert!(matches!(
        store.begin_turn(&new()).unwrap(),
        Begun::Started(_)
    ));
}

#[test]
fn lists_are_newest_first_by_user_and_paged() {
    let (mut store, host) = memory();
    let mut made = Vec::new();
    for (n, name) in ["ada", "bob", "ada", "ada"].iter().enumerate() {
        host.now_ms.set(1_000_000 + n as i64 * 1000);
        made.push(session_of(&mut store, name, "ok"));
    }
    made.reverse();
    assert_eq!(ids(&store, &ListQuery::default()), made);
    let of = |user| ListQuery {
        user: Some(user),
        ..ListQuery::default()
    };
    assert_eq!(ids(&store, &of("bob")), [made[2].clone()]);
    assert_eq!(ids(&store, &of("BOB")), [made[2].clone()]);
    assert!(ids(&store, &of("nobody")).is_empty());
    assert_eq!(ids(&store, &of("")).len(), 4);
    let page = store
        .sessions(&ListQuery {
            offset: 1,
            limit: 2,
            ..of("ada")
        })
        .unwrap();
    assert_eq!(page.total, 3);
    assert_eq!(page.sessions.len(), 2);
    assert_eq!(page.sessions[0].id, made[1]);
    // An older one that goes on is the newest.
    host.now_ms.set(2_000_000);
    say(&mut store, Some(&made[3]), "more", "ok");
    assert_eq!(ids(&store, &ListQuery::default())[0], made[3]);
}

#[test]
fn a_session_is_found_by_id_name_suffix_or_place() {
    let (mut store, host) = memory();
    let first = say(&mut store, None, "one", "ok");
    host.now_ms.set(host.now_ms.get() + 5000);
    let second = say(&mut store, None, "two", "ok");
    let info = store.session(&first).unwrap();
    assert_eq!(info.name(), "session-20250102-030405");
    for text in [
        first.as_str(),
        info.name(),
        "030405",
        info.path.as_str(),
        " 20250102-030405 ",
    ] {
        assert_eq!(store.resolve(text).unwrap().id, first, "{text}");
    }
    let list = ListQuery::default();
    assert_eq!(store.resolve_listed("1", &list).unwrap().id, second);
    assert_eq!(store.resolve_listed("2", &list).unwrap().id, first);
    assert_eq!(store.resolve_listed("030405", &list).unwrap().id, first);
    for text in [
        "",
        "nope",
        "SESSION-20250102-030405",
        "session-20250102-030405.jsonl",
        "%",
    ] {
        assert!(
            matches!(store.resolve(text), Err(StoreError::NotFound { .. })),
            "{text}"
        );
    }
}

#[test]
fn a_suffix_that_fits_several_sessions_is_not_guessed() {
    let (mut store, _) = memory();
    let one = session_of(&mut store, "ada", "ok");
    let two = session_of(&mut store, "bob", "ok");
    let error = store.resolve("session-20250102-030405").unwrap_err();
    let StoreError::Ambiguous { candidates, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(candidates, &[one.to_string(), two.to_string()]);
    assert!(error.to_string().contains("fits 2 sessions"), "{error}");
}

#[test]
fn the_users_own_title_is_never_replaced() {
    let (mut store, _) = memory();
    let id = say(&mut store, None, "hi", "ok");
    assert!(store.set_automatic_title(&id, Some("auto")).unwrap());
    store.rename(&id, Some("  Mine  ")).unwrap();
    assert!(!store.set_automatic_title(&id, Some("auto 2")).unwrap());
    assert_eq!(store.session(&id).unwrap().title.as_deref(), Some("Mine"));
    // Taking the title away is a decision of the user's too.
    store.rename(&id, Some("  ")).unwrap();
    assert!(!store.set_automatic_title(&id, Some("auto 3")).unwrap());
    let info = store.session(&id).unwrap();
    assert_eq!((info.title, info.title_kind), (None, TitleKind::Custom));
    assert!(found(&store, "Mine").is_empty(), "the index forgot it");
}

#[test]
fn sizes_have_caps_and_the_error_says_which() {
    let (mut store, _) = memory();
    let id = say(&mut store, None, "hi", "ok");
    let long = "x".repeat(10 << 20);
    for error in [
        store.rename(&id, Some(&long)).unwrap_err(),
        store.set_automatic_title(&id, Some(&long)).unwrap_err(),
        store
            .merge(std::slice::from_ref(&id), Some(&long), None)
            .unwrap_err(),
    ] {
        assert!(
            matches!(error, StoreError::TooLarge { what: What::Title, max_bytes: limits::TITLE_BYTES, got_bytes } if got_bytes == 10 << 20),
            "{error}"
        );
    }
    assert_eq!(store.session(&id).unwrap().title, None);
    assert!(store.set_setting(&long, Some("x")).is_err());
    assert!(store.set_setting("", Some("x")).is_err());
    assert!(store.set_user(&user("a"), Some(&long)).is_err());
    let search = store.search(&SearchQuery {
        text: &long,
        ..SearchQuery::default()
    });
    assert!(matches!(
        search,
        Err(StoreError::TooLarge {
            what: What::Query,
            ..
        })
    ));
    let huge = "y".repeat(limits::MESSAGE_BYTES + 1);
    let handle = begin(&mut store, Target::Session(&id));
    assert!(store.finish_turn(&handle, &reply(&huge)).is_err());
    store.finish_turn(&handle, &reply("short")).unwrap();
}

#[test]
fn sessions_are_merged_in_the_given_order_and_stay() {
    let (mut store, host) = memory();
    let one = say(&mut store, None, "first question", "first answer");
    host.now_ms.set(host.now_ms.get() + 1000);
    let two = say(&mut store, None, "second question", "second answer");
    store.rename(&two, Some("Two")).unwrap();
    let merged = store
        .merge(&[two.clone(), one.clone()], None, None)
        .unwrap();
    assert_eq!(
        merged.title.as_deref(),
        Some("Merged: Two | session-20250102-030405")
    );
    assert_eq!((merged.turns, merged.title_kind), (2, TitleKind::Automatic));
    let turns = store.turns(&merged.id).unwrap();
    assert_eq!(turns[0].messages[0].content, "second question");
    // When something was said, and by which model, is not lost.
    assert_eq!(turns[1].at_ms, store.turns(&one).unwrap()[0].at_ms);
    assert_eq!(turns[1].model.as_deref(), Some("test-model"));
    assert_eq!(store.session(&one).unwrap().turns, 1);
    let again = store.merge(&[one, two], Some("t"), None).unwrap();
    assert_ne!(again.path, merged.path);
    assert_eq!(found(&store, "first answer").len(), 3);
    store.check().unwrap();
}

#[test]
fn archiving_one_users_sessions_leaves_the_others() {
    let (mut store, host) = memory();
    let mut of_ada = Vec::new();
    for n in 0..3 {
        host.now_ms.set(1_000_000 + n * 1000);
        of_ada.push(session_of(&mut store, "ada", &format!("answer {n}")));
    }
    let of_bob = [
        session_of(&mut store, "bob", "b1"),
        session_of(&mut store, "bob", "b2"),
    ];
    host.now_ms.set(2_000_000);
    let archived = store
        .archive_early(&ArchiveEarly {
            user: user("ada"),
            keep_sources: false,
        })
        .unwrap()
        .unwrap();
    assert_eq!(
        (archived.latest.id, archived.sources),
        (of_ada[2].clone(), 2)
    );
    assert_eq!(
        ids(
            &store,
            &ListQuery {
                user: Some("bob"),
                ..ListQuery::default()
            }
        )
        .len(),
        2
    );
    assert_eq!(
        ids(
            &store,
            &ListQuery {
                user: Some("ada"),
                ..ListQuery::default()
            }
        ),
        [of_ada[2].clone()]
    );
    let archives = ListQuery {
        archived: true,
        ..ListQuery::default()
    };
    assert_eq!(
        ids(&store, &archives),
        std::slice::from_ref(&archived.archive.id)
    );
    // In the order of time.
    let said: Vec<String> = store
        .turns(&archived.archive.id)
        .unwrap()
        .into_iter()
        .map(|turn| turn.messages[1].content.clone())
        .collect();
    assert_eq!(said, ["answer 0", "answer 1"]);
    assert!(found(&store, "answer").contains(&of_ada[2]));
    assert_eq!(
        found(&store, "answer").len(),
        1,
        "archives are searched by themselves"
    );
    let aside = SearchQuery {
        text: "answer",
        archived: true,
        ..SearchQuery::default()
    };
    let hits = store.search(&aside).unwrap().hits;
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].session.id, archived.archive.id);
    assert!(of_bob.iter().all(|id| store.session(id).is_ok()));
    assert_eq!(
        store
            .archive_early(&ArchiveEarly {
                user: user("ada"),
                keep_sources: false
            })
            .unwrap(),
        None
    );
}

#[test]
fn deleting_takes_the_words_and_the_prompt_along() {
    let (mut store, _) = memory();
    let id = say(&mut store, None, "unmistakable", "ok");
    store.rename(&id, Some("singular")).unwrap();
    let other = say(&mut store, None, "other", "ok");
    assert_eq!(found(&store, "unmistakable"), std::slice::from_ref(&id));
    store.delete(&id).unwrap();
    assert!(found(&store, "unmistakable").is_empty() && found(&store, "singular").is_empty());
    assert_eq!(store.first_system(&other).unwrap().as_deref(), Some("sys"));
    assert!(matches!(
        store.delete(&id),
        Err(StoreError::NotFound { .. })
    ));
    store.delete(&other).unwrap();
    store.compact().unwrap();
    store.check().unwrap();
}

#[test]
fn only_sessions_in_which_nothing_was_said_are_empty() {
    let (mut store, _) = memory();
    let empty = store.create_session(&NewSession::default()).unwrap();
    let used = say(&mut store, None, "hi", "");
    let open = begin(&mut store, Target::New(NewSession::default()));
    assert!(!store.delete_if_empty(&used).unwrap());
    assert!(!store.delete_if_empty(open.session()).unwrap());
    assert_eq!(store.delete_empty().unwrap(), 1);
    assert!(store.session(&empty.id).is_err());
    assert_eq!(store.sessions(&ListQuery::default()).unwrap().total, 2);
}

#[test]
fn words_prefixes_titles_and_parts_of_words_are_found() {
    let (mut store, host) = memory();
    let whales = say(
        &mut store,
        None,
        "Tell me about Blue whales",
        "They sing. 大きな鯨は歌う。",
    );
    host.now_ms.set(host.now_ms.get() + 1000);
    let code = say(
        &mut store,
        None,
        "fix foo_bar(x) -> y; C++?",
        "done (see RFC-2119)",
    );
    store.rename(&code, Some("Número uno")).unwrap();
    for (text, expected) in [
        ("whales", &whales),
        ("WHALES blue", &whales),
        ("blue wha", &whales),
        ("鯨は", &whales),
        ("大きな", &whales),
        ("hales", &whales),
        ("numero", &code),
        ("NÚMERO", &code),
        ("rfc-2119", &code),
        ("c++", &code),
        ("->", &code),
        ("foo_b", &code),
    ] {
        assert_eq!(
            found(&store, text),
            std::slice::from_ref(expected),
            "{text}"
        );
    }
    assert_eq!(found(&store, "session-2025").len(), 2, "names are searched");
    for text in ["", "   ", "absent", "whales absent", "鯨大"] {
        assert!(found(&store, text).is_empty(), "{text}");
    }
    let page = store
        .search(&SearchQuery {
            text: "blue",
            ..SearchQuery::default()
        })
        .unwrap();
    let snippet = page.hits[0].snippet.as_ref().unwrap();
    assert_eq!(snippet.text, "Tell me about Blue whales");
    assert_eq!(snippet.matches, vec![14..18]);
    assert!(!page.more);
}

#[test]
fn search_syntax_in_a_query_is_text() {
    let (mut store, _) = memory();
    let id = say(
        &mut store,
        None,
        "say \"NEAR(a b)\" AND title:x* OR ^y",
        "ok",
    );
    for text in [
        "\"",
        "\"\"",
        "NEAR(",
        "NEAR(a b)",
        "AND",
        "a AND",
        "OR OR",
        "NOT x",
        "title:",
        "title:x",
        "x*",
        "*",
        "^",
        "^y",
        "(",
        ")",
        "{body}",
        "-",
        "--",
        "'",
        "\\",
        "a\0b",
        "\u{202e}",
        "%",
        "_",
        "message_index",
        "SELECT",
    ] {
        let page = store.search(&SearchQuery {
            text,
            ..SearchQuery::default()
        });
        assert!(page.is_ok(), "{text:?}: {page:?}");
    }
    assert_eq!(found(&store, "\"NEAR(a b)\" AND title:x*"), [id]);
    assert!(
        found(&store, "NOT x").is_empty(),
        "every word has to be there"
    );
}

#[test]
fn settings_persona_and_users_are_kept() {
    let (mut store, _) = memory();
    store.set_setting("theme", Some("dark")).unwrap();
    store.set_setting("theme", Some("light")).unwrap();
    store.set_setting("lang", Some("de")).unwrap();
    assert_eq!(store.setting("theme").unwrap().as_deref(), Some("light"));
    store.set_setting("theme", None).unwrap();
    assert_eq!(
        store.settings().unwrap(),
        [("lang".to_owned(), "de".to_owned())]
    );

    store
        .set_persona_override("global", Some("{\"name\":\"N\"}"))
        .unwrap();
    store.set_persona_override("nano", Some("{}")).unwrap();
    assert_eq!(store.persona_overrides().unwrap().len(), 2);
    assert_eq!(
        store.persona_override("nano").unwrap().as_deref(),
        Some("{}")
    );
    store.reset_persona().unwrap();
    assert_eq!(store.persona_override("global").unwrap(), None);

    store.set_user(&user("user_one"), None).unwrap();
    store.set_user(&user("user_two"), Some("Zwei")).unwrap();
    store.set_user(&user("user_two"), None).unwrap();
    let users: Vec<(String, String)> = store
        .users()
        .unwrap()
        .into_iter()
        .map(|user| (user.id.to_string(), user.display))
        .collect();
    let expected = [
        ("default", "default"),
        ("user_one", "user one"),
        ("user_two", "Zwei"),
    ];
    assert_eq!(
        users,
        expected.map(|(id, name)| (id.to_owned(), name.to_owned()))
    );
}

#[test]
fn sessions_of_one_second_never_share_a_name() {
    let (mut store, _) = memory();
    let made: Vec<SessionId> = (0..20).map(|_| say(&mut store, None, "hi", "ok")).collect();
    let mut paths: Vec<String> = made
        .iter()
        .map(|id| store.session(id).unwrap().path)
        .collect();
    assert_eq!(
        paths[1],
        "sessions/2025-01-02/session-20250102-030405-2.jsonl"
    );
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 20);
    assert!(made.iter().all(|id| store.turns(id).unwrap().len() == 1));
}

#[test]
fn a_session_is_put_aside_as_it_is_and_taken_back() {
    let (mut store, host) = memory();
    let first = say(&mut store, None, "one", "eins");
    host.now_ms.set(host.now_ms.get() + 60_000);
    let second = say(&mut store, None, "two", "zwei");
    let before = store.session(&first).unwrap();

    let aside = store.set_archived(&first, true).unwrap();
    assert!(aside.archived && aside.updated_ms == before.updated_ms);
    let archived = ListQuery {
        archived: true,
        ..ListQuery::default()
    };
    assert_eq!(
        ids(&store, &ListQuery::default()),
        std::slice::from_ref(&second)
    );
    assert_eq!(ids(&store, &archived), std::slice::from_ref(&first));
    let found = |text, archived| {
        let query = SearchQuery {
            text,
            archived,
            ..SearchQuery::default()
        };
        let page = store.search(&query).unwrap();
        page.hits.into_iter().map(|hit| hit.session.id).collect()
    };
    let (there, here): (Vec<SessionId>, Vec<SessionId>) = (found("one", true), found("one", false));
    assert_eq!((there.len(), here.len()), (1, 0));

    // One chat is left, so there is nothing older to put together.
    assert!(
        store
            .archive_early(&ArchiveEarly::default())
            .unwrap()
            .is_none()
    );
    let back = store.set_archived(&first, false).unwrap();
    assert_eq!(back, before);
    assert_eq!(ids(&store, &ListQuery::default()), [second, first]);
}

#[test]
fn an_archive_of_several_sessions_is_not_taken_back() {
    let (mut store, _) = memory();
    say(&mut store, None, "one", "eins");
    say(&mut store, None, "two", "zwei");
    let archived = store
        .archive_early(&ArchiveEarly::default())
        .unwrap()
        .unwrap();
    assert!(archived.archive.archived);
    assert!(matches!(
        store.set_archived(&archived.archive.id, false),
        Err(StoreError::Invalid {
            what: What::Session,
            ..
        })
    ));
    store.set_archived(&archived.archive.id, true).unwrap();
}

#[test]
fn turns_are_read_page_by_page_from_the_end() {
    let (mut store, _) = memory();
    let id = say(&mut store, None, "1", "a");
    for text in ["2", "3", "4", "5"] {
        say(&mut store, Some(&id), text, "a");
    }
    let handle = begin(&mut store, Target::Session(&id));
    let timed = FinishedTurn {
        content: "six",
        telemetry: Some(TurnTelemetry {
            model: "m".to_owned(),
            completion_tokens: Some(7),
            ..TurnTelemetry::default()
        }),
        ..FinishedTurn::default()
    };
    store.finish_turn(&handle, &timed).unwrap();

    let numbers = |before, limit| {
        let page = store.turns_before(&id, before, limit).unwrap();
        let numbers: Vec<u64> = page.turns.iter().map(|(turn, _)| turn.number).collect();
        (numbers, page.has_earlier)
    };
    assert_eq!(numbers(None, 4), (vec![3, 4, 5, 6], true));
    assert_eq!(numbers(Some(3), 4), (vec![1, 2], false));
    assert_eq!(numbers(Some(1), 4), (vec![], false));
    assert_eq!(numbers(Some(0), 4), (vec![], false));
    assert_eq!(numbers(Some(99), 2), (vec![5, 6], true));
    assert_eq!(numbers(None, 0), (vec![], true));

    let page = store.turns_before(&id, None, 2).unwrap();
    let tokens = |at: usize| page.turns[at].1.as_ref().and_then(|t| t.completion_tokens);
    assert_eq!((tokens(0), tokens(1)), (None, Some(7)));
    assert_eq!(page.turns[0].0.messages[0].content, "5");
    // The last turn was given no prompt, though those before it were.
    assert_eq!(page.system, None);
    let whole = store.turns(&id).unwrap();
    let paged: Vec<_> = store.turns_before(&id, None, 500).unwrap().turns;
    assert!(paged.into_iter().map(|(turn, _)| turn).eq(whole));
}

#[test]
fn names_that_make_the_same_id_are_different_users() {
    let (mut store, _) = memory();
    let mut named = |name, id| store.user_named(name, &user(id), None).unwrap();
    let first = named("Jörg", "j_rg");
    let second = named("Jürg", "j_rg");
    assert_eq!((first.id.as_str(), second.id.as_str()), ("j_rg", "j_rg_2"));
    assert_eq!(named("jörg ", "j_rg").id, first.id);
    assert_eq!(named("j_rg_2", "j_rg_2").display, "Jürg");
    // Nobody becomes the user of those who gave no name.
    assert_eq!(named("Default!", "default").id.as_str(), "default_2");
    let renamed = store
        .user_named("Jürg", &user("j_rg"), Some("Jürg B."))
        .unwrap();
    assert_eq!(
        (renamed.id, renamed.display.as_str()),
        (second.id, "Jürg B.")
    );
    assert_eq!(store.user("JÜRG B.").unwrap().id.as_str(), "j_rg_2");
    assert!(matches!(
        store.user("nobody"),
        Err(StoreError::NotFound {
            what: What::User,
            ..
        })
    ));
    assert!(matches!(
        store.user_named(" ", &user("x"), None),
        Err(StoreError::Invalid { .. })
    ));
    assert!(matches!(
        store.user_named(&"n".repeat(1000), &user("x"), None),
        Err(StoreError::TooLarge { .. })
    ));
}

#[test]
fn a_user_known_from_a_folder_is_the_one_whose_name_gives_its_id() {
    let (mut store, _) = memory();
    session_of(&mut store, "j_rg", "hallo");
    let named = store.user_named("Jörg", &user("j_rg"), None).unwrap();
    assert_eq!(
        (named.id.as_str(), named.display.as_str()),
        ("j_rg", "Jörg")
    );
    assert_eq!(named.sessions, 1);
}

#[test]
fn several_settings_are_set_together_or_not_at_all() {
    let (mut store, _) = memory();
    store.set_setting("a", Some("1")).unwrap();
    let huge = "x".repeat(limits::VALUE_BYTES + 1);
    let refused = store.set_settings(&[("a", None), ("b", Some(&huge))]);
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    assert_eq!(store.setting("a").unwrap().as_deref(), Some("1"));
    store
        .set_settings(&[("a", None), ("b", Some("2"))])
        .unwrap();
    assert_eq!(store.settings().unwrap(), [("b".into(), "2".into())]);

    store.set_persona_override("nox", Some("{}")).unwrap();
    let refused = store.replace_persona([("global", "{}".to_owned()), ("nano", huge)]);
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    assert_eq!(store.persona_overrides().unwrap().len(), 1);
    store
        .replace_persona([("global", "{\"name\":\"x\"}".to_owned())])
        .unwrap();
    assert_eq!(
        store.persona_overrides().unwrap(),
        [("global".into(), "{\"name\":\"x\"}".into())]
    );
}

#[test]
fn a_turn_that_cannot_be_finished_is_interrupted_and_keeps_its_reply() {
    let (mut store, host) = memory();
    let id = say(&mut store, None, "first", "ok");
    let handle = begin(&mut store, Target::Session(&id));
    store.save_partial(&handle, "half an", None).unwrap();
    host.now_ms.set(host.now_ms.get() + 1000);
    store.interrupt_turn(&handle).unwrap();
    let turn = store.turns(&id).unwrap().remove(1);
    assert_eq!(turn.state, TurnState::Interrupted);
    assert_eq!(turn.messages[1].content, "half an");
    assert!(turn.messages[1].partial);
    let info = store.session(&id).unwrap();
    assert_eq!((info.turns, info.updated_ms), (2, host.now_ms.get()));
    store.finish_turn(&handle, &reply("after all")).unwrap();
    assert!(matches!(
        store.interrupt_turn(&handle),
        Err(StoreError::NotFound {
            what: What::Turn,
            ..
        })
    ));
}

#[test]
fn the_turn_that_a_second_attempt_replaces_is_known_before() {
    let (mut store, _) = memory();
    let id = say(&mut store, None, "first", "ok");
    let other = say(&mut store, None, "other", "ok");
    let of_key = |store: &Store, id: &SessionId| store.interrupted_turn_of_key(id, "k").unwrap();
    assert_eq!(of_key(&store, &id), None);
    let new = new_turn(Target::Session(&id), Some("k"));
    let Begun::Started(handle) = store.begin_turn(&new).unwrap() else {
        panic!("the key is new")
    };
    assert_eq!(of_key(&store, &id), None, "it is being answered");
    store.interrupt_turn(&handle).unwrap();
    assert_eq!(of_key(&store, &id), Some(2));
    assert_eq!(store.turns(&id).unwrap()[1].number, 2);
    assert_eq!(of_key(&store, &other), None);
    assert!(matches!(store.begin_turn(&new), Ok(Begun::Started(_))));
    assert_eq!(store.turns(&id).unwrap().len(), 2);
    assert_eq!(of_key(&store, &id), None);
}

#[test]
fn a_session_whose_only_turn_is_tried_again_counts_what_it_has() {
    let (mut store, _) = memory();
    let id = store.create_session(&NewSession::default()).unwrap().id;
    let new = new_turn(Target::Session(&id), Some("k"));
    let Begun::Started(handle) = store.begin_turn(&new).unwrap() else {
        panic!("the key is new")
    };
    store.interrupt_turn(&handle).unwrap();
    assert_eq!(store.session(&id).unwrap().turns, 1);
    store.begin_turn(&new).unwrap();
    assert_eq!(store.session(&id).unwrap().turns, 0);
}

#[test]
fn the_copy_of_an_open_turn_is_interrupted() {
    let (mut store, _) = memory();
    let id = say(&mut store, None, "first", "ok");
    let handle = begin(&mut store, Target::Session(&id));
    store.save_partial(&handle, "half an", None).unwrap();
    let merged = store.merge(std::slice::from_ref(&id), None, None).unwrap();
    let states = |store: &Store, id: &SessionId| -> Vec<TurnState> {
        let turns = store.turns(id).unwrap();
        turns.iter().map(|turn| turn.state).collect()
    };
    let expected = [TurnState::Finished, TurnState::Interrupted];
    assert_eq!(states(&store, &merged.id), expected);
    assert_eq!(merged.turns, 2);
    store
        .finish_turn(&handle, &reply("half an answer"))
        .unwrap();
    assert_eq!(states(&store, &id), [TurnState::Finished; 2]);
    assert_eq!(states(&store, &merged.id), expected);
}

#[test]
fn a_common_word_is_found_where_it_is_wanted_however_much_came_after() {
    let (mut store, _) = memory();
    let aside = say(&mut store, None, "a whale", "indeed");
    store.set_archived(&aside, true).unwrap();
    let of_ann = session_of(&mut store, "ann", "a whale");
    // More messages than a search looks at, all of them newer.
    let record = "{\"messages\": [{\"role\": \"user\", \"content\": \"whale\"}, {\"role\": \"assistant\", \"content\": \"whale\"}]}\n";
    let file = nox_store::TreeFile {
        path: "sessions/much.jsonl".into(),
        bytes: record.repeat(5100).into_bytes(),
        modified_ms: None,
    };
    store.import(vec![file], &common::IMPORT).unwrap();
    // As a word, and as a part of one.
    for text in ["whale", "hale"] {
        let search = |user, archived| -> Vec<SessionId> {
            let page = store.search(&SearchQuery {
                text,
                user,
                archived,
                limit: 0,
            });
            let hits = page.unwrap().hits;
            hits.into_iter().map(|hit| hit.session.id).collect()
        };
        assert_eq!(search(None, true), std::slice::from_ref(&aside), "{text}");
        assert_eq!(
            search(Some("ann"), false),
            std::slice::from_ref(&of_ann),
            "{text}"
        );
        assert_eq!(search(Some("ann"), true), [], "{text}");
    }
}
