//! The fuzzer: libFuzzer with one of the targets. `cargo xtask fuzz` builds and runs it.
//!
//! `NOX_FUZZ_TARGET` names the target. With `NOX_FUZZ_PREPARE` it fuzzes nothing, and
//! writes what libFuzzer needs for each target into that folder instead.
#![no_main]

use std::path::PathBuf;
use std::process::exit;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use nox_fuzz::{Target, prepare};

fuzz_target!(init: begin(), |input: &[u8]| target().run(input));

/// Before libFuzzer looks at its own arguments.
fn begin() {
    if let Some(folder) = std::env::var_os("NOX_FUZZ_PREPARE") {
        if let Err(error) = prepare(&PathBuf::from(folder)) {
            eprintln!("error: {error}");
            exit(1);
        }
        exit(0);
    }
    target();
}

fn target() -> &'static Target {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("NOX_FUZZ_TARGET").unwrap_or_default();
        nox_fuzz::find(&name).unwrap_or_else(|| {
            eprintln!("error: NOX_FUZZ_TARGET is {name:?}, which is no target");
            exit(1)
        })
    })
}
