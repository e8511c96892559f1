//! `nox-bench-model --shape 135m --quant q4_0 --output FILE`: a model of the benchmark.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use nox_bench_model::{Quant, Shape, write_model};

#[derive(Parser)]
#[command(about = "Writes a model of the benchmark: a known shape with random weights")]
struct Options {
    /// The sizes
    #[arg(long, default_value = "135m")]
    shape: ShapeName,
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
enum ShapeName {
    #[value(name = "135m")]
    Llama135M,
    #[value(name = "0.5b")]
    Qwen05B,
    #[value(name = "1b")]
    Llama1B,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[allow(non_camel_case_types)]
enum QuantName {
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_k_m")]
    Q4_K_M,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let shape = match options.shape {
        ShapeName::Llama135M => Shape::LLAMA_135M,
        ShapeName::Qwen05B => Shape::QWEN_05B,
        ShapeName::Llama1B => Shape::LLAMA_1B,
    };
    let quant = match options.quant {
        QuantName::Q4_0 => Quant::Q4_0,
        QuantName::Q8_0 => Quant::Q8_0,
        QuantName::Q4_K_M => Quant::Q4_K_M,
    };
    // Under its own name only once it is whole.
    let partial = options.output.with_extension("part");
    let file =
        File::create(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    write_model(&mut out, &shape, quant, options.seed)?;
    out.flush()?;
    std::fs::rename(&partial, &options.output)
        .with_context(|| format!("cannot write {}", options.output.display()))
}
