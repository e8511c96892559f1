//! `cargo xtask bench`: our builds beside their peers, in one browser. This module
//! only makes things ready; `bench/run.mjs` measures.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::builds::Purpose;
use crate::{process, project, setup, site, tools, wasm};

/// `cargo xtask bench …`; the arguments are the benchmark's own.
///
/// # Errors
/// A build fails, there is no browser, or the benchmark is missing.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let script = project::absolute_root().join("bench/run.mjs");
    if !script.is_file() {
        bail!("{} is missing", project::display(&script));
    }
    if !arguments.iter().any(|argument| argument == "--help") {
        build_what_is_measured(arguments)?;
    }
    let mut node = process::command("node");
    node.arg(script).args(arguments);
    node.env("CHROMIUM", setup::browser()?)
        .env("NOXICS_SITE", project::site_dir());
    node.env("NOXICS_BENCH_WASM", project::dist_dir().join("wasm"));
    node.env(
        "NOXICS_SERVE",
        format!("{} serve", project::this_program().display()),
    );
    tools::exit_code(&mut node)
}

fn build_what_is_measured(arguments: &[String]) -> Result<()> {
    let toolchain = setup::for_site()?;
    if is_measured("candle", arguments) {
        wasm::print_sizes(&wasm::build(&toolchain, Purpose::Bench, None)?);
    }
    if is_measured("ours", arguments) {
        site::build(&toolchain)?;
    }
    Ok(())
}

/// Whether `--only` leaves this engine in; the benchmark itself checks the rest.
fn is_measured(engine: &str, arguments: &[String]) -> bool {
    let mut named = Vec::new();
    for (idx, argument) in arguments.iter().enumerate() {
        match argument.strip_prefix("--only") {
            Some("") => named.extend(arguments.get(idx + 1).map(String::as_str)),
            Some(rest) => named.extend(rest.strip_prefix('=')),
            None => {}
        }
    }
    named.is_empty() || named.contains(&engine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_measured_is_built() {
        let measured = |line: &str| {
            let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            ["ours", "candle"].map(|engine| is_measured(engine, &arguments))
        };
        assert_eq!(measured("--quick"), [true, true]);
        assert_eq!(measured("--only candle --quick"), [false, true]);
        assert_eq!(measured("--only=ours --only candle"), [true, true]);
        assert_eq!(measured("--only wllama"), [false, false]);
    }
}
