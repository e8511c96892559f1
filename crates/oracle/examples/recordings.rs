//! Compares recordings and prints the accounts:
//! `cargo run -p nox-oracle --example recordings -- FOLDER [FILE…]`. Ends with 1 if
//! anything is wrong.

use std::path::PathBuf;
use std::process::ExitCode;

use nox_oracle::{RECORDINGS, check};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next().map(PathBuf::from) else {
        eprintln!("name the folder of the recordings");
        return ExitCode::FAILURE;
    };
    let mut files: Vec<String> = arguments.collect();
    if files.is_empty() {
        files = RECORDINGS.map(|recording| recording.file.to_owned()).into();
    }
    let mut is_sound = true;
    for file in files {
        let path = folder.join(&file);
        let report = std::fs::read_to_string(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))
            .and_then(|text| check(&file, &text).ok_or(format!("{file} is not known")));
        match report {
            Ok(report) => {
                println!("{report}");
                is_sound &= report.wrong.is_empty();
            }
            Err(reason) => {
                eprintln!("{reason}");
                is_sound = false;
            }
        }
    }
    if is_sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
