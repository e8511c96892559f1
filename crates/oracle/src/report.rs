//! The account of what was compared.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::case::Case;

/// What became of the cases of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The file.
    pub file: &'static str,
    /// Sound recordings that came out the same.
    pub same: usize,
    /// What was not compared, by reason.
    pub left_out: BTreeMap<String, usize>,
    /// Recorded defects that come out differently, by what was wrong.
    pub different: BTreeMap<String, usize>,
    /// Recordings marked as defects that come out as recorded: the mark is about
    /// something that the comparison does not see, or the behaviour was kept.
    pub marked: BTreeMap<String, usize>,
    /// What is not as it has to be.
    pub wrong: Vec<Wrong>,
}

/// A case that is not as it has to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Wrong {
    /// The case, or the line that is none.
    pub id: String,
    /// What was called with what.
    pub input: String,
    /// What should have come out.
    pub expected: String,
    /// What came out.
    pub found: String,
}

/// What a comparison makes of one case.
pub(crate) enum Verdict {
    /// Both sides, which must be equal unless the recording is marked as a defect.
    Compared { ours: Value, recorded: Value },
    /// It is not compared, for this reason.
    LeftOut(&'static str),
    /// A promise of our own is broken, whatever was recorded.
    Broken { ours: Value, promised: Value },
}

impl Report {
    /// Compares every case of a file.
    pub(crate) fn of(
        file: &'static str,
        jsonl: &str,
        mut judge: impl FnMut(&Case) -> Verdict,
    ) -> Self {
        let mut report = Self::empty(file);
        for (idx, line) in jsonl.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            match Case::read(line) {
                Ok(case) => report.add(&case, judge(&case)),
                Err(reason) => report.wrong.push(Wrong {
                    id: format!("line {}", idx + 1),
                    input: line.to_owned(),
                    expected: "a recorded case".to_owned(),
                    found: reason,
                }),
            }
        }
        report
    }

    fn empty(file: &'static str) -> Self {
        Self {
            file,
            same: 0,
            left_out: BTreeMap::new(),
            different: BTreeMap::new(),
            marked: BTreeMap::new(),
            wrong: Vec::new(),
        }
    }

    fn add(&mut self, case: &Case, verdict: Verdict) {
        let count = |map: &mut BTreeMap<String, usize>, key: &str| {
            *map.entry(key.to_owned()).or_default() += 1;
        };
        let (ours, expected) = match verdict {
            Verdict::LeftOut(reason) => return count(&mut self.left_out, reason),
            Verdict::Compared { ours, recorded } => match (&case.defect, ours == recorded) {
                (None, true) => return self.same += 1,
                (Some(defect), true) => return count(&mut self.marked, defect),
                (Some(defect), false) => return count(&mut self.different, defect),
                (None, false) => (ours, recorded),
            },
            Verdict::Broken { ours, promised } => (ours, promised),
        };
        self.wrong.push(Wrong {
            id: case.id.clone(),
            input: format!("{} {}", case.call, case.input),
            expected: expected.to_string(),
            found: ours.to_string(),
        });
    }

    /// How many cases were compared.
    #[must_use]
    pub fn n_compared(&self) -> usize {
        self.same + sum(&self.different) + sum(&self.marked) + self.wrong.len()
    }

    /// How many cases there are.
    #[must_use]
    pub fn n_cases(&self) -> usize {
        self.n_compared() + sum(&self.left_out)
    }
}

fn sum(counts: &BTreeMap<String, usize>) -> usize {
    counts.values().sum()
}

/// The account line by line, each wrong case with its texts.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} compared: {} the same, {} deliberately different, {} marked as \
             defects but the same, {} wrong; {} left out",
            self.file,
            self.n_compared(),
            self.same,
            sum(&self.different),
            sum(&self.marked),
            self.wrong.len(),
            sum(&self.left_out),
        )?;
        for (what, counts) in [
            ("left out", &self.left_out),
            ("different", &self.different),
            ("marked", &self.marked),
        ] {
            for (reason, n) in counts {
                write!(f, "\n  {what}, {n}: {reason}")?;
            }
        }
        for wrong in &self.wrong {
            write!(
                f,
                "\n  wrong: {} {}\n    expected {}\n    found    {}",
                wrong.id, wrong.input, wrong.expected, wrong.found
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: &str = r#"
{"id": "a-1", "call": "f", "input": 1, "output": 1, "error": null}
{"id": "a-2", "call": "f", "input": 1, "output": 2, "error": null, "defect": "off by one"}
{"id": "a-3", "call": "f", "input": 1, "output": 1, "error": null, "defect": "slow"}
{"id": "a-4", "call": "g", "input": 1, "output": 1, "error": null}
{"id": "a-5", "call": "f", "input": 1, "output": 2, "error": null}
not a case
"#;

    fn report() -> Report {
        Report::of("a.jsonl", CASES, |case| match case.call.as_str() {
            "f" => Verdict::Compared {
                ours: case.input.clone(),
                recorded: case.output.clone(),
            },
            _ => Verdict::LeftOut("no counterpart"),
        })
    }

    #[test]
    fn every_line_is_accounted_for_once() {
        let report = report();
        assert_eq!((report.n_cases(), report.n_compared()), (6, 5));
        let told = report.to_string();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "a.jsonl: 5 compared: 1 the same, 1 deliberately different, 1 marked as defects \
                 but the same, 2 wrong; 1 left out",
                "  left out, 1: no counterpart",
                "  different, 1: off by one",
                "  marked, 1: slow",
            ]
        );
    }

    #[test]
    fn only_a_mark_excuses_a_difference() {
        let ids: Vec<String> = report().wrong.into_iter().map(|wrong| wrong.id).collect();
        assert_eq!(ids, ["a-5", "line 7"]);
    }

    #[test]
    fn a_broken_promise_is_wrong_in_spite_of_a_mark() {
        let report = Report::of("a.jsonl", CASES, |case| Verdict::Broken {
            ours: case.input.clone(),
            promised: case.output.clone(),
        });
        assert_eq!((report.wrong.len(), report.same), (6, 0));
    }
}
