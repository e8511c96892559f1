//! `docs/compatibility.md` and the tests that it names stay in step.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/compatibility.md")).expect("the page")
}

/// Tests as the page names them: a file in `crates/` and a function in it.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter_map(|name| name.split_once(".rs::")).collect()
}

#[test]
fn every_test_that_is_named_is_there() {
    let page = page();
    let named = named_tests(&page);
    assert!(named.len() > 50, "the page names {} tests", named.len());
    let mut missing = BTreeSet::new();
    for (file, test) in named {
        let path = root().join("crates").join(format!("{file}.rs"));
        let source = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        let is_there = lines
            .windows(2)
            .any(|pair| pair[0] == "#[test]" && pair[1] == format!("fn {test}() {{"));
        if !is_there {
            missing.insert(format!("{file}.rs::{test}"));
        }
    }
    assert!(missing.is_empty(), "not there: {missing:?}");
}

#[test]
fn every_row_about_a_defect_names_a_test() {
    let page = page();
    let mut is_defects = false;
    let mut n_rows = 0;
    for line in page.lines() {
        if !line.starts_with('|') {
            is_defects = false;
        } else if line.ends_with("| pinned by |") {
            is_defects = true;
        } else if is_defects && !line.starts_with("|---") {
            n_rows += 1;
            assert!(!named_tests(line).is_empty(), "no test: {line}");
        }
    }
    assert!(n_rows > 40, "only {n_rows} rows");
}

/// A file of recordings that the page passes over would be a gap.
#[test]
fn every_area_has_a_section() {
    let page = page();
    for section in [
        "Redaction",
        "Replies",
        "Streaming",
        "Personas",
        "Titles and ids",
        "Slash commands",
        "handle_chat",
        "Sessions",
    ] {
        assert!(page.contains(&format!("\n## {section}\n")), "{section}");
    }
}
