//! The workspace's own crates and how they hang together, as cargo tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{hash, process, project};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `null`, `"dev"` or `"build"`.
    kind: Option<String>,
    /// Only dependencies inside the workspace have one.
    path: Option<PathBuf>,
}

/// Every file that goes into building `package`, dependencies inside the workspace
/// included. Tests and examples are left out.
///
/// # Errors
/// The workspace does not parse, or has no such package.
pub(crate) fn sources(package: &str) -> Result<Vec<PathBuf>> {
    sources_in(&workspace()?, package)
}

/// Every file that goes into building one of `package`'s examples, a single file in
/// `examples/`.
///
/// # Errors
/// As [`sources`].
pub(crate) fn sources_of_example(package: &str, example: &str) -> Result<Vec<PathBuf>> {
    let packages = workspace()?;
    let mut files = sources_in(&packages, package)?;
    let folder = folder_of(&packages[package])?;
    files.push(folder.join("examples").join(format!("{example}.rs")));
    Ok(files)
}

fn sources_in(packages: &BTreeMap<String, Package>, package: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for name in closure(packages, package)? {
        let folder = folder_of(&packages[&name])?;
        files.extend(
            hash::tree(folder)?
                .into_iter()
                .filter(|path| is_source(folder, path)),
        );
    }
    Ok(files)
}

fn folder_of(package: &Package) -> Result<&Path> {
    let manifest = &package.manifest_path;
    manifest.parent().context("a manifest without a folder")
}

fn workspace() -> Result<BTreeMap<String, Package>> {
    let mut cargo = process::cargo();
    cargo.args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    cargo
        .arg("--manifest-path")
        .arg(project::absolute_root().join("Cargo.toml"));
    let metadata: Metadata = serde_json::from_str(&process::read(&mut cargo)?)?;
    Ok(metadata
        .packages
        .into_iter()
        .map(|package| (package.name.clone(), package))
        .collect())
}

fn closure(packages: &BTreeMap<String, Package>, package: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut open = vec![package.to_owned()];
    while let Some(name) = open.pop() {
        let package = packages
            .get(&name)
            .with_context(|| format!("no crate `{name}`"))?;
        if found.insert(name) {
            let inside = package
                .dependencies
                .iter()
                .filter(|dependency| dependency.path.is_some())
                .filter(|dependency| dependency.kind.as_deref() != Some("dev"));
            open.extend(inside.map(|dependency| dependency.name.clone()));
        }
    }
    Ok(found)
}

fn is_source(folder: &Path, path: &Path) -> bool {
    let inside = path.strip_prefix(folder).unwrap_or(path);
    let first = inside
        .components()
        .next()
        .map(|part| part.as_os_str().to_string_lossy());
    !matches!(
        first.as_deref(),
        Some("tests" | "benches" | "examples" | "target")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_follow_dependencies_inside_the_workspace() {
        let files = sources("nox-worker").unwrap();
        let has = |end: &str| files.iter().any(|path| path.ends_with(end));
        assert!(has("crates/worker/src/lib.rs"));
        assert!(has("crates/engine/Cargo.toml"), "a dependency's dependency");
        assert!(!has("crates/xtask/src/main.rs"));
    }

    #[test]
    fn an_example_is_a_source_of_its_own_build_alone() {
        let is_example = |path: &PathBuf| path.ends_with("crates/client/examples/page.rs");
        assert!(!sources("nox-client").unwrap().iter().any(is_example));
        let files = sources_of_example("nox-client", "page").unwrap();
        assert!(files.iter().any(is_example));
        assert!(
            files
                .iter()
                .any(|path| path.ends_with("crates/client/src/client.rs"))
        );
    }

    #[test]
    fn an_unknown_crate_is_an_error() {
        let error = sources("nox-nothing").unwrap_err();
        assert!(error.to_string().contains("nox-nothing"));
    }
}
