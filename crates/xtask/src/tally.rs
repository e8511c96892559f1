//! Counts tests from what their runners print: cargo test's `test result:` lines and
//! the summaries of node's test runner.

use std::ops::AddAssign;

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

/// Reads a runner's output line by line.
#[derive(Debug, Default)]
pub(crate) struct TallyReader {
    tally: Tally,
    /// Rust tests that passed for want of their data.
    said_skipped: usize,
    /// Inside the output of a Rust test that has not yet said it skipped itself.
    in_test_output: bool,
}

impl TallyReader {
    /// Takes the next line, without its line break.
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.tally += cargo_result(result);
        } else if line.starts_with("---- ") {
            self.in_test_output = true;
        } else if self.in_test_output && line.starts_with("skipped: ") {
            // A test without its data passes, but says that it had nothing to test.
            self.in_test_output = false;
            self.said_skipped += 1;
        } else if let Some((name, count)) = node_summary(line) {
            match name {
                "pass" => self.tally.passed += count,
                "fail" | "cancelled" => self.tally.failed += count,
                "skipped" | "todo" => self.tally.skipped += count,
                _ => {}
            }
        }
    }

    /// The sum so far.
    pub(crate) fn finish(self) -> Tally {
        Tally {
            passed: self.tally.passed.saturating_sub(self.said_skipped),
            failed: self.tally.failed,
            skipped: self.tally.skipped + self.said_skipped,
        }
    }
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

    fn read(text: &str) -> Tally {
        let mut reader = TallyReader::default();
        text.lines().for_each(|line| reader.line(line));
        reader.finish()
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
        let text = "---- vocab::agrees stdout ----\nskipped: no fixtures\nskipped: once more\n\
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
}
