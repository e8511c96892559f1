//! `cargo xtask fuzz`: hostile input for what reads files from outside, guided by the
//! code that it reaches. This module builds the fuzzer and runs it; what is tried and
//! what must hold stands in `fuzz/`.
//!
//! Our own crates are compiled with coverage by a wrapper around rustc, so everything
//! that they depend on is shared with the tests' build. What a run learns is kept in
//! `target/fuzz`, and the next one goes on from there.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::{process, project, setup};

const WRAPPER: &str = "fuzz/rustc-with-coverage";
/// Found inputs are kept here until somebody has looked at them.
const FOUND: &str = "fuzz/found";
/// One input may take this long, on a busy machine and without optimisation; an idle one
/// takes a second for the dearest template.
const INPUT_LIMIT_S: u32 = 100;
/// A found input of up to this size is printed: what a machine found that keeps nothing
/// can be tried on another.
const MAX_PRINTED_BYTES: usize = 16 * 1024;
/// So many lines are printed of what the fuzzer said about a find.
const MAX_SAID_LINES: usize = 40;
/// For base64, in characters.
const LINE_WIDTH: usize = 76;
/// For the whole process: libFuzzer's own lists, and what the memory cap allows.
const MEMORY_LIMIT_MB: u32 = 1024;

/// A target as the fuzzer has described it.
struct Target {
    name: String,
    folder: PathBuf,
}

/// What a run of one target came to.
struct Outcome {
    name: String,
    /// libFuzzer's last words on what it did.
    summary: String,
    /// What it said, if an input broke the target.
    failure: Option<String>,
    /// The inputs that did, in base64, each headed by its name.
    found: Vec<String>,
}

/// `cargo xtask fuzz [--seconds N] [--seed N] [target]`.
///
/// # Errors
/// The fuzzer cannot be built, or there is no such target.
pub(crate) fn run(seconds: u32, seed: Option<u32>, only: Option<&str>) -> Result<ExitCode> {
    let failed = fuzz(seconds, seed.unwrap_or_else(any_seed), only)?.failed;
    Ok(if failed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Another number in each run, and never 0, which means none to libFuzzer.
fn any_seed() -> u32 {
    let random = RandomState::new().hash_one(0);
    ((random >> 32) as u32).max(1)
}

/// How many targets held, and how many did not.
pub(crate) struct Held {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// About those that did not, the reasons first and then the inputs.
    pub(crate) failures: Vec<String>,
}

/// Runs each target for so many seconds, as many at a time as there are cores. The same
/// seed on the same corpus gives the same inputs.
///
/// # Errors
/// As [`run`].
pub(crate) fn fuzz(seconds: u32, seed: u32, only: Option<&str>) -> Result<Held> {
    setup::cxx_compiler()?;
    let fuzzer = build()?;
    let mut targets = prepare(&fuzzer)?;
    let names: Vec<_> = targets.iter().map(|target| target.name.clone()).collect();
    targets.retain(|target| only.is_none_or(|only| only == target.name));
    if targets.is_empty() {
        bail!("there is no such target; there are {}", names.join(", "));
    }
    println!(
        "{} for {seconds} s each, seed {seed}",
        targets
            .iter()
            .map(|target| target.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    );
    let outcomes = run_all(&fuzzer, targets, seconds, seed)?;
    let mut held = Held {
        passed: 0,
        failed: 0,
        failures: Vec::new(),
    };
    let mut found = Vec::new();
    for mut outcome in outcomes {
        println!("{:<12}{}", outcome.name, outcome.summary);
        let Some(said) = outcome.failure else {
            held.passed += 1;
            continue;
        };
        held.failed += 1;
        let head = format!("{} is broken by an input, kept in {FOUND}:", outcome.name);
        held.failures.push(head);
        held.failures.extend(said.lines().map(str::to_owned));
        found.append(&mut outcome.found);
    }
    held.failures.append(&mut found);
    for line in &held.failures {
        eprintln!("{line}");
    }
    Ok(held)
}

/// Builds the fuzzer with the tests' profile, debug assertions and checked arithmetic.
/// The selection of packages and features is that of the tests: so the dependencies come
/// out the same, and are those that the tests have built.
fn build() -> Result<PathBuf> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--quiet", "--workspace", "--bin", "nox-fuzz"]);
    cargo.args(["--features", "nox-protocol/schema,nox-fuzz/link"]);
    cargo.env(
        "RUSTC_WORKSPACE_WRAPPER",
        project::absolute_root().join(WRAPPER),
    );
    process::run(&mut cargo)?;
    Ok(project::target_dir().join("debug/nox-fuzz"))
}

/// Has the fuzzer write seeds and dictionaries, and finds its targets by them.
fn prepare(fuzzer: &Path) -> Result<Vec<Target>> {
    let folder = project::target_dir().join("fuzz");
    let prepared = folder.join("targets");
    if prepared.exists() {
        fs::remove_dir_all(&prepared)?;
    }
    // libFuzzer remarks on every start that there are no sanitizers.
    process::read(Command::new(fuzzer).env("NOX_FUZZ_PREPARE", &prepared))?;
    let mut targets = Vec::new();
    for entry in fs::read_dir(&prepared)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        fs::create_dir_all(folder.join("corpus").join(&name))?;
        targets.push(Target {
            folder: entry.path(),
            name,
        });
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    add_real_templates(&prepared.join("template/seeds"))?;
    Ok(targets)
}

/// Other people's templates are not kept here, but tried where they are at hand.
fn add_real_templates(seeds: &Path) -> Result<()> {
    let Some(fixtures) = project::fixtures_dir() else {
        return Ok(());
    };
    let Ok(entries) = fs::read_dir(fixtures.join("chat-templates")) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if let (Some("jinja"), Some(name)) = (
            path.extension().and_then(|end| end.to_str()),
            path.file_name(),
        ) {
            fs::write(seeds.join(name), fs::read(&path)?)?;
        }
    }
    Ok(())
}

fn run_all(fuzzer: &Path, targets: Vec<Target>, seconds: u32, seed: u32) -> Result<Vec<Outcome>> {
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    let open = Mutex::new(targets.into_iter());
    let next = || open.lock().ok()?.next();
    let outcomes = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..n_cores)
            .map(|_| {
                scope.spawn(|| {
                    let mut outcomes = Vec::new();
                    while let Some(target) = next() {
                        outcomes.push(run_one(fuzzer, target, seconds, seed)?);
                    }
                    Ok(outcomes)
                })
            })
            .collect();
        let results = workers.into_iter().map(|worker| worker.join());
        results
            .map(|result| result.unwrap_or_else(|_| bail!("a fuzzer's thread panicked")))
            .collect::<Result<Vec<_>>>()
    })?;
    let mut outcomes: Vec<_> = outcomes.into_iter().flatten().collect();
    outcomes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(outcomes)
}

fn run_one(fuzzer: &Path, target: Target, seconds: u32, seed: u32) -> Result<Outcome> {
    let Target { name, folder } = target;
    let found = project::absolute_root().join(FOUND).join(&name);
    fs::create_dir_all(&found)?;
    let known = files(&found)?;
    let max_input_bytes = fs::read_to_string(folder.join("max_input_bytes"))?;
    let mut command = Command::new(fuzzer);
    command.env("NOX_FUZZ_TARGET", &name);
    // The place of a panic says enough; a hundred lines would hide it.
    command.env("RUST_BACKTRACE", "0");
    // The corpus first: libFuzzer writes into the first folder only.
    command.arg(project::target_dir().join("fuzz/corpus").join(&name));
    command.arg(folder.join("seeds"));
    let words = folder.join("words");
    if fs::metadata(&words)?.len() > 0 {
        command.arg(format!("-dict={}", words.display()));
    }
    command.args([
        format!("-max_total_time={seconds}"),
        format!("-seed={seed}"),
        format!("-max_len={max_input_bytes}"),
        format!("-timeout={INPUT_LIMIT_S}"),
        format!("-rss_limit_mb={MEMORY_LIMIT_MB}"),
        // With the separator: what follows is the found input's own name.
        format!("-artifact_prefix={}/", found.display()),
        "-print_final_stats=1".to_owned(),
        "-reload=0".to_owned(),
    ]);
    let started = Instant::now();
    let output = process::capture(&mut command)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut printed = Vec::new();
    for path in files(&found)?.difference(&known) {
        printed.extend(in_base64(path)?);
    }
    let _ = fs::remove_dir(&found); // stays where it holds something
    Ok(Outcome {
        name,
        summary: summary(&said, started.elapsed().as_secs()),
        failure: (!output.status.success()).then(|| reason(&said)),
        found: printed,
    })
}

fn files(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let entries = fs::read_dir(folder)?;
    Ok(entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?)
}

/// A found input as text that `base64 -d` reads, headed by its name.
fn in_base64(path: &Path) -> Result<Vec<String>> {
    let name = path.file_name().unwrap_or_default().display();
    let bytes = fs::read(path)?;
    if bytes.len() > MAX_PRINTED_BYTES {
        return Ok(vec![format!("{name} has {} bytes", bytes.len())]);
    }
    let text = STANDARD.encode(bytes);
    let mut lines = vec![format!("{name} in base64:")];
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE_WIDTH));
        lines.push(line.to_owned());
        rest = after;
    }
    Ok(lines)
}

/// How much was tried and reached.
fn summary(said: &str, seconds: u64) -> String {
    let field = |name: &str| {
        let line = said.lines().rfind(|line| line.contains(name))?;
        line.split(name).nth(1)?.split_whitespace().next()
    };
    let (runs, edges, kept) = (
        field("stat::number_of_executed_units:").or_else(|| field("#")),
        field(" cov: "),
        field(" corp: "),
    );
    format!(
        "{} inputs in {seconds} s, {} edges, {} kept",
        runs.unwrap_or("no"),
        edges.unwrap_or("no"),
        kept.and_then(|kept| kept.split('/').next())
            .unwrap_or("none"),
    )
}

/// What Rust says before it ends a process, and libFuzzer if nobody else has.
const REASONS: [&str; 3] = [" panicked at ", "memory allocation of ", "ERROR: libFuzzer"];

/// Why the fuzzer stopped: from where it says so, or its last lines.
fn reason(said: &str) -> String {
    let lines: Vec<_> = said.lines().collect();
    let is_reason = |line: &&str| REASONS.iter().any(|reason| line.contains(reason));
    let from = lines
        .iter()
        .position(is_reason)
        .unwrap_or(lines.len().saturating_sub(MAX_SAID_LINES));
    let told = lines[from..].iter().take(MAX_SAID_LINES);
    told.copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libfuzzers_words_become_one_line() {
        let said = "#2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 40Mb\n\
            #700\tNEW    cov: 31 ft: 50 corp: 7/90b lim: 4 exec/s: 350 rss: 41Mb L: 2/3 MS: 1\n\
            Done 900 runs in 3 second(s)\n\
            stat::number_of_executed_units: 900\n\
            stat::average_exec_per_sec:     300\n";
        assert_eq!(summary(said, 3), "900 inputs in 3 s, 31 edges, 7 kept");
    }

    #[test]
    fn a_fuzzer_that_said_nothing_is_reported_as_such() {
        assert_eq!(summary("", 0), "no inputs in 0 s, no edges, none kept");
        assert_eq!(reason(""), "");
        assert_eq!(reason("a\nb"), "a\nb");
        let text = (0..100).map(|n| format!("{n}\n")).collect::<String>();
        assert!(reason(&text).starts_with("60\n") && reason(&text).ends_with("\n99"));
    }

    #[test]
    fn a_reason_begins_with_the_panic_whatever_follows() {
        let stack = "  frame\n".repeat(100);
        let said = format!(
            "#1 INITED\nthread '<unnamed>' (5) panicked at a.rs:1:1:\nbroken\n\
             ==1== ERROR: libFuzzer: deadly signal\n{stack}"
        );
        let told = reason(&said);
        assert!(told.starts_with("thread '<unnamed>' (5) panicked at a.rs:1:1:\nbroken\n"));
        assert_eq!(told.lines().count(), MAX_SAID_LINES);
        let slow = "ALARM: working\n==1== ERROR: libFuzzer: timeout after 100 seconds\nSUMMARY";
        assert!(reason(slow).starts_with("==1== ERROR"));
    }

    #[test]
    fn a_found_input_is_printed_under_its_name_in_base64() {
        let name = format!("noxics-fuzz-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        // A whole line and one that is padded.
        fs::write(&path, [0xfb; LINE_WIDTH / 4 * 3 + 1]).unwrap();
        let lines = in_base64(&path);
        fs::remove_file(&path).unwrap();
        let head = format!("{name} in base64:");
        let whole = "+/v7".repeat(LINE_WIDTH / 4);
        assert_eq!(lines.unwrap(), [head, whole, "+w==".to_owned()]);
    }
}
