//! `cargo xtask site`: puts the page, the worker, the wasm builds and the built-in
//! model together in `dist/site/`, compresses them, and holds the first page load
//! to its budget.
//!
//! Files that have not changed are not touched, so that the server's entity tags
//! stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::builds::{Purpose, WasmBuilds};
use crate::setup::WasmToolchain;
use crate::wasm::{self, BuiltWasm};
use crate::{compress, hash, process, project};

const BUILTIN_MODEL: &str = "models/builtin/nox-builtin.gguf";
const PRECACHE: &str = "precache.json";

/// An npm package with a `build` script.
struct Package {
    name: &'static str,
    /// What of it belongs into the site.
    published: &'static str,
    /// Where that goes in the site.
    place: &'static str,
}

/// In the order they need each other.
const PACKAGES: [Package; 2] = [
    Package {
        name: "worker",
        published: "worker/dist/runtime",
        place: "runtime",
    },
    Package {
        name: "www",
        published: "www/dist",
        place: "",
    },
];

/// What the service worker may keep.
#[derive(Debug, Serialize)]
struct Precache {
    /// Changes whenever any file does.
    version: String,
    files: BTreeMap<String, PrecachedFile>,
}

#[derive(Debug, Serialize)]
struct PrecachedFile {
    sha256: String,
    size_bytes: u64,
}

/// Builds everything and lays it out.
///
/// # Errors
/// A build fails or a size budget is exceeded.
pub(crate) fn build(toolchain: &WasmToolchain) -> Result<PathBuf> {
    let built = wasm::build(toolchain, Purpose::Site, None)?;
    for package in &PACKAGES {
        build_package(package.name)?;
    }
    let site = project::site_dir();
    lay_out(&site, &planned_files(&built)?)?;
    wasm::print_sizes(&built);
    wasm::check_budgets(&built)?;
    check_first_load(&site, &built)?;
    Ok(site)
}

/// Runs a package's `build` script, unless its sources are those of the last time.
fn build_package(package: &str) -> Result<()> {
    let folder = project::absolute_root().join(package);
    let stamp = folder.join("dist/.inputs");
    let inputs = package_fingerprint(package)?;
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == inputs) {
        eprintln!("npm {package}: unchanged");
        return Ok(());
    }
    eprintln!("npm {package}: building");
    process::run(process::command("npm").args(["run", "--silent", "build", "-w", package]))?;
    std::fs::write(&stamp, inputs).with_context(|| format!("{package} built no dist folder"))
}

fn package_fingerprint(package: &str) -> Result<String> {
    let root = project::absolute_root();
    let mut files = vec![root.join("package-lock.json")];
    // The page is bundled from the worker package's sources, never the other way round.
    let folders = PACKAGES.iter().map(|package| package.name);
    for folder in folders.take_while(|name| *name != package).chain([package]) {
        let tree = hash::tree_without(&root.join(folder), &["dist", "node_modules"])?;
        files.extend(tree.into_iter().filter(|path| is_package_input(path)));
    }
    hash::files(&files)
}

fn is_package_input(path: &Path) -> bool {
    !path.to_string_lossy().ends_with(".tsbuildinfo")
}

/// Site path → file it is copied from.
fn planned_files(built: &[BuiltWasm]) -> Result<BTreeMap<PathBuf, PathBuf>> {
    let root = project::absolute_root();
    let mut plan = BTreeMap::new();
    for package in &PACKAGES {
        add_tree(
            &mut plan,
            &root.join(package.published),
            Path::new(package.place),
        )?;
    }
    for build in built {
        add_tree(
            &mut plan,
            &build.dir,
            &Path::new("runtime").join(&build.name),
        )?;
    }
    let model = root.join(BUILTIN_MODEL);
    if !model.is_file() {
        bail!("{BUILTIN_MODEL} is missing; `cargo xtask train` makes it");
    }
    plan.insert(PathBuf::from("models/nox-builtin.gguf"), model);
    Ok(plan)
}

fn add_tree(plan: &mut BTreeMap<PathBuf, PathBuf>, from: &Path, place: &Path) -> Result<()> {
    for file in hash::tree(from)? {
        let inside = file.strip_prefix(from)?;
        if is_published(inside) {
            plan.insert(place.join(inside), file);
        }
    }
    Ok(())
}

/// Stamps, type declarations and incremental-build notes stay behind.
fn is_published(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let left_behind = [".d.ts", ".d.ts.map", ".tsbuildinfo"];
    !name.starts_with('.') && !left_behind.iter().any(|end| name.ends_with(end))
}

fn lay_out(site: &Path, plan: &BTreeMap<PathBuf, PathBuf>) -> Result<()> {
    for (place, source) in plan {
        let target = site.join(place);
        let brought_along = plan.contains_key(&compress::path_beside(place));
        if copy_if_changed(source, &target)? && !brought_along {
            compress::write_beside(&target)?;
        }
    }
    remove_strays(site, plan)?;
    let manifest = serde_json::to_string_pretty(&precache(site, plan.keys())?)?;
    write_if_changed(&site.join(PRECACHE), manifest.as_bytes())?;
    Ok(())
}

fn remove_strays(site: &Path, plan: &BTreeMap<PathBuf, PathBuf>) -> Result<()> {
    let mut kept: BTreeSet<_> = plan.keys().map(|place| site.join(place)).collect();
    kept.extend(
        plan.keys()
            .map(|place| compress::path_beside(&site.join(place))),
    );
    kept.insert(site.join(PRECACHE));
    for stray in hash::tree(site)?
        .into_iter()
        .filter(|path| !kept.contains(path))
    {
        std::fs::remove_file(&stray)
            .with_context(|| format!("cannot remove {}", stray.display()))?;
    }
    Ok(())
}

fn precache<'a>(site: &Path, places: impl Iterator<Item = &'a PathBuf>) -> Result<Precache> {
    let mut files = BTreeMap::new();
    for place in places.filter(|place| !place.to_string_lossy().ends_with(".br")) {
        let bytes = std::fs::read(site.join(place))?;
        let entry = PrecachedFile {
            sha256: hash::sha256(&bytes),
            size_bytes: bytes.len() as u64,
        };
        files.insert(url_path(place), entry);
    }
    let version = hash::sha256(serde_json::to_string(&files)?.as_bytes());
    Ok(Precache { version, files })
}

fn url_path(place: &Path) -> String {
    let parts: Vec<_> = place.iter().map(|part| part.to_string_lossy()).collect();
    format!("/{}", parts.join("/"))
}

fn copy_if_changed(source: &Path, target: &Path) -> Result<bool> {
    let bytes =
        std::fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
    write_if_changed(target, &bytes)
}

fn write_if_changed(target: &Path, bytes: &[u8]) -> Result<bool> {
    if std::fs::read(target).is_ok_and(|found| found == bytes) {
        return Ok(false);
    }
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(target, bytes).with_context(|| format!("cannot write {}", target.display()))?;
    Ok(true)
}

/// What a first visit transfers: everything but the models, and of the wasm builds
/// only the largest, since a host takes one.
fn check_first_load(site: &Path, built: &[BuiltWasm]) -> Result<()> {
    let budget = WasmBuilds::load()?.first_load_budget_bytes;
    let wasm = built
        .iter()
        .map(BuiltWasm::transfer_bytes)
        .max()
        .unwrap_or(0);
    let page = page_bytes(site, built)?;
    let total = page + wasm;
    eprintln!(
        "first load without the model: page {page} + wasm {wasm} = {total} bytes of {budget}"
    );
    if total > budget {
        bail!(
            "the first page load is over its budget by {} bytes",
            total - budget
        );
    }
    Ok(())
}

fn page_bytes(site: &Path, built: &[BuiltWasm]) -> Result<u64> {
    let mut sum = 0;
    for path in hash::tree(site)? {
        let inside = path.strip_prefix(site)?;
        let of_a_build = built
            .iter()
            .any(|build| inside.starts_with(Path::new("runtime").join(&build.name)));
        let skipped = of_a_build || inside.starts_with("models") || is_never_fetched(&path);
        if !skipped {
            sum += std::fs::metadata(&path)?.len();
        }
    }
    Ok(sum)
}

/// Source maps, and the plain form of what is sent compressed.
fn is_never_fetched(path: &Path) -> bool {
    let name = path.to_string_lossy();
    name.ends_with(".map") || name.ends_with(".map.br") || compress::path_beside(path).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_and_declarations_are_not_published() {
        assert!(is_published(Path::new("assets/index.js")));
        assert!(is_published(Path::new("worker.js.map")));
        assert!(!is_published(Path::new(".inputs")));
        assert!(!is_published(Path::new("client.d.ts")));
        assert!(!is_published(Path::new("tsconfig.tsbuildinfo")));
    }

    #[test]
    fn precache_paths_are_urls() {
        assert_eq!(
            url_path(Path::new("runtime/simd/nox_worker.js")),
            "/runtime/simd/nox_worker.js"
        );
    }

    #[test]
    fn lay_out_compresses_new_files_and_drops_old_ones() {
        let dir = std::env::temp_dir().join(format!("noxics-site-{}", std::process::id()));
        let source = dir.join("page.html");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(&source, "<p>hello</p>").unwrap();
        let site = dir.join("site");
        let plan = |place: &str| BTreeMap::from([(PathBuf::from(place), source.clone())]);

        lay_out(&site, &plan("old.html")).unwrap();
        lay_out(&site, &plan("index.html")).unwrap();

        let found = hash::tree(&site).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|path| url_path(path.strip_prefix(&site).unwrap()))
            .collect();
        assert_eq!(names, ["/index.html", "/index.html.br", "/precache.json"]);
        let manifest = std::fs::read_to_string(site.join(PRECACHE)).unwrap();
        assert!(manifest.contains(&hash::sha256(b"<p>hello</p>")));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
