//! Makes the machine ready: a wasm32 standard library, a C compiler, npm packages, a
//! browser, cargo-deny. Every part first looks whether it is already there, says in one line
//! what it installs and why, and costs next to nothing when it has nothing to do.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::clang::{self, WasmClang};
use crate::{hash, process, project};

/// rustup's name for the toolchain that Debian's packages make up.
const DEBIAN_TOOLCHAIN: &str = "debian";
const DEBIAN_RUST_PACKAGES: [&str; 5] = [
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "rust-web-clippy",
    "lld-19",
];
const DEBIAN_LINKER: &str = "wasm-ld-19";
const NODE_MAJOR_MIN: u32 = 20;
const CARGO_DENY_VERSION: &str = "0.20.2";

/// The toolchain that wasm is built with.
#[derive(Debug, Clone)]
pub(crate) struct WasmToolchain {
    /// What rustup calls it.
    pub(crate) name: String,
    /// The linker to name; `None` where rustc brings its own.
    pub(crate) linker: Option<&'static str>,
    /// `rustc --version`, part of every build's fingerprint.
    pub(crate) rustc_version: String,
    /// What compiles C.
    pub(crate) clang: WasmClang,
}

impl WasmToolchain {
    /// A cargo command that builds the standard library along, and compiles C for
    /// these target features.
    pub(crate) fn cargo(&self, target_features: &[String]) -> Command {
        let mut cargo = process::toolchain_command(&self.name, "cargo");
        // `-Zbuild-std` is not stable yet; a shared-memory build cannot do without it.
        cargo.env("RUSTC_BOOTSTRAP", "1");
        self.clang.configure(&mut cargo, target_features);
        cargo
    }
}

/// Everything that building the site takes.
///
/// # Errors
/// Something is missing and cannot be installed; the message says what to do.
pub(crate) fn for_site() -> Result<WasmToolchain> {
    let toolchain = wasm_toolchain()?;
    npm_packages()?;
    Ok(toolchain)
}

/// `cargo xtask setup`: everything that any task takes.
///
/// # Errors
/// As [`for_site`], [`browser`] and [`cargo_deny`].
pub(crate) fn everything() -> Result<()> {
    let toolchain = for_site()?;
    eprintln!(
        "wasm toolchain: `{}`, {}",
        toolchain.name, toolchain.rustc_version
    );
    eprintln!("browser for tests: {}", browser()?.display());
    cargo_deny()?;
    eprintln!("ready");
    Ok(())
}

/// A toolchain with the sources of `std`, and a clang beside it.
///
/// # Errors
/// Either is missing and cannot be had.
pub(crate) fn wasm_toolchain() -> Result<WasmToolchain> {
    let SourceToolchain { name, linker } = toolchain_with_std_sources()?;
    let rustc_version = process::read(process::toolchain_command(&name, "rustc").arg("--version"))?;
    Ok(WasmToolchain {
        name,
        linker,
        rustc_version,
        clang: clang::find_or_install()?,
    })
}

/// A toolchain that can build `std`.
pub(crate) struct SourceToolchain {
    /// What rustup calls it.
    pub(crate) name: String,
    /// The wasm linker to name; `None` where rustc brings its own.
    linker: Option<&'static str>,
}

impl SourceToolchain {
    fn debian() -> Self {
        Self {
            name: DEBIAN_TOOLCHAIN.to_owned(),
            linker: Some(DEBIAN_LINKER),
        }
    }
}

/// The active toolchain, else Debian's packages.
///
/// # Errors
/// Neither has the sources of `std`, nor can they be had.
pub(crate) fn toolchain_with_std_sources() -> Result<SourceToolchain> {
    let active = active_toolchain()?;
    let own = |name| SourceToolchain { name, linker: None };
    if has_std_sources(&active) {
        return Ok(own(active));
    }
    if debian_toolchain_is_complete() {
        return Ok(SourceToolchain::debian());
    }
    eprintln!(
        "installing rust-src for `{active}`: builds for other targets compile std themselves"
    );
    let added = process::capture(Command::new("rustup").args([
        "component",
        "add",
        "rust-src",
        "--toolchain",
        &active,
    ]))?;
    if has_std_sources(&active) {
        return Ok(own(active));
    }
    let why = String::from_utf8_lossy(&added.stderr);
    let why = why
        .lines()
        .find(|line| line.starts_with("error"))
        .unwrap_or("no such component");
    eprintln!("  rustup could not ({why}); trying Debian's packages instead");
    install_debian_toolchain().with_context(|| {
        format!(
            "no sources of std: `rustup component add rust-src` failed ({why}). \
             Give rustup access to its server, or use Debian 12 or newer with its security archive"
        )
    })?;
    Ok(SourceToolchain::debian())
}

fn active_toolchain() -> Result<String> {
    // `cargo run` through rustup has set it, whatever chose the toolchain.
    if let Ok(name) = std::env::var("RUSTUP_TOOLCHAIN") {
        return Ok(name);
    }
    let shown = process::read(process::command("rustup").args(["show", "active-toolchain"]))
        .context("rustup is needed (https://rustup.rs)")?;
    shown
        .split_whitespace()
        .next()
        .map(str::to_owned)
        .context("rustup has no active toolchain")
}

fn has_std_sources(toolchain: &str) -> bool {
    let rustc = &mut process::toolchain_command(toolchain, "rustc");
    process::read(rustc.args(["--print", "sysroot"])).is_ok_and(|sysroot| {
        Path::new(&sysroot)
            .join("lib/rustlib/src/rust/library/std/Cargo.toml")
            .is_file()
    })
}

fn debian_toolchain_is_complete() -> bool {
    find_program(DEBIAN_LINKER).is_some()
        && Path::new("/usr/bin/cargo-clippy").is_file()
        && has_std_sources(DEBIAN_TOOLCHAIN)
}

fn install_debian_toolchain() -> Result<()> {
    let why = "rustc with the sources of std, and a wasm linker, for the wasm builds";
    apt_install(&DEBIAN_RUST_PACKAGES, why)?;
    process::run(process::command("rustup").args(["toolchain", "link", DEBIAN_TOOLCHAIN, "/usr"]))?;
    if !debian_toolchain_is_complete() {
        bail!(
            "{} are installed, but hold no sources of std",
            DEBIAN_RUST_PACKAGES.join(" ")
        );
    }
    Ok(())
}

/// A C++ compiler for the native target, which build scripts find by themselves.
///
/// # Errors
/// There is none and none can be installed.
pub(crate) fn cxx_compiler() -> Result<()> {
    let is_there = || {
        ["c++", "g++", "clang++"]
            .iter()
            .any(|name| find_program(name).is_some())
    };
    if std::env::var_os("CXX").is_some() || is_there() {
        return Ok(());
    }
    apt_install(&["g++"], "the fuzzer is C++")
        .context("no C++ compiler: install one, or name it in the variable CXX")
}

/// The Chromium that tests drive: `$CHROMIUM`, one on the path, else Debian's.
///
/// # Errors
/// None is found and none can be installed.
pub(crate) fn browser() -> Result<PathBuf> {
    if let Ok(named) = std::env::var("CHROMIUM") {
        let found = find_program(&named);
        return found.with_context(|| format!("CHROMIUM names {named}, which is not there"));
    }
    if let Some(found) = installed_browser() {
        return Ok(found);
    }
    apt_install(&["chromium"], "the browser tests run in a real one")
        .context("no Chromium: install one, or name it in the variable CHROMIUM")?;
    installed_browser().context("chromium is installed but not on the path")
}

fn installed_browser() -> Option<PathBuf> {
    let on_path = [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ];
    let mac = Path::new("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome");
    on_path
        .iter()
        .find_map(|name| find_program(name))
        .or_else(|| mac.is_file().then(|| mac.into()))
}

/// Node's packages, as the lock file has them.
///
/// # Errors
/// Node is missing or too old, or npm fails.
pub(crate) fn npm_packages() -> Result<()> {
    check_node()?;
    let root = project::absolute_root();
    let manifests = npm_manifests(&root);
    let wanted = hash::files(&manifests)?;
    let stamp = root.join("node_modules/.noxics-stamp");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    eprintln!(
        "installing npm packages: TypeScript, the page's tools, wasm-opt, the browser driver"
    );
    process::run(process::command("npm").args(["ci", "--no-audit", "--no-fund"]))
        .context("where package.json and package-lock.json disagree, `npm install` mends it")?;
    std::fs::write(&stamp, wanted).context("cannot write node_modules/.noxics-stamp")
}

fn npm_manifests(root: &Path) -> Vec<PathBuf> {
    let folders = ["", "worker", "www", "tests/browser", "bench"];
    let manifests = folders
        .iter()
        .map(|folder| root.join(folder).join("package.json"));
    let lock = std::iter::once(root.join("package-lock.json"));
    manifests
        .chain(lock)
        .filter(|path| path.is_file())
        .collect()
}

fn check_node() -> Result<()> {
    let version = process::read(process::command("node").arg("--version"))
        .context("Node.js 20 or newer is needed (https://nodejs.org)")?;
    match node_major(&version) {
        Some(major) if major >= NODE_MAJOR_MIN => Ok(()),
        _ => bail!("Node.js {NODE_MAJOR_MIN} or newer is needed, this is {version}"),
    }
}

fn node_major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// rustfmt and clippy, which rustup's minimal profile leaves out.
///
/// # Errors
/// They are missing and rustup cannot install them.
pub(crate) fn lint_tools() -> Result<()> {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !process::succeeds(process::cargo().args([subcommand, "--version"])) {
            eprintln!("installing {component}: the checks run it");
            process::run(process::command("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}

/// cargo-deny, which holds the dependencies to `deny.toml`.
///
/// # Errors
/// It cannot be built.
pub(crate) fn cargo_deny() -> Result<()> {
    if process::succeeds(process::cargo().args(["deny", "--version"])) {
        return Ok(());
    }
    eprintln!(
        "installing cargo-deny {CARGO_DENY_VERSION}: it checks licences and sources (about a minute)"
    );
    // It runs for seconds: optimising it would only make its build slow.
    let light = [
        ("OPT_LEVEL", "0"),
        ("LTO", "off"),
        ("CODEGEN_UNITS", "16"),
        ("DEBUG", "0"),
    ];
    let mut install = process::cargo();
    install.args([
        "install",
        "--quiet",
        "--locked",
        "cargo-deny",
        "--version",
        CARGO_DENY_VERSION,
    ]);
    install.envs(light.map(|(key, value)| (format!("CARGO_PROFILE_RELEASE_{key}"), value)));
    install.env("CARGO_TARGET_DIR", project::target_dir().join("tools"));
    process::run(&mut install)
}

/// Makes sure of `files`, names on the path or whole paths, which `packages` bring.
///
/// # Errors
/// One is missing and cannot be installed.
pub(crate) fn debian_files(files: &[&str], packages: &[&str], why: &str) -> Result<()> {
    let missing = || files.iter().find(|name| find_program(name).is_none());
    let Some(name) = missing() else {
        return Ok(());
    };
    apt_install(packages, why).with_context(|| format!("{name} is missing"))?;
    match missing() {
        None => Ok(()),
        Some(name) => bail!("{} are installed, but without {name}", packages.join(" ")),
    }
}

/// Installs Debian packages, and says so.
///
/// # Errors
/// There is no apt-get, no right to use it, or it fails.
pub(crate) fn apt_install(packages: &[&str], why: &str) -> Result<()> {
    if find_program("apt-get").is_none() {
        bail!(
            "{} cannot be installed here: no apt-get",
            packages.join(" ")
        );
    }
    eprintln!("installing {} with apt-get: {why}", packages.join(" "));
    // A third-party source that is down must not stop Debian's own from being used.
    let updated = process::capture(apt_get()?.args(["-qq", "update"]))?;
    let mut install = apt_get()?;
    install
        .args(["-qq", "install", "-y", "--no-install-recommends"])
        .args(packages);
    // dpkg tells every step of unpacking; what goes wrong is on standard error.
    let installed = process::run(install.stdout(Stdio::null()));
    installed.with_context(|| {
        format!(
            "apt-get update said: {}",
            String::from_utf8_lossy(&updated.stderr).trim()
        )
    })
}

fn apt_get() -> Result<Command> {
    let root = process::read(process::command("id").arg("-u"))? == "0";
    let mut command = process::command(if root { "env" } else { "sudo" });
    if !root && find_program("sudo").is_none() {
        bail!("installing packages takes root: run as root once, or install sudo");
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    Ok(command)
}

/// A program by its name on the path, or by a path of its own.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Joining an absolute path gives that path.
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_nodes_major_version() {
        assert_eq!(node_major("v20.20.2"), Some(20));
        assert_eq!(node_major("v8.0.0"), Some(8));
        assert_eq!(node_major("20.1.0"), None);
        assert_eq!(node_major("vnext"), None);
    }
}
