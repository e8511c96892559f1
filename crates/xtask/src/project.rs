//! Where things lie in the checkout. Knows the layout, runs nothing.

use std::path::{Path, PathBuf};

/// The checkout this task runner was built from.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The root with symlinks and `..` resolved, for messages and child processes.
pub(crate) fn absolute_root() -> PathBuf {
    root().canonicalize().unwrap_or_else(|_| root().to_owned())
}

/// Cargo's output folder, honouring `CARGO_TARGET_DIR`.
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => absolute_root().join(dir),
        None => absolute_root().join("target"),
    }
}

/// What the tasks produce for people: wasm builds, the site, generated models.
pub(crate) fn dist_dir() -> PathBuf {
    absolute_root().join("dist")
}

/// The finished site, ready to be served as static files.
pub(crate) fn site_dir() -> PathBuf {
    dist_dir().join("site")
}

/// `path` as a person in the checkout would type it.
pub(crate) fn display(path: &Path) -> String {
    path.strip_prefix(absolute_root())
        .unwrap_or(path)
        .display()
        .to_string()
}
