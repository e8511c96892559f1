//! `cargo xtask test`: every check and every test, in the order of what they cost,
//! with a header and a time for each, stopping at the first step that fails. The
//! last line counts the tests that ran.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::builds::Purpose;
use crate::tally::{Tally, TallyReader};
use crate::{check, fuzz, hash, process, project, setup, site, tools, wasm};

const BROWSER_TESTS: &str = "tests/browser";
/// How long each target is fuzzed; what an earlier run has found out is gone on from.
const FUZZ_SECONDS: u32 = 20;

/// One named part of a run.
pub(crate) struct Step {
    name: &'static str,
    run: Box<dyn Fn() -> Result<Done>>,
}

/// What a step that succeeded, or failed after counting, has to say.
#[derive(Debug, Default)]
pub(crate) struct Done {
    tests: Tally,
    /// Why there was nothing to do.
    skipped: Option<String>,
    failed: bool,
}

impl Step {
    pub(crate) fn new(name: &'static str, run: impl Fn() -> Result<Done> + 'static) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }
}

/// How a step ended, for the summary.
struct Outcome {
    name: &'static str,
    verdict: String,
    tests: Tally,
    took: Duration,
    failed: bool,
}

/// `cargo xtask test`, all of it or the steps whose name contains `only`.
///
/// # Errors
/// `only` matches no step.
pub(crate) fn run(only: Option<&str>) -> Result<ExitCode> {
    let mut steps = vec![Step::new("setup", || {
        setup::for_site()?;
        Ok(Done::default())
    })];
    steps.extend(check::steps());
    steps.push(Step::new("rust tests", rust_tests));
    steps.push(Step::new("fuzz", fuzz_targets));
    steps.push(Step::new("site", || {
        site::build(&setup::for_site()?)?;
        Ok(Done::default())
    }));
    steps.push(Step::new("npm tests", npm_tests));
    steps.push(Step::new("browser tests", browser_tests));
    if let Some(only) = only {
        steps.retain(|step| step.name.contains(only));
        if steps.is_empty() {
            bail!("no step has `{only}` in its name");
        }
    }
    run_steps(steps)
}

/// Runs the steps, prints the summary, and ends with the counts alone on a line.
///
/// # Errors
/// None at present: a step's failure is part of the summary.
pub(crate) fn run_steps(steps: Vec<Step>) -> Result<ExitCode> {
    let (n_steps, started) = (steps.len(), Instant::now());
    let mut outcomes = Vec::new();
    for (step_idx, step) in steps.into_iter().enumerate() {
        println!("\n=== [{}/{n_steps}] {} ===", step_idx + 1, step.name);
        let outcome = run_step(&step);
        println!(
            "=== {}: {} in {:.1} s ===",
            step.name,
            outcome.verdict,
            outcome.took.as_secs_f32()
        );
        let failed = outcome.failed;
        outcomes.push(outcome);
        if failed {
            break;
        }
    }
    Ok(summarise(&outcomes, n_steps, started.elapsed()))
}

fn run_step(step: &Step) -> Outcome {
    let started = Instant::now();
    let result = (step.run)();
    let took = started.elapsed();
    let outcome = |verdict, tests, failed| Outcome {
        name: step.name,
        verdict,
        tests,
        took,
        failed,
    };
    match result {
        Err(error) => {
            eprintln!("error: {error:#}");
            outcome("FAILED".to_owned(), Tally::default(), true)
        }
        Ok(done) if done.failed || done.tests.failed > 0 => {
            outcome("FAILED".to_owned(), done.tests, true)
        }
        Ok(Done {
            skipped: Some(why),
            tests,
            ..
        }) => outcome(format!("skipped ({why})"), tests, false),
        Ok(done) => outcome("ok".to_owned(), done.tests, false),
    }
}

fn summarise(outcomes: &[Outcome], n_steps: usize, took: Duration) -> ExitCode {
    println!(
        "\n{:<16}{:>9}{:>8}{:>8}{:>9}  result",
        "step", "seconds", "passed", "failed", "skipped"
    );
    let mut sum = Tally::default();
    for Outcome {
        name,
        verdict,
        tests,
        took,
        ..
    } in outcomes
    {
        let Tally {
            passed,
            failed,
            skipped,
        } = tests;
        println!(
            "{name:<16}{:>9.1}{passed:>8}{failed:>8}{skipped:>9}  {verdict}",
            took.as_secs_f32()
        );
        sum += *tests;
    }
    if outcomes.len() < n_steps {
        println!(
            "{} of {n_steps} steps were not reached",
            n_steps - outcomes.len()
        );
    }
    println!("{:<16}{:>9.1}", "all", took.as_secs_f32());
    let failed = outcomes.iter().any(|outcome| outcome.failed);
    if failed && sum.failed == 0 {
        // A step that is no test suite counts as one, so that the last line tells.
        sum.failed = 1;
    }
    println!(
        "{} passed, {} failed, {} skipped",
        sum.passed, sum.failed, sum.skipped
    );
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn rust_tests() -> Result<Done> {
    let mut cargo = process::cargo();
    cargo.args([
        "test",
        "--workspace",
        "--no-fail-fast",
        "--features",
        "nox-protocol/schema",
    ]);
    // Without it a passing test cannot say that it skipped itself.
    counted(cargo.args(["--", "--show-output"]))
}

/// Each target counts as a test.
fn fuzz_targets() -> Result<Done> {
    if !cfg!(unix) {
        return Ok(Done {
            skipped: Some("the fuzzer is built on Unix alone".to_owned()),
            ..Done::default()
        });
    }
    let fuzz::Held { passed, failed } = fuzz::fuzz(FUZZ_SECONDS, None)?;
    Ok(Done {
        tests: Tally {
            passed,
            failed,
            skipped: 0,
        },
        ..Done::default()
    })
}

fn npm_tests() -> Result<Done> {
    let mut sum = Done::default();
    for package in ["worker", "www", "bench"] {
        let manifest = project::absolute_root().join(package).join("package.json");
        let manifest: serde_json::Value = serde_json::from_slice(
            &std::fs::read(&manifest)
                .with_context(|| format!("{} is missing", manifest.display()))?,
        )?;
        if manifest["scripts"]["test"].is_string() {
            let mut npm = process::command("npm");
            let done = counted(npm.args(["run", "--silent", "test", "-w", package]))?;
            sum.tests += done.tests;
            sum.failed |= done.failed;
        }
    }
    Ok(sum)
}

fn browser_tests() -> Result<Done> {
    let files = browser_test_files()?;
    if files.is_empty() {
        let skipped = Some(format!("{BROWSER_TESTS} has no *.test.mjs"));
        return Ok(Done {
            skipped,
            ..Done::default()
        });
    }
    let mut node = process::command("node");
    // Browsers are heavy: one file at a time keeps their timings honest.
    node.args(["--test", "--test-concurrency=1", "--test-reporter=spec"])
        .args(files);
    node.env("CHROMIUM", setup::browser()?)
        .env("NOXICS_SITE", project::site_dir());
    node.env(
        "NOXICS_SERVE",
        format!("{} serve", project::this_program().display()),
    );
    node.env("NOXICS_MODEL_TOOL", tools::model_tool_for_tests()?);
    wasm::build(&setup::for_site()?, Purpose::Test, None)?;
    node.env("NOXICS_TEST_WASM", project::dist_dir().join("wasm"));
    if let Some(fixtures) = project::fixtures_dir() {
        node.env("NOXICS_FIXTURES", fixtures);
    }
    counted(&mut node)
}

fn browser_test_files() -> Result<Vec<PathBuf>> {
    let all = hash::tree_without(
        &project::absolute_root().join(BROWSER_TESTS),
        &["node_modules"],
    )?;
    let is_test = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        [".test.mjs", ".test.js"]
            .iter()
            .any(|end| name.ends_with(end))
    };
    Ok(all.into_iter().filter(is_test).collect())
}

/// Runs a test runner, passing on its output and counting what it reports.
fn counted(command: &mut Command) -> Result<Done> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", process::line(command)))?;
    let stdout = child.stdout.take().context("a piped stdout")?;
    let mut reader = TallyReader::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        reader.line(line.trim_end_matches('\r'));
    }
    let status = child.wait()?;
    Ok(Done {
        tests: reader.finish(),
        skipped: None,
        failed: !status.success(),
    })
}
