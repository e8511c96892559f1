//! Fingerprints: of files, to tell what has changed, and of content, for the
//! precache manifest.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// SHA-256 as lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// One fingerprint of several files, in the order given: their paths and contents.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn files(paths: &[PathBuf]) -> Result<String> {
    let mut hasher = Sha256::new();
    for path in paths {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.to_string_lossy();
        for part in [name.as_bytes(), &bytes] {
            // The length in front keeps neighbouring parts from running together.
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Ok(hex(&hasher.finalize()))
}

/// Every file under `folder`, sorted; none if there is no such folder.
///
/// # Errors
/// A folder cannot be listed.
pub(crate) fn tree(folder: &Path) -> Result<Vec<PathBuf>> {
    tree_without(folder, &[])
}

/// As [`tree`], leaving out every folder that has one of the names in `skipped`.
///
/// # Errors
/// A folder cannot be listed.
pub(crate) fn tree_without(folder: &Path, skipped: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let skip = skipped.iter().any(|name| path.ends_with(name));
            if !path.is_dir() {
                found.push(path);
            } else if !skip {
                open.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
