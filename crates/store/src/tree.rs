//! A directory tree as a set of files: what stands between the database and a
//! folder or an archive.

use crate::limits;

/// One file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// Its path, relative to the tree's root, with `/` between the parts.
    pub path: String,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// When it was last written, where that is known.
    pub modified_ms: Option<i64>,
}

/// A path of an archive or a listing in the form that is used here, or `None` for
/// one that could lead out of a tree, or be another file on another system.
pub fn safe_path(path: &str) -> Option<String> {
    if path.len() > limits::TREE_PATH_BYTES || path.starts_with('/') {
        return None;
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            part if part
                .chars()
                .any(|c| c.is_control() || matches!(c, '\\' | ':')) =>
            {
                return None;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_tree_are_refused() {
        for (path, expected) in [
            ("sessions/a.jsonl", Some("sessions/a.jsonl")),
            ("./sessions//a.jsonl", Some("sessions/a.jsonl")),
            ("../a", None),
            ("a/../../b", None),
            ("/etc/passwd", None),
            ("C:/a", None),
            ("a\\..\\b", None),
            ("a\0b", None),
            ("", None),
            ("./", None),
        ] {
            assert_eq!(safe_path(path).as_deref(), expected, "{path:?}");
        }
        assert_eq!(safe_path(&"a/".repeat(600)), None);
    }
}
