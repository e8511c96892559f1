//! `cargo xtask <task>`: everything that is done with this checkout, as typed Rust.
//! CI runs these same tasks and nothing else.

mod arm;
mod bench;
mod builds;
mod check;
mod clang;
mod codegen;
mod compress;
mod crates;
mod fuzz;
mod hash;
mod http;
mod process;
mod project;
mod serve;
mod setup;
mod site;
mod tally;
mod test;
mod tools;
mod wasm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::builds::{Purpose, WasmBuilds};
use crate::http::Mount;
use crate::serve::ServeOptions;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Builds, runs and checks Noxics",
    version
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build everything, serve the page on 127.0.0.1 and print its address
    Demo(ServeOptions),
    /// Run every test, browser tests included
    Test {
        /// Run only the steps whose name contains this
        #[arg(long)]
        only: Option<String>,
    },
    /// Run the quick checks: formatting, lints, generated files, dependencies, types
    Check,
    /// Install what the other tasks need (they all do so by themselves)
    Setup,
    /// Make the wasm builds of wasm-pack.toml
    Build {
        /// Make only the build of this name
        #[arg(long)]
        only: Option<String>,
    },
    /// Build the page with its runtime into dist/site
    Site,
    /// Serve a folder of static files, as `demo` does
    Serve {
        #[command(flatten)]
        options: ServeOptions,
        /// The folder; dist/site by default
        #[arg(long)]
        dir: Option<std::path::PathBuf>,
        /// Another folder under a path of the site, in front of what lies there; repeatable
        #[arg(long = "mount", value_name = "PATH=DIR")]
        mounts: Vec<Mount>,
    },
    /// Write the TypeScript types and the JSON Schema of the protocol
    Codegen {
        /// Write nothing; fail if a file is not up to date
        #[arg(long)]
        check: bool,
    },
    /// Ask the engine about a GGUF file: inspect, tokenize, template, generate, logits, greedy
    #[command(disable_help_flag = true)]
    Model {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure the runtime beside its peers, in one browser and natively
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Try hostile input on everything that reads files from outside
    Fuzz {
        /// How long each target is run
        #[arg(long, value_name = "N", default_value_t = 60)]
        seconds: u32,
        /// Try what an earlier run has tried, which has printed this; another by default
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        seed: Option<u32>,
        /// Run this target alone
        target: Option<String>,
    },
    /// Run the engine's kernels on aarch64, in an emulator
    Arm,
    /// Train the built-in model by its recipe
    Train {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Evaluate the built-in model
    Eval {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    project::this_program();
    match run(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Demo(options) => demo(&options)?,
        Task::Test { only } => return test::run(only.as_deref()),
        Task::Check => return check::run(),
        Task::Setup => setup::everything()?,
        Task::Build { only } => build(only.as_deref())?,
        Task::Site => drop(site::build(&setup::for_site()?)?),
        Task::Serve {
            options,
            dir,
            mounts,
        } => serve::run(&options, &dir.unwrap_or_else(project::site_dir), mounts)?,
        Task::Codegen { check } => codegen::run(check)?,
        Task::Model { arguments } => return tools::model(&arguments),
        Task::Bench { arguments } => return bench::run(&arguments),
        Task::Fuzz {
            seconds,
            seed,
            target,
        } => return fuzz::run(seconds, seed, target.as_deref()),
        Task::Arm => arm::run()?,
        Task::Train { arguments } => return tools::recipe("train", &arguments),
        Task::Eval { arguments } => return tools::recipe("eval", &arguments),
    }
    Ok(ExitCode::SUCCESS)
}

fn demo(options: &ServeOptions) -> Result<()> {
    let site = site::build(&setup::for_site()?)?;
    serve::run(options, &site, Vec::new())
}

fn build(only: Option<&str>) -> Result<()> {
    let purpose = match only {
        Some(name) => WasmBuilds::load()?.purpose_of(name),
        None => Purpose::Site,
    };
    let built = wasm::build(&setup::for_site()?, purpose, only)?;
    wasm::print_sizes(&built);
    wasm::check_budgets(&built)
}
