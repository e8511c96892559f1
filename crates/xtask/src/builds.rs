//! `wasm-pack.toml`: which wasm builds there are and how each is made. Parsed
//! once, into values that the build needs no further checks on.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::project;

/// A wasm32 page; memories are sized in whole ones.
const PAGE_BYTES: u64 = 65_536;
/// What 32-bit addresses reach.
const MAX_MEMORY_BYTES: u64 = 4 << 30;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct WasmBuilds {
    /// Brotli bytes that the first page load may cost without the model.
    pub(crate) first_load_budget_bytes: u64,
    #[serde(rename = "build")]
    pub(crate) builds: Vec<WasmBuild>,
}

/// One `[[build]]`.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct WasmBuild {
    /// The folder's name under `dist/wasm/`, and the name hosts choose it by.
    pub(crate) name: String,
    /// The cargo package, a `cdylib`.
    #[serde(rename = "crate")]
    pub(crate) package: String,
    /// The package's example to build in place of its library.
    #[serde(default)]
    pub(crate) example: Option<String>,
    /// Cargo features beyond the default ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) features: Vec<String>,
    /// The build of the same flags whose std and dependencies this one uses too.
    #[serde(default)]
    pub(crate) beside: Option<String>,
    /// The cargo profile.
    #[serde(default = "default_profile")]
    pub(crate) profile: String,
    /// rustc's names of the wasm features beyond the default ones.
    pub(crate) target_features: Vec<String>,
    /// Present when the memory is shared between threads.
    #[serde(default)]
    pub(crate) shared_memory: Option<SharedMemory>,
    /// What wasm-opt is called with.
    pub(crate) wasm_opt: Vec<String>,
    /// Upper bound of the wasm file after brotli; none for what nobody downloads.
    #[serde(default)]
    pub(crate) budget_bytes: Option<u64>,
    /// Part of the site, or built for the benchmark or the tests alone.
    #[serde(default, rename = "only")]
    pub(crate) purpose: Purpose,
}

/// The size of a memory that is imported rather than owned.
#[derive(Debug, Clone, Copy, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct SharedMemory {
    /// The most it may ever grow to. Phones refuse large maxima.
    pub(crate) max_bytes: u64,
}

/// What a build is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Purpose {
    /// Shipped with the site.
    #[default]
    Site,
    /// A yardstick of `cargo xtask bench`.
    Bench,
    /// Driven by the browser tests of `cargo xtask test`.
    Test,
}

fn default_profile() -> String {
    "wasm".to_owned()
}

impl WasmBuilds {
    /// The file of this checkout.
    ///
    /// # Errors
    /// It is missing or breaks a rule of [`WasmBuilds::parse`].
    pub(crate) fn load() -> Result<Self> {
        let path = project::absolute_root().join("wasm-pack.toml");
        let text = std::fs::read_to_string(&path).context("cannot read wasm-pack.toml")?;
        Self::parse(&text).context("wasm-pack.toml is wrong")
    }

    /// # Errors
    /// Unknown keys, a name used twice or unfit for a folder, a memory that is not
    /// whole pages or beyond 32 bits, shared memory without atomics, a part of the
    /// site without a budget, a build beside one of other flags.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let parsed: Self = toml::from_str(text)?;
        let mut names = BTreeSet::new();
        for build in &parsed.builds {
            build
                .validate()
                .with_context(|| format!("build `{}`", build.name))?;
            if !names.insert(&build.name) {
                bail!("build `{}` is there twice", build.name);
            }
        }
        for build in &parsed.builds {
            parsed
                .validate_neighbour(build)
                .with_context(|| format!("build `{}`", build.name))?;
        }
        Ok(parsed)
    }

    fn validate_neighbour(&self, build: &WasmBuild) -> Result<()> {
        let Some(name) = &build.beside else {
            return Ok(());
        };
        let named = self.builds.iter().find(|other| other.name == *name);
        let neighbour = named.with_context(|| format!("beside: there is no build `{name}`"))?;
        if neighbour.beside.is_some() {
            bail!("beside: `{name}` has no folder of its own");
        }
        // Cargo would compile everything again each time the flags change.
        if neighbour.profile != build.profile || neighbour.rustflags(None) != build.rustflags(None)
        {
            bail!("beside: `{name}` has other flags");
        }
        Ok(())
    }

    /// The builds made for `purpose`, in the file's order.
    pub(crate) fn for_purpose(&self, purpose: Purpose) -> impl Iterator<Item = &WasmBuild> {
        self.builds
            .iter()
            .filter(move |build| build.purpose == purpose)
    }

    /// What the build of this name is for; the site, if there is none.
    pub(crate) fn purpose_of(&self, name: &str) -> Purpose {
        let named = self.builds.iter().find(|build| build.name == name);
        named.map(|build| build.purpose).unwrap_or_default()
    }
}

impl WasmBuild {
    fn validate(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            bail!("a name is made of a-z, 0-9 and -");
        }
        match self.budget_bytes {
            Some(0) => bail!("budget-bytes is 0"),
            None if self.purpose == Purpose::Site => bail!("a part of the site needs budget-bytes"),
            _ => {}
        }
        let atomics = self
            .target_features
            .iter()
            .any(|feature| feature == "atomics");
        match self.shared_memory {
            Some(_) if !atomics => bail!("shared memory needs the target feature `atomics`"),
            None if atomics => bail!("the target feature `atomics` needs [build.shared-memory]"),
            Some(memory) => memory.validate(),
            None => Ok(()),
        }
    }

    /// The folder under `target/wasm/` that cargo compiles in.
    pub(crate) fn folder(&self) -> &str {
        self.beside.as_deref().unwrap_or(&self.name)
    }

    /// What the files that come out are called, as cargo spells it.
    pub(crate) fn stem(&self) -> String {
        let name = self.example.as_deref().unwrap_or(&self.package);
        name.replace('-', "_")
    }

    /// `RUSTFLAGS`, one argument an element.
    pub(crate) fn rustflags(&self, linker: Option<&str>) -> Vec<String> {
        let features: Vec<_> = self
            .target_features
            .iter()
            .map(|name| format!("+{name}"))
            .collect();
        let mut flags = vec![
            format!("-Ctarget-feature={}", features.join(",")),
            "--cfg=getrandom_backend=\"wasm_js\"".to_owned(),
        ];
        if let Some(linker) = linker {
            flags.push(format!("-Clinker={linker}"));
        }
        if let Some(memory) = self.shared_memory {
            flags.extend(
                memory
                    .link_args()
                    .into_iter()
                    .map(|arg| format!("-Clink-arg={arg}")),
            );
        }
        flags
    }
}

impl SharedMemory {
    fn validate(self) -> Result<()> {
        if self.max_bytes == 0 || !self.max_bytes.is_multiple_of(PAGE_BYTES) {
            bail!(
                "max-bytes {} is not a positive multiple of {PAGE_BYTES}",
                self.max_bytes
            );
        }
        if self.max_bytes > MAX_MEMORY_BYTES {
            bail!("max-bytes {} is more than 32 bits address", self.max_bytes);
        }
        Ok(())
    }

    /// The symbols are what wasm-bindgen needs to give every thread its own stack
    /// and thread-locals.
    fn link_args(self) -> Vec<String> {
        let mut args = vec!["--shared-memory".to_owned(), "--import-memory".to_owned()];
        args.push(format!("--max-memory={}", self.max_bytes));
        let exports = [
            "__heap_base",
            "__wasm_init_tls",
            "__tls_size",
            "__tls_align",
            "__tls_base",
        ];
        args.extend(exports.iter().map(|symbol| format!("--export={symbol}")));
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIMD: &str = r#"
        first-load-budget-bytes = 3_000_000
        [[build]]
        name = "simd"
        crate = "nox-worker"
        target-features = ["simd128"]
        wasm-opt = ["-O2"]
        budget-bytes = 2_000_000
    "#;

    fn with(more: &str) -> Result<WasmBuilds> {
        WasmBuilds::parse(&format!("{SIMD}\n{more}"))
    }

    #[test]
    fn reads_the_file_of_this_checkout() {
        let builds = WasmBuilds::load().expect("wasm-pack.toml parses");
        let names = |purpose| {
            let builds = builds.for_purpose(purpose);
            builds.map(|build| build.name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(names(Purpose::Site), ["simd", "relaxed", "threads"]);
        let for_tests = ["conformance-simd", "conformance-threads", "client-page"];
        assert_eq!(names(Purpose::Test), for_tests);
    }

    #[test]
    fn defaults_to_the_wasm_profile_and_the_site() {
        let builds = with("").expect("parses");
        assert_eq!(builds.builds[0].profile, "wasm");
        assert_eq!(builds.builds[0].purpose, Purpose::Site);
        assert!(builds.builds[0].shared_memory.is_none());
    }

    #[test]
    fn refuses_what_it_does_not_know_or_cannot_build() {
        let cases = [
            ("colour = 1", "unknown field"),
            (
                "shared-memory = { max-bytes = 65536 }",
                "needs the target feature `atomics`",
            ),
            (
                "[[build]]\nname = \"simd\"\ncrate = \"x\"\ntarget-features = []\nwasm-opt = []\nbudget-bytes = 1",
                "twice",
            ),
            (
                "[[build]]\nname = \"../x\"\ncrate = \"x\"\ntarget-features = []\nwasm-opt = []\nbudget-bytes = 1",
                "a name is made of",
            ),
            (
                "[[build]]\nname = \"t\"\ncrate = \"x\"\ntarget-features = [\"atomics\"]\nwasm-opt = []\nbudget-bytes = 1",
                "needs [build.shared-memory]",
            ),
            (
                "[[build]]\nname = \"t\"\ncrate = \"x\"\ntarget-features = [\"atomics\"]\nwasm-opt = []\nbudget-bytes = 1\nshared-memory = { max-bytes = 65537 }",
                "multiple",
            ),
            (
                "[[build]]\nname = \"t\"\ncrate = \"x\"\ntarget-features = [\"atomics\"]\nwasm-opt = []\nbudget-bytes = 1\nshared-memory = { max-bytes = 8589934592 }",
                "32 bits",
            ),
            (
                "[[build]]\nname = \"t\"\ncrate = \"x\"\ntarget-features = []\nwasm-opt = []\nbudget-bytes = 0",
                "budget-bytes is 0",
            ),
            (
                "[[build]]\nname = \"t\"\ncrate = \"x\"\ntarget-features = []\nwasm-opt = []",
                "needs budget-bytes",
            ),
            (
                "[[build]]\nname = \"t\"\ncrate = \"x\"\nonly = \"test\"\nbeside = \"absent\"\ntarget-features = []\nwasm-opt = []",
                "no build `absent`",
            ),
            (
                "[[build]]\nname = \"t\"\ncrate = \"x\"\nonly = \"test\"\nbeside = \"simd\"\ntarget-features = []\nwasm-opt = []",
                "`simd` has other flags",
            ),
            (
                "[[build]]\nname = \"t\"\ncrate = \"x\"\nonly = \"test\"\nbeside = \"t\"\ntarget-features = []\nwasm-opt = []",
                "`t` has no folder of its own",
            ),
        ];
        for (more, expected) in cases {
            let error = with(more).expect_err(more);
            assert!(format!("{error:#}").contains(expected), "{more}: {error:#}");
        }
    }

    #[test]
    fn a_build_beside_another_compiles_in_its_folder() {
        let more = "[[build]]\nname = \"a-page\"\ncrate = \"x\"\nexample = \"my-page\"\nonly = \"test\"\nbeside = \"simd\"\ntarget-features = [\"simd128\"]\nwasm-opt = []";
        let builds = with(more).expect("parses").builds;
        let told = |build: &WasmBuild| (build.folder().to_owned(), build.stem());
        let told: Vec<_> = builds.iter().map(told).collect();
        let expected = ["nox_worker", "my_page"].map(|stem| ("simd".to_owned(), stem.to_owned()));
        assert_eq!(told, expected);
    }

    #[test]
    fn only_the_threaded_build_imports_its_memory() {
        let more = "[[build]]\nname = \"t\"\ncrate = \"x\"\ntarget-features = [\"atomics\", \"simd128\"]\nwasm-opt = []\nbudget-bytes = 1\nshared-memory = { max-bytes = 1073741824 }";
        let builds = with(more).expect("parses");
        let plain = builds.builds[0].rustflags(Some("wasm-ld-19"));
        assert!(plain.contains(&"-Clinker=wasm-ld-19".to_owned()));
        assert!(!plain.iter().any(|flag| flag.contains("memory")));
        let threads = builds.builds[1].rustflags(None);
        assert_eq!(threads[0], "-Ctarget-feature=+atomics,+simd128");
        assert!(threads.contains(&"-Clink-arg=--max-memory=1073741824".to_owned()));
        assert!(threads.contains(&"-Clink-arg=--export=__tls_base".to_owned()));
    }
}
