//! Measures the database natively, on a file in the folder for temporary files:
//! `cargo run --release -p nox-oracle --example scale -- [SESSIONS] [--json]`.
//! `node bench/store.mjs` does so beside a browser.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use nox_oracle::scale::{Ground, N_SESSIONS, measure_scale};
use nox_store::{Host, Store, StoreError};

/// A file that is there for as long as it is measured.
struct File {
    folder: PathBuf,
    started: Instant,
}

impl Ground for File {
    fn open(&self, host: Box<dyn Host>) -> Result<Store, StoreError> {
        Store::open(&self.folder.join("chats.sqlite"), host)
    }

    fn clock_ms(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1000.0
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // What stays is in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let n_sessions = arguments.iter().find_map(|argument| argument.parse().ok());
    let folder = std::env::temp_dir().join(format!("nox-scale-{}", std::process::id()));
    if let Err(error) = std::fs::create_dir_all(&folder) {
        eprintln!("cannot make {}: {error}", folder.display());
        return ExitCode::FAILURE;
    }
    let file = File {
        folder,
        started: Instant::now(),
    };
    match measure_scale(&file, n_sessions.unwrap_or(N_SESSIONS)) {
        Ok(report) if arguments.iter().any(|argument| argument == "--json") => {
            println!("{}", report.to_json());
            ExitCode::SUCCESS
        }
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
