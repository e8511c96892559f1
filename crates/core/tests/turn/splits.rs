//! However the replies of a turn are cut, the same message is shown.

use serde_json::json;

use crate::scripted::{BROKEN, Chat, Step, say};

/// A pseudo-random generator, so that a failing case can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).expect("small")
    }

    fn pick<'a>(&mut self, parts: &[&'a str]) -> &'a str {
        parts[self.below(parts.len())]
    }

    fn text(&mut self, parts: &[&str]) -> String {
        let n_parts = self.below(8);
        (0..n_parts).map(|_| self.pick(parts)).collect()
    }

    /// The text in pieces of one to nine characters.
    fn cut(&mut self, text: &str) -> Vec<Step> {
        let mut chars = text.chars();
        let mut steps = Vec::new();
        loop {
            let n_chars = 1 + self.below(9);
            let piece: String = chars.by_ref().take(n_chars).collect();
            if piece.is_empty() {
                return steps;
            }
            steps.push(Step::Say(piece));
        }
    }
}

/// What may stand in a reply. Everything in capitals has to vanish.
const PARTS: [&str; 13] = [
    "a word ",
    "é. ",
    "😀\n",
    "\n\n",
    "<think>HIDDEN</think>",
    "[SET TITLE]HIDDEN[/SET TITLE]",
    "[INSTRUMENT QUERY]HIDDEN[/INSTRUMENT QUERY]",
    "[INSTRUMENT QUERY]HIDDEN[/INSTRUMENT QUERY]",
    "kept [INSTRUMENT RESULT]HIDDEN[/INSTRUMENT RESULT]",
    "<|assistant|>",
    "[/assistant]",
    " [ < ",
    "end",
];
const HEADS: [&str; 4] = ["", "Nox: ", "Noctics Nox： ", "Hardware context: HIDDEN\n"];
const GRADES: [&str; 5] = ["7", "3", "<think>HIDDEN</think>2/10", "HIDDEN", ""];

/// The texts of one turn, call by call.
struct Texts {
    reply: String,
    answer: String,
    follow_up: String,
    grade: String,
    /// What the model says after a low grade.
    second_try: String,
    fails: bool,
}

/// Runs the turn with the texts in pieces and gives what it came to.
fn run(texts: &Texts, mut cut: impl FnMut(&str) -> Vec<Step>) -> (String, String, String) {
    let asks = nox_core::clean_reply(&texts.reply, true).1.instrument_query;
    let mut local = vec![cut(&texts.reply)];
    if asks.is_some() && !texts.fails {
        local.push(cut(&texts.follow_up));
    }
    // What is played beyond the turn's need is left over.
    local.push(cut(&texts.grade));
    local.push(cut(&texts.second_try));
    let mut answer = cut(&texts.answer);
    if texts.fails {
        answer.push(BROKEN);
    }
    let chat = Chat::with_instrument(local, vec![answer]);
    let run = chat.ask(json!({"self_score": true}));
    assert!(chat.cloud_asked().len() <= 1, "an instrument is asked once");
    let (text, reasoning) = (run.text.clone(), run.reasoning.clone());
    let outcome = run.done();
    let meta = outcome.result.meta;
    let rest = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?}",
        outcome.title,
        outcome.instrument,
        meta.score,
        meta.finish_reason,
        meta.instrument_warning,
        meta.route.left_device,
    );
    (text, reasoning, rest)
}

#[test]
fn any_cut_of_any_call_gives_the_same_message_and_hides_the_same() {
    let mut random = Random(0x5eed_1234_abcd_ef01);
    let mut n_asked = 0;
    for round in 0..1500 {
        let texts = Texts {
            reply: random.pick(&HEADS).to_owned() + &random.text(&PARTS),
            answer: "An answer. ".to_owned() + &random.text(&PARTS),
            follow_up: random.pick(&HEADS).to_owned() + &random.text(&PARTS),
            grade: random.pick(&GRADES).to_owned(),
            second_try: random.text(&PARTS),
            fails: random.below(5) == 0,
        };
        let whole = run(
            &texts,
            |text| {
                if text.is_empty() { vec![] } else { say(text) }
            },
        );
        let pieces = run(&texts, |text| random.cut(text));
        assert_eq!(whole, pieces, "round {round}: {:?}", texts.reply);
        let (text, _, rest) = whole;
        for hidden in ["HIDDEN", "INSTRUMENT", "SET TITLE", "think>", "assistant"] {
            assert!(
                !text.contains(hidden),
                "round {round}: {hidden} in {text:?}"
            );
        }
        assert_eq!(text.trim(), text, "round {round}");
        n_asked += usize::from(rest.contains("InstrumentUse"));
    }
    assert!(
        n_asked > 500,
        "the instrument was in play only {n_asked} times"
    );
}
