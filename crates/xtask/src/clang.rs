//! The C compiler of the wasm builds: SQLite is C, and the system's own compiler
//! seldom knows wasm32.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::setup::{apt_install, find_program};

/// The oldest clang that knows every feature named in `wasm-pack.toml`.
const VERSION_MIN: u32 = 15;
/// The newest one that is looked for under a name with its version.
const VERSION_MAX: u32 = 30;
const DEBIAN_PACKAGES: [&str; 2] = ["clang-19", "llvm-19"];
/// Where Homebrew keeps LLVM, as Apple's clang has no wasm32.
const HOMEBREW: [&str; 2] = [
    "/opt/homebrew/opt/llvm/bin/clang",
    "/usr/local/opt/llvm/bin/clang",
];

/// The variables by which build scripts are told, and by which a user may choose.
const CC: &str = "CC_wasm32_unknown_unknown";
const AR: &str = "AR_wasm32_unknown_unknown";
const CFLAGS: &str = "CFLAGS_wasm32_unknown_unknown";

/// SQLite as `sqlite-wasm-rs` compiles it, less what nothing here calls: a quarter of
/// its size. What is left out of the language itself stays, so that a statement means
/// the same natively and in a worker.
const SQLITE_FLAGS: [&str; 17] = [
    "-USQLITE_USE_URI",
    "-USQLITE_ENABLE_API_ARMOR",
    "-USQLITE_ENABLE_BYTECODE_VTAB",
    "-USQLITE_ENABLE_COLUMN_METADATA",
    "-USQLITE_ENABLE_DBPAGE_VTAB",
    "-USQLITE_ENABLE_DBSTAT_VTAB",
    "-USQLITE_ENABLE_MATH_FUNCTIONS",
    "-USQLITE_ENABLE_OFFSET_SQL_FUNC",
    "-USQLITE_ENABLE_PREUPDATE_HOOK",
    "-USQLITE_ENABLE_RTREE",
    "-USQLITE_ENABLE_SESSION",
    "-USQLITE_ENABLE_STMTVTAB",
    "-USQLITE_ENABLE_UNKNOWN_SQL_FUNCTION",
    "-USQLITE_ENABLE_UNLOCK_NOTIFY",
    "-DSQLITE_DEFAULT_MEMSTATUS=0",
    "-DSQLITE_OMIT_DECLTYPE",
    "-DSQLITE_OMIT_PROGRESS_CALLBACK",
];

/// A clang that compiles for wasm32, and the archiver beside it.
#[derive(Debug, Clone)]
pub(crate) struct WasmClang {
    compiler: PathBuf,
    archiver: PathBuf,
    /// Its own words for its version.
    version: String,
}

impl WasmClang {
    /// Tells cargo's build scripts how C is compiled for these target features.
    pub(crate) fn configure(&self, cargo: &mut Command, target_features: &[String]) {
        cargo.env(CC, &self.compiler).env(AR, &self.archiver);
        cargo.env(CFLAGS, cflags(target_features));
        cargo.env("SQLITE_WASM_RS_FLAGS", SQLITE_FLAGS.join(" "));
    }

    /// What of this decides how compiled C comes out.
    pub(crate) fn fingerprint(&self) -> String {
        format!("{} {}", self.version, SQLITE_FLAGS.join(" "))
    }
}

/// The linker refuses to mix objects with and without shared memory, so C gets every
/// feature that Rust gets; clang calls them what rustc calls them.
fn cflags(target_features: &[String]) -> String {
    let flags: Vec<_> = target_features
        .iter()
        .map(|name| format!("-m{name}"))
        .collect();
    flags.join(" ")
}

/// The clang that the user names, one on the machine, else Debian's.
///
/// # Errors
/// None is there and none can be installed; the message says what to do.
pub(crate) fn find_or_install() -> Result<WasmClang> {
    if let Ok(named) = std::env::var(CC) {
        return chosen_by_user(&named);
    }
    if let Some(found) = installed() {
        return Ok(found);
    }
    apt_install(
        &DEBIAN_PACKAGES,
        "SQLite is C, and the wasm builds compile it",
    )
    .with_context(|| {
        format!(
            "no clang for wasm32: install LLVM {VERSION_MIN} or newer (`brew install llvm` on \
             macOS, whose own clang has no wasm32), or name clang in {CC} and llvm-ar in {AR}"
        )
    })?;
    let packages = DEBIAN_PACKAGES.join(" ");
    installed().with_context(|| format!("{packages} are installed, but cannot compile for wasm32"))
}

fn chosen_by_user(named: &str) -> Result<WasmClang> {
    let compiler =
        find_program(named).with_context(|| format!("{CC} names no program: {named}"))?;
    let Some(version) = suitable_version(&compiler) else {
        bail!("{CC} names {named}, which is no clang {VERSION_MIN} or newer with wasm32");
    };
    let archiver = match std::env::var(AR) {
        Ok(named) => find_program(&named),
        Err(_) => archiver_of(&compiler, &version),
    };
    Ok(WasmClang {
        archiver: archiver.with_context(|| format!("no llvm-ar: name one in {AR}"))?,
        compiler,
        version,
    })
}

fn installed() -> Option<WasmClang> {
    let versioned = (VERSION_MIN..=VERSION_MAX).rev();
    let names = std::iter::once("clang".to_owned())
        .chain(versioned.map(|version| format!("clang-{version}")))
        .chain(HOMEBREW.map(str::to_owned));
    names
        .filter_map(|name| find_program(&name))
        .find_map(|compiler| {
            let version = suitable_version(&compiler)?;
            Some(WasmClang {
                archiver: archiver_of(&compiler, &version)?,
                compiler,
                version,
            })
        })
}

/// The version of a clang that is new enough and knows wasm32.
fn suitable_version(compiler: &Path) -> Option<String> {
    let compiler = compiler.to_str()?;
    let said = process::read(process::command(compiler).arg("--version")).ok()?;
    let version = said.lines().next()?.to_owned();
    if major(&version)? < VERSION_MIN {
        return None;
    }
    let targets = process::read(process::command(compiler).arg("--print-targets")).ok()?;
    targets
        .lines()
        .any(|line| line.trim_start().starts_with("wasm32 "))
        .then_some(version)
}

fn archiver_of(compiler: &Path, version: &str) -> Option<PathBuf> {
    // clang answers with the bare name where none lies beside it.
    let beside = process::command(compiler.to_str()?)
        .arg("--print-prog-name=llvm-ar")
        .output();
    let beside = String::from_utf8(beside.ok()?.stdout).ok()?;
    find_program(beside.trim())
        .or_else(|| find_program(&format!("llvm-ar-{}", major(version)?)))
        .or_else(|| find_program("llvm-ar"))
}

/// `Debian clang version 19.1.7 (…)`, `Apple clang version 17.0.0 (…)`.
fn major(version: &str) -> Option<u32> {
    let number = version.split("version ").nth(1)?;
    number.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_clangs_major_version() {
        let debian = "Debian clang version 19.1.7 (3~deb12u1)";
        assert_eq!(major(debian), Some(19));
        assert_eq!(
            major("Apple clang version 17.0.0 (clang-1700.0.13)"),
            Some(17)
        );
        assert_eq!(major("clang version 21.1.0"), Some(21));
        assert_eq!(major("gcc (Debian 12.2.0-14) 12.2.0"), None);
    }

    #[test]
    fn c_gets_the_features_that_rust_gets() {
        let features = ["atomics", "bulk-memory", "simd128"].map(str::to_owned);
        assert_eq!(cflags(&features), "-matomics -mbulk-memory -msimd128");
        assert_eq!(cflags(&[]), "");
    }

    #[test]
    fn a_compiler_without_wasm32_is_not_taken() {
        assert_eq!(suitable_version(Path::new("/bin/sh")), None);
        assert_eq!(suitable_version(Path::new("/no/such/clang")), None);
    }
}
