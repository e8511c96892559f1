//! `cargo xtask test`: every check and every test, in the order of what they cost,
//! with a header and a time for each, stopping at the first step that fails. The last
//! lines say how each step ended and what failed; the very last one counts the tests
//! that ran. What a runner of tests prints lies whole in `target/test-STEP.log`.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::builds::Purpose;
use crate::tally::{Echo, Read, Tally, TallyReader};
use crate::{check, fuzz, hash, process, project, setup, site, tools, wasm};

const BROWSER_TESTS: &str = "tests/browser";
/// How long each target is fuzzed; what an earlier run has found out is gone on from.
const FUZZ_SECONDS: u32 = 20;
/// So much is said about what failed, that the last few kB of a record hold it together
/// with the table of steps.
const MAX_FAILURE_BYTES: usize = 6 * 1024;
/// A longer line is cut.
const MAX_LINE_CHARS: usize = 400;

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
    /// About what failed, the most important first.
    failures: Vec<String>,
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
    failures: Vec<String>,
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

/// Runs the steps and prints the summary: how each step ended, what failed, and the
/// counts alone on the last line.
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
    let mut outcome = Outcome {
        name: step.name,
        verdict: "ok".to_owned(),
        tests: Tally::default(),
        took,
        failed: false,
        failures: Vec::new(),
    };
    match result {
        Err(error) => {
            outcome.failed = true;
            let text = format!("error: {error:#}");
            outcome.failures = text.lines().map(str::to_owned).collect();
        }
        Ok(done) => {
            outcome.failed = done.failed || done.tests.failed > 0;
            outcome.tests = done.tests;
            outcome.failures = done.failures;
            if let Some(why) = done.skipped {
                outcome.verdict = format!("skipped ({why})");
            }
        }
    }
    if outcome.failed {
        outcome.verdict = "FAILED".to_owned();
    }
    outcome
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
    for outcome in outcomes.iter().filter(|outcome| outcome.failed) {
        println!(
            "\nwhat failed in {}:\n{}",
            outcome.name,
            shortened(&outcome.failures)
        );
    }
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

/// The beginning of `lines`, as much as the end of a record can hold.
fn shortened(lines: &[String]) -> String {
    let mut text = String::new();
    for (line_idx, line) in lines.iter().enumerate() {
        let cut: String = line.chars().take(MAX_LINE_CHARS).collect();
        if text.len() + cut.len() > MAX_FAILURE_BYTES {
            let n_left = lines.len() - line_idx;
            text += &format!("({n_left} more lines, which stand above or in the step's log)\n");
            break;
        }
        text += &cut;
        text += if cut.len() < line.len() {
            "…\n"
        } else {
            "\n"
        };
    }
    text
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
    // Without it a passing test cannot say what it compared or that it skipped itself.
    counted(cargo.args(["--", "--show-output"]), "rust-tests")
}

/// Each target counts as a test.
fn fuzz_targets() -> Result<Done> {
    if !cfg!(unix) {
        return Ok(Done {
            skipped: Some("the fuzzer is built on Unix alone".to_owned()),
            ..Done::default()
        });
    }
    // The same numbers in each run: what one has found, the next finds as well.
    let fuzz::Held {
        passed,
        failed,
        failures,
    } = fuzz::fuzz(FUZZ_SECONDS, 1, None)?;
    Ok(Done {
        tests: Tally {
            passed,
            failed,
            skipped: 0,
        },
        failures,
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
            npm.args(["run", "--silent", "test", "-w", package]);
            let mut done = counted(&mut npm, &format!("npm-tests-{package}"))?;
            sum.tests += done.tests;
            sum.failed |= done.failed;
            sum.failures.append(&mut done.failures);
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
    counted(&mut node, "browser-tests")
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

/// Runs a test runner, counting what it reports. All that it prints goes to
/// `target/test-NAME.log`; what is of interest, to the terminal.
fn counted(command: &mut Command, name: &str) -> Result<Done> {
    counted_to(command, name, std::io::stdout())
}

fn counted_to(command: &mut Command, name: &str, terminal: impl Write) -> Result<Done> {
    let log_path = project::target_dir().join(format!("test-{name}.log"));
    std::fs::create_dir_all(project::target_dir())?;
    let mut log = File::create(&log_path)
        .with_context(|| format!("cannot write to {}", log_path.display()))?;
    // One pipe for both, so that lines come in the order in which they were written.
    let (output, input) = std::io::pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input);
    let started = command.spawn();
    // This side's ends are closed, or the pipe would have no end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child =
        started.with_context(|| format!("cannot start `{}`", process::line(command)))?;
    let mut reader = TallyReader::default();
    let mut terminal = Terminal {
        to: terminal,
        in_line: false,
    };
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        log.write_all(&line)?;
        log.write_all(b"\n")?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        let echo = reader.line(line);
        terminal.show(line, echo)?;
    }
    let status = child.wait()?;
    let failed = !status.success();
    let Read {
        tally,
        mut failures,
        said,
    } = reader.finish(failed);
    if !said.is_empty() {
        let said = said.join("\n");
        writeln!(terminal.to, "\nwhat passing tests said:\n{said}")?;
    }
    writeln!(terminal.to, "all of it: {}", log_path.display())?;
    if failed {
        failures.push(format!("`{}` failed ({status})", process::line(command)));
    }
    Ok(Done {
        tests: tally,
        skipped: None,
        failed,
        failures,
    })
}

/// What is shown of a runner's output: a line for each test binary, begun before its
/// tests and ended with their counts, and whatever else is of interest.
struct Terminal<W> {
    to: W,
    /// A binary's line has no end yet.
    in_line: bool,
}

impl<W: Write> Terminal<W> {
    fn show(&mut self, line: &str, echo: Echo) -> std::io::Result<()> {
        if self.in_line && matches!(echo, Echo::Line | Echo::Begin(_)) {
            writeln!(self.to)?;
            self.in_line = false;
        }
        match echo {
            Echo::Nothing => Ok(()),
            Echo::Line => writeln!(self.to, "{line}"),
            Echo::Begin(binary) => {
                self.in_line = true;
                write!(self.to, "{binary}: ")?;
                // Whoever waits, or reads a record that breaks off here, sees the name.
                self.to.flush()
            }
            Echo::End(counts) => {
                let head = if self.in_line { "" } else { "test result: " };
                self.in_line = false;
                writeln!(self.to, "{head}{counts}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_fits_the_end_of_a_record_however_much_it_is() {
        let short = [
            "test a ... FAILED".to_owned(),
            "left is not right".to_owned(),
        ];
        assert_eq!(shortened(&short), "test a ... FAILED\nleft is not right\n");

        let long = vec!["é".repeat(10_000); 200];
        let text = shortened(&long);
        assert!(text.len() < MAX_FAILURE_BYTES + 100, "{}", text.len());
        let first = text.lines().next().unwrap();
        assert_eq!(first.chars().count(), MAX_LINE_CHARS + 1);
        let last = text.lines().next_back().unwrap();
        let n_shown = text.lines().count() - 1;
        assert!(
            last.starts_with(&format!("({} more lines", 200 - n_shown)),
            "{last}"
        );
    }

    #[test]
    fn a_step_that_ends_in_an_error_tells_it_in_the_summary() {
        let step = Step::new("broken", || bail!("no such tool\nat all"));
        let outcome = run_step(&step);
        assert!(outcome.failed);
        assert_eq!(outcome.verdict, "FAILED");
        assert_eq!(outcome.failures, ["error: no such tool", "at all"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_runner_that_a_signal_ends_has_failed_with_both_of_its_outputs_told() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo to stdout; echo to stderr >&2; kill -9 $$"]);
        let done = counted_to(&mut shell, "of-xtask", Vec::new()).unwrap();
        assert!(done.failed);
        assert_eq!(done.failures[..2], ["to stdout", "to stderr"]);
        let end = &done.failures[2];
        assert!(end.contains("signal: 9"), "{end}");
    }

    #[test]
    fn a_binary_has_a_line_of_its_own_even_where_a_test_fails() {
        let mut terminal = Terminal {
            to: Vec::new(),
            in_line: false,
        };
        let mut show = |line: &str, echo| terminal.show(line, echo).unwrap();
        show("", Echo::Begin("a".to_owned()));
        show("test x ... ok", Echo::Nothing);
        show("", Echo::End("ok. 1 passed".to_owned()));
        show("", Echo::Begin("b".to_owned()));
        show("test y ... FAILED", Echo::Line);
        show("", Echo::End("FAILED. 1 failed".to_owned()));
        show("", Echo::Begin("c".to_owned()));
        show("", Echo::Begin("d".to_owned()));
        assert_eq!(
            String::from_utf8(terminal.to).unwrap(),
            "a: ok. 1 passed\nb: \ntest y ... FAILED\ntest result: FAILED. 1 failed\nc: \nd: "
        );
    }
}
