//! A tree in a folder of the operating system.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Problem, ProblemKind, TreeFile, limits, safe_path};

/// Why a folder could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The system does not let it be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The system does not let it be written.
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something is there already.
    #[error("{} is there already, and is left as it is; name a folder that is not", path.display())]
    Exists {
        /// The folder that was to be written.
        path: PathBuf,
    },
    /// A file of the tree has a path that leads out of it.
    #[error("the path {path:?} leads out of the folder")]
    Path {
        /// The path.
        path: String,
    },
    /// It holds more files than an import takes.
    #[error("the folder holds more than {max} files, which is what an import takes")]
    TooMany {
        /// The cap.
        max: usize,
    },
    /// It holds more bytes than an import takes.
    #[error("the folder holds more than {max_bytes} bytes, which is what an import takes")]
    TooLarge {
        /// The cap.
        max_bytes: u64,
    },
}

/// Reads a folder and all below it, in the order of the paths. A file that cannot be
/// taken is a problem of its own; links are not followed.
///
/// # Errors
/// [`FolderError`]. A file that the system keeps from being read is one, so that no
/// chat is left out unseen.
pub fn read_folder(root: &Path) -> Result<(Vec<TreeFile>, Vec<Problem>), FolderError> {
    let mut reading = Reading {
        files: Vec::new(),
        problems: Vec::new(),
        n_seen: 0,
        left_bytes: limits::TREE_BYTES,
    };
    // A path is capped, and so is the depth.
    let mut open = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = open.pop() {
        reading.folder(&folder, &prefix, &mut open)?;
    }
    reading.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((reading.files, reading.problems))
}

struct Reading {
    files: Vec<TreeFile>,
    problems: Vec<Problem>,
    n_seen: usize,
    left_bytes: u64,
}

impl Reading {
    fn folder(
        &mut self,
        folder: &Path,
        prefix: &str,
        open: &mut Vec<(PathBuf, String)>,
    ) -> Result<(), FolderError> {
        let failed = |source| FolderError::Read {
            path: folder.to_owned(),
            source,
        };
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            self.n_seen += 1;
            if self.n_seen > limits::TREE_FILES {
                return Err(FolderError::TooMany {
                    max: limits::TREE_FILES,
                });
            }
            let name = entry.file_name();
            let path = format!("{prefix}{}", name.to_string_lossy());
            if name.to_str().is_none() {
                self.problem(path, ProblemKind::Encoding, "the name is no UTF-8");
                continue;
            }
            if safe_path(&path).as_deref() != Some(path.as_str()) {
                self.problem(path, ProblemKind::Path, "the path is too long, or no name");
                continue;
            }
            // Of a link this tells the link.
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                open.push((entry.path(), format!("{path}/")));
            } else if kind.is_file() {
                self.file(&entry.path(), path)?;
            } else {
                self.problem(path, ProblemKind::Path, "links are not followed");
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &Path, path: String) -> Result<(), FolderError> {
        let failed = |source| FolderError::Read {
            path: from.to_owned(),
            source,
        };
        let file = File::open(from).map_err(failed)?;
        let modified = file.metadata().and_then(|facts| facts.modified()).ok();
        let cap = self.left_bytes.min(limits::TREE_FILE_BYTES as u64);
        // It may grow while it is read, so that it is counted and not believed.
        let mut bytes = Vec::new();
        file.take(cap + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > cap {
            if cap == self.left_bytes {
                return Err(FolderError::TooLarge {
                    max_bytes: limits::TREE_BYTES,
                });
            }
            let detail = "the file is over the size of an import";
            self.problem(path, ProblemKind::TooLarge, detail);
            return Ok(());
        }
        self.left_bytes -= bytes.len() as u64;
        self.files.push(TreeFile {
            path,
            bytes,
            modified_ms: modified.and_then(unix_ms),
        });
        Ok(())
    }

    fn problem(&mut self, path: String, kind: ProblemKind, detail: &str) {
        self.problems.push(Problem {
            path,
            kind,
            detail: detail.to_owned(),
        });
    }
}

/// Writes a tree into a new folder. It gets its name when all of it is there: a write
/// that is cut short leaves `<name>.part` behind, which the next one removes.
///
/// # Errors
/// [`FolderError`]; nothing of that name is there then that was not before.
pub fn write_folder(root: &Path, files: &[TreeFile]) -> Result<(), FolderError> {
    if root.symlink_metadata().is_ok() {
        return Err(FolderError::Exists {
            path: root.to_owned(),
        });
    }
    let mut part = root.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| FolderError::Write { path, source }
    };
    if part.symlink_metadata().is_ok() {
        fs::remove_dir_all(&part).map_err(failed(&part))?;
    }
    fs::create_dir_all(&part).map_err(failed(&part))?;
    for file in files {
        let Some(path) = safe_path(&file.path) else {
            return Err(FolderError::Path {
                path: file.path.clone(),
            });
        };
        let to = part.join(path);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(failed(folder))?;
        }
        write_file(&to, file).map_err(failed(&to))?;
    }
    fs::rename(&part, root).map_err(failed(root))
}

fn write_file(to: &Path, file: &TreeFile) -> io::Result<()> {
    let mut out = File::create_new(to)?;
    io::Write::write_all(&mut out, &file.bytes)?;
    if let Some(moment) = file.modified_ms.and_then(system_time) {
        out.set_modified(moment)?;
    }
    out.sync_all()
}

fn unix_ms(moment: SystemTime) -> Option<i64> {
    let since = moment.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

fn system_time(at_ms: i64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(at_ms).ok()?))
}
