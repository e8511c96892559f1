//! Makes 10,000 sessions with 200,000 messages and says how long it takes to open
//! the database, to list, to search and to read a session, and how large it is.
//!
//! `cargo run -p nox-store --example scale [sessions]`, or with the path of a
//! database that is there already.

#![allow(clippy::unwrap_used, reason = "a benchmark may fail anywhere")]

use std::cell::Cell;
use std::path::Path;
use std::time::Instant;

use nox_store::{
    Begun, FinishedTurn, Host, ImportOptions, ListQuery, NewMessage, NewSession, NewTurn, Role,
    SearchQuery, Store, Target, TurnTelemetry, UserId,
};

/// Words of the made-up language. The nth is said about 1/n as often as the first,
/// as in languages that people speak.
const N_WORDS: u64 = 20_000;
const TURNS_PER_SESSION: u64 = 10;

struct Counter {
    state: Cell<u64>,
    now_ms: Cell<i64>,
}

impl Counter {
    fn next(&self) -> u64 {
        let mut x = self.state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.state.set(x);
        x
    }

    /// The nth word: syllables of its number.
    fn word(n: u64) -> String {
        const SYLLABLES: [&str; 16] = [
            "ka", "to", "mi", "re", "sol", "ven", "dar", "pi", "lun", "os", "er", "an", "ti",
            "bre", "quo", "sha",
        ];
        let (mut n, mut word) = (n + 1, String::new());
        while n > 0 {
            word.push_str(SYLLABLES[(n % 16) as usize]);
            n /= 16;
        }
        word
    }

    fn text(&self, n_words: u64) -> String {
        let words: Vec<String> = (0..n_words)
            .map(|_| {
                // Evenly spread logarithms of ranks make Zipf's law.
                let part = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
                Self::word((N_WORDS as f64).powf(part) as u64 - 1)
            })
            .collect();
        words.join(" ")
    }
}

struct Machine(std::rc::Rc<Counter>);

impl Host for Machine {
    fn now_ms(&self) -> i64 {
        let now_ms = self.0.now_ms.get() + 20_000;
        self.0.now_ms.set(now_ms);
        now_ms
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.0.next() as u8;
        }
    }
}

fn main() {
    let counter = std::rc::Rc::new(Counter {
        state: Cell::new(0x9e37_79b9_7f4a_7c15),
        now_ms: Cell::new(1_700_000_000_000),
    });
    let argument = std::env::args().nth(1);
    let n_sessions: u64 = match argument.as_deref().map(str::parse) {
        None => 10_000,
        Some(Ok(n)) => n,
        Some(Err(_)) => return measure(Path::new(&argument.unwrap_or_default()), &counter),
    };
    let folder = std::env::temp_dir().join(format!("nox-store-scale-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("nox.db");

    let started = Instant::now();
    let (mut text_bytes, mut files) = (0, Vec::new());
    for batch in (0..n_sessions).step_by(100) {
        let mut made = Store::open_in_memory(Box::new(Machine(counter.clone()))).unwrap();
        for session in batch..n_sessions.min(batch + 100) {
            text_bytes += talk(&mut made, &counter, session);
        }
        made.export_each(None, &mut |file| {
            if !file.path.ends_with("user.json") {
                files.push(file);
            }
        })
        .unwrap();
    }
    println!(
        "{:6.1} s to make and export {} files",
        started.elapsed().as_secs_f64(),
        files.len()
    );
    let started = Instant::now();
    let mut store = Store::open(&path, Box::new(Machine(counter.clone()))).unwrap();
    let options = ImportOptions {
        title_of: &|_| None,
    };
    let report = store.import(files, &options).unwrap();
    println!(
        "{:6.1} s to import them into a file",
        started.elapsed().as_secs_f64()
    );
    assert_eq!(report.problems, []);
    // A turn as it is stored in a chat, flushed to the disk.
    let started = Instant::now();
    for _ in 0..20 {
        talk_once(&mut store, &counter, Target::New(NewSession::default()));
    }
    println!(
        "{:6.2} ms to store a turn",
        started.elapsed().as_secs_f64() * 50.0
    );
    drop(store);

    let size_bytes = std::fs::metadata(&path).unwrap().len();
    println!(
        "{} messages with {:.1} MB of text in {:.1} MB: {:.2} times the text",
        n_sessions * TURNS_PER_SESSION * 2,
        text_bytes as f64 / 1e6,
        size_bytes as f64 / 1e6,
        size_bytes as f64 / text_bytes as f64
    );
    measure(&path, &counter);
    std::fs::remove_dir_all(&folder).unwrap();
}

fn talk_once(
    store: &mut Store,
    counter: &Counter,
    target: Target<'_>,
) -> (nox_store::SessionId, usize) {
    let question = counter.text(8 + counter.next() % 25);
    let answer = counter.text(20 + counter.next() % 120);
    let messages = [NewMessage {
        role: Role::User,
        content: &question,
    }];
    let begun = store.record_turn(
        &NewTurn {
            target,
            system: Some("You are Nox."),
            messages: &messages,
            model: "nox",
            sanitized: false,
            idempotency_key: None,
        },
        &FinishedTurn {
            content: &answer,
            telemetry: Some(TurnTelemetry {
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
            }),
            ..FinishedTurn::default()
        },
    );
    let Begun::Started(handle) = begun.unwrap() else {
        unreachable!("no key was given")
    };
    (handle.session().clone(), question.len() + answer.len())
}

fn talk(store: &mut Store, counter: &Counter, session: u64) -> usize {
    let user = UserId::parse(&format!("user_{}", session % 3)).unwrap();
    let target = Target::New(NewSession {
        user: Some(user),
        ..NewSession::default()
    });
    let (id, mut bytes) = talk_once(store, counter, target);
    let title = counter.text(5);
    store.set_automatic_title(&id, Some(&title)).unwrap();
    for _ in 1..TURNS_PER_SESSION {
        bytes += talk_once(store, counter, Target::Session(&id)).1;
    }
    bytes
}

/// The least, the middle and the most of several runs, in milliseconds.
fn time(what: &str, mut f: impl FnMut() -> String) {
    let mut times = Vec::new();
    let mut said = String::new();
    for _ in 0..7 {
        let started = Instant::now();
        said = f();
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{:8.2} {:8.2} {:8.2} ms  {what}: {said}",
        times[0], times[3], times[6]
    );
}

fn measure(path: &Path, counter: &std::rc::Rc<Counter>) {
    let open = || Store::open(path, Box::new(Machine(counter.clone()))).unwrap();
    println!("     min   median      max");
    time("open", || format!("{:?}", open().place()));
    let store = open();
    let page = |user, offset| {
        let page = store
            .sessions(&ListQuery {
                user,
                offset,
                limit: 50,
                ..ListQuery::default()
            })
            .unwrap();
        format!("{} of {}", page.sessions.len(), page.total)
    };
    time("list the first page", || page(None, 0));
    time("list the last page", || page(None, 9_900));
    time("list one user's", || page(Some("user_1"), 0));
    let newest = store
        .sessions(&ListQuery::default())
        .unwrap()
        .sessions
        .remove(30)
        .id;
    time("read a session", || {
        format!("{} turns", store.turns(&newest).unwrap().len())
    });
    time("resolve a suffix", || {
        let id = newest.as_str();
        store
            .resolve(&id[id.len() - 8..])
            .unwrap()
            .name()
            .to_owned()
    });
    let (common, middle, rare) = (Counter::word(0), Counter::word(300), Counter::word(15_000));
    for (what, text) in [
        ("search the commonest word", common.clone()),
        ("search a word", middle.clone()),
        ("search a rare word", rare.clone()),
        ("search two words", format!("{middle} {rare}")),
        (
            "search two common words",
            format!("{common} {}", Counter::word(1)),
        ),
        (
            "search a word that is begun",
            rare[..rare.len() - 2].to_owned(),
        ),
        ("search what is nowhere", "xyzzy".to_owned()),
        ("search a part of a word", rare[1..].to_owned()),
    ] {
        time(what, || {
            let page = store
                .search(&SearchQuery {
                    text: &text,
                    limit: 50,
                    ..SearchQuery::default()
                })
                .unwrap();
            format!("{} sessions for {text:?}", page.hits.len())
        });
    }
    time("telemetry of all turns", || {
        format!("{} turns", store.telemetry_summary(0).unwrap().turns)
    });
}
