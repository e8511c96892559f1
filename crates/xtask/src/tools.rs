//! Tasks that hand over to a native program of the workspace: the engine's own
//! tool, and the built-in model's recipe.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::{process, project};

struct Tool {
    package: &'static str,
    program: &'static str,
}

const MODEL_TOOL: Tool = Tool {
    package: "nox-model-tool",
    program: "nox-model",
};
const RECIPE: Tool = Tool {
    package: "nox-builtin-recipe",
    program: "nox-builtin-recipe",
};

/// `cargo xtask model …`. Standard output is the tool's alone.
///
/// # Errors
/// The tool does not build.
pub(crate) fn model(arguments: &[String]) -> Result<ExitCode> {
    // Paths in the arguments are the caller's.
    run_optimised(&MODEL_TOOL, arguments, &std::env::current_dir()?)
}

/// The engine's tool as the tests' profile builds it, which shares everything with
/// the Rust tests.
///
/// # Errors
/// It does not build.
pub(crate) fn model_tool_for_tests() -> Result<PathBuf> {
    process::run(process::cargo().args(["build", "--quiet", "-p", MODEL_TOOL.package]))?;
    Ok(project::target_dir().join("debug").join(MODEL_TOOL.program))
}

/// The engine's tool as a release is built, for the benchmark.
///
/// # Errors
/// It does not build.
pub(crate) fn optimised_model_tool() -> Result<PathBuf> {
    eprintln!("building {} with optimisation", MODEL_TOOL.program);
    process::run(process::cargo().args([
        "build",
        "--quiet",
        "--release",
        "-p",
        MODEL_TOOL.package,
    ]))?;
    Ok(project::target_dir()
        .join("release")
        .join(MODEL_TOOL.program))
}

/// The benchmark's program around candle, outside of a browser.
///
/// # Errors
/// It does not build.
pub(crate) fn optimised_candle() -> Result<PathBuf> {
    const PACKAGE: &str = "nox-bench-candle";
    const EXAMPLE: &str = "native";
    eprintln!("building candle with optimisation");
    let mut cargo = process::cargo();
    cargo.args([
        "build",
        "--quiet",
        "--release",
        "-p",
        PACKAGE,
        "--example",
        EXAMPLE,
    ]);
    process::run(&mut cargo)?;
    Ok(project::target_dir().join("release/examples").join(EXAMPLE))
}

/// `cargo xtask train` and `cargo xtask eval`.
///
/// # Errors
/// The recipe does not build.
pub(crate) fn recipe(action: &str, arguments: &[String]) -> Result<ExitCode> {
    let arguments: Vec<_> = std::iter::once(action.to_owned())
        .chain(arguments.iter().cloned())
        .collect();
    // The recipe's own paths start at the project's root.
    run_optimised(&RECIPE, &arguments, &project::absolute_root())
}

/// Builds a tool with optimisation and runs it in `folder`, exit code included.
fn run_optimised(tool: &Tool, arguments: &[String], folder: &Path) -> Result<ExitCode> {
    let Tool { package, program } = tool;
    if !project::target_dir().join("release").join(program).exists() {
        eprintln!("building {program} with optimisation; the first time takes some minutes");
    }
    let mut cargo = process::cargo();
    cargo.args([
        "run",
        "--quiet",
        "--release",
        "-p",
        package,
        "--manifest-path",
    ]);
    cargo.arg(project::absolute_root().join("Cargo.toml"));
    cargo.arg("--").args(arguments).current_dir(folder);
    exit_code(&mut cargo)
}

/// Runs with the caller's streams and passes on how it ended.
///
/// # Errors
/// The program cannot be started.
pub(crate) fn exit_code(command: &mut Command) -> Result<ExitCode> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", process::line(command)))?;
    // A signal has no code.
    Ok(ExitCode::from(
        status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(1),
    ))
}
