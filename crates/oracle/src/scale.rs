//! How long the database takes with 10,000 chats in it, and how large it is.
//!
//! The same work is done natively, on a file, and in a worker, on OPFS: a [`Ground`]
//! says where. The chats are made up from a fixed seed, in a language whose words are
//! said as often as those of languages that people speak.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use nox_store::{
    Begun, FinishedTurn, Host, ImportOptions, ListQuery, NewMessage, NewSession, NewTurn, Role,
    SearchQuery, SessionId, Store, StoreError, Target, TurnTelemetry, UserId,
};
use serde_json::{Value, json};

/// Chats that the product has to be quick with.
pub const N_SESSIONS: u64 = 10_000;

const N_WORDS: u64 = 20_000;
const TURNS_PER_SESSION: u64 = 10;
/// Sessions that are made and imported at once.
const BATCH: u64 = 100;
/// Turns that are stored one by one.
const N_STORED_ALONE: usize = 20;
/// Runs of each measurement.
const N_RUNS: usize = 7;

/// Where the database lies, and the clock there.
pub trait Ground {
    /// Opens the database; each time anew, with the one before closed.
    ///
    /// # Errors
    /// As [`Store::open_with_vfs`].
    fn open(&self, host: Box<dyn Host>) -> Result<Store, StoreError>;

    /// Milliseconds since some moment; never goes backwards.
    fn clock_ms(&self) -> f64;
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaleReport {
    /// Chats in the database.
    pub n_sessions: u64,
    /// Messages in them.
    pub n_messages: u64,
    /// The messages' text.
    pub text_bytes: u64,
    /// The whole database.
    pub size_bytes: u64,
    /// What importing all of them took.
    pub import_ms: f64,
    /// What was done, again and again.
    pub timings: Vec<Timing>,
}

/// How long something took, over several runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// What was done.
    pub what: &'static str,
    /// What came of it, so that equal work is seen to be equal.
    pub found: String,
    /// The middle of the runs.
    pub median_ms: f64,
    /// The slowest run.
    pub worst_ms: f64,
}

/// Fills an empty database with so many chats, and measures.
///
/// # Errors
/// What the database reports.
pub fn measure_scale(ground: &dyn Ground, n_sessions: u64) -> Result<ScaleReport, StoreError> {
    let world = World::new();
    let started_ms = ground.clock_ms();
    let mut store = ground.open(world.host())?;
    let mut text_bytes = 0;
    for first in (0..n_sessions).step_by(usize::try_from(BATCH).unwrap_or(1)) {
        text_bytes += world.import_batch(&mut store, first..n_sessions.min(first + BATCH))?;
    }
    let import_ms = ground.clock_ms() - started_ms;
    let mut report = ScaleReport {
        n_sessions,
        n_messages: n_sessions * TURNS_PER_SESSION * 2,
        text_bytes,
        size_bytes: store.size_bytes()?,
        import_ms,
        timings: Vec::new(),
    };
    let mut bench = Bench {
        ground,
        timings: &mut report.timings,
    };
    bench.store_turns(&world, &mut store)?;
    drop(store);
    bench.open(&world)?;
    let store = ground.open(world.host())?;
    bench.read(&store)?;
    bench.search(&store)?;
    Ok(report)
}

/// The made-up chats: the same ones on every host.
#[derive(Clone)]
struct World {
    state: Rc<Cell<u64>>,
    now_ms: Rc<Cell<i64>>,
}

impl World {
    fn new() -> Self {
        Self {
            state: Rc::new(Cell::new(0x9e37_79b9_7f4a_7c15)),
            now_ms: Rc::new(Cell::new(1_700_000_000_000)),
        }
    }

    fn host(&self) -> Box<dyn Host> {
        Box::new(self.clone())
    }

    /// Xorshift.
    fn next(&self) -> u64 {
        let mut x = self.state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.state.set(x);
        x
    }

    fn text(&self, n_words: u64) -> String {
        let words: Vec<String> = (0..n_words).map(|_| self.word()).collect();
        words.join(" ")
    }

    /// The nth word is said about 1/n as often as the first: evenly spread logarithms
    /// of ranks make Zipf's law.
    fn word(&self) -> String {
        let bits = u32::try_from(self.next() >> 32).unwrap_or(0);
        let part = f64::from(bits) / f64::from(u32::MAX);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "ranks are small whole numbers"
        )]
        let rank = (N_WORDS as f64).powf(part) as u64 - 1;
        nth_word(rank)
    }

    /// Makes chats in memory and imports them as files, which is how many chats come
    /// into a database at once. Gives the bytes of their text.
    fn import_batch(
        &self,
        store: &mut Store,
        sessions: std::ops::Range<u64>,
    ) -> Result<u64, StoreError> {
        let mut made = Store::open_in_memory(self.host())?;
        let mut text_bytes = 0;
        for session in sessions {
            text_bytes += self.talk(&mut made, session)?;
        }
        let mut files = made.export(None)?;
        files.retain(|file| !file.path.ends_with("user.json"));
        let report = store.import(
            files,
            &ImportOptions {
                title_of: &|_| None,
            },
        )?;
        assert_eq!(report.problems, [], "what was exported can be imported");
        Ok(text_bytes)
    }

    fn talk(&self, store: &mut Store, session: u64) -> Result<u64, StoreError> {
        let target = Target::New(NewSession {
            user: Some(UserId::parse(&format!("user_{}", session % 3))?),
            ..NewSession::default()
        });
        let (id, mut bytes) = self.talk_once(store, target)?;
        store.set_automatic_title(&id, Some(&self.text(5)))?;
        for _ in 1..TURNS_PER_SESSION {
            bytes += self.talk_once(store, Target::Session(&id))?.1;
        }
        Ok(bytes)
    }

    fn talk_once(
        &self,
        store: &mut Store,
        target: Target<'_>,
    ) -> Result<(SessionId, u64), StoreError> {
        let question = self.text(8 + self.next() % 25);
        let answer = self.text(20 + self.next() % 120);
        let messages = [NewMessage {
            role: Role::User,
            content: &question,
        }];
        let turn = NewTurn {
            target,
            system: Some("You are Nox."),
            messages: &messages,
            model: "nox",
            sanitized: false,
            idempotency_key: None,
        };
        let finished = FinishedTurn {
            content: &answer,
            telemetry: Some(telemetry()),
            ..FinishedTurn::default()
        };
        let Begun::Started(handle) = store.record_turn(&turn, &finished)? else {
            unreachable!("no key was given")
        };
        let bytes = (question.len() + answer.len()) as u64;
        Ok((handle.session().clone(), bytes))
    }
}

impl Host for World {
    fn now_ms(&self) -> i64 {
        self.now_ms.set(self.now_ms.get() + 20_000);
        self.now_ms.get()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next().to_le_bytes()[0];
        }
    }
}

/// Syllables of its number.
fn nth_word(n: u64) -> String {
    const SYLLABLES: [&str; 16] = [
        "ka", "to", "mi", "re", "sol", "ven", "dar", "pi", "lun", "os", "er", "an", "ti", "bre",
        "quo", "sha",
    ];
    let (mut n, mut word) = (n + 1, String::new());
    while n > 0 {
        word.push_str(SYLLABLES[usize::from(n.to_le_bytes()[0] & 15)]);
        n /= 16;
    }
    word
}

fn telemetry() -> TurnTelemetry {
    TurnTelemetry {
        alias: "nox".into(),
        backend: "local".into(),
        model: "qwen2.5:0.5b".into(),
        lane: Some("wasm-simd".into()),
        prompt_tokens: Some(500),
        cached_tokens: Some(400),
        completion_tokens: Some(100),
        prefill_ms: Some(812.5),
        decode_ms: Some(4210.25),
        first_token_ms: Some(850.125),
        finish_reason: "stop".into(),
        ..TurnTelemetry::default()
    }
}

struct Bench<'a> {
    ground: &'a dyn Ground,
    timings: &'a mut Vec<Timing>,
}

impl Bench<'_> {
    fn time(
        &mut self,
        what: &'static str,
        n_runs: usize,
        mut run: impl FnMut() -> Result<String, StoreError>,
    ) -> Result<(), StoreError> {
        let mut times_ms = Vec::with_capacity(n_runs);
        let mut found = String::new();
        for _ in 0..n_runs {
            let started_ms = self.ground.clock_ms();
            found = run()?;
            times_ms.push(self.ground.clock_ms() - started_ms);
        }
        times_ms.sort_by(f64::total_cmp);
        self.timings.push(Timing {
            what,
            found,
            median_ms: times_ms[n_runs / 2],
            worst_ms: times_ms[n_runs - 1],
        });
        Ok(())
    }

    /// Each flushed, as in a chat.
    fn store_turns(&mut self, world: &World, store: &mut Store) -> Result<(), StoreError> {
        self.time("store a turn", N_STORED_ALONE, || {
            world.talk_once(store, Target::New(NewSession::default()))?;
            Ok("1 turn".to_owned())
        })
    }

    fn open(&mut self, world: &World) -> Result<(), StoreError> {
        let ground = self.ground;
        self.time("open the database", N_RUNS, || {
            ground.open(world.host())?;
            Ok("it is open".to_owned())
        })
    }

    fn read(&mut self, store: &Store) -> Result<(), StoreError> {
        let page = |user, offset| {
            let query = ListQuery {
                user,
                offset,
                limit: 50,
                ..ListQuery::default()
            };
            store.sessions(&query)
        };
        let told = |user, offset| {
            let page = page(user, offset)?;
            Ok(format!("{} of {}", page.sessions.len(), page.total))
        };
        let newest = page(None, 0)?.sessions;
        let total = page(None, 0)?.total;
        let last = usize::try_from(total)
            .unwrap_or(usize::MAX)
            .saturating_sub(50);
        let Some(some) = newest.get(30).or(newest.first()) else {
            return Ok(());
        };
        let suffix = &some.id.as_str()[some.id.as_str().len() - 8..];
        self.time("list the first page", N_RUNS, || told(None, 0))?;
        self.time("list the last page", N_RUNS, || told(None, last))?;
        self.time("list one user's", N_RUNS, || told(Some("user_1"), 0))?;
        self.time("open a chat", N_RUNS, || {
            Ok(format!("{} turns", store.turns(&some.id)?.len()))
        })?;
        self.time("find a chat by its id's end", N_RUNS, || {
            Ok(store.resolve(suffix)?.name().to_owned())
        })?;
        self.time("telemetry of all turns", N_RUNS, || {
            Ok(format!("{} turns", store.telemetry_summary(0)?.turns))
        })
    }

    fn search(&mut self, store: &Store) -> Result<(), StoreError> {
        let (common, middle, rare) = (nth_word(0), nth_word(300), nth_word(15_000));
        let two_common = format!("{common} {}", nth_word(1));
        let two = format!("{middle} {rare}");
        let (begun, inner) = (&rare[..rare.len() - 2], &rare[1..]);
        for (what, text) in [
            ("search the commonest word", common.as_str()),
            ("search a word", &middle),
            ("search a rare word", &rare),
            ("search two words", &two),
            ("search two common words", &two_common),
            ("search a word that is begun", begun),
            ("search what is nowhere", "xyzzy"),
            ("search a part of a word", inner),
        ] {
            self.time(what, N_RUNS, || {
                let query = SearchQuery {
                    text,
                    limit: 50,
                    ..SearchQuery::default()
                };
                let page = store.search(&query)?;
                Ok(format!("{} chats for {text:?}", page.hits.len()))
            })?;
        }
        Ok(())
    }
}

impl ScaleReport {
    /// How many bytes stand in the database for one of text.
    #[must_use]
    pub fn times_the_text(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
        let ratio = self.size_bytes as f64 / self.text_bytes.max(1) as f64;
        ratio
    }

    /// As a script reads it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let timing = |timing: &Timing| {
            json!({
                "what": timing.what,
                "found": timing.found,
                "median_ms": timing.median_ms,
                "worst_ms": timing.worst_ms,
            })
        };
        json!({
            "n_sessions": self.n_sessions,
            "n_messages": self.n_messages,
            "text_bytes": self.text_bytes,
            "size_bytes": self.size_bytes,
            "times_the_text": self.times_the_text(),
            "import_ms": self.import_ms,
            "timings": self.timings.iter().map(timing).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for ScaleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
        let mega = |bytes: u64| bytes as f64 / 1e6;
        writeln!(
            f,
            "{} chats, {} messages, {:.1} MB of text in {:.1} MB: {:.2} times the text; imported \
             in {:.0} s",
            self.n_sessions,
            self.n_messages,
            mega(self.text_bytes),
            mega(self.size_bytes),
            self.times_the_text(),
            self.import_ms / 1000.0,
        )?;
        write!(f, "  median    worst")?;
        for timing in &self.timings {
            write!(
                f,
                "\n{:8.2} {:8.2} ms  {}: {}",
                timing.median_ms, timing.worst_ms, timing.what, timing.found
            )?;
        }
        Ok(())
    }
}
