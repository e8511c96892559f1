//! `cargo xtask arm`: the engine's arithmetic on aarch64, in an emulator. It builds the
//! engine's unit tests with a standard library of their own and runs those of kernels and
//! decoder, once on a processor with dot products and once on one without.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{process, project, setup};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";
/// Where Debian's packages keep what emulated programs load.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";
const C_LIBRARY: &str = "/usr/aarch64-linux-gnu/lib/libc.so";
const DEBIAN_PACKAGES: [&str; 3] = [
    "gcc-aarch64-linux-gnu",
    "libc6-dev-arm64-cross",
    "qemu-user",
];

/// The engine's modules that compute.
const MODULES: [&str; 3] = ["quant::", "decoder::", "math::"];

/// What the engine's kernel check says before the names of the instruction sets.
const CHECKED: &str = "kernels checked: ";

/// A processor that the emulator knows, and the instruction sets that must be found on it.
struct Processor {
    name: &'static str,
    sets: &'static str,
}

const PROCESSORS: [Processor; 2] = [
    Processor {
        name: "cortex-a53",
        sets: "portable, neon",
    },
    Processor {
        name: "max",
        sets: "portable, neon, neon-dot",
    },
];

/// `cargo xtask arm`.
///
/// # Errors
/// The tools are missing and cannot be installed, the tests do not build, or one fails.
pub(crate) fn run() -> Result<()> {
    setup::debian_files(
        &[LINKER, C_LIBRARY, EMULATOR],
        &DEBIAN_PACKAGES,
        "the engine is linked for aarch64 and run in an emulator",
    )?;
    let toolchain = setup::toolchain_with_std_sources()?.name;
    eprintln!("building the engine's tests and std for {TARGET}; the first time takes minutes");
    process::run(tests(&toolchain).arg("--no-run"))?;
    for processor in &PROCESSORS {
        check_on(&toolchain, processor)?;
    }
    Ok(())
}

fn tests(toolchain: &str) -> Command {
    let mut cargo = process::toolchain_command(toolchain, "cargo");
    // For `-Zbuild-std`, which is not stable yet.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    // The code of a release; it compiles in a third of the time, too.
    for check in ["DEBUG_ASSERTIONS", "OVERFLOW_CHECKS"] {
        cargo.env(format!("CARGO_PROFILE_DEV_{check}"), "false");
    }
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
    cargo.args(["test", "--quiet", "-p", "nox-engine", "--lib"]);
    cargo.args([
        "--target",
        TARGET,
        "-Zbuild-std=std,panic_unwind,test",
        "--target-dir",
    ]);
    cargo.arg(project::target_dir().join("arm"));
    cargo
}

/// # Errors
/// A test fails, or other instruction sets than the processor has were checked.
fn check_on(toolchain: &str, Processor { name, sets }: &Processor) -> Result<()> {
    println!("\n=== {name} ===");
    let mut command = tests(toolchain);
    command.env(
        "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
        format!("{EMULATOR} -cpu {name} -L {LIBRARIES}"),
    );
    command.arg("--").args(MODULES).arg("--show-output");
    let ran = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", process::line(&command)))?;
    let said = String::from_utf8_lossy(&ran.stdout);
    print!("{said}");
    if !ran.status.success() {
        bail!("the engine's tests fail on {name}");
    }
    match checked_sets(&said) {
        Some(found) if found == *sets => Ok(()),
        found => bail!(
            "on {name} the kernels of {sets} must be checked, not {}",
            found.unwrap_or("none")
        ),
    }
}

fn checked_sets(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.strip_prefix(CHECKED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_which_kernels_were_checked() {
        let said = "running 2 tests\n\nsuccesses:\n\n---- quant::check stdout ----\n\
                    kernels checked: portable, neon\n\ntest result: ok. 2 passed\n";
        assert_eq!(checked_sets(said), Some("portable, neon"));
        assert_eq!(checked_sets("running 0 tests\n"), None);
    }
}
