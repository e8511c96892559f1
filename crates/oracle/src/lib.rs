//! What tests and benchmarks do alike natively and in a browser: compare the earlier
//! system's recorded behaviour with this one's, and measure the database at
//! [scale](scale).
//!
//! A recording is a file of JSON lines: what was called, with which input, and what
//! came of it; some are marked as defects of the earlier system. Each file has a
//! function that makes the same calls here and gives a [`Report`]. What is compared
//! is told at each function; what has no counterpart is counted with its reason, and
//! nothing is passed over in silence.
//!
//! It knows no files, no environment, no process and no clock: texts go in, reports come
//! out. Only tests, benchmarks and the examples use it.

mod case;
mod chat;
mod persona;
mod redact;
mod reply;
mod report;
pub mod scale;
mod sessions;
mod slash;
mod titles;

pub use chat::check_chat;
pub use persona::{check_persona, check_persona_scales};
pub use redact::check_redact;
pub use reply::{check_reply, check_stream};
pub use report::{Report, Wrong};
pub use sessions::check_sessions;
pub use slash::check_slash;
pub use titles::check_titles;

/// A file of recordings and the function that compares it.
#[derive(Debug, Clone, Copy)]
pub struct Recording {
    /// The file's name.
    pub file: &'static str,
    /// Compares its text.
    pub check: fn(&str) -> Report,
}

/// Every file of recordings.
pub const RECORDINGS: [Recording; 9] = [
    Recording {
        file: "redact.jsonl",
        check: check_redact,
    },
    Recording {
        file: "reply_clean.jsonl",
        check: check_reply,
    },
    Recording {
        file: "stream.jsonl",
        check: check_stream,
    },
    Recording {
        file: "persona.jsonl",
        check: check_persona,
    },
    Recording {
        file: "persona_scales.jsonl",
        check: check_persona_scales,
    },
    Recording {
        file: "titles.jsonl",
        check: check_titles,
    },
    Recording {
        file: "slash.jsonl",
        check: check_slash,
    },
    Recording {
        file: "handle_chat.jsonl",
        check: check_chat,
    },
    Recording {
        file: "sessions.jsonl",
        check: check_sessions,
    },
];

/// Compares the text of the file with this name; `None` if no function knows it.
#[must_use]
pub fn check(file: &str, jsonl: &str) -> Option<Report> {
    let recording = RECORDINGS.iter().find(|recording| recording.file == file)?;
    Some((recording.check)(jsonl))
}
