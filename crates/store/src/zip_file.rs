//! A tree in a zip archive.

use std::io::{Cursor, Read, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::timestamp::Civil;
use crate::{Problem, ProblemKind, TreeFile, limits, safe_path};

/// Room that an unpacked archive has at least, however small the archive is.
const MIN_UNPACKED_BYTES: u64 = 16 << 20;

/// Why an archive could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ZipError {
    /// The file is no zip archive, or a damaged one.
    #[error("the archive cannot be read: {0}")]
    Archive(#[from] zip::result::ZipError),
    /// It holds more files than an import takes.
    #[error("the archive holds {got} files; at most {max} are read")]
    TooMany {
        /// How many it holds.
        got: usize,
        /// The cap.
        max: usize,
    },
    /// It unpacks to more than an import takes, or to far more than it is itself.
    #[error("the archive unpacks to more than {max_bytes} bytes")]
    TooLarge {
        /// The cap.
        max_bytes: u64,
    },
    /// Writing failed.
    #[error("the archive cannot be written: {0}")]
    Write(#[from] std::io::Error),
}

/// Unpacks an archive in memory. A file in it that cannot be taken is a problem of
/// its own; an archive that unpacks to too much is refused as a whole.
///
/// # Errors
/// [`ZipError`].
pub fn read_zip(bytes: &[u8]) -> Result<(Vec<TreeFile>, Vec<Problem>), ZipError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))?;
    if archive.len() > limits::TREE_FILES {
        return Err(ZipError::TooMany {
            got: archive.len(),
            max: limits::TREE_FILES,
        });
    }
    let max_bytes = (bytes.len() as u64)
        .saturating_mul(limits::ZIP_RATIO)
        .clamp(MIN_UNPACKED_BYTES, limits::TREE_BYTES);
    let mut left = max_bytes;
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    for at in 0..archive.len() {
        // What the archive says of a size is not believed: it is counted.
        let mut entry = match archive.by_index(at) {
            Ok(entry) => entry,
            Err(error) => {
                problems.push(Problem {
                    path: format!("entry {at}"),
                    kind: ProblemKind::Unknown,
                    detail: error.to_string(),
                });
                continue;
            }
        };
        // The flag that says how a name is encoded is often wrong: it is UTF-8 here.
        let raw = entry.name_raw().to_vec();
        let name: String = String::from_utf8_lossy(&raw)
            .chars()
            .take(limits::TREE_PATH_BYTES)
            .collect();
        let mut problem = |kind, detail: &str| {
            problems.push(Problem {
                path: name.clone(),
                kind,
                detail: detail.to_owned(),
            });
        };
        if entry.is_dir() {
            continue;
        }
        if entry.is_symlink() {
            problem(ProblemKind::Path, "links are not followed");
            continue;
        }
        let Ok(path) = std::str::from_utf8(&raw) else {
            problem(ProblemKind::Encoding, "the name is no UTF-8");
            continue;
        };
        let Some(path) = safe_path(path) else {
            problem(ProblemKind::Path, "the path leads out of the tree");
            continue;
        };
        let cap = left.min(limits::TREE_FILE_BYTES as u64);
        let mut unpacked = Vec::new();
        let read = (&mut entry).take(cap + 1).read_to_end(&mut unpacked);
        if unpacked.len() as u64 > cap {
            if cap == left {
                return Err(ZipError::TooLarge { max_bytes });
            }
            left -= cap;
            problem(
                ProblemKind::TooLarge,
                "the file is over the size of an import",
            );
            continue;
        }
        left -= unpacked.len() as u64;
        if let Err(error) = read {
            problem(
                ProblemKind::Syntax,
                &format!("the file cannot be unpacked: {error}"),
            );
            continue;
        }
        files.push(TreeFile {
            path,
            bytes: unpacked,
            modified_ms: entry.last_modified().and_then(|time| {
                Civil {
                    year: i64::from(time.year()),
                    month: i64::from(time.month()),
                    day: i64::from(time.day()),
                    hour: i64::from(time.hour()),
                    minute: i64::from(time.minute()),
                    second: i64::from(time.second()),
                }
                .to_ms()
            }),
        });
    }
    Ok((files, problems))
}

/// Packs a tree. The same tree gives the same archive.
///
/// # Errors
/// [`ZipError`].
pub fn write_zip(files: &[TreeFile]) -> Result<Vec<u8>, ZipError> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for file in files {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(file.modified_ms.and_then(zip_time).unwrap_or_default());
        writer.start_file(file.path.as_str(), options)?;
        writer.write_all(&file.bytes)?;
    }
    Ok(writer.finish()?.into_inner())
}

/// A moment as an archive notes it: from 1980 on, every other second.
fn zip_time(at_ms: i64) -> Option<zip::DateTime> {
    let civil = Civil::from_ms(at_ms);
    let small = |n: i64| u8::try_from(n).ok();
    zip::DateTime::from_date_and_time(
        u16::try_from(civil.year).ok()?,
        small(civil.month)?,
        small(civil.day)?,
        small(civil.hour)?,
        small(civil.minute)?,
        small(civil.second)?,
    )
    .ok()
}
