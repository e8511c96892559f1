//! Hostile input for everything that reads what comes from outside.
//!
//! A [`Target`] runs one input through the product's own code. What must hold for any
//! input whatever is checked there and here: no panic (in builds with debug assertions
//! and checked arithmetic), no more memory than the target's [`MemoryCap`] for an input
//! of that length, and, by libFuzzer's clock, an end. Whether an input is accepted or
//! refused is not the targets' matter; the named seeds have tests for that.
//!
//! A new reader of foreign bytes gets a module in `targets` and a line in [`TARGETS`].

// Both are written for the engine's tests; their models are good seeds.
#[path = "../../crates/engine/tests/common/mod.rs"]
mod common;
mod memory;
mod model_file;
mod script;
pub mod seeds;
mod targets;

use std::io;
use std::path::Path;

pub use memory::MemoryCap;

/// Code under test, and how it is to be treated.
#[derive(Debug)]
pub struct Target {
    /// What `cargo xtask fuzz` calls it.
    pub name: &'static str,
    /// What an input may take.
    pub memory: MemoryCap,
    /// Longer inputs are not tried.
    pub max_input_bytes: usize,
    /// Words that inputs are likely to hold.
    pub words: &'static [&'static str],
    run: fn(&[u8]),
    seeds: fn() -> Vec<seeds::Seed>,
}

/// All of them.
pub static TARGETS: &[Target] = &[
    targets::gguf::TARGET,
    targets::model::TARGET,
    targets::tokenizer::TARGET,
    targets::template::TARGET,
    targets::schema::TARGET,
    targets::snapshot::TARGET,
];

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

impl Target {
    /// Runs one input. What must not happen ends the process or panics.
    ///
    /// # Panics
    /// The input has found a defect.
    pub fn run(&self, input: &[u8]) {
        memory::within(self.memory.for_input(input.len()), || (self.run)(input));
    }

    /// Inputs to begin with.
    pub fn seeds(&self) -> Vec<seeds::Seed> {
        (self.seeds)()
    }
}

/// Writes, for each target, a folder of its name with `seeds/`, the dictionary `words`
/// and `max_input_bytes`.
///
/// # Errors
/// A file cannot be written.
pub fn prepare(folder: &Path) -> io::Result<()> {
    for target in TARGETS {
        let folder = folder.join(target.name);
        let seeds = folder.join("seeds");
        std::fs::create_dir_all(&seeds)?;
        for seed in target.seeds() {
            std::fs::write(seeds.join(seed.name), seed.bytes)?;
        }
        std::fs::write(folder.join("words"), dictionary(target.words))?;
        let max_input_bytes = target.max_input_bytes.to_string();
        std::fs::write(folder.join("max_input_bytes"), max_input_bytes)?;
    }
    Ok(())
}

/// In libFuzzer's format: a quoted string on each line.
fn dictionary(words: &[&str]) -> String {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' => format!("\\{}", char::from(byte)),
        0x20..=0x7E => char::from(byte).to_string(),
        other => format!("\\x{other:02X}"),
    };
    let line = |word: &&str| format!("\"{}\"\n", word.bytes().map(escaped).collect::<String>());
    words.iter().map(line).collect()
}
