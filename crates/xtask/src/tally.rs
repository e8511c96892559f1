//! Counts tests from what their runners print, and keeps what they say of failures:
//! cargo test's `test result:` lines and lists, and the summaries of node's test runner.

use std::collections::VecDeque;
use std::ops::AddAssign;

/// So many lines about failures are kept, a test's own output cut to [`MAX_TEST_LINES`].
const MAX_LINES: usize = 200;
const MAX_TEST_LINES: usize = 40;
/// So many of a test's lines are kept that stand before its panic.
const N_LINES_BEFORE_PANIC: usize = 5;
/// So many of the last lines are kept for a runner that fails without a word.
const N_LAST_LINES: usize = 20;

/// Tests that ran, by how they ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// What is to be done with a line of a runner's output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    /// It is of interest as it comes.
    Line,
    /// It is about tests that passed.
    Nothing,
    /// A test binary begins: this is its name.
    Begin(String),
    /// A test binary has ended, with these counts.
    End(String),
}

/// What a runner has said by its end.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) tally: Tally,
    /// About what failed, the most important first.
    pub(crate) failures: Vec<String>,
    /// What tests that passed have printed, such as how much they compared or that they
    /// had nothing to test.
    pub(crate) said: Vec<String>,
}

/// Where in a runner's output a line stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Section {
    #[default]
    Progress,
    /// cargo test's list of tests that passed, with what they printed.
    Successes,
    /// Its list of tests that failed.
    Failures,
    /// An error of cargo's or the compiler's, up to a blank line.
    Error,
    /// A panic outside of cargo test's lists, up to a blank line.
    Panic,
    /// What node's TAP says about a failure, up to `...`.
    NotOk,
    /// What node's spec reporter says about all failures, to the end.
    FailingTests,
}

/// Reads a runner's output line by line.
#[derive(Debug, Default)]
pub(crate) struct TallyReader {
    tally: Tally,
    /// Rust tests that passed for want of their data.
    said_skipped: usize,
    section: Section,
    /// The test binary that has not told its counts yet.
    binary: Option<String>,
    has_begun: bool,
    /// The output of one test, headed by its name.
    test: Vec<String>,
    /// Names of failed tests, then what is said about them, then what else looks wrong.
    names: Vec<String>,
    reasons: Vec<String>,
    panics: Vec<String>,
    said: Vec<String>,
    last: VecDeque<String>,
}

impl TallyReader {
    /// Takes the next line, without its line break.
    pub(crate) fn line(&mut self, line: &str) -> Echo {
        if self.last.len() == N_LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
        if let Some(result) = line.strip_prefix("test result: ") {
            self.end_test();
            self.section = Section::Progress;
            self.tally += cargo_result(result);
            self.binary = None;
            return Echo::End(result.to_owned());
        }
        match self.section {
            Section::Successes | Section::Failures => self.listed(line),
            _ => self.unlisted(line),
        }
    }

    /// A line of cargo test's lists.
    fn listed(&mut self, line: &str) -> Echo {
        let is_success = self.section == Section::Successes;
        match line {
            "successes:" => self.end_test(),
            // The first list has what the tests printed, the second their names alone.
            "failures:" => {
                self.end_test();
                self.section = Section::Failures;
            }
            _ if line.starts_with("---- ") => {
                self.end_test();
                self.test.push(line.to_owned());
            }
            _ if !self.test.is_empty() => self.test.push(line.to_owned()),
            _ => {}
        }
        if is_success && self.section == Section::Successes {
            Echo::Nothing
        } else {
            Echo::Line
        }
    }

    /// Files what one test printed, which stands in the list that is being read.
    fn end_test(&mut self) {
        let mut test = std::mem::take(&mut self.test);
        while test.last().is_some_and(|line| line.is_empty()) {
            test.pop();
        }
        let Some(name) = test.first().cloned() else {
            return;
        };
        // Long, and the panic has its place in the code.
        let backtrace = test.iter().position(|line| line == "stack backtrace:");
        test.truncate(backtrace.unwrap_or(test.len()));
        let panic = test.iter().position(|line| is_panic(line));
        if self.section == Section::Failures {
            // Its panic is the reason; it may have printed much before.
            let from = panic.map_or(test.len().saturating_sub(MAX_TEST_LINES), |at| {
                at.saturating_sub(N_LINES_BEFORE_PANIC)
            });
            keep(&mut self.reasons, name);
            for line in test.drain(from.max(1)..).take(MAX_TEST_LINES) {
                keep(&mut self.reasons, line);
            }
            return;
        }
        if test.iter().any(|line| line.starts_with("skipped: ")) {
            // A test without its data passes, but says that it had nothing to test.
            self.said_skipped += 1;
        }
        // Who provokes panics has them printed, which is of no interest.
        if panic.is_none() {
            self.said.append(&mut test);
        }
    }

    fn unlisted(&mut self, line: &str) -> Echo {
        let trimmed = line.trim_start();
        match line {
            "successes:" => {
                self.section = Section::Successes;
                return Echo::Nothing;
            }
            "failures:" => {
                self.section = Section::Failures;
                return Echo::Line;
            }
            "✖ failing tests:" => {
                // Whatever was said before is said again.
                self.reasons = vec![line.to_owned()];
                self.section = Section::FailingTests;
                return Echo::Line;
            }
            _ => {}
        }
        if let Some((name, count)) = node_summary(line) {
            match name {
                "pass" => self.tally.passed += count,
                "fail" | "cancelled" => self.tally.failed += count,
                "skipped" | "todo" => self.tally.skipped += count,
                _ => {}
            }
            return Echo::Line;
        }
        if let Section::Error | Section::Panic = self.section
            && (begun(line).is_some() || line.starts_with("test "))
        {
            self.section = Section::Progress;
        }
        if line.starts_with("error:") || line.starts_with("error[") || line == "Caused by:" {
            self.section = Section::Error;
        } else if is_panic(line) {
            self.section = Section::Panic;
        } else if trimmed.starts_with("not ok ") {
            self.section = Section::NotOk;
        } else if trimmed.starts_with("✖ ") && self.section != Section::FailingTests {
            keep(&mut self.reasons, line.to_owned());
        }
        match self.section {
            Section::Error | Section::NotOk | Section::FailingTests => {
                keep(&mut self.reasons, line.to_owned());
                if trimmed.starts_with("process didn't exit successfully") {
                    self.died();
                }
            }
            Section::Panic => keep(&mut self.panics, line.to_owned()),
            Section::Progress | Section::Successes | Section::Failures => {
                return self.progress(line);
            }
        }
        let is_over = match self.section {
            Section::Error | Section::Panic => line.is_empty(),
            Section::NotOk => trimmed == "...",
            _ => false,
        };
        if is_over {
            self.section = Section::Progress;
        }
        Echo::Line
    }

    /// A test binary has ended without counts: by a signal, or by its own hand.
    fn died(&mut self) {
        if let Some(binary) = self.binary.take() {
            self.tally.failed += 1;
            keep(
                &mut self.reasons,
                format!("{binary} ended before its counts; its last lines:"),
            );
            for line in &self.last {
                keep(&mut self.reasons, format!("  {line}"));
            }
        }
    }

    /// A line of cargo's or a test binary's about how far it is.
    fn progress(&mut self, line: &str) -> Echo {
        if let Some(binary) = begun(line) {
            self.binary = Some(binary.to_owned());
            self.has_begun = true;
            // What an earlier one said is no reason for what happens to this one.
            self.last.clear();
            return Echo::Begin(binary.to_owned());
        }
        let Some(test) = line.strip_prefix("test ") else {
            let is_start = line.starts_with("running ") && line.contains(" test");
            let is_between = line.is_empty() && self.has_begun;
            return if is_start || is_between {
                Echo::Nothing
            } else {
                Echo::Line
            };
        };
        if test.ends_with(" ... FAILED") {
            keep(&mut self.names, line.to_owned());
        }
        if test.ends_with(" ... ok") || test.contains(" ... ignored") {
            return Echo::Nothing;
        }
        Echo::Line
    }

    /// What was read. A runner that has `failed` has given a reason, or its last lines
    /// are taken for one.
    pub(crate) fn finish(mut self, failed: bool) -> Read {
        self.end_test();
        let mut failures = self.names;
        failures.append(&mut self.reasons);
        failures.append(&mut self.panics);
        if failures.is_empty() && failed {
            failures.extend(self.last);
        }
        failures.truncate(MAX_LINES);
        Read {
            tally: Tally {
                passed: self.tally.passed.saturating_sub(self.said_skipped),
                failed: self.tally.failed,
                skipped: self.tally.skipped + self.said_skipped,
            },
            failures,
            said: self.said,
        }
    }
}

fn keep(lines: &mut Vec<String>, line: String) {
    if lines.len() < MAX_LINES {
        lines.push(line);
    }
}

/// The test binary that cargo says it starts.
fn begun(line: &str) -> Option<&str> {
    let said = line.trim_start();
    if said == line {
        return None;
    }
    said.strip_prefix("Running ")
        .or_else(|| said.starts_with("Doc-tests ").then_some(said))
}

fn is_panic(line: &str) -> bool {
    line.starts_with("thread '")
        && (line.contains(" panicked at ") || line.contains(" has overflowed its stack"))
        || line.starts_with("fatal runtime error:")
}

/// `ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
fn cargo_result(result: &str) -> Tally {
    let count = |what: &str| {
        result
            .split(['.', ';'])
            .find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok())
            .unwrap_or(0)
    };
    Tally {
        passed: count("passed"),
        failed: count("failed"),
        skipped: count("ignored"),
    }
}

/// `# pass 5` in TAP, `ℹ pass 5` in the spec reporter.
fn node_summary(line: &str) -> Option<(&str, usize)> {
    let (name, count) = line
        .strip_prefix("# ")
        .or(line.strip_prefix("ℹ "))?
        .split_once(' ')?;
    Some((name, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str, failed: bool) -> (Read, Vec<Echo>) {
        let mut reader = TallyReader::default();
        let echoes = text.lines().map(|line| reader.line(line)).collect();
        (reader.finish(failed), echoes)
    }

    fn read(text: &str) -> Tally {
        read_all(text, false).0.tally
    }

    #[test]
    fn adds_up_cargos_results() {
        let text = "running 3 tests\n\
            test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
            test result: FAILED. 4 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.50s\n";
        assert_eq!(
            read(text),
            Tally {
                passed: 7,
                failed: 2,
                skipped: 1
            }
        );
    }

    #[test]
    fn a_test_that_says_it_skipped_is_not_counted_as_passed() {
        let text = "successes:\n\n---- vocab::agrees stdout ----\nskipped: no fixtures\nskipped: once more\n\
            ---- other stdout ----\nhello\n\
            test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";
        assert_eq!(
            read(text),
            Tally {
                passed: 2,
                failed: 0,
                skipped: 1
            }
        );
    }

    #[test]
    fn reads_both_of_nodes_reporters() {
        let expected = Tally {
            passed: 5,
            failed: 2,
            skipped: 1,
        };
        let tap =
            "# tests 8\n# suites 0\n# pass 5\n# fail 1\n# cancelled 1\n# skipped 1\n# todo 0\n";
        assert_eq!(read(tap), expected);
        assert_eq!(read(&tap.replace("# ", "ℹ ")), expected);
        assert_eq!(
            read("# Subtest: pass\n# a remark\nok 1 - pass 5"),
            Tally::default()
        );
    }

    /// What cargo and two test binaries print, with `--show-output`.
    const CARGO: &str = "   Compiling nox v0.1.0
     Running unittests src/lib.rs (target/debug/deps/nox-1)

running 4 tests
test a ... ok
test b ... ok
test c ... FAILED
test d ... ignored, no data

successes:

---- a stdout ----
12 cases agree

---- b stdout ----

thread 'b' (7) panicked at src/lib.rs:1:2:
on purpose


successes:
    a
    b

failures:

---- c stdout ----
much of no interest

thread 'c' (8) panicked at src/lib.rs:3:4:
left is not right
stack backtrace:
   0: of no use


failures:
    c

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

error: test failed, to rerun pass `-p nox --lib`
     Running tests/x.rs (target/debug/deps/x-2)

running 1 test
test y ... ok

successes:

successes:
    y

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

";

    #[test]
    fn passing_tests_are_one_line_for_each_binary_and_what_they_said() {
        let (read, echoes) = read_all(CARGO, true);
        let mut echoed = Vec::new();
        for (line, echo) in CARGO.lines().zip(echoes) {
            match echo {
                Echo::Line if line.is_empty() => {}
                Echo::Line => echoed.push(line.to_owned()),
                Echo::Nothing => {}
                Echo::Begin(name) => echoed.push(format!("begin {name}")),
                Echo::End(counts) => echoed.push(format!("end {}", &counts[..8])),
            }
        }
        assert_eq!(
            echoed,
            [
                "   Compiling nox v0.1.0",
                "begin unittests src/lib.rs (target/debug/deps/nox-1)",
                "test c ... FAILED",
                "failures:",
                "---- c stdout ----",
                "much of no interest",
                "thread 'c' (8) panicked at src/lib.rs:3:4:",
                "left is not right",
                "stack backtrace:",
                "   0: of no use",
                "failures:",
                "    c",
                "end FAILED. ",
                "error: test failed, to rerun pass `-p nox --lib`",
                "begin tests/x.rs (target/debug/deps/x-2)",
                "end ok. 1 pa",
            ]
        );
        assert_eq!(read.said, ["---- a stdout ----", "12 cases agree"]);
    }

    #[test]
    fn a_failed_test_is_named_with_its_reason() {
        let failures = read_all(CARGO, true).0.failures;
        assert_eq!(failures[..2], ["test c ... FAILED", "---- c stdout ----"]);
        assert!(failures.contains(&"left is not right".to_owned()));
        assert!(failures.contains(&"error: test failed, to rerun pass `-p nox --lib`".to_owned()));
        let told = failures.join("\n");
        assert!(
            !told.contains("of no use")
                && !told.contains("on purpose")
                && !told.contains("Running"),
            "{told}"
        );
    }

    #[test]
    fn much_output_does_not_hide_the_reason_nor_the_other_tests() {
        let noise = "noise\n".repeat(10_000);
        let panic = |name: &str| format!("thread '{name}' panicked at a.rs:1:1:\n{name} broke\n");
        let text = format!(
            "test a ... FAILED\ntest b ... FAILED\n\nfailures:\n\n---- a stdout ----\n{noise}{}{noise}\n\
             ---- b stdout ----\n{noise}{}\n\nfailures:\n    a\n    b\n\ntest result: FAILED. 0 passed; \
             2 failed; 0 ignored\n",
            panic("a"),
            panic("b")
        );
        let failures = read_all(&text, true).0.failures;
        assert!(failures.len() < 100, "{}", failures.len());
        for wanted in [
            "test a ... FAILED",
            "test b ... FAILED",
            "a broke",
            "b broke",
        ] {
            assert!(failures.iter().any(|line| line == wanted), "{wanted}");
        }
    }

    #[test]
    fn a_binary_that_a_signal_ends_counts_as_a_failure_and_is_named() {
        let text = "of the binary before\n     Running tests/x.rs (target/debug/deps/x-2)\n\nrunning 2 tests\n\
            test y ... ok\n\nthread 'z' (9) has overflowed its stack\nfatal runtime error: stack overflow\n\
            error: test failed, to rerun pass `-p nox --test x`\n\nCaused by:\n  \
            process didn't exit successfully: `x-2` (signal: 6, SIGABRT: process abort signal)\n\
            \x20    Running tests/w.rs (target/debug/deps/w-3)\n\
            test result: ok. 1 passed; 0 failed; 0 ignored\n";
        let (read, echoes) = read_all(text, true);
        assert_eq!((read.tally.passed, read.tally.failed), (1, 1));
        let told = read.failures.join("\n");
        for wanted in [
            "signal: 6",
            "tests/x.rs (target/debug/deps/x-2) ended before its counts",
            "has overflowed its stack",
            "test y ... ok",
        ] {
            assert!(told.contains(wanted), "{wanted}: {told}");
        }
        assert!(!told.contains("of the binary before"), "{told}");
        assert!(echoes.contains(&Echo::Begin(
            "tests/w.rs (target/debug/deps/w-3)".to_owned()
        )));
    }

    #[test]
    fn an_error_of_the_compilers_is_kept_whole() {
        let text = "   Compiling nox v0.1.0\nerror[E0425]: cannot find value `a`\n --> src/lib.rs:1:1\n  |\n\n\
            warning: unused\n\nerror: could not compile `nox` (lib) due to 1 previous error\n";
        assert_eq!(
            read_all(text, true).0.failures,
            [
                "error[E0425]: cannot find value `a`",
                " --> src/lib.rs:1:1",
                "  |",
                "",
                "error: could not compile `nox` (lib) due to 1 previous error"
            ]
        );
    }

    #[test]
    fn both_of_nodes_reporters_tell_what_failed() {
        let tap = "# Subtest: all\n    ok 1 - a\n    not ok 2 - b\n      ---\n      error: 'b broke'\n      ...\n\
            \x20   ok 3 - c\nnot ok 1 - all\n  ---\n  error: '1 subtest failed'\n  ...\n# pass 2\n# fail 1\n";
        let failures = read_all(tap, true).0.failures.join("\n");
        assert!(failures.contains("not ok 2 - b") && failures.contains("b broke"));
        assert!(!failures.contains("ok 3 - c"), "{failures}");

        let spec = "▶ all\n  ✔ a (1ms)\n  ✖ b (2ms)\n✖ all (3ms)\nℹ pass 1\nℹ fail 1\n\n✖ failing tests:\n\n\
            test at x.test.mjs:3:1\n✖ b (2ms)\n  Error: b broke\n      at x\n";
        let failures = read_all(spec, true).0.failures.join("\n");
        assert!(failures.starts_with("✖ failing tests:"), "{failures}");
        assert!(
            failures.ends_with("  Error: b broke\n      at x"),
            "{failures}"
        );
        // Cut off before its summary.
        let cut = spec.split("ℹ").next().unwrap();
        let failures = read_all(cut, true).0.failures;
        assert_eq!(failures, ["  ✖ b (2ms)", "✖ all (3ms)"]);
    }

    #[test]
    fn who_fails_without_a_word_is_told_by_its_last_lines() {
        let text = (0..100).map(|n| format!("{n}\n")).collect::<String>();
        let failures = read_all(&text, true).0.failures;
        assert_eq!((failures.len(), failures[0].as_str()), (20, "80"));
        assert!(read_all(&text, false).0.failures.is_empty());
    }
}
