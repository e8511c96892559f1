//! `cargo xtask codegen`: hosts' types, generated from `nox-protocol` and checked in,
//! so that an editor and a reader have them without a build.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::{process, project};

/// What the generator is asked for, and where its answer is kept.
const OUTPUTS: [(&str, &str); 2] = [
    ("typescript", "worker/src/generated/protocol.ts"),
    ("json-schema", "docs/protocol.schema.json"),
];

/// Writes the generated files, or with `check` only compares them.
///
/// # Errors
/// The generator does not build; with `check`, a file is not what it would write.
pub(crate) fn run(check: bool) -> Result<()> {
    let mut stale = Vec::new();
    for (kind, file) in OUTPUTS {
        let path = project::absolute_root().join(file);
        let fresh = generate(kind)?;
        if std::fs::read_to_string(&path).is_ok_and(|found| found == fresh) {
            continue;
        }
        if check {
            stale.push(file);
        } else {
            write(&path, &fresh)?;
            eprintln!("wrote {file}");
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    bail!(
        "not what nox-protocol generates: {}; `cargo xtask codegen` writes them",
        stale.join(", ")
    )
}

fn generate(kind: &str) -> Result<String> {
    // The generator is an example of the crate itself: a protocol that does not
    // compile then cannot keep the other tasks from running.
    let mut cargo = process::cargo();
    cargo.args([
        "run",
        "--quiet",
        "-p",
        "nox-protocol",
        "--features",
        "schema",
    ]);
    let output = process::capture(cargo.args(["--example", "codegen", "--", kind]))?;
    if !output.status.success() {
        bail!(
            "the generator failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    String::from_utf8(output.stdout).context("the generator wrote something else than text")
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
