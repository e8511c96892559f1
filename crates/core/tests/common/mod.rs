//! What the tests on recorded cases share: where the recordings lie, how a case
//! is read, and the account of what was compared.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test binary uses a part

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

/// One recorded call.
pub struct Case {
    pub id: String,
    pub call: String,
    pub input: Value,
    pub output: Value,
    /// What the recorded call raised.
    pub error: Option<String>,
    /// Why the recorded behaviour is wrong, where it is.
    pub defect: Option<String>,
}

/// The recordings in `oracle/<file>`, or `None` (said on stderr) where there are
/// none: such a test counts as skipped.
pub fn oracle(file: &str) -> Option<Vec<Case>> {
    let root = std::env::var_os("NOXICS_FIXTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures"),
        PathBuf::from,
    );
    let path = root.join("oracle").join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: there is no file {}", path.display());
        return None;
    };
    let text_of = |value: &Value| value.as_str().map(str::to_owned);
    let case = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        Case {
            id: text_of(&row["id"]).unwrap(),
            call: text_of(&row["call"]).unwrap(),
            input: row["input"].clone(),
            output: row["output"].clone(),
            error: text_of(&row["error"]),
            defect: text_of(&row["defect"]),
        }
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    Some(lines.map(case).collect())
}

/// Counts what became of the cases of one file. Nothing fails before
/// [`finish`](Self::finish), so one run shows every difference.
pub struct Tally {
    title: String,
    n_compared: usize,
    left_out: BTreeMap<String, usize>,
    /// Defects that come out differently here, by reason.
    different: BTreeMap<String, usize>,
    n_defects_kept: usize,
    failures: Vec<String>,
}

impl Tally {
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            n_compared: 0,
            left_out: BTreeMap::new(),
            different: BTreeMap::new(),
            n_defects_kept: 0,
            failures: Vec::new(),
        }
    }

    /// Compares what this project gives with what was recorded. They must be equal
    /// unless the recording is marked as a defect.
    pub fn compare(&mut self, case: &Case, ours: &Value, recorded: &Value) {
        self.n_compared += 1;
        match (&case.defect, ours == recorded) {
            (None, true) => {}
            (Some(_), true) => self.n_defects_kept += 1,
            (Some(defect), false) => *self.different.entry(defect.clone()).or_default() += 1,
            (None, false) => self.failures.push(format!(
                "{} {}\n  input    {}\n  recorded {recorded}\n  ours     {ours}",
                case.id, case.call, case.input
            )),
        }
    }

    /// Leaves a case out.
    pub fn leave_out(&mut self, reason: &str) {
        *self.left_out.entry(reason.to_owned()).or_default() += 1;
    }

    /// Prints the account, and fails if a case that must be the same is not.
    pub fn finish(self) {
        let n_left_out: usize = self.left_out.values().sum();
        let n_different: usize = self.different.values().sum();
        println!(
            "{}: {} compared, {n_left_out} left out, {n_different} deliberately different \
             ({} defects come out as recorded), {} failed",
            self.title,
            self.n_compared,
            self.n_defects_kept,
            self.failures.len(),
        );
        for (reason, n) in &self.left_out {
            println!("  left out, {n}: {reason}");
        }
        for (reason, n) in &self.different {
            println!("  different, {n}: {reason}");
        }
        assert!(self.failures.is_empty(), "{}", self.failures.join("\n"));
    }
}
