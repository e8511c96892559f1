//! The steps that look at the source without running the product: formatting, lints,
//! generated files, dependencies, types. `cargo xtask check` runs these alone.

use std::process::{ExitCode, Stdio};

use anyhow::{Result, bail};

use crate::test::{Done, Step, run_steps};
use crate::{codegen, process, project, setup};

const WASM_CRATES: [&str; 2] = ["nox-worker", "nox-client"];
/// The npm packages with a `check` script.
const TYPED_PACKAGES: [&str; 2] = ["worker", "www"];

/// `cargo xtask check`.
///
/// # Errors
/// The machine cannot be made ready.
pub(crate) fn run() -> Result<ExitCode> {
    run_steps(steps())
}

/// In the order of what they cost.
pub(crate) fn steps() -> Vec<Step> {
    vec![
        Step::new("fmt", || done(fmt())),
        Step::new("codegen", || done(codegen::run(true))),
        Step::new("types", || done(types())),
        Step::new("clippy", || done(clippy())),
        Step::new("clippy wasm", || done(clippy_wasm())),
        Step::new("deny", || done(deny())),
    ]
}

fn done(result: Result<()>) -> Result<Done> {
    result.map(|()| Done::default())
}

fn fmt() -> Result<()> {
    setup::lint_tools()?;
    process::run(process::cargo().args(["fmt", "--all", "--check"]))
}

fn types() -> Result<()> {
    setup::npm_packages()?;
    for package in TYPED_PACKAGES {
        process::run(process::command("npm").args(["run", "--silent", "check", "-w", package]))?;
    }
    Ok(())
}

fn clippy() -> Result<()> {
    let mut cargo = process::cargo();
    cargo.args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        "nox-protocol/schema,nox-fuzz/fuzzer",
    ]);
    process::run(cargo.args(["--", "-D", "warnings"]))
}

/// The crates with code that only exists on wasm32.
fn clippy_wasm() -> Result<()> {
    let toolchain = setup::wasm_toolchain()?;
    let mut cargo = toolchain.cargo(&["simd128".to_owned()]);
    cargo.args([
        "clippy",
        "--target",
        "wasm32-unknown-unknown",
        "-Zbuild-std=std,panic_abort",
    ]);
    cargo.args(WASM_CRATES.iter().flat_map(|name| ["-p", name]));
    // All there is, with what is built for the tests alone.
    cargo.args([
        "--lib",
        "--examples",
        "--features",
        "nox-worker/conformance",
    ]);
    cargo
        .arg("--target-dir")
        .arg(project::target_dir().join("wasm/check"));
    let flags = [
        "-C",
        "target-feature=+simd128",
        "--cfg",
        "getrandom_backend=\"wasm_js\"",
    ];
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    process::run(cargo.args(["--", "-D", "warnings"]))
}

fn deny() -> Result<()> {
    setup::cargo_deny()?;
    let mut held = process::cargo();
    process::run(held.args([
        "deny",
        "--log-level",
        "error",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))?;
    let fetched = process::capture(
        process::cargo()
            .args(["deny", "fetch", "db"])
            .stdin(Stdio::null()),
    )?;
    if !fetched.status.success() {
        let why = String::from_utf8_lossy(&fetched.stderr);
        let said = why.lines().map(str::trim).rfind(|line| !line.is_empty());
        let why = said.unwrap_or("no reason given");
        eprintln!("advisories: not checked, their database cannot be fetched ({why})");
        return Ok(());
    }
    let mut advisories = process::cargo();
    if process::run(advisories.args(["deny", "check", "--disable-fetch", "advisories"])).is_err() {
        bail!("a dependency has a security advisory");
    }
    Ok(())
}
