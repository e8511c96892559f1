//! `docs/architecture.md` and the crates stay in step.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn has_a_section_for_every_crate_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let crates: BTreeSet<String> = std::fs::read_dir(root.join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|folder| folder.join("Cargo.toml").is_file())
        .map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let page = std::fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let sections: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### crates/"))
        .map(str::to_owned)
        .collect();
    assert_eq!(sections, crates);
}
