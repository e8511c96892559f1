//! `nox-bench-model --quant q4_0 --output FILE`: the benchmark's model as a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use nox_bench_model::{Quant, Shape, write_model};

#[derive(Parser)]
#[command(about = "Writes the benchmark's model: a 135M Llama shape with random weights")]
struct Options {
    /// How the matrices are quantised
    #[arg(long)]
    quant: QuantName,
    /// The file to write
    #[arg(long)]
    output: PathBuf,
    /// Another one gives other weights
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
#[allow(non_camel_case_types)]
enum QuantName {
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q8_0")]
    Q8_0,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let quant = match options.quant {
        QuantName::Q4_0 => Quant::Q4_0,
        QuantName::Q8_0 => Quant::Q8_0,
    };
    // Under its own name only once it is whole.
    let partial = options.output.with_extension("part");
    let file =
        File::create(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
    let mut out = BufWriter::new(file);
    write_model(&mut out, &Shape::LLAMA_135M, quant, options.seed)?;
    out.flush()?;
    std::fs::rename(&partial, &options.output)
        .with_context(|| format!("cannot write {}", options.output.display()))
}
