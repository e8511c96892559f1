//! Slash commands: arguments, completion, and the answers.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use nox_core::{
    Answer, COMMANDS, Command, CommandError, ExportScope, FoundSession, Outcome, PERSONA, Persona,
    PersonaCommand, PersonaField, SessionLine, SessionRef, command_limits, complete,
};
use nox_protocol::{Message, Role};

/// The commands that have a line of their own in a help text.
fn named_commands(help: &str) -> Vec<String> {
    let mut names: Vec<String> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  /")?.split_whitespace().next())
        .map(|name| format!("/{name}"))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn help_text() -> String {
    let help = Command::Help { topic: None };
    help.own_answer().unwrap().text
}

fn parse(line: &str) -> Command {
    Command::parse(line).unwrap().unwrap()
}

fn refusal(line: &str) -> String {
    Command::parse(line).unwrap_err().to_string()
}

fn named(name: &str) -> SessionRef {
    SessionRef::Named(name.to_owned())
}

#[test]
fn every_line_with_a_slash_in_front_is_a_command() {
    for message in ["", " ", "\n", "hello", "help", "a /reset", "\\/reset"] {
        assert_eq!(Command::parse(message), Ok(None), "{message:?}");
    }
    for (line, name) in [
        ("/nope", "/nope"),
        ("  /nope with words", "/nope"),
        ("/", "/"),
        ("// a comment", "//"),
        ("//help", "//help"),
        ("/ help", "/"),
        ("/home/x", "/home/x"),
        ("/home/x\nand more", "/home/x"),
        ("/Größe", "/Größe"),
        // What has no counterpart is unknown too.
        ("/anon", "/anon"),
        ("/shell ls", "/shell"),
    ] {
        assert_eq!(refusal(line), format!("Unknown command: {name}"));
        assert!(Command::is_command(line), "{line}");
    }
    let long = format!("/{}", "é".repeat(5_000_000));
    assert!(refusal(&long).chars().count() < 100);
}

#[test]
fn help_names_exactly_the_commands_there_are() {
    let mut names: Vec<&str> = COMMANDS.iter().map(|info| info.name).collect();
    names.sort_unstable();
    assert_eq!(named_commands(&help_text()), names);
    for info in COMMANDS {
        for name in std::iter::once(&info.name).chain(info.aliases) {
            for name in [(*name).to_owned(), name.to_uppercase()] {
                let parsed = Command::parse(&name);
                let is_unknown = matches!(parsed, Err(CommandError::Unknown { .. }));
                assert!(!is_unknown, "{name}");
            }
        }
        for topic in [info.name, &info.name[1..]] {
            let help = parse(&format!("/help {topic}")).own_answer().unwrap();
            assert!(help.text.starts_with(&info.usage()), "{}", help.text);
        }
    }
    assert_eq!(parse("/help nonsense"), Command::Help { topic: None });
}

#[test]
fn every_command_of_the_full_set_is_there() {
    for name in "/help /config /models /list-models /reset /title /sessions /show /load /rename \
                 /merge /archive /search /export /persona /iam /instrument /model /exit /quit \
                 /name /ls /last /browse"
        .split_whitespace()
    {
        assert!(!complete(name).is_empty(), "{name}");
        assert!(
            !matches!(Command::parse(name), Err(CommandError::Unknown { .. })),
            "{name}"
        );
    }
}

#[test]
fn completion_offers_what_the_beginning_may_become() {
    let names = |typed: &str| {
        let names: Vec<&str> = complete(typed).iter().map(|info| info.name).collect();
        names.join(" ")
    };
    assert_eq!(names("/re"), "/reset /rename");
    assert_eq!(names(" /MODEL"), "/models /model");
    assert_eq!(names("/l"), "/models /sessions /show /load");
    assert_eq!(complete("/").len(), COMMANDS.len());
    for none in ["", "re", "/title ", "/zzz", "//"] {
        assert_eq!(names(none), "", "{none:?}");
    }
}

#[test]
fn arguments_are_read_as_they_are_meant() {
    let title = |text: &str| Command::Title {
        title: Some(text.to_owned()),
    };
    let rename = |session: &str, title: &str| Command::Rename {
        session: named(session),
        title: title.to_owned(),
    };
    for (line, command) in [
        ("/title", Command::Title { title: None }),
        ("/title A walk", title("A walk")),
        ("/title \"A walk\"", title("A walk")),
        ("/title “A walk”", title("A walk")),
        ("/title  A \n walk ", title("A walk")),
        ("/title He said \"no\"", title("He said \"no\"")),
        ("/title \"A\" and \"B\"", title("\"A\" and \"B\"")),
        (r#"/title "A \"B\"""#, title("A \"B\"")),
        ("/title Don't", title("Don't")),
        ("/rename 2 New title", rename("2", "New title")),
        (
            "/rename \"old id\" \"New title\"",
            rename("old id", "New title"),
        ),
        ("/sessions", Command::Sessions),
        ("/LS", Command::Sessions),
        ("/browse", Command::Sessions),
        (
            "/show",
            Command::Show {
                session: SessionRef::Current,
            },
        ),
        (
            "/last",
            Command::Show {
                session: SessionRef::Newest,
            },
        ),
        (
            "/show 3",
            Command::Show {
                session: named("3"),
            },
        ),
        (
            "/load",
            Command::Load {
                session: SessionRef::Newest,
            },
        ),
        (
            "/load abc",
            Command::Load {
                session: named("abc"),
            },
        ),
        (
            "/merge 1 2 1 x",
            Command::Merge {
                sessions: vec![named("1"), named("2"), named("x")],
            },
        ),
        ("/archive", Command::Archive),
        (
            "/search \"blue bird\" song",
            Command::Search {
                query: "\"blue bird\" song".to_owned(),
            },
        ),
        (
            "/export",
            Command::Export {
                scope: ExportScope::One(SessionRef::Current),
            },
        ),
        (
            "/export ALL",
            Command::Export {
                scope: ExportScope::All,
            },
        ),
        (
            "/export 4",
            Command::Export {
                scope: ExportScope::One(named("4")),
            },
        ),
        ("/persona", Command::Persona(PersonaCommand::Show)),
        (
            "/persona Name \"Sea Nox\"",
            Command::Persona(PersonaCommand::Set {
                field: PersonaField::Name,
                value: "Sea Nox".to_owned(),
            }),
        ),
        (
            "/persona reset",
            Command::Persona(PersonaCommand::Reset { field: None }),
        ),
        (
            "/persona reset motto",
            Command::Persona(PersonaCommand::Reset {
                field: Some(PersonaField::Tagline),
            }),
        ),
        ("/iam", Command::Iam { name: None }),
        (
            "/name Ada L",
            Command::Iam {
                name: Some("Ada L".to_owned()),
            },
        ),
        ("/instrument", Command::Instrument { name: None }),
        (
            "/instrument claude",
            Command::Instrument {
                name: Some("claude".to_owned()),
            },
        ),
        (
            "/model nox",
            Command::Model {
                name: Some("nox".to_owned()),
            },
        ),
        ("/reset please", Command::Reset),
        ("/quit now", Command::Exit),
    ] {
        assert_eq!(parse(line), command, "{line}");
    }
}

#[test]
fn what_a_command_does_not_take_is_refused_with_its_usage() {
    for (line, part) in [
        ("/rename", "Say which chat. Usage: /rename CHAT TITLE"),
        (
            "/rename 2",
            "Say how the chat is to be called. Usage: /rename",
        ),
        ("/rename \"2 x", "A quote is not closed. Usage: /rename"),
        ("/rename \"2\"x y", "A quote is not closed"),
        ("/title \" \"", "The title is blank. Usage: /title [TITLE]"),
        (
            "/merge",
            "Name at least two chats. Usage: /merge CHAT CHAT…",
        ),
        ("/merge 1 1", "Name at least two chats"),
        ("/search", "Say what to look for. Usage: /search WORDS"),
        (
            "/archive 2",
            "/archive does not take \"2\". Usage: /archive",
        ),
        ("/show 1 2", "/show does not take \"2\""),
        ("/load \"\"", "A chat's name is blank"),
        ("/persona colour blue", "colour is no field of a persona"),
        ("/persona name", "Say what name is to be"),
        (
            "/persona reset name variant",
            "One field is reset at a time",
        ),
    ] {
        let text = refusal(line);
        assert!(
            text.contains(part) && text.contains("Usage: /"),
            "{line}: {text}"
        );
    }
}

#[test]
fn arguments_beyond_their_caps_are_refused() {
    let long = |name: &str, n_bytes: usize| format!("/{name} {}", "x".repeat(n_bytes));
    for (name, limit) in [
        ("title", command_limits::MAX_TITLE_BYTES),
        ("rename 1", command_limits::MAX_TITLE_BYTES),
        ("show", command_limits::MAX_SESSION_BYTES),
        ("search", command_limits::MAX_QUERY_BYTES),
        ("iam", command_limits::MAX_NAME_BYTES),
        ("persona name", command_limits::MAX_VALUE_BYTES),
    ] {
        parse(&long(name, limit));
        for n_bytes in [limit + 1, 10_000_000] {
            let error = Command::parse(&long(name, n_bytes)).unwrap_err();
            assert!(matches!(error, CommandError::TooMuch { .. }), "{name}");
            assert!(error.to_string().len() < 300);
        }
    }
    let ids = |n: usize| (0..n).map(|idx| format!(" {idx}")).collect::<String>();
    let limit = command_limits::MAX_MERGED_SESSIONS;
    parse(&format!("/merge{}", ids(limit)));
    let error = refusal(&format!("/merge{}", ids(limit + 7)));
    assert!(
        error.contains(&format!("at most {limit} chats, not {}", limit + 7)),
        "{error}"
    );
}

#[test]
fn a_chat_is_found_by_number_id_or_the_end_of_its_id() {
    let ids = ["c-030405", "b-22", "a-2", "2"];
    let find = |session: &SessionRef| session.find(&ids, Some("a-2"));
    assert_eq!(find(&SessionRef::Current), Ok(2));
    assert_eq!(find(&SessionRef::Newest), Ok(0));
    for (name, place) in [
        ("1", 0),
        // A number is a place in the list first.
        ("2", 1),
        ("030405", 0),
        // One beyond the list.
        ("5", 0),
        ("a-2", 2),
        ("22", 1),
    ] {
        assert_eq!(find(&named(name)), Ok(place), "{name}");
    }
    for name in ["0", "9", "+1", "-1", "x", "99999999999999999999999"] {
        let error = find(&named(name)).unwrap_err();
        assert!(
            matches!(error, CommandError::NoSession { .. }),
            "{name}: {error}"
        );
    }
    let error = named("-2").find(&["x-2", "y-2", "z-2"], None).unwrap_err();
    assert!(
        error.to_string().starts_with("3 chats end with -2"),
        "{error}"
    );
    for session in [SessionRef::Current, SessionRef::Newest] {
        assert!(session.find(&[], None).is_err());
    }
}

#[test]
fn help_and_exit_are_answered_here_and_only_exit_ends() {
    for info in COMMANDS {
        let line = format!("{} 1 2", info.name);
        let Ok(Some(command)) = Command::parse(&line).or_else(|_| Command::parse(info.name)) else {
            continue;
        };
        let answer = command.own_answer();
        let is_own = matches!(command, Command::Help { .. } | Command::Exit);
        assert_eq!(answer.is_some(), is_own, "{line}");
        let ends = answer.is_some_and(|answer| !answer.goes_on);
        assert_eq!(ends, command == Command::Exit, "{line}");
    }
}

fn answer(outcome: &Outcome) -> String {
    let Answer { text, goes_on } = outcome.answer();
    assert!(goes_on && text.ends_with('\n'), "{text}");
    text
}

#[test]
fn answers_name_what_was_done() {
    let session = |id: &str, is_current| SessionLine {
        id: id.to_owned(),
        title: format!("About {id}"),
        n_turns: 1,
        updated: "today".to_owned(),
        is_current,
    };
    let list = answer(&Outcome::Sessions(vec![
        session("a", false),
        session("b", true),
    ]));
    assert_eq!(
        list,
        "  1  About a  (1 turn, today)  a\n* 2  About b  (1 turn, today)  b\n"
    );
    let message = |role, content: &str| Message {
        role,
        content: content.to_owned(),
    };
    let shown = answer(&Outcome::Shown {
        title: "T".to_owned(),
        assistant: "nox".to_owned(),
        messages: vec![
            message(Role::System, "secret"),
            message(Role::User, "q"),
            message(Role::Assistant, "a\n"),
        ],
    });
    assert_eq!(shown, "T\n\nyou:\nq\n\nnox:\na\n");
    let found = answer(&Outcome::Found(vec![FoundSession {
        id: "a".to_owned(),
        title: "T".to_owned(),
        excerpt: "… bird …".to_owned(),
    }]));
    assert_eq!(found, "T  a\n    … bird …\n");
    let archived = |n_sessions| answer(&Outcome::Archived { n_sessions });
    assert_eq!(archived(0), "There is nothing to archive.\n");
    assert_eq!(archived(1), "Archived 1 chat.\n");
    assert_eq!(archived(2), "Archived 2 chats.\n");
    let persona = Persona::from(&PERSONA);
    let summary = persona.summary_line();
    let told = answer(&Outcome::PersonaIs(Box::new(persona)));
    assert!(told.starts_with(&summary), "{told}");
    let instrument = answer(&Outcome::Instrument {
        name: Some("claude".to_owned()),
        warning: Some("there is no key".to_owned()),
    });
    assert!(instrument.contains("leaves this device") && instrument.contains("there is no key"));
}
