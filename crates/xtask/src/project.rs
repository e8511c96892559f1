//! Where things lie in the checkout. Knows the layout, runs nothing.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The checkout, with symlinks and `..` resolved. Cargo says at run time which one was
/// meant: two checkouts that share a target folder also share this program's file.
pub(crate) fn absolute_root() -> PathBuf {
    let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = manifest_dir.join("../..");
    root.canonicalize().unwrap_or(root)
}

/// This program's file. Asked once at the start, before anything is built: a build
/// may replace the file, and then the system knows the running one only as deleted.
///
/// # Panics
/// The system cannot tell where a running program lies.
pub(crate) fn this_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| std::env::current_exe().expect("a running program has a file"))
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

/// Where the shared test data lies, if it is there.
pub(crate) fn fixtures_dir() -> Option<PathBuf> {
    let named = std::env::var_os("NOXICS_FIXTURES").map(PathBuf::from);
    let beside = || {
        absolute_root()
            .parent()
            .map(|parent| parent.join("shared/fixtures"))
    };
    named
        .or_else(beside)
        .filter(|folder: &PathBuf| Path::is_dir(folder))
}
