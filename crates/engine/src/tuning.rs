//! How many threads to compute with, found by measuring.
//!
//! More threads than memory can feed, or than the system lets run, make every token
//! wait for the slowest of them. So a lane's threads are tried, a few milliseconds
//! each, on products like those of one token, and the fewest that are about as fast as
//! the best are kept. Hosts keep the result as a [`ThreadRecord`], and measure again
//! when the machine or the program is another. This module knows neither clocks nor
//! files, but for the one function that a native host may call.

use serde::{Deserialize, Serialize};

use crate::gguf::{GgmlType, TensorInfo};
use crate::lane::{CpuLane, Lane, Product};
use crate::pool::MAX_THREADS;
use crate::quant::{Weight, read_weight};

/// Rounds over all numbers of threads go on for so long.
const BUDGET_MS: f64 = 60.0;

/// The most rounds; their medians are then steady.
const MAX_ROUNDS: usize = 15;

/// Fewer threads are taken if they are slower by less than this: they leave room for
/// other programs, and wait for each other less when there are some.
const WORTH: f64 = 1.05;

/// On a quiet machine half of one thread's times are within this of the least. Where
/// they are not, something else was running, and the result does not outlive the run.
const STEADY: f64 = 1.3;

/// Less than this no clock is sure to tell: some browsers' go in steps of 16.7 ms. A
/// measured token is then computed several times.
const MEASURABLE_MS: f64 = 0.05;

/// How often: the fewest with which it is long enough.
const REPEATS: [usize; 5] = [1, 2, 4, 8, 16];

/// How long a native lane waits for its threads.
#[cfg(not(target_arch = "wasm32"))]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// Products of a measured token: a small model's projections, where handing out shows,
/// and one as wide as a head, where memory does.
const PRODUCTS: [(usize, usize, usize); 2] = [(4, 512, 512), (1, 3072, 1024)];

/// How long a measured token took on each number of threads.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadTimings {
    /// Numbers of threads, ascending, with the median time in milliseconds.
    pub medians: Vec<(usize, f64)>,
    /// Nothing else was running, as far as the times tell.
    pub is_steady: bool,
    /// The clock tells such times apart. Where it does not, they say nothing.
    pub is_measurable: bool,
}

impl ThreadTimings {
    /// The fewest threads that are about as fast as the best; all, where nothing could
    /// be measured.
    pub fn best(&self) -> usize {
        if !self.is_measurable {
            return self.medians.last().map_or(1, |(n_threads, _)| *n_threads);
        }
        let least = self
            .medians
            .iter()
            .map(|(_, ms)| *ms)
            .fold(f64::INFINITY, f64::min);
        let found = self.medians.iter().find(|(_, ms)| *ms <= least * WORTH);
        found.map_or(1, |(n_threads, _)| *n_threads)
    }
}

/// Measures on up to as many threads as `lane` has; `now_ms` is a clock.
pub fn measure_threads(lane: &CpuLane, now_ms: &dyn Fn() -> f64) -> ThreadTimings {
    let max = lane.n_threads();
    if max == 1 {
        return ThreadTimings {
            medians: vec![(1, 0.0)],
            is_steady: true,
            is_measurable: true,
        };
    }
    let token = Token::new();
    let mut times: Vec<(usize, Vec<f64>)> = candidates(max).map(|n| (n, Vec::new())).collect();
    let time = |n_repeats: usize| {
        let before_ms = now_ms();
        for _ in 0..n_repeats {
            token.compute(lane);
        }
        now_ms() - before_ms
    };
    let mut repeats = REPEATS.into_iter();
    let Some(n_repeats) = repeats.find(|n| time(*n) >= MEASURABLE_MS) else {
        return ThreadTimings {
            medians: candidates(max).map(|n| (n, 0.0)).collect(),
            is_steady: false,
            is_measurable: false,
        };
    };
    let start_ms = now_ms();
    for round in 0..=MAX_ROUNDS {
        for (n_threads, times) in &mut times {
            lane.use_threads(*n_threads);
            // The first after a change wakes threads.
            token.compute(lane);
            let ms = time(n_repeats);
            // The first round warms up caches and the browser's compilers.
            if round > 0 {
                times.push(ms);
            }
        }
        if round > 0 && now_ms() - start_ms > BUDGET_MS {
            break;
        }
    }
    lane.use_threads(max);
    let alone = &times[0].1;
    let least = alone.iter().copied().fold(f64::INFINITY, f64::min);
    let medians = times.iter().map(|(_, times)| median(times));
    let is_measurable = medians.clone().fold(f64::INFINITY, f64::min) >= MEASURABLE_MS;
    ThreadTimings {
        is_steady: is_measurable && median(alone) <= least * STEADY,
        is_measurable,
        medians: times
            .iter()
            .zip(medians)
            .map(|((n_threads, _), ms)| (*n_threads, ms / n_repeats as f64))
            .collect(),
    }
}

/// All small numbers, and fewer and fewer of the large.
fn candidates(max: usize) -> impl Iterator<Item = usize> {
    (1..=max).filter(move |&n| {
        let step = if n <= 4 { 1 } else { n.ilog2() as usize };
        n == max || n.is_multiple_of(step.next_power_of_two())
    })
}

fn median(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::INFINITY)
}

/// Products like those of one token; what the weights are does not matter.
struct Token {
    products: Vec<(usize, Weight)>,
}

impl Token {
    fn new() -> Self {
        let products = PRODUCTS.map(|(n_times, n_rows, n_cols)| (n_times, zeros(n_rows, n_cols)));
        Self {
            products: products.into(),
        }
    }

    fn compute(&self, lane: &CpuLane) {
        for (n_times, weight) in &self.products {
            let x = vec![1.0; weight.n_cols()];
            let mut out = vec![0.0; weight.n_rows()];
            for _ in 0..*n_times {
                lane.matmul(
                    &x,
                    1,
                    &mut [Product {
                        weight,
                        bias: None,
                        out: &mut out,
                    }],
                );
            }
        }
    }
}

fn zeros(n_rows: usize, n_cols: usize) -> Weight {
    let quant = GgmlType::Q8_0;
    let size_bytes = quant.size_bytes((n_rows * n_cols) as u64);
    let size_bytes = size_bytes.expect("whole blocks");
    let info = TensorInfo {
        name: "threads".to_owned(),
        shape: vec![n_rows, n_cols],
        quant,
        offset: 0,
        size_bytes,
    };
    let bytes = vec![0u8; size_bytes as usize];
    read_weight(&bytes.as_slice(), &info, n_rows, n_cols).expect("the bytes are in memory")
}

/// A measurement's result, for the next start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadRecord {
    /// What it was measured on: the machine, the program and how many threads ran.
    pub measured_on: String,
    /// The threads that it found best.
    pub n_threads: usize,
}

impl ThreadRecord {
    /// Reads a record; `None` if it is damaged, was made elsewhere, or names more
    /// threads than there are.
    pub fn read(text: &str, measured_on: &str, max: usize) -> Option<Self> {
        let record: Self = serde_json::from_str(text).ok()?;
        let fits = record.measured_on == measured_on && (1..=max).contains(&record.n_threads);
        fits.then_some(record)
    }

    /// The record as text.
    pub fn to_text(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// A number of threads and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadChoice {
    /// The threads, the calling one among them.
    pub n_threads: usize,
    /// Where the number comes from, for a person.
    pub why: String,
}

impl ThreadChoice {
    /// Limits `lane` to what is known without measuring: what `kept` says, if it was
    /// measured here, or the only thread there is.
    pub fn known(lane: &CpuLane, kept: Option<&str>, measured_on: &str) -> Option<Self> {
        let max = lane.n_threads();
        let kept = kept.and_then(|text| ThreadRecord::read(text, measured_on, max));
        let (n_threads, why) = match kept {
            Some(record) => (record.n_threads, "measured at an earlier start"),
            None if max == 1 => (1, "there is only one"),
            None => return None,
        };
        lane.use_threads(n_threads);
        Some(Self {
            n_threads,
            why: why.to_owned(),
        })
    }

    /// Limits `lane` to what a measurement of all its threads finds. There is a record to
    /// be kept if it was not disturbed.
    pub fn measure(
        lane: &CpuLane,
        measured_on: &str,
        now_ms: &dyn Fn() -> f64,
    ) -> (Self, Option<ThreadRecord>) {
        // An earlier measurement may have limited it.
        lane.use_threads(MAX_THREADS);
        let timings = measure_threads(lane, now_ms);
        let n_threads = timings.best();
        lane.use_threads(n_threads);
        let record = timings.is_steady.then(|| ThreadRecord {
            measured_on: measured_on.to_owned(),
            n_threads,
        });
        let why = describe(&timings);
        (Self { n_threads, why }, record)
    }
}

fn describe(timings: &ThreadTimings) -> String {
    let times: Vec<String> = timings
        .medians
        .iter()
        .map(|(n_threads, ms)| format!("{n_threads}: {ms:.2} ms"))
        .collect();
    let disturbed = match (timings.is_measurable, timings.is_steady) {
        (false, _) => ", too short for this clock",
        (true, false) => ", while other programs were running",
        (true, true) => "",
    };
    format!("measured now ({}){disturbed}", times.join(", "))
}

/// A lane on the best number of the physical cores' threads, which is kept in `file`.
/// That it cannot be kept costs a measurement at the next start and nothing else.
///
/// # Errors
/// A thread cannot be started.
#[cfg(not(target_arch = "wasm32"))]
pub fn tuned_lane(file: &std::path::Path) -> std::io::Result<(CpuLane, ThreadChoice)> {
    let start = std::time::Instant::now();
    let now_ms = || start.elapsed().as_secs_f64() * 1e3;
    tuned_lane_by(file, crate::pool::default_threads(), PATIENCE, &now_ms)
}

#[cfg(not(target_arch = "wasm32"))]
fn tuned_lane_by(
    file: &std::path::Path,
    max: usize,
    patience: std::time::Duration,
    now_ms: &dyn Fn() -> f64,
) -> std::io::Result<(CpuLane, ThreadChoice)> {
    let lane = CpuLane::with_threads(max)?;
    let start = std::time::Instant::now();
    while lane.n_threads() < max && start.elapsed() < patience {
        std::thread::yield_now();
    }
    let n_joined = lane.n_threads();
    let measured_on = format!(
        "{} {} {} cores {max} threads {n_joined}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS,
    );
    let kept = std::fs::read_to_string(file).ok();
    if let Some(choice) = ThreadChoice::known(&lane, kept.as_deref(), &measured_on) {
        return Ok((lane, choice));
    }
    let (choice, record) = ThreadChoice::measure(&lane, &measured_on, now_ms);
    // What too few threads were measured to do is of no use to the next start.
    if let Some(record) = record.filter(|_| n_joined == max) {
        let partial = file.with_extension("part");
        let written = std::fs::write(&partial, record.to_text());
        // Under its own name only once it is whole.
        let _ = written.and_then(|()| std::fs::rename(&partial, file));
    }
    Ok((lane, choice))
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_of_the_fast_are_taken() {
        let best = |medians: &[(usize, f64)]| {
            let medians = medians.to_vec();
            let timings = ThreadTimings {
                medians,
                is_steady: true,
                is_measurable: true,
            };
            timings.best()
        };
        assert_eq!(best(&[(1, 1.0), (2, 0.6), (3, 0.5), (4, 0.49)]), 3);
        assert_eq!(best(&[(1, 1.0), (2, 30.0)]), 1);
        assert_eq!(best(&[(1, 1.0), (2, 0.99)]), 1);
        assert_eq!(best(&[]), 1);
    }

    #[test]
    fn all_small_numbers_and_the_greatest_are_tried() {
        let tried = |max| candidates(max).collect::<Vec<_>>();
        assert_eq!(tried(1), [1]);
        assert_eq!(tried(6), [1, 2, 3, 4, 6]);
        assert_eq!(tried(16), [1, 2, 3, 4, 6, 8, 12, 16]);
        assert_eq!(tried(7), [1, 2, 3, 4, 6, 7]);
    }

    /// A clock that goes on by the next of `steps` at every look.
    fn clock(steps: &'static [f64]) -> impl Fn() -> f64 {
        let looks = std::cell::Cell::new(0);
        move || {
            let n_looks = looks.get();
            looks.set(n_looks + 1);
            (0..n_looks).map(|look| steps[look % steps.len()]).sum()
        }
    }

    /// Threads join late where much else is running; the tests are about all of them.
    const LONG: std::time::Duration = std::time::Duration::from_secs(60);

    fn in_folder(name: &str, test: impl FnOnce(&std::path::Path)) {
        let folder = std::env::temp_dir().join(format!("nox-{name}-{}", std::process::id()));
        // A process of this number that failed may have left it behind.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
        test(&folder.join("threads.json"));
        std::fs::remove_dir_all(&folder).expect("the folder is ours");
    }

    #[test]
    fn a_measurement_is_kept_and_used_where_it_was_made() {
        in_folder("kept", |file| {
            let tuned = |max| tuned_lane_by(file, max, LONG, &clock(&[1.0])).unwrap();
            let (lane, first) = tuned(2);
            assert!(
                first.why.starts_with("measured now (1: 1.00 ms"),
                "{}",
                first.why
            );
            assert_eq!((lane.n_threads(), first.n_threads), (1, 1), "equally fast");
            assert_eq!(tuned(2).1.why, "measured at an earlier start");
            assert!(
                tuned(3).1.why.starts_with("measured now"),
                "another machine"
            );
            std::fs::write(file, "{\"measured_on\":").unwrap();
            assert!(tuned(3).1.why.starts_with("measured now"), "damaged");
            assert_eq!(tuned(3).1.why, "measured at an earlier start");
        });
    }

    #[test]
    fn a_disturbed_measurement_is_used_once() {
        in_folder("disturbed", |file| {
            let disturbed = &[0.1, 1.0, 0.1, 5.0, 0.1, 9.0, 0.1, 2.0, 0.1, 6.0, 0.1];
            for _ in 0..2 {
                let (lane, choice) = tuned_lane_by(file, 2, LONG, &clock(disturbed)).unwrap();
                assert!(
                    choice.why.ends_with("other programs were running"),
                    "{}",
                    choice.why
                );
                assert_eq!(lane.n_threads(), choice.n_threads);
            }
            assert!(!file.exists());
        });
    }

    /// A clock in steps that are longer than what is measured says nothing.
    #[test]
    fn a_clock_that_stands_still_leaves_all_threads_and_no_record() {
        in_folder("still", |file| {
            let (lane, choice) = tuned_lane_by(file, 3, LONG, &|| 7.0).unwrap();
            assert_eq!((lane.n_threads(), choice.n_threads), (3, 3));
            assert!(
                choice.why.ends_with("too short for this clock"),
                "{}",
                choice.why
            );
            assert!(!file.exists());
        });
    }

    #[test]
    fn a_disturbed_measurement_limits_no_later_one() {
        let lane = CpuLane::with_threads(2).unwrap();
        while lane.n_threads() < 2 {
            std::thread::yield_now();
        }
        for _ in 0..2 {
            let disturbed = &[0.1, 1.0, 0.1, 5.0, 0.1, 9.0, 0.1, 2.0, 0.1, 6.0, 0.1];
            let (choice, record) = ThreadChoice::measure(&lane, "here", &clock(disturbed));
            assert!(choice.why.contains(", 2: "), "{}", choice.why);
            assert_eq!(record, None);
            lane.use_threads(1);
        }
    }

    #[test]
    fn what_too_few_threads_did_is_not_kept() {
        in_folder("few", |file| {
            let none = std::time::Duration::ZERO;
            // Without patience a lane begins with those that have joined by chance.
            for _ in 0..20 {
                let (_, choice) = tuned_lane_by(file, 8, none, &clock(&[1.0])).unwrap();
                let kept = std::fs::read_to_string(file).ok();
                if let Some(kept) = kept {
                    assert!(kept.contains("cores 8 threads 8"), "{kept}");
                }
                assert!(choice.n_threads <= 8);
            }
        });
    }

    #[test]
    fn a_real_measurement_takes_a_number_that_there_is() {
        in_folder("real", |file| {
            let (lane, choice) = tuned_lane(file).unwrap();
            assert!((1..=crate::pool::default_threads()).contains(&choice.n_threads));
            assert_eq!(lane.n_threads(), choice.n_threads);
        });
    }

    #[test]
    fn a_record_from_elsewhere_does_not_count() {
        let record = ThreadRecord {
            measured_on: "here".to_owned(),
            n_threads: 4,
        };
        let text = record.to_text();
        assert_eq!(ThreadRecord::read(&text, "here", 4), Some(record));
        assert_eq!(ThreadRecord::read(&text, "there", 4), None);
        assert_eq!(ThreadRecord::read(&text, "here", 3), None);
        assert_eq!(ThreadRecord::read("", "here", 3), None);
    }
}
