//! Child processes: one place that starts them, says what it starts and turns a
//! failure into a message with the command line in it.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::project;

/// Variables that `cargo run` sets for this process and that would steer another
/// toolchain's cargo or rustc in the wrong direction.
const INHERITED_FROM_CARGO: [&str; 7] = [
    "CARGO",
    "RUSTC",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "LD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
];

/// A command run in the project's root.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(project::absolute_root());
    command
}

/// The native cargo that this task runner was started with.
pub(crate) fn cargo() -> Command {
    command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
}

/// A tool of another Rust toolchain than the one that runs this task.
pub(crate) fn toolchain_command(toolchain: &str, program: &str) -> Command {
    let mut command = command("rustup");
    for name in INHERITED_FROM_CARGO {
        command.env_remove(name);
    }
    command.args(["run", toolchain, program]);
    command
}

/// The command line, for messages.
pub(crate) fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

/// Runs with the terminal's own streams.
///
/// # Errors
/// The program is missing, or it ended with a failure.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// Runs with both output streams caught, and gives them back whatever the status.
///
/// # Errors
/// The program cannot be started.
pub(crate) fn capture(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", line(command)))
}

/// Standard output of a program that has to succeed, trimmed.
///
/// # Errors
/// The program is missing or failed; the message carries its standard error.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = capture(command)?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` failed ({}): {}",
            line(command),
            output.status,
            stderr.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether a program starts and succeeds.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    capture(command).is_ok_and(|output| output.status.success())
}
