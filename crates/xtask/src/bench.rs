//! `cargo xtask bench`: our builds beside their peers, in one browser and natively.
//! This module only makes things ready; `bench/run.mjs` measures.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::builds::Purpose;
use crate::{process, project, setup, site, tools, wasm};

/// Engines for which something is built here, as the benchmark names them.
const IN_BROWSER: [&str; 4] = ["ours", "candle", "wllama", "fugood"];

/// `cargo xtask bench …`; the arguments are the benchmark's own.
///
/// # Errors
/// A build fails, there is no browser, or the benchmark is missing.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let script = project::absolute_root().join("bench/run.mjs");
    if !script.is_file() {
        bail!("{} is missing", project::display(&script));
    }
    setup::npm_packages()?;
    let mut node = process::command("node");
    node.arg(script).args(arguments);
    let only_says = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if !only_says("--help") && !only_says("--estimate") {
        build_what_is_measured(arguments, &mut node)?;
    }
    tools::exit_code(&mut node)
}

/// Builds, and tells the benchmark where everything lies.
fn build_what_is_measured(arguments: &[String], node: &mut Command) -> Result<()> {
    let is_measured = |engine: &str| is_measured(engine, arguments);
    if is_measured("candle") {
        let toolchain = setup::for_site()?;
        wasm::print_sizes(&wasm::build(&toolchain, Purpose::Bench, None)?);
    }
    if is_measured("ours") {
        site::build(&setup::for_site()?)?;
    }
    if is_measured("native") {
        node.env("NOXICS_MODEL_TOOL", tools::optimised_model_tool()?);
    }
    if is_measured("candle-native") {
        node.env("NOXICS_BENCH_CANDLE", tools::optimised_candle()?);
    }
    if IN_BROWSER.into_iter().any(is_measured) {
        node.env("CHROMIUM", setup::browser()?);
    }
    node.env("NOXICS_SITE", project::site_dir())
        .env("NOXICS_BENCH_WASM", project::dist_dir().join("wasm"));
    node.env(
        "NOXICS_SERVE",
        format!("{} serve", project::this_program().display()),
    );
    Ok(())
}

/// Whether `--engines` leaves this one in; the benchmark itself checks the rest.
fn is_measured(engine: &str, arguments: &[String]) -> bool {
    let mut chosen = None;
    for (idx, argument) in arguments.iter().enumerate() {
        match argument.strip_prefix("--engines") {
            Some("") => chosen = arguments.get(idx + 1).map(String::as_str),
            Some(rest) => chosen = rest.strip_prefix('=').or(chosen),
            None => {}
        }
    }
    chosen.is_none_or(|list| list.split(',').any(|name| name.trim() == engine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_measured_is_built() {
        let measured = |line: &str| {
            let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            ["ours", "candle", "native"].map(|engine| is_measured(engine, &arguments))
        };
        assert_eq!(measured("--quick"), [true, true, true]);
        assert_eq!(measured("--engines candle --quick"), [false, true, false]);
        assert_eq!(measured("--engines=ours,native"), [true, false, true]);
        assert_eq!(measured("--engines candle-native"), [false, false, false]);
        // The last one counts, as it does for the benchmark.
        assert_eq!(
            measured("--engines ours --engines candle"),
            [false, true, false]
        );
    }
}
