//! The engine's own command line, for bug reports and for comparison with other
//! engines.
//!
//! A command's result is one JSON value on stdout; everything else, errors
//! included, goes to stderr, and a command that fails leaves stdout empty. The
//! tool adds nothing to the engine: what it prints is what the engine does.

mod bench;
mod file;
mod inspect;
mod run;
mod text;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use serde_json::Value;

/// Looks into GGUF models and runs them
#[derive(Parser)]
#[command(name = "nox-model", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints metadata, tensors and a memory estimate
    Inspect {
        /// The GGUF file
        file: PathBuf,
        /// The context length that memory is estimated for
        #[arg(long, value_name = "N")]
        ctx: Option<usize>,
    },
    /// Turns the text on stdin into {"ids": […]}, without special tokens added
    Tokenize {
        /// The GGUF file
        file: PathBuf,
        /// Parse special tokens in the text instead of taking them as text
        #[arg(long)]
        parse_special: bool,
    },
    /// Renders the messages on stdin into {"prompt": …}
    ///
    /// The messages are a JSON array of {"role", "content"}, or an object with
    /// "messages" and further template variables, e.g. "add_generation_prompt"
    /// (true unless it says otherwise), "bos_token", "eos_token".
    Template {
        /// The GGUF file
        file: PathBuf,
        /// The time that the template sees, in seconds since 1970; now by default
        #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
        now: Option<i64>,
    },
    /// Generates {"text", "ids", "finish_reason", "usage", "timings"}
    Generate(run::Generate),
    /// Prints the largest logits after the last token: {"tokens", "top": [[id, logit], …]}
    Logits(run::Logits),
    /// Prints the next tokens, always the most likely one: {"ids": […]}
    Greedy(run::Greedy),
    /// Measures loading, prefill, decoding and memory: {"runs": […], "peak_bytes", …}
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command).and_then(|result| print(&result)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<Value> {
    match command {
        Command::Inspect { file, ctx } => inspect::inspect(&file, ctx),
        Command::Tokenize {
            file,
            parse_special,
        } => text::tokenize(&file, parse_special),
        Command::Template { file, now } => text::template(&file, now),
        Command::Generate(arguments) => arguments.run(),
        Command::Logits(arguments) => arguments.run(),
        Command::Greedy(arguments) => arguments.run(),
        Command::Bench(arguments) => arguments.run(),
    }
}

fn print(result: &Value) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{result}")
        .and_then(|()| out.flush())
        .context("stdout cannot be written")
}
