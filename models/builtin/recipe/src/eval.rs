//! Runs the cases of `eval/cases.jsonl` against anything that can reply, and checks what it
//! said. Knows nothing of how the reply came about.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::bpe::Message;
use crate::corpus::Corpus;
use crate::gemm::Compute;

/// Anything that answers a conversation, greedily.
pub trait Generate {
    /// The assistant's next message.
    ///
    /// # Errors
    /// The engine fails; what it says then is no answer at all.
    fn reply(&mut self, messages: &[Message]) -> Result<String>;
}

/// What must, may and must not stand in a reply; compared without regard to case.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// Every one must occur.
    pub all_of: Vec<String>,
    /// At least one must occur, if any is given.
    pub any_of: Vec<String>,
    /// None may occur.
    pub none_of: Vec<String>,
}

impl Expect {
    /// Whether a reply meets all three.
    pub fn holds(&self, reply: &str) -> bool {
        let reply = reply.to_lowercase();
        let has = |s: &String| reply.contains(&s.to_lowercase());
        self.all_of.iter().all(has)
            && (self.any_of.is_empty() || self.any_of.iter().any(has))
            && !self.none_of.iter().any(has)
    }
}

/// One evaluated conversation; the last message is the user's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Unique, `kind-topic-number`.
    pub id: String,
    /// Row of the table.
    pub kind: String,
    /// Ends with the turn to be answered.
    pub messages: Vec<Message>,
    /// Checked on the reply.
    pub expect: Expect,
}

/// The kind whose cases must be declined; its share of the pass mark is its own.
pub const OUT_OF_SCOPE: &str = "out_of_scope";

/// Cases of a JSON Lines text.
///
/// # Errors
/// A line that is no case, an id that occurs twice, a case that does not end with the user.
pub fn parse_cases(text: &str) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut ids = BTreeSet::new();
    for (i, line) in text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty())
    {
        let case: Case = serde_json::from_str(line).with_context(|| format!("line {}", i + 1))?;
        if !ids.insert(case.id.clone()) {
            bail!("line {}: the id {} occurs twice", i + 1, case.id);
        }
        if case.messages.last().is_none_or(|m| m.role != "user") {
            bail!("line {}: the last message must be the user's", i + 1);
        }
        cases.push(case);
    }
    Ok(cases)
}

/// Right and all answers per kind, and what went wrong.
#[derive(Debug, Default)]
pub struct Report {
    /// Kind → (right, all).
    pub kinds: BTreeMap<String, (usize, usize)>,
    /// Cases that failed, with the reply.
    pub failures: Vec<(Case, String)>,
}

impl Report {
    fn share(&self, pick: impl Fn(&str) -> bool) -> f64 {
        let (right, all) = self
            .kinds
            .iter()
            .filter(|(k, _)| pick(k))
            .fold((0, 0), |(r, a), (_, (right, all))| (r + right, a + all));
        right as f64 / all.max(1) as f64
    }

    /// Share of right answers among all kinds but the declined one.
    pub fn in_scope(&self) -> f64 {
        self.share(|k| k != OUT_OF_SCOPE)
    }

    /// Share of out-of-scope questions that were declined.
    pub fn declined(&self) -> f64 {
        self.share(|k| k == OUT_OF_SCOPE)
    }

    /// Nine tenths in scope and nine tenths of the rest declined.
    pub fn passes(&self) -> bool {
        self.in_scope() >= 0.9 && self.declined() >= 0.9
    }

    /// A Markdown table of the kinds.
    pub fn table(&self) -> String {
        let mut out = String::from("| kind | right | of | share |\n|---|---|---|---|\n");
        for (kind, (right, all)) in &self.kinds {
            let share = 100.0 * *right as f64 / *all as f64;
            out += &format!("| {kind} | {right} | {all} | {share:.1} % |\n");
        }
        out + &format!(
            "\nin scope {:.1} %, out of scope declined {:.1} %\n",
            100.0 * self.in_scope(),
            100.0 * self.declined()
        )
    }
}

/// Asks every case; engines are made by `engine`, one per thread.
///
/// # Errors
/// An engine cannot be made, or fails at a case, which is then named.
pub fn evaluate<G: Generate>(
    cases: &[Case],
    compute: &Compute,
    engine: impl Fn() -> Result<G> + Sync,
) -> Result<Report> {
    let mut replies: Vec<_> = cases.iter().map(|_| Ok(String::new())).collect();
    let items: Vec<_> = cases.iter().zip(&mut replies).collect();
    compute.each(items, engine, |engine, (case, reply)| {
        *reply = match engine {
            Ok(engine) => engine.reply(&case.messages),
            Err(error) => Err(anyhow!("{error:#}")),
        };
    });
    let mut report = Report::default();
    for (case, reply) in cases.iter().zip(replies) {
        let reply = reply.with_context(|| case.id.clone())?;
        let (right, all) = report.kinds.entry(case.kind.clone()).or_default();
        *all += 1;
        if case.expect.holds(&reply) {
            *right += 1;
        } else {
            report.failures.push((case.clone(), reply));
        }
    }
    Ok(report)
}

/// Lower case, without punctuation, words one space apart.
pub fn normalised(text: &str) -> String {
    let text: String = text
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || c.is_whitespace())
        .collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cases whose evaluated turn, the last one, the training text contains verbatim. Told names
/// are apart, and so are sums: what must be new there are the names and the pairs of numbers.
pub fn seen_in_training(cases: &[Case], corpus: &Corpus, n_conversations: u64) -> Vec<String> {
    let mut turns: BTreeMap<String, Vec<&Case>> = BTreeMap::new();
    for case in cases
        .iter()
        .filter(|c| c.kind != "addition" && c.kind != "name")
    {
        if let Some(m) = case.messages.last() {
            turns.entry(normalised(&m.content)).or_default().push(case);
        }
    }
    let mut seen = BTreeSet::new();
    for idx in 0..n_conversations {
        for m in corpus.conversation(idx).iter().filter(|m| m.role == "user") {
            for case in turns.get(&normalised(&m.content)).into_iter().flatten() {
                seen.insert(format!("{}: {}", case.id, m.content));
            }
        }
    }
    seen.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_ignore_case() {
        let expect = Expect {
            all_of: vec!["Nox".into()],
            any_of: vec!["small".into(), "tiny".into()],
            none_of: vec!["cannot".into()],
        };
        assert!(expect.holds("I am nox, SMALL."));
        assert!(!expect.holds("I am nox."));
        assert!(!expect.holds("nox is tiny and cannot."));
    }

    #[test]
    fn the_cases_parse_and_there_are_several_hundred() {
        let cases = parse_cases(include_str!("../../eval/cases.jsonl")).unwrap();
        assert!(cases.len() >= 300, "{}", cases.len());
    }

    #[test]
    fn a_report_counts_by_kind() {
        struct Echo;
        impl Generate for Echo {
            fn reply(&mut self, messages: &[Message]) -> Result<String> {
                Ok(messages.last().unwrap().content.clone())
            }
        }
        let case = |id: &str, kind: &str, want: &str| Case {
            id: id.into(),
            kind: kind.into(),
            messages: vec![Message::new("user", "yes")],
            expect: Expect {
                all_of: vec![want.into()],
                ..Expect::default()
            },
        };
        let cases = [
            case("1", "a", "yes"),
            case("2", "a", "no"),
            case("3", OUT_OF_SCOPE, "yes"),
        ];
        let report = evaluate(&cases, &Compute::new(2), || Ok(Echo)).unwrap();
        assert_eq!(report.kinds["a"], (1, 2));
        assert_eq!(report.declined(), 1.0);
        assert!(!report.passes());
    }
}
