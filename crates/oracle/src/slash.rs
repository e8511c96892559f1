//! `slash.jsonl`: slash commands.
//!
//! Help texts are our own, so of those only the names are compared; of the list of
//! models the marks. Colours are the host's business. Names of unknown commands are
//! compared without their case, which says nothing.

use nox_core::{AliasState, Command, NOX_CATALOG, Outcome, reset_history};
use nox_protocol::ChatTarget;
use serde_json::{Value, json};

use crate::case::{Case, text};
use crate::report::{Report, Verdict};

/// Compares `slash.jsonl`.
#[must_use]
pub fn check_slash(jsonl: &str) -> Report {
    Report::of("slash.jsonl", jsonl, |case| match sides(case) {
        Ok((ours, recorded)) => Verdict::Compared { ours, recorded },
        Err(reason) => Verdict::LeftOut(reason),
    })
}

/// Ours and what was recorded.
fn sides(case: &Case) -> Result<(Value, Value), &'static str> {
    match case.call.as_str() {
        "_handle_slash_command(line)" => one_line(case),
        "_run_interactive(client, initial_system)" => conversation(case),
        "core command line main(argv)" if case.input["args"] == json!(["--list-models"]) => {
            let (ours, recorded) = models_text(text(&case.output, "stdout"))?;
            Ok((ours.into(), recorded.into()))
        }
        "core command line main(argv)" => Err("a program's options and exit are no commands"),
        "help_cmd.print_help(client)" => {
            let recorded = named_commands(text(&case.output, "stdout"));
            Ok((json!(named_commands(&help_text())), json!(recorded)))
        }
        "describe_instrument_status()" => {
            Err("labels of instruments are settings here, and notices our own")
        }
        _ => Err("the call has no counterpart"),
    }
}

/// What is compared of one line: the text, whether the conversation goes on, and the
/// messages where the command changes them.
fn one_line(case: &Case) -> Result<(Value, Value), &'static str> {
    let line = text(&case.input, "line");
    if !line.trim().is_empty() && !Command::is_command(line) {
        return Err("a line without a slash is a message here");
    }
    let (ours, recorded) = texts(line, &case.input, text(&case.output, "stdout"))?;
    let (ours_after, recorded_after) = match Command::parse(line) {
        Ok(Some(Command::Reset)) => (
            json!(reset_history(text(&case.input, "initial_system"))),
            case.output["messages_after"].clone(),
        ),
        _ => (Value::Null, Value::Null),
    };
    let goes_on = match Command::parse(line) {
        Ok(Some(command)) => command.own_answer().is_none_or(|answer| answer.goes_on),
        Ok(None) | Err(_) => true,
    };
    Ok((
        json!([ours, goes_on, ours_after]),
        json!([recorded, case.output["continue"], recorded_after]),
    ))
}

/// What is compared of a scripted conversation: which lines go to the model, and the
/// answers to the others.
fn conversation(case: &Case) -> Result<(Value, Value), &'static str> {
    if case.error.is_some() {
        return Err("a failing model server has no counterpart here");
    }
    let stdout = plain(text(&case.output, "stdout"));
    let mut segments = stdout.split("you: ").skip(1);
    let (mut ours, mut recorded) = (Vec::new(), Vec::new());
    let mut n_messages = 0;
    let lines = case.input["lines"].as_array().into_iter().flatten();
    for line in lines.filter_map(Value::as_str) {
        let Some(segment) = segments.next() else {
            break;
        };
        match Command::parse(line) {
            Ok(None) if line.trim().is_empty() => {}
            // Without the slash it ended the loop: a habit of terminals.
            Ok(None) if matches!(line.trim(), "exit" | "quit") => {
                return Err("a line without a slash is a message here");
            }
            Ok(None) => n_messages += 1,
            Ok(Some(Command::Exit)) => break,
            Ok(Some(_)) | Err(_) => {
                let (mine, theirs) = texts(line, &case.input, segment)?;
                ours.push(mine);
                recorded.push(theirs);
            }
        }
    }
    Ok((
        json!([ours, n_messages]),
        json!([recorded, case.output["upstream_calls"]]),
    ))
}

/// Our text and the recorded one, as far as they are compared.
fn texts(line: &str, input: &Value, stdout: &str) -> Result<(String, String), &'static str> {
    let stdout = plain(stdout);
    let command = match Command::parse(line) {
        Ok(None) => return Ok((String::new(), stdout)),
        Err(error) => return Ok((format!("{error}\n").to_lowercase(), stdout.to_lowercase())),
        Ok(Some(command)) => command,
    };
    match command {
        Command::Help { .. } => {
            let recorded = named_commands(&stdout);
            let mut ours = named_commands(&help_text());
            ours.retain(|name| recorded.contains(name));
            Ok((ours.join(" "), recorded.join(" ")))
        }
        Command::Config => {
            let env = input["env"].as_object();
            if env.is_some_and(|env| env.keys().any(|key| key.starts_with("NOX_PERSONA"))) {
                return Err("personas are compared elsewhere");
            }
            Ok((
                Outcome::Config(Box::new(target(input))).answer().text,
                stdout,
            ))
        }
        Command::Models => models_text(&stdout),
        Command::Reset => Ok((Outcome::Reset.answer().text, stdout)),
        Command::Exit => Ok((String::new(), stdout)),
        _ => Err("the recorded command line did not have it"),
    }
}

/// Which models there are is told by Ollama in the recordings, so it is taken from
/// them; the form of the answer is compared.
fn models_text(stdout: &str) -> Result<(String, String), &'static str> {
    if stdout.contains("ollama binary not found") {
        return Err("no program has to be found for a list of models");
    }
    let lines: Vec<&str> = stdout.lines().skip(1).collect();
    let is_remark = |line: &&str| line.trim_start().starts_with('(');
    let aliases = lines.iter().filter(|line| !is_remark(line));
    let aliases = aliases.filter_map(|line| {
        let mut words = line.split_whitespace();
        Some(AliasState {
            alias: words.next()?.to_owned(),
            is_installed: words.next()? == "installed",
        })
    });
    let outcome = Outcome::Models {
        aliases: aliases.collect(),
        has_models: !lines.iter().any(is_remark),
    };
    let compared = |text: &str| {
        let lines = text.lines().skip(1);
        let lines = lines.map(|line| if is_remark(&line) { "(remark)" } else { line });
        lines.collect::<Vec<_>>().join("\n")
    };
    Ok((compared(&outcome.answer().text), compared(stdout)))
}

fn target(input: &Value) -> ChatTarget {
    let client = &input["client"];
    let model = client["model"].as_str().unwrap_or("nox");
    let persona = NOX_CATALOG
        .find(None, input["env"]["NOX_SCALE"].as_str(), Some(model))
        .resolve(&[]);
    ChatTarget {
        url: client["url"].as_str().map(str::to_owned),
        model: model.to_owned(),
        central_name: persona.central_name,
        central_scale: persona.central_scale,
        noctics_variant: persona.variant_name,
        model_target: persona.model_target,
        stream: client["stream"].as_bool().unwrap_or(false),
        temperature: client["temperature"].as_f64().unwrap_or(0.7),
        max_tokens: client["max_tokens"].as_i64().unwrap_or(-1),
        sanitize: client["sanitize"].as_bool().unwrap_or(false),
        strip_reasoning: true,
        logging_enabled: false,
        target_model: model.to_owned(),
        has_api_key: false,
        instrument: None,
        instrument_warning: None,
    }
}

/// Without colours.
fn plain(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    out
}

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
    help.own_answer()
        .map(|answer| answer.text)
        .unwrap_or_default()
}
