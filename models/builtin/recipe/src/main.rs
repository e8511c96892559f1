//! Command line of the recipe: train, evaluate, look at the text, verify the file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use sha2::{Digest, Sha256};

use nox_builtin_recipe::bpe::Message;
use nox_builtin_recipe::corpus::{Corpus, PRODUCT_SYSTEM};
use nox_builtin_recipe::engine::Engine;
use nox_builtin_recipe::eval::{self, Generate};
use nox_builtin_recipe::gemm::Compute;
use nox_builtin_recipe::gguf;
use nox_builtin_recipe::train::{Plan, train};

const MODEL: &str = "models/builtin/nox-builtin.gguf";
const CASES: &str = "models/builtin/eval/cases.jsonl";
/// The file must stay small enough to come with the page.
const MAX_BYTES: usize = 6_000_000;
/// Conversations that the check for verbatim questions goes through: no fewer than training saw.
const N_CHECKED: u64 = 400_000;
const MAX_REPLY_TOKENS: usize = 160;

#[derive(Parser)]
#[command(about = "Trains and evaluates Nox's small built-in model")]
struct Args {
    /// Worker threads; the result does not depend on them.
    #[arg(long, global = true)]
    threads: Option<usize>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generate the text, train, and write the GGUF file and its SHA-256.
    Train {
        #[arg(long, default_value = MODEL)]
        out: PathBuf,
        /// Folder of the checkpoint from which a stopped run resumes.
        #[arg(long, default_value = "target/nox-builtin")]
        work: PathBuf,
        /// End after so many steps instead (for trials).
        #[arg(long)]
        steps: Option<u64>,
        /// Let the rate fall from this step instead (for trials).
        #[arg(long)]
        decay_from: Option<u64>,
    },
    /// Ask every case and print the table and what went wrong.
    Eval {
        #[arg(long, default_value = MODEL)]
        model: PathBuf,
        #[arg(long, default_value = CASES)]
        cases: PathBuf,
    },
    /// Print generated conversations.
    Corpus {
        #[arg(long, default_value_t = 20)]
        print: u64,
    },
    /// Check the file against its recorded SHA-256.
    Verify {
        #[arg(long, default_value = MODEL)]
        model: PathBuf,
    },
    /// Answer one question.
    Ask {
        #[arg(long, default_value = MODEL)]
        model: PathBuf,
        /// The user's turns, one after the other.
        turns: Vec<String>,
    },
}

fn main() -> Result<()> {
    let args = Args::parse();
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    let compute = Compute::new(args.threads.unwrap_or(n_cores));
    match args.command {
        Command::Train {
            out,
            work,
            steps,
            decay_from,
        } => {
            let mut plan = Plan::PUBLISHED;
            if let Some(steps) = steps {
                plan.schedule.n_steps = steps;
            }
            if let Some(from) = decay_from {
                plan.schedule.decay_from = from;
            }
            let (model, bpe, n_seen) = train(&plan, &compute, &work)?;
            ensure!(n_seen <= N_CHECKED, "training saw {n_seen} conversations");
            let file = gguf::write(&model, &bpe);
            ensure!(
                file.len() <= MAX_BYTES,
                "{} bytes are more than {MAX_BYTES}",
                file.len()
            );
            fs::write(&out, &file).with_context(|| format!("writing {}", out.display()))?;
            let name = out.file_name().context("a file name")?.to_string_lossy();
            fs::write(sum_path(&out), format!("{}  {name}\n", sha256(&file)))?;
            println!("{}: {} bytes, {}", out.display(), file.len(), sha256(&file));
            Ok(())
        }
        Command::Eval { model, cases } => run_eval(&model, &cases, &compute),
        Command::Corpus { print } => {
            let corpus = Corpus::new(Plan::PUBLISHED.seed);
            for idx in 0..print {
                for m in corpus.conversation(idx) {
                    println!("{:>9}  {}", m.role, m.content);
                }
                println!();
            }
            Ok(())
        }
        Command::Verify { model } => {
            let recorded = fs::read_to_string(sum_path(&model))?;
            let recorded = recorded
                .split_whitespace()
                .next()
                .context("an empty record")?;
            let found = sha256(&read(&model)?);
            ensure!(
                found == recorded,
                "{} is {found}, recorded is {recorded}",
                model.display()
            );
            println!("{}: {found}", model.display());
            Ok(())
        }
        Command::Ask { model, turns } => {
            let mut engine = Engine::load(&model, MAX_REPLY_TOKENS)?;
            let mut messages = vec![Message::new("system", PRODUCT_SYSTEM)];
            for turn in turns {
                messages.push(Message::new("user", turn));
                let reply = engine.reply(&messages)?;
                println!("{reply}");
                messages.push(Message::new("assistant", reply));
            }
            Ok(())
        }
    }
}

fn run_eval(model: &Path, cases: &Path, compute: &Compute) -> Result<()> {
    let cases = eval::parse_cases(&fs::read_to_string(cases)?)?;
    let corpus = Corpus::new(Plan::PUBLISHED.seed);
    let seen = eval::seen_in_training(&cases, &corpus, N_CHECKED);
    ensure!(
        seen.is_empty(),
        "asked verbatim in training:\n{}",
        seen.join("\n")
    );
    let engine = || Engine::load(model, MAX_REPLY_TOKENS);
    let report = eval::evaluate(&cases, compute, engine)?;
    for (case, reply) in &report.failures {
        let asked = case.messages.last().map_or("", |m| &m.content);
        println!("{} {:?}\n    {reply:?}", case.id, asked);
    }
    println!("\n{}", report.table());
    ensure!(report.passes(), "below the pass mark");
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn sum_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

fn sha256(data: &[u8]) -> String {
    Sha256::digest(data)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}
