//! `cargo xtask build`: from a crate to `dist/wasm/<name>/`, through cargo,
//! wasm-bindgen, wasm-opt and brotli. A build whose inputs have not changed since
//! its last success is left as it is.

use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use crate::builds::{Purpose, WasmBuild, WasmBuilds};
use crate::setup::WasmToolchain;
use crate::{compress, crates, hash, process, project};

const TARGET: &str = "wasm32-unknown-unknown";

/// A finished build.
#[derive(Debug)]
pub(crate) struct BuiltWasm {
    pub(crate) name: String,
    /// Holds `<stem>.js` and `<stem>_bg.wasm`, each with a `.br` beside it.
    pub(crate) dir: PathBuf,
    pub(crate) wasm_bytes: u64,
    pub(crate) wasm_brotli_bytes: u64,
    pub(crate) glue_brotli_bytes: u64,
    /// `None` where size does not matter.
    pub(crate) budget_bytes: Option<u64>,
}

impl BuiltWasm {
    /// What a browser fetches to start this build.
    pub(crate) fn transfer_bytes(&self) -> u64 {
        self.wasm_brotli_bytes + self.glue_brotli_bytes
    }
}

/// Makes the builds for `purpose`, all or the one that `only` names.
///
/// # Errors
/// A build fails, or `only` names none.
pub(crate) fn build(
    toolchain: &WasmToolchain,
    purpose: Purpose,
    only: Option<&str>,
) -> Result<Vec<BuiltWasm>> {
    let builds = WasmBuilds::load()?;
    let chosen: Vec<_> = builds
        .for_purpose(purpose)
        .filter(|build| only.is_none_or(|name| name == build.name))
        .collect();
    if chosen.is_empty() {
        bail!(
            "wasm-pack.toml has no such build: {}",
            only.unwrap_or("(any)")
        );
    }
    // Compiling keeps every core busy; what follows it uses one, so the next build
    // compiles meanwhile.
    std::thread::scope(|scope| {
        let mut finishing = Vec::new();
        for build in chosen {
            let compiled = compile_if_changed(toolchain, build)?;
            finishing.push(scope.spawn(move || finish(build, compiled)));
        }
        let finished = finishing.into_iter().map(ScopedJoinHandle::join);
        finished
            .map(|result| result.map_err(|_| anyhow!("the build panicked"))?)
            .collect()
    })
}

/// Fails if a build is larger than `wasm-pack.toml` allows.
///
/// # Errors
/// Names every build that is too large.
pub(crate) fn check_budgets(built: &[BuiltWasm]) -> Result<()> {
    let too_large: Vec<_> = built
        .iter()
        .filter_map(|build| {
            let (size, budget) = (build.wasm_brotli_bytes, build.budget_bytes?);
            let told = || format!("{}: {size} bytes with brotli, budget {budget}", build.name);
            (size > budget).then(told)
        })
        .collect();
    if too_large.is_empty() {
        Ok(())
    } else {
        bail!("over budget: {}", too_large.join("; "))
    }
}

/// Prints the sizes as a table.
pub(crate) fn print_sizes(built: &[BuiltWasm]) {
    eprintln!(
        "{:<18}{:>12}{:>12}{:>12}{:>12}",
        "build", "wasm", "brotli", "glue br", "budget"
    );
    for build in built {
        let budget = build.budget_bytes.map(|bytes| bytes.to_string());
        eprintln!(
            "{:<18}{:>12}{:>12}{:>12}{:>12}",
            build.name,
            build.wasm_bytes,
            build.wasm_brotli_bytes,
            build.glue_brotli_bytes,
            budget.as_deref().unwrap_or("none")
        );
    }
}

/// What cargo made, on its way to `dist/`.
struct Compiled {
    wasm: PathBuf,
    inputs: String,
    started: Instant,
}

/// `None` if `dist/` already holds what would come out.
fn compile_if_changed(toolchain: &WasmToolchain, build: &WasmBuild) -> Result<Option<Compiled>> {
    let inputs = fingerprint(toolchain, build)?;
    if std::fs::read_to_string(stamp(build)).is_ok_and(|found| found == inputs) {
        eprintln!("wasm {}: unchanged", build.name);
        return Ok(None);
    }
    let started = Instant::now();
    eprintln!("wasm {}: compiling {} and std", build.name, build.package);
    let wasm = compile(toolchain, build)?;
    Ok(Some(Compiled {
        wasm,
        inputs,
        started,
    }))
}

fn finish(build: &WasmBuild, compiled: Option<Compiled>) -> Result<BuiltWasm> {
    if let Some(Compiled {
        wasm,
        inputs,
        started,
    }) = compiled
    {
        let what = || format!("wasm build `{}`", build.name);
        pack(build, &wasm, &out_dir(build)).with_context(what)?;
        std::fs::write(stamp(build), inputs).with_context(what)?;
        eprintln!(
            "wasm {}: built in {:.0} s",
            build.name,
            started.elapsed().as_secs_f32()
        );
    }
    measure(build)
}

fn out_dir(build: &WasmBuild) -> PathBuf {
    project::dist_dir().join("wasm").join(&build.name)
}

/// Written last, so that an interrupted build is not taken for a finished one.
fn stamp(build: &WasmBuild) -> PathBuf {
    out_dir(build).join(".inputs")
}

/// Everything that decides what comes out: sources, dependencies, flags, tools.
fn fingerprint(toolchain: &WasmToolchain, build: &WasmBuild) -> Result<String> {
    let root = project::absolute_root();
    let mut inputs = match &build.example {
        Some(example) => crates::sources_of_example(&build.package, example)?,
        None => crates::sources(&build.package)?,
    };
    inputs.extend([root.join("Cargo.toml"), root.join("Cargo.lock")]);
    let parts = [
        hash::files(&inputs)?,
        toml::to_string(build)?,
        toolchain.rustc_version.clone(),
        toolchain.clang.fingerprint(),
        npm_version("binaryen")?,
        // A change to this recipe is a change of the result.
        hash::sha256(include_bytes!("wasm.rs")),
    ];
    Ok(hash::sha256(parts.join("\n").as_bytes()))
}

fn npm_version(package: &str) -> Result<String> {
    let path = project::absolute_root()
        .join("node_modules")
        .join(package)
        .join("package.json");
    let text = std::fs::read(&path).with_context(|| format!("npm package {package} is missing"))?;
    let manifest: serde_json::Value = serde_json::from_slice(&text)?;
    Ok(manifest["version"].to_string())
}

/// wasm-bindgen, wasm-opt, brotli.
fn pack(build: &WasmBuild, compiled: &Path, dir: &Path) -> Result<()> {
    let stage = own_dir(build).join("bindgen");
    fresh_dir(&stage)?;
    bind(compiled, &stage)?;
    fresh_dir(dir)?;
    for path in hash::tree(&stage)? {
        let name = path.file_name().context("a file without a name")?;
        let target = dir.join(path.strip_prefix(&stage)?);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        if name.to_string_lossy().ends_with(".wasm") {
            optimise(build, &path, &target)?;
        } else {
            std::fs::copy(&path, &target)?;
        }
        compress::write_beside(&target)?;
    }
    Ok(())
}

/// Where this build keeps what no other one may touch.
fn own_dir(build: &WasmBuild) -> PathBuf {
    project::target_dir().join("wasm").join(&build.name)
}

fn compile(toolchain: &WasmToolchain, build: &WasmBuild) -> Result<PathBuf> {
    let target_dir = project::target_dir().join("wasm").join(build.folder());
    let mut cargo = toolchain.cargo(&build.target_features);
    cargo.args(["build", "-p", &build.package, "--profile", &build.profile]);
    match &build.example {
        Some(example) => cargo.args(["--example", example]),
        None => cargo.arg("--lib"),
    };
    if !build.features.is_empty() {
        cargo.args(["--features", &build.features.join(",")]);
    }
    cargo.args(["--target", TARGET, "-Zbuild-std=std,panic_abort"]);
    cargo.arg("--target-dir").arg(&target_dir);
    cargo.env(
        "CARGO_ENCODED_RUSTFLAGS",
        build.rustflags(toolchain.linker).join("\u{1f}"),
    );
    process::run(&mut cargo)?;
    let profile_dir = if build.profile == "dev" {
        "debug"
    } else {
        &build.profile
    };
    let mut made = target_dir.join(TARGET).join(profile_dir);
    if build.example.is_some() {
        made.push("examples");
    }
    let file = format!("{}.wasm", build.stem());
    // The next build may compile in the same folder while this one is being packed.
    let own = own_dir(build).join(&file);
    std::fs::create_dir_all(own_dir(build))?;
    std::fs::copy(made.join(&file), &own).with_context(|| format!("cargo made no {file}"))?;
    Ok(own)
}

fn bind(compiled: &Path, out: &Path) -> Result<()> {
    let mut bindgen = wasm_bindgen_cli_support::Bindgen::new();
    bindgen
        .input_path(compiled)
        .web(true)?
        .typescript(false)
        .remove_producers_section(true);
    bindgen.generate(out).context("wasm-bindgen")
}

fn optimise(build: &WasmBuild, from: &Path, to: &Path) -> Result<()> {
    let mut wasm_opt = process::command("node");
    wasm_opt.arg(project::absolute_root().join("node_modules/binaryen/bin/wasm-opt"));
    wasm_opt
        .args(&build.wasm_opt)
        .args(binaryen_features(build));
    wasm_opt.arg(from).arg("-o").arg(to);
    process::run(&mut wasm_opt)
}

/// What rustc calls a feature, and LLVM switches on unasked, in binaryen's words.
fn binaryen_features(build: &WasmBuild) -> Vec<String> {
    // On by default in rustc's wasm32-unknown-unknown.
    let default = [
        "bulk-memory",
        "bulk-memory-opt",
        "call-indirect-overlong",
        "multivalue",
    ];
    let more = [
        "mutable-globals",
        "nontrapping-float-to-int",
        "reference-types",
        "sign-ext",
    ];
    let asked = build
        .target_features
        .iter()
        .map(|feature| match feature.as_str() {
            "simd128" => "simd",
            "atomics" => "threads",
            same => same,
        });
    default
        .into_iter()
        .chain(more)
        .chain(asked)
        .map(|name| format!("--enable-{name}"))
        .collect()
}

fn measure(build: &WasmBuild) -> Result<BuiltWasm> {
    let dir = out_dir(build);
    let wasm = dir.join(format!("{}_bg.wasm", build.stem()));
    Ok(BuiltWasm {
        name: build.name.clone(),
        wasm_bytes: file_bytes(&wasm)?,
        wasm_brotli_bytes: file_bytes(&compress::path_beside(&wasm))?,
        glue_brotli_bytes: brotli_bytes_of_scripts(&dir)?,
        budget_bytes: build.budget_bytes,
        dir,
    })
}

fn brotli_bytes_of_scripts(dir: &Path) -> Result<u64> {
    hash::tree(dir)?
        .iter()
        .filter(|path| path.to_string_lossy().ends_with(".js.br"))
        .map(|path| file_bytes(path))
        .sum()
}

fn file_bytes(path: &Path) -> Result<u64> {
    let metadata =
        std::fs::metadata(path).with_context(|| format!("{} is missing", path.display()))?;
    Ok(metadata.len())
}

fn fresh_dir(dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}
