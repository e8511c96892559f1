//! Opening model files and reading stdin.

use std::io::Read as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use nox_engine::FileSource;
use nox_engine::gguf::Gguf;

pub(crate) fn open(path: &Path) -> Result<FileSource> {
    FileSource::open(path).with_context(|| format!("{} cannot be opened", path.display()))
}

pub(crate) fn read_header(path: &Path) -> Result<Gguf> {
    Gguf::read(&open(path)?).with_context(|| path.display().to_string())
}

/// All of stdin, which has to be text.
pub(crate) fn read_stdin() -> Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .context("stdin cannot be read")?;
    String::from_utf8(bytes).context("stdin is not UTF-8")
}

/// Seconds since 1970, in UTC.
pub(crate) fn now_unix_s() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| {
        i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
    })
}
