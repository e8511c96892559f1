//! Seeded generator of the conversations that the model is trained on. It expands the templates
//! under `text/`, and knows no tokens. Of the evaluation's questions it knows only hashes, and
//! never asks one of them.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::bpe::Message;
use crate::rng::Rng;

/// What the product sends as its own system prompt.
pub const PRODUCT_SYSTEM: &str =
    "You are Nox, the private assistant of Noxics. You run on the user's device.";

/// The model adds numbers from 0 to this.
pub const MAX_OPERAND: usize = 50;

/// Whether the sum of this pair, in either order, is kept out of training for the evaluation.
pub fn held_out(a: usize, b: usize) -> bool {
    (a.min(b) * 67 + a.max(b) * 31) % 11 == 3
}

const TOPICS: &str = include_str!("../text/topics.txt");
const APART: &str = include_str!("../text/apart.txt");
const LISTS: [&str; 5] = [
    include_str!("../text/lists.txt"),
    include_str!("../text/words.txt"),
    include_str!("../text/frames.txt"),
    include_str!("../text/forms.txt"),
    include_str!("../text/outside.txt"),
];
/// So many of the lists hold the plain forms.
const N_PLAIN_LISTS: usize = 3;
const WORDINGS: [&str; 6] = [
    include_str!("../text/wordings.txt"),
    include_str!("../text/wordings-commands.txt"),
    include_str!("../text/wordings-settings.txt"),
    include_str!("../text/wordings-product.txt"),
    include_str!("../text/wordings-self.txt"),
    include_str!("../text/wordings-talk.txt"),
];

/// All that decides the text, so that a checkpoint of another text can be told apart.
pub fn sources() -> impl Iterator<Item = &'static str> {
    let own = [TOPICS, APART, include_str!("corpus.rs")];
    own.into_iter().chain(LISTS).chain(WORDINGS)
}

/// From this conversation on the plain ways to ask come more often than the far-fetched ones,
/// whose breadth the model has met by then.
const PLAIN_FROM: u64 = 73_000;

/// How often what is drawn.
struct Mixture {
    /// Weights of the kinds of turns, in the order of `Kind::DRAWN`.
    kinds: [u32; 9],
    /// How a command or setting, or another topic, is asked for: by its name.
    by_name: [u32; 2],
    /// The other ways: a whole question, a purpose, a key word, a situation.
    otherwise: [u32; 4],
    /// Share of questions that is drawn from the plain ones alone.
    plain: f32,
    /// Share of small talk with words around it.
    dressed_talk: f32,
    /// Share of longer chats in which the name is told and asked for.
    tells: f32,
}

const BROAD: Mixture = Mixture {
    kinds: [43, 3, 2, 13, 11, 3, 24, 4, 3],
    by_name: [36, 20],
    otherwise: [40, 28, 9, 11],
    plain: 0.0,
    dressed_talk: 0.0,
    tells: 0.8,
};

const PLAIN: Mixture = Mixture {
    kinds: [45, 3, 2, 17, 6, 3, 22, 3, 2],
    by_name: [50, 30],
    otherwise: [45, 26, 9, 12],
    plain: 0.45,
    dressed_talk: 0.25,
    tells: 0.6,
};

struct Topic {
    kind: String,
    id: String,
    names: Vec<String>,
    answer: String,
    questions: Vec<String>,
    /// The first so many questions are the plain ones.
    n_plain: usize,
    /// What somebody wants to do, in the base form of the verb.
    purposes: Vec<String>,
    keywords: Vec<String>,
    situations: Vec<String>,
}

/// Templates and word lists.
pub struct Corpus {
    seed: u64,
    lists: BTreeMap<String, Vec<String>>,
    /// The first so many forms of asking for one's name are the plain ones.
    n_plain_names: usize,
    topics: Vec<Topic>,
    /// Hashes of questions that are kept apart for the evaluation.
    apart: BTreeSet<String>,
    /// Indices of topics that explain something, that copy something, and of small talk.
    explain: Vec<usize>,
    copy: Vec<usize>,
    talk: Vec<usize>,
}

type Slots = BTreeMap<String, String>;

// Marks around what a slot put in, so that made-up typing errors leave it alone.
const OPEN: char = '\u{1}';
const CLOSE: char = '\u{2}';

impl Corpus {
    /// Reads the templates; `seed` decides all that is drawn from them.
    pub fn new(seed: u64) -> Self {
        let mut lists = BTreeMap::new();
        let (plain, further) = LISTS.split_at(N_PLAIN_LISTS);
        plain.iter().for_each(|text| parse_lists(text, &mut lists));
        let n_plain_names = lists["ask-name"].len();
        further
            .iter()
            .for_each(|text| parse_lists(text, &mut lists));
        let mut topics = parse_topics(TOPICS);
        for text in WORDINGS {
            add_wordings(text, &mut topics);
        }
        let of = |test: &dyn Fn(&Topic) -> bool| {
            (0..topics.len())
                .filter(|&i| test(&topics[i]))
                .collect::<Vec<_>>()
        };
        let copy = of(&|t| t.kind.ends_with("-copy"));
        let talk = of(&|t| t.kind == "talk");
        let explain = of(&|t| t.kind != "talk" && !t.kind.ends_with("-copy"));
        Self {
            seed,
            lists,
            n_plain_names,
            topics,
            apart: APART.lines().map(String::from).collect(),
            explain,
            copy,
            talk,
        }
    }

    /// Conversation `idx`; the same on every call.
    pub fn conversation(&self, idx: u64) -> Vec<Message> {
        let rng = &mut Rng::for_item(self.seed, idx);
        let mix = if idx < PLAIN_FROM { &BROAD } else { &PLAIN };
        let mut messages = Vec::new();
        match rng.weighted(&[50, 25, 25]) {
            0 => messages.push(Message::new("system", PRODUCT_SYSTEM)),
            1 => {}
            _ => messages.push(Message::new("system", any(&self.lists["system"], rng))),
        }
        const TURNS: [usize; 9] = [1, 2, 3, 4, 5, 6, 8, 10, 12];
        let n_turns = TURNS[rng.weighted(&[40, 14, 14, 14, 7, 5, 3, 2, 1])];
        let mut name: Option<String> = None;
        // Many longer chats tell the name early and ask for it later.
        let tells = n_turns >= 3 && rng.chance(mix.tells);
        let tell_at = if tells {
            rng.below(n_turns - 2)
        } else {
            usize::MAX
        };
        let ask_at = if tells {
            tell_at + 2 + rng.below(n_turns - 2 - tell_at)
        } else {
            usize::MAX
        };
        let mut last = Kind::Oos;
        for turn in 0..n_turns {
            let kind = if turn == tell_at {
                Kind::Tell
            } else if turn == ask_at {
                Kind::Ask
            } else {
                Kind::draw(mix, rng, last)
            };
            let (user, assistant) = loop {
                let mut told = name.clone();
                let (user, assistant) = self.turn(mix, kind, &mut told, rng);
                if !self.apart.contains(&question_hash(&user)) {
                    name = told;
                    break (user, assistant);
                }
            };
            messages.push(Message::new("user", user));
            messages.push(Message::new("assistant", assistant));
            last = kind;
        }
        messages
    }

    fn turn(
        &self,
        mix: &Mixture,
        kind: Kind,
        name: &mut Option<String>,
        rng: &mut Rng,
    ) -> (String, String) {
        let mut slots = Slots::new();
        match kind {
            Kind::Explain => {
                let topic = self.explained(rng);
                let question = self.question(mix, topic, &mut slots, rng);
                let user = self.dress(&question, &mut slots, rng);
                (user, self.answer(topic, &mut slots, rng))
            }
            Kind::Copy => {
                let topic = &self.topics[*rng.pick(&self.copy)];
                let question = self.expand(any(&topic.questions, rng), &mut slots, rng);
                let user = self.dress(&question, &mut slots, rng);
                (user, self.answer(topic, &mut slots, rng))
            }
            Kind::Echo => {
                let words: Vec<String> =
                    (0..2 + rng.below(7)).map(|_| self.odd_word(rng)).collect();
                slots.insert("words".into(), words.join(" "));
                let form = any(&self.lists["echo"], rng);
                let text = self.expand(form, &mut slots, rng);
                let user = self.noise(&text, &mut slots, rng);
                (user, slots["words"].clone())
            }
            Kind::Talk => {
                let topic = &self.topics[*rng.pick(&self.talk)];
                let form = plain_or_any(mix, &topic.questions, topic.n_plain, rng);
                let mut question = self.expand(form, &mut slots, rng);
                if mix.dressed_talk > 0.0 && rng.chance(mix.dressed_talk) {
                    question = self.dress_talk(&question, rng);
                }
                let user = self.noise(&question, &mut slots, rng);
                (user, self.small_talk(topic, name.as_deref(), rng))
            }
            Kind::Thanks => {
                let topic = self
                    .topics
                    .iter()
                    .find(|t| t.id == "thanks")
                    .expect("in topics.txt");
                let question = self.expand(any(&topic.questions, rng), &mut slots, rng);
                let user = self.noise(&question, &mut slots, rng);
                (user, self.small_talk(topic, name.as_deref(), rng))
            }
            Kind::Sum => self.sum(rng),
            Kind::HardMath => {
                let question = self.expand(any(&self.lists["hardmath"], rng), &mut slots, rng);
                let user = self.dress(&question, &mut slots, rng);
                (user, self.plain("declinemath", &mut slots, rng))
            }
            Kind::Oos => {
                let list = if rng.chance(0.3) { "near" } else { "oos" };
                let question = self.expand(any(&self.lists[list], rng), &mut slots, rng);
                let user = self.dress(&question, &mut slots, rng);
                (user, self.plain("decline", &mut slots, rng))
            }
            Kind::Tell => self.tell(mix, name, rng),
            Kind::Ask => {
                let form = plain_or_any(mix, &self.lists["ask-name"], self.n_plain_names, rng);
                let question = self.expand(form, &mut slots, rng);
                let user = self.dress(&question, &mut slots, rng);
                let list = match name {
                    Some(name) => {
                        slots.insert("name".into(), name.clone());
                        "name-reply"
                    }
                    None => "name-unknown",
                };
                (user, self.plain(list, &mut slots, rng))
            }
        }
    }

    /// Questions about Nox itself come more often than their number of topics would have it.
    fn explained(&self, rng: &mut Rng) -> &Topic {
        const SELF: [&str; 5] = ["who", "small", "can", "noxics", "maker"];
        const OFTEN: [&str; 6] = ["privacy", "storage", "worker", "offline", "free", "import"];
        let among: &[&str] = match rng.weighted(&[70, 20, 10]) {
            0 => return &self.topics[*rng.pick(&self.explain)],
            1 => &SELF,
            _ => &OFTEN,
        };
        let id = *rng.pick(among);
        let found = self.topics.iter().find(|t| t.kind == "about" && t.id == id);
        found.expect("in topics.txt")
    }

    fn question(&self, mix: &Mixture, topic: &Topic, slots: &mut Slots, rng: &mut Rng) -> String {
        let share = |list: &[String], share: u32| if list.is_empty() { 0 } else { share };
        let named = matches!(topic.kind.as_str(), "command" | "setting");
        let [whole, purpose, keyword, situation] = mix.otherwise;
        let weights = [
            share(&topic.names, mix.by_name[usize::from(!named)]),
            share(&topic.questions, whole),
            share(&topic.purposes, purpose),
            share(&topic.keywords, keyword),
            share(&topic.situations, situation),
        ];
        let (slot, list, frames) = match rng.weighted(&weights) {
            0 => ("c", &topic.names, "ask"),
            1 => {
                let form = plain_or_any(mix, &topic.questions, topic.n_plain, rng);
                return self.expand(form, slots, rng);
            }
            2 => ("v", &topic.purposes, "frame-v"),
            3 => ("k", &topic.keywords, "frame-k"),
            _ => ("s", &topic.situations, "frame-s"),
        };
        let value = self.expand(any(list, rng), slots, rng);
        slots.insert(slot.into(), value);
        let own = format!("{frames}-{}", topic.kind);
        let forms = match self.lists.get(&own) {
            Some(forms) if rng.chance(0.35) => forms,
            _ => &self.lists[frames],
        };
        self.expand(any(forms, rng), slots, rng)
    }

    /// One answer per topic: what varies is the question, and so every token of a reply teaches.
    fn answer(&self, topic: &Topic, slots: &mut Slots, rng: &mut Rng) -> String {
        bare(&self.expand(&topic.answer, slots, rng))
    }

    fn plain(&self, list: &str, slots: &mut Slots, rng: &mut Rng) -> String {
        bare(&self.expand(any(&self.lists[list], rng), slots, rng))
    }

    fn small_talk(&self, topic: &Topic, name: Option<&str>, rng: &mut Rng) -> String {
        match (topic.id.as_str(), name) {
            ("thanks", Some(name)) => format!("You're welcome, {name}!"),
            ("bye", Some(name)) => format!("Goodbye, {name}! Your chats stay here."),
            ("hello", Some(name)) => format!("Hello, {name}! How can I help?"),
            _ => self.answer(topic, &mut Slots::new(), rng),
        }
    }

    fn sum(&self, rng: &mut Rng) -> (String, String) {
        let (a, b) = loop {
            let small = rng.chance(0.1);
            let top = if small { 10 } else { MAX_OPERAND + 1 };
            let (a, b) = (rng.below(top), rng.below(top));
            if !held_out(a, b) {
                break (a, b);
            }
        };
        let mut slots = Slots::new();
        slots.insert("a".into(), a.to_string());
        slots.insert("b".into(), b.to_string());
        let question = self.expand(any(&self.lists["sum"], rng), &mut slots, rng);
        (self.dress(&question, &mut slots, rng), sum_reply(a, b))
    }

    fn tell(&self, mix: &Mixture, name: &mut Option<String>, rng: &mut Rng) -> (String, String) {
        let mut slots = Slots::new();
        let again = name.is_some();
        slots.insert("name".into(), self.name(rng));
        let mut text = self.expand(any(&self.lists["tell-name"], rng), &mut slots, rng);
        if rng.chance(0.4) {
            text = format!("{} {text}", any(&self.lists["tell-pre"], rng));
        }
        let mut answer = None;
        if rng.chance(0.15) {
            let topic = &self.topics[*rng.pick(&self.explain)];
            let question = self.question(mix, topic, &mut slots, rng);
            let link = *rng.pick(&[". ", ". ", ", ", " and ", "! "]);
            text = format!("{text}{link}{question}?");
            answer = Some(topic);
        }
        let user = self.noise(&text, &mut slots, rng);
        *name = Some(slots["name"].clone());
        let list = if again { "tell-again" } else { "tell-reply" };
        let reply = match answer {
            Some(topic) => {
                let answer = self.answer(topic, &mut slots, rng);
                format!("Nice to meet you, {}! {answer}", slots["name"])
            }
            None => self.plain(list, &mut slots, rng),
        };
        (user, reply)
    }

    /// A listed or a made-up name; most are made up, so that copying is what is learnt.
    fn name(&self, rng: &mut Rng) -> String {
        if rng.chance(0.3) {
            return any(&self.lists["firstname"], rng).to_string();
        }
        let n = 1 + rng.weighted(&[25, 50, 20, 5]);
        let mut out = String::new();
        for i in 0..n {
            if i > 0 || rng.chance(0.8) {
                out += any(&self.lists["onset"], rng);
            }
            out += any(&self.lists["vowel"], rng);
            if i + 1 == n || rng.chance(0.4) {
                out += any(&self.lists["coda"], rng).trim_matches('-');
            }
        }
        if out.len() < 2 {
            out += "n";
        }
        let mut name = capital(&out);
        if rng.chance(0.06) {
            name = format!("{name} {}", any(&self.lists["firstname"], rng));
        }
        name
    }

    /// A word that can only be repeated by copying it.
    fn odd_word(&self, rng: &mut Rng) -> String {
        const WORDS: [&str; 6] = ["thing", "animal", "place", "food2", "word", "verb"];
        match rng.below(3) {
            0 => self.name(rng),
            1 => self.name(rng).to_lowercase(),
            _ => any(&self.lists[WORDS[rng.below(WORDS.len())]], rng).to_string(),
        }
    }

    /// Puts a word or two around small talk.
    fn dress_talk(&self, text: &str, rng: &mut Rng) -> String {
        const BEFORE: [&str; 8] = [
            "hey", "nox,", "hey nox,", "so", "and", "well,", "oh,", "ok,",
        ];
        const AFTER: [&str; 8] = [
            " nox", ", nox", " there", " today", " then", " again", " now", ", mate",
        ];
        match rng.below(3) {
            0 => format!("{} {text}", rng.pick(&BEFORE)),
            1 => format!("{text}{}", rng.pick(&AFTER)),
            _ => format!("{} {text}{}", rng.pick(&BEFORE), rng.pick(&AFTER)),
        }
    }

    /// Wraps a question in the small words people put around one, then makes it untidy.
    fn dress(&self, question: &str, slots: &mut Slots, rng: &mut Rng) -> String {
        let mut text = question.to_string();
        if rng.chance(0.25) {
            text = format!("{} {text}", any(&self.lists["pre"], rng));
        }
        if rng.chance(0.12) {
            text += any(&self.lists["post"], rng);
        }
        match rng.weighted(&[48, 38, 7, 2, 3, 2]) {
            0 => text += "?",
            1 => {}
            2 => text += ".",
            3 => text += " ?",
            4 => text += "!",
            _ => text += "??",
        }
        self.noise(&text, slots, rng)
    }

    /// Case, apostrophes and typing errors as people make them.
    fn noise(&self, text: &str, slots: &mut Slots, rng: &mut Rng) -> String {
        let mut text = text.to_string();
        if rng.chance(0.5) {
            text = capital(&text);
        }
        if rng.chance(0.38) {
            text = text.to_lowercase();
            slots.values_mut().for_each(|v| *v = v.to_lowercase());
        } else if rng.chance(0.015) {
            text = text.to_uppercase();
            slots.values_mut().for_each(|v| *v = v.to_uppercase());
        }
        if rng.chance(0.2) {
            text = text.replace('\'', "");
        }
        if rng.chance(0.15) {
            text = text.replace([',', '?', '!'], "");
        }
        if rng.chance(0.07) {
            text = shorthand(&text);
        }
        let n_typos = rng.weighted(&[69, 20, 8, 3]);
        for _ in 0..n_typos {
            text = typo(&text, rng);
        }
        if rng.chance(0.05) {
            text = drop_word(&text, rng);
        }
        bare(&text)
    }

    /// Expands `{a|b}`, `<list>` and `[slot]`.
    fn expand(&self, template: &str, slots: &mut Slots, rng: &mut Rng) -> String {
        let mut out = String::new();
        self.expand_into(template, slots, rng, &mut out);
        out
    }

    fn expand_into(&self, mut rest: &str, slots: &mut Slots, rng: &mut Rng, out: &mut String) {
        while let Some(at) = rest.find(['{', '<', '[']) {
            out.push_str(&rest[..at]);
            let open = rest[at..].chars().next().expect("found above");
            let end = at + closing(&rest[at..]);
            let inner = &rest[at + 1..end];
            match open {
                '{' => {
                    let options = alternatives(inner);
                    let option = *rng.pick(&options);
                    self.expand_into(option, slots, rng, out);
                }
                '<' => match self.lists.get(inner) {
                    Some(list) => {
                        let entry = rng.pick(list);
                        self.expand_into(entry, slots, rng, out);
                    }
                    None => out.push_str(&rest[at..=end]),
                },
                _ if inner.starts_with("REDACTED") => out.push_str(&rest[at..=end]),
                _ => {
                    if !slots.contains_key(inner) {
                        let value = self.slot(inner, rng);
                        slots.insert(inner.to_string(), value);
                    }
                    let value = slots[inner].clone();
                    if matches!(inner, "c" | "v" | "k" | "s") {
                        out.push_str(&value);
                        rest = &rest[end + 1..];
                        continue;
                    }
                    out.push(OPEN);
                    out.push_str(&value);
                    out.push(CLOSE);
                }
            }
            rest = &rest[end + 1..];
        }
        out.push_str(rest);
    }

    fn slot(&self, name: &str, rng: &mut Rng) -> String {
        match name {
            "name" | "name2" => self.name(rng),
            "id" | "id2" => (1 + rng.below(60)).to_string(),
            "n" | "n2" => (2 + rng.below(98)).to_string(),
            "big" | "big2" => {
                let range = if rng.chance(0.5) { 50 } else { 900 };
                (MAX_OPERAND + 1 + rng.below(range)).to_string()
            }
            "phrase" if rng.chance(0.5) => {
                let lists = [
                    "noun", "thing2", "animal", "skill", "place", "food", "abstract",
                ];
                let mut word = || {
                    let list = lists[rng.below(lists.len())];
                    any(&self.lists[list], rng).to_string()
                };
                let text = word();
                if rng.chance(0.4) {
                    format!("{text} {}", self.name(rng))
                } else {
                    text
                }
            }
            "noun" if rng.chance(0.5) => match rng.below(3) {
                0 => self.name(rng),
                1 => rng.pick(&self.lists["food2"]).clone(),
                _ => rng.pick(&self.lists["thing2"]).clone(),
            },
            "gguf" if rng.chance(0.3) => format!(
                "{}-{}b",
                self.name(rng).to_lowercase().replace(' ', "-"),
                1 + rng.below(9)
            ),
            _ => rng.pick(&self.lists[name]).clone(),
        }
    }
}

/// The line of `apart.txt` for a question: letters, digits and single spaces only.
fn question_hash(text: &str) -> String {
    let digest = Sha256::digest(crate::eval::normalised(text));
    digest[..8].iter().map(|b| format!("{b:02x}")).collect()
}

/// What a turn is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Explain,
    Copy,
    Echo,
    Talk,
    Thanks,
    Sum,
    HardMath,
    Oos,
    Tell,
    Ask,
}

impl Kind {
    fn draw(mix: &Mixture, rng: &mut Rng, last: Kind) -> Self {
        if matches!(last, Self::Explain | Self::Sum | Self::Copy) && rng.chance(0.08) {
            return Self::Thanks;
        }
        Self::DRAWN[rng.weighted(&mix.kinds)]
    }

    const DRAWN: [Kind; 9] = [
        Kind::Explain,
        Kind::Copy,
        Kind::Echo,
        Kind::Talk,
        Kind::Sum,
        Kind::HardMath,
        Kind::Oos,
        Kind::Tell,
        Kind::Ask,
    ];
}

/// The model's way of adding: the question again, then tens and units apart, which leaves it
/// only small steps.
pub fn sum_reply(a: usize, b: usize) -> String {
    if a < 10 && b < 10 {
        return format!("{a} + {b} makes {}.", a + b);
    }
    let (ta, tb, ua, ub) = (a / 10 * 10, b / 10 * 10, a % 10, b % 10);
    format!(
        "{a} + {b}: {ta} + {tb} = {}, {ua} + {ub} = {}, makes {}.",
        ta + tb,
        ua + ub,
        a + b
    )
}

fn any<'a>(list: &'a [String], rng: &mut Rng) -> &'a str {
    &list[rng.below(list.len())]
}

/// One of the list, or of its first `n_plain`.
fn plain_or_any<'a>(mix: &Mixture, list: &'a [String], n_plain: usize, rng: &mut Rng) -> &'a str {
    // A share of nothing draws no number.
    let is_plain = mix.plain > 0.0 && n_plain > 0 && rng.chance(mix.plain);
    any(if is_plain { &list[..n_plain] } else { list }, rng)
}

fn bare(text: &str) -> String {
    text.chars().filter(|&c| c != OPEN && c != CLOSE).collect()
}

fn capital(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = false;
    for c in text.chars() {
        if !done && c.is_alphabetic() {
            out.extend(c.to_uppercase());
            done = true;
        } else {
            // A command or a slot at the head stays as it is.
            done |= !c.is_whitespace();
            out.push(c);
        }
    }
    out
}

/// Index of the bracket that closes the one at the head of `text`.
fn closing(text: &str) -> usize {
    let open = text.as_bytes()[0];
    let close = match open {
        b'{' => b'}',
        b'<' => b'>',
        _ => b']',
    };
    let mut depth = 0;
    for (i, &b) in text.as_bytes().iter().enumerate() {
        if b == open {
            depth += 1;
        } else if b == close {
            depth -= 1;
            if depth == 0 {
                return i;
            }
        }
    }
    panic!("unbalanced bracket in template: {text}");
}

/// Splits at `|` outside inner braces.
fn alternatives(text: &str) -> Vec<&str> {
    let (mut out, mut depth, mut start) = (Vec::new(), 0, 0);
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b'|' if depth == 0 => {
                out.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

/// One slip in one word of four letters or more, outside slots and not in its first letter.
fn typo(text: &str, rng: &mut Rng) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut words, mut start, mut inside) = (Vec::new(), None, false);
    for (i, &c) in chars.iter().chain(&[' ']).enumerate() {
        if c == OPEN {
            inside = true;
        }
        match (c.is_ascii_alphabetic() && !inside, start) {
            (true, None) => start = Some(i),
            (false, Some(s)) => {
                if i - s >= 4 {
                    words.push((s, i));
                }
                start = None;
            }
            _ => {}
        }
        if c == CLOSE {
            inside = false;
        }
    }
    if words.is_empty() {
        return text.to_string();
    }
    let (s, e) = *rng.pick(&words);
    let at = s + 1 + rng.below(e - s - 2);
    let mut out = chars;
    match rng.below(4) {
        0 => out.swap(at, at + 1),
        1 => {
            out.remove(at);
        }
        2 => out.insert(at, out[at]),
        _ => out[at] = (b'a' + rng.below(26) as u8) as char,
    }
    out.into_iter().collect()
}

/// Leaves out one short word, as people do.
fn drop_word(text: &str, rng: &mut Rng) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let small = |w: &&str| {
        matches!(
            *w,
            "the" | "a" | "an" | "do" | "does" | "is" | "to" | "I" | "are" | "can"
        )
    };
    let at: Vec<usize> = (0..words.len()).filter(|&i| small(&words[i])).collect();
    if at.is_empty() || words.len() < 4 {
        return text.to_string();
    }
    let gone = *rng.pick(&at);
    let kept: Vec<&str> = words
        .iter()
        .enumerate()
        .filter(|(i, _)| *i != gone)
        .map(|(_, w)| *w)
        .collect();
    kept.join(" ")
}

/// Writes words as in a hurried text message.
fn shorthand(text: &str) -> String {
    const SHORT: [(&str, &str); 20] = [
        ("you", "u"),
        ("your", "ur"),
        ("are", "r"),
        ("you're", "ur"),
        ("what", "wat"),
        ("what's", "wats"),
        ("please", "pls"),
        ("thanks", "thx"),
        ("why", "y"),
        ("and", "n"),
        ("with", "w"),
        ("don't", "dont"),
        ("because", "cuz"),
        ("something", "sth"),
        ("message", "msg"),
        ("messages", "msgs"),
        ("I'm", "im"),
        ("the", "da"),
        ("about", "abt"),
        ("see", "c"),
    ];
    let word = |w: &str| {
        let found = SHORT.iter().find(|(long, _)| w.eq_ignore_ascii_case(long));
        found.map_or_else(|| w.to_string(), |(_, short)| (*short).to_string())
    };
    let words: Vec<String> = text.split(' ').map(word).collect();
    words.join(" ")
}

fn parse_lists(text: &str, lists: &mut BTreeMap<String, Vec<String>>) {
    let mut name = String::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        if let Some(header) = line.strip_prefix("= ") {
            name = header.to_string();
            continue;
        }
        let list = lists.entry(name.clone()).or_default();
        match line.strip_prefix("| ") {
            Some(many) => list.extend(many.split('|').map(|e| e.trim().to_string())),
            None => list.push(line.to_string()),
        }
    }
}

/// Adds the further wordings, several in a line, to their topics.
fn add_wordings(text: &str, topics: &mut [Topic]) {
    let mut at = None;
    for line in text.lines() {
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        if let Some(id) = line.strip_prefix('@') {
            let found = topics.iter().position(|t| t.id == id);
            at = Some(found.unwrap_or_else(|| panic!("no topic {id}")));
            continue;
        }
        let topic = &mut topics[at.expect("the file begins with a topic")];
        let (kind, rest) = line.split_at(3);
        let list = match kind {
            "q: " => &mut topic.questions,
            "v: " => &mut topic.purposes,
            "k: " => &mut topic.keywords,
            "s: " => &mut topic.situations,
            _ => panic!("unknown line in wordings.txt: {line}"),
        };
        list.extend(alternatives(rest).iter().map(|w| w.trim().to_string()));
    }
}

fn parse_topics(text: &str) -> Vec<Topic> {
    let mut topics: Vec<Topic> = Vec::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        if let Some(header) = line.strip_prefix('@') {
            let (kind, id) = header
                .split_once(' ')
                .expect("a topic has a kind and an id");
            let (names, answer, questions, n_plain) = Default::default();
            let (purposes, keywords, situations) = Default::default();
            topics.push(Topic {
                kind: kind.into(),
                id: id.into(),
                names,
                answer,
                questions,
                n_plain,
                purposes,
                keywords,
                situations,
            });
            continue;
        }
        let topic = topics.last_mut().expect("the file begins with a topic");
        match line.split_at(3) {
            ("n: ", rest) => topic.names = rest.split('|').map(String::from).collect(),
            ("a: ", rest) => topic.answer = rest.into(),
            ("q: ", rest) => {
                topic.questions.push(rest.into());
                topic.n_plain += 1;
            }
            _ => panic!("unknown line in topics.txt: {line}"),
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_expands() {
        let corpus = Corpus::new(1);
        let rng = &mut Rng::new(1);
        let texts = corpus.topics.iter().flat_map(|t| {
            let more = [&t.purposes, &t.keywords, &t.situations];
            t.questions
                .iter()
                .chain([&t.answer])
                .chain(more.into_iter().flatten())
        });
        for template in corpus.lists.values().flatten().chain(texts) {
            let mut slots = Slots::from([
                ("c".into(), "/help".into()),
                ("v".into(), "see the commands".into()),
                ("k".into(), "the commands".into()),
                ("s".into(), "I forgot the commands".into()),
                ("a".into(), "1".into()),
                ("b".into(), "2".into()),
                ("words".into(), "one two".into()),
            ]);
            for _ in 0..3 {
                let text = corpus.expand(template, &mut slots, rng);
                assert!(!text.contains(['{', '}']), "{template} → {text}");
            }
        }
    }

    #[test]
    fn conversations_repeat_and_held_out_sums_stay_out() {
        let corpus = Corpus::new(2);
        for idx in 0..2000 {
            let conversation = corpus.conversation(idx);
            assert_eq!(conversation, corpus.conversation(idx));
            assert_eq!(conversation.last().unwrap().role, "assistant");
            for m in conversation.iter().filter(|m| m.role == "assistant") {
                assert!(
                    !m.content.is_empty() && !m.content.contains([OPEN, CLOSE, '{', '<', '['])
                        || m.content.contains("think")
                        || m.content.contains("REDACTED"),
                    "{}",
                    m.content
                );
            }
        }
        assert_eq!(
            sum_reply(17, 25),
            "17 + 25: 10 + 20 = 30, 7 + 5 = 12, makes 42."
        );
        assert!(held_out(3, 7) == held_out(7, 3));
    }

    #[test]
    fn typos_leave_slots_alone() {
        let rng = &mut Rng::new(3);
        for _ in 0..200 {
            let text = typo("call \u{1}Marianne\u{2} tomorrow", rng);
            assert!(text.contains("\u{1}Marianne\u{2}"));
        }
    }
}
