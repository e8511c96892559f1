//! Where a token's time goes: `cargo run -p nox-engine --release --example profile -- FILE`
//! with `--threads N` (default: the physical cores), `--kv f16|q8|f32`, `--depth N` (256 or more).
//!
//! A lane that watches the clock stands between the decoder and the processor's lane, so
//! the engine itself is measured as it is shipped: *products* are the matrix products,
//! *loops* what the decoder shares out beside them (attention above all), and *alone* is
//! what the calling thread does in between.
#![allow(clippy::unwrap_used)] // a tool for developers: what fails may panic

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nox_engine::lane::Product;
use nox_engine::sampler::{Pcg32, Sampler};
use nox_engine::tuning;
use nox_engine::{
    Context, CpuLane, FileSource, KvType, Lane, LaneKind, LoadOptions, LoadStep, Model,
    ModelLoader, SamplingParams,
};

/// A lane and how long it was at work.
struct TimedLane {
    inner: CpuLane,
    products: Cell<Duration>,
    loops: Cell<Duration>,
}

impl Lane for TimedLane {
    fn kind(&self) -> LaneKind {
        self.inner.kind()
    }

    fn n_threads(&self) -> usize {
        self.inner.n_threads()
    }

    fn matmul(&self, x: &[f32], n_tokens: usize, products: &mut [Product<'_>]) {
        let start = Instant::now();
        self.inner.matmul(x, n_tokens, products);
        self.products.set(self.products.get() + start.elapsed());
    }

    fn for_each(&self, n_items: usize, work: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        let start = Instant::now();
        self.inner.for_each(n_items, work, body);
        self.loops.set(self.loops.get() + start.elapsed());
    }
}

struct Options {
    path: String,
    n_threads: usize,
    kv_type: KvType,
    depth: usize,
}

impl Options {
    fn read() -> Self {
        let mut options = Self {
            path: String::new(),
            n_threads: nox_engine::pool::default_threads(),
            kv_type: KvType::default(),
            depth: 1024,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().expect("an option without a value");
            match arg.as_str() {
                "--threads" => options.n_threads = value().parse().unwrap(),
                "--depth" => options.depth = value().parse::<usize>().unwrap().max(256),
                "--kv" => {
                    let name = serde_json::Value::String(value());
                    options.kv_type = serde_json::from_value(name).unwrap();
                }
                _ => options.path = arg,
            }
        }
        options
    }
}

fn load(options: &Options, lane: Rc<dyn Lane>) -> Model {
    let source = FileSource::open(std::path::Path::new(&options.path)).unwrap();
    let load_options = LoadOptions {
        n_ctx: Some(options.depth + 256),
        kv_type: options.kv_type,
        lane: Some(lane),
        ..LoadOptions::default()
    };
    let mut loader = ModelLoader::new(source, load_options).unwrap();
    loop {
        if let LoadStep::Done(model) = loader.step().unwrap() {
            return *model;
        }
    }
}

/// Computes up to `end` tokens in `n_steps` equal steps and prints a step's times.
fn measure(
    what: &str,
    lane: &TimedLane,
    model: &Model,
    ctx: &mut Context,
    tokens: &[u32],
    n_steps: usize,
) {
    let n_past = ctx.n_past();
    let n_new = tokens.len() - n_past;
    lane.products.set(Duration::ZERO);
    lane.loops.set(Duration::ZERO);
    let start = Instant::now();
    for step in 1..=n_steps {
        let end = n_past + n_new * step / n_steps;
        model.logits(ctx, &tokens[..end]).unwrap();
    }
    let total = start.elapsed();
    let (products, loops) = (lane.products.get(), lane.loops.get());
    let alone = total.saturating_sub(products + loops);
    let us = |part: Duration| part.as_secs_f64() * 1e6 / n_new as f64;
    println!(
        "{what:<22} {:>8.1} us/token ({:>7.1} tok/s): products {:>8.1}, loops {:>7.1}, alone {:>7.1}",
        us(total),
        1e6 / us(total),
        us(products),
        us(loops),
        us(alone),
    );
}

fn measure_sampler(what: &str, params: SamplingParams, logits: &[f32]) {
    const N_DRAWS: u32 = 100;
    let mut sampler = Sampler::new(params).unwrap();
    let start = Instant::now();
    for _ in 0..N_DRAWS {
        std::hint::black_box(sampler.sample(logits, &[]).unwrap());
    }
    let us = start.elapsed().as_secs_f64() * 1e6 / f64::from(N_DRAWS);
    println!("sampling, {what:<20} {us:>8.1} us");
}

/// What sharing out costs where there is nothing to do, and what threads are worth.
fn measure_threads(lane: &CpuLane) {
    const N_JOBS: u32 = 10_000;
    let start = Instant::now();
    for _ in 0..N_JOBS {
        lane.for_each(lane.n_threads(), usize::MAX, &|_| {});
    }
    let us = start.elapsed().as_secs_f64() * 1e6 / f64::from(N_JOBS);
    println!("handing out            {us:>8.2} us");
    let timings = tuning::measure_threads(lane, &|| start.elapsed().as_secs_f64() * 1e3);
    for (n_threads, ms) in &timings.medians {
        println!(
            "a measured token, {n_threads:>2} threads {:>8.1} us",
            ms * 1e3
        );
    }
    println!("best: {} threads", timings.best());
}

fn main() {
    let options = Options::read();
    let lane = Rc::new(TimedLane {
        inner: CpuLane::with_threads(options.n_threads).unwrap(),
        products: Cell::default(),
        loops: Cell::default(),
    });
    let model = load(&options, Rc::clone(&lane) as Rc<dyn Lane>);
    let n_vocab = model.tokenizer().n_vocab() as u32;
    let mut rng = Pcg32::new(1);
    let n_tokens = options.depth + 128;
    let tokens: Vec<u32> = (0..n_tokens).map(|_| rng.next_u32() % n_vocab).collect();
    println!(
        "{}: {} threads, {:?} cache, vocabulary {n_vocab}",
        options.path,
        lane.n_threads(),
        options.kv_type
    );
    measure_threads(&lane.inner);
    let mut ctx = model.new_context();
    model.logits(&mut ctx, &tokens[..64]).unwrap();
    ctx.truncate(1);
    let run = |what: &str, ctx: &mut Context, end: usize, n_steps| {
        measure(what, &lane, &model, ctx, &tokens[..end], n_steps);
    };
    run("decode at 0", &mut ctx, 33, 32);
    ctx.truncate(0);
    run("prefill at 0", &mut ctx, 128, 1);
    let depth = options.depth;
    run("prefill to the depth", &mut ctx, depth, 1);
    run(&format!("decode at {depth}"), &mut ctx, depth + 32, 32);

    let logits = model.logits(&mut ctx, &tokens[..depth + 33]).unwrap();
    measure_sampler("greedy", SamplingParams::greedy(), &logits);
    measure_sampler("as it comes", SamplingParams::default(), &logits);
    let open = SamplingParams {
        top_k: 0,
        ..SamplingParams::default()
    };
    measure_sampler("no top-k", open, &logits);
}
