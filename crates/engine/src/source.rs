//! Positioned reads: all that the engine asks of the place where a model lies.
//!
//! A source is a length and `read_at`. It knows nothing of GGUF, and it has no
//! cursor, so one source can serve the header's reader and the tensor loader in
//! turns. There is no `Send` or `Sync` bound: a browser's file handle has neither.

use std::borrow::Cow;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

/// A file-like sequence of bytes of known length that does not change while it is read.
pub trait ModelSource {
    /// The length of the whole source.
    fn size_bytes(&self) -> u64;

    /// Fills all of `buf` from `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the range reaches beyond
    /// [`size_bytes`](Self::size_bytes), else what the platform reports. After an
    /// error the content of `buf` is unspecified.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Where each of the files ends that lie one behind the other in this source: one,
    /// unless it is a [`JoinedSource`] of a model that was split.
    fn part_ends(&self) -> Cow<'_, [u64]> {
        Cow::Owned(vec![self.size_bytes()])
    }
}

impl ModelSource for [u8] {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buf.len())?))
            .ok_or_else(|| beyond_the_end(offset, buf.len(), self.len() as u64))?;
        buf.copy_from_slice(bytes);
        Ok(())
    }
}

impl ModelSource for Vec<u8> {
    fn size_bytes(&self) -> u64 {
        self.as_slice().size_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, buf)
    }
}

macro_rules! forward_to_pointee {
    ($($pointer:ty),+) => {$(
        impl<T: ModelSource + ?Sized> ModelSource for $pointer {
            fn size_bytes(&self) -> u64 {
                (**self).size_bytes()
            }

            fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
                (**self).read_at(offset, buf)
            }

            fn part_ends(&self) -> Cow<'_, [u64]> {
                (**self).part_ends()
            }
        }
    )+};
}

forward_to_pointee!(&T, Box<T>, Rc<T>, Arc<T>);

/// The files of a split model as one source, one behind the other.
#[derive(Debug)]
pub struct JoinedSource<S> {
    parts: Vec<S>,
    ends: Vec<u64>,
}

impl<S: ModelSource> JoinedSource<S> {
    /// Joins `parts`, whose lengths are taken once, here.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if their lengths add up to more than can be counted.
    pub fn new(parts: Vec<S>) -> io::Result<Self> {
        let mut end = 0u64;
        let ends = parts.iter().map(|part| {
            end = end.checked_add(part.size_bytes())?;
            Some(end)
        });
        let ends = ends.collect::<Option<_>>();
        let ends = ends.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(Self { parts, ends })
    }
}

impl<S: ModelSource> ModelSource for JoinedSource<S> {
    fn size_bytes(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.size_bytes()) {
            return Err(beyond_the_end(offset, buf.len(), self.size_bytes()));
        }
        while !buf.is_empty() {
            let idx = self.ends.partition_point(|&end| end <= offset);
            let left_bytes = self.ends[idx] - offset;
            let n_bytes = usize::try_from(left_bytes).map_or(buf.len(), |left| left.min(buf.len()));
            let (head, tail) = buf.split_at_mut(n_bytes);
            let start = idx.checked_sub(1).map_or(0, |before| self.ends[before]);
            self.parts[idx].read_at(offset - start, head)?;
            offset += n_bytes as u64;
            buf = tail;
        }
        Ok(())
    }

    fn part_ends(&self) -> Cow<'_, [u64]> {
        Cow::Borrowed(&self.ends)
    }
}

/// A file on disk, read in place without moving a cursor.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
pub struct FileSource {
    file: std::fs::File,
    size_bytes: u64,
}

#[cfg(not(target_arch = "wasm32"))]
impl FileSource {
    /// Opens `path` for reading. The length is taken once, here.
    ///
    /// # Errors
    /// What the operating system says, and [`io::ErrorKind::InvalidInput`] for
    /// something that is not a regular file.
    pub fn open(path: impl AsRef<std::path::Path>) -> io::Result<Self> {
        let file = std::fs::File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        Ok(Self {
            file,
            size_bytes: metadata.len(),
        })
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl ModelSource for FileSource {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        self.file.read_exact_at(buf, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        while !buf.is_empty() {
            match self.file.seek_read(buf, offset) {
                Ok(0) => return Err(beyond_the_end(offset, buf.len(), self.size_bytes)),
                Ok(n) => {
                    buf = &mut buf[n..];
                    offset += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn beyond_the_end(offset: u64, n_bytes: usize, size_bytes: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("{n_bytes} bytes at offset {offset} reach beyond the end at {size_bytes}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_exactly_what_was_asked_for() {
        let source = vec![1u8, 2, 3, 4, 5];
        let mut buf = [0u8; 3];
        source.read_at(2, &mut buf).unwrap();
        assert_eq!(buf, [3, 4, 5]);
        source.read_at(5, &mut []).unwrap();
    }

    #[test]
    fn refuses_ranges_beyond_the_end() {
        let source: Arc<[u8]> = Arc::from([1u8, 2, 3].as_slice());
        for (offset, n_bytes) in [(0, 4), (3, 1), (4, 0), (u64::MAX, 1), (u64::MAX, 0)] {
            let error = source.read_at(offset, &mut vec![0; n_bytes]).unwrap_err();
            assert_eq!(
                error.kind(),
                io::ErrorKind::UnexpectedEof,
                "{offset} {n_bytes}"
            );
        }
    }

    #[test]
    fn joined_sources_read_like_their_bytes_one_after_the_other() {
        let parts: Vec<Vec<u8>> = vec![vec![0, 1, 2], vec![], vec![3], vec![4, 5, 6, 7]];
        let whole: Vec<u8> = (0..8).collect();
        let joined = JoinedSource::new(parts).unwrap();
        assert_eq!(*joined.part_ends(), [3, 3, 4, 8]);
        for start in 0..=whole.len() {
            for end in start..=whole.len() {
                let mut buf = vec![0xFF; end - start];
                joined.read_at(start as u64, &mut buf).unwrap();
                assert_eq!(buf, whole[start..end]);
            }
        }
        for (offset, n_bytes) in [(0, 9), (8, 1), (u64::MAX, 1)] {
            let error = joined.read_at(offset, &mut vec![0; n_bytes]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        assert_eq!(
            JoinedSource::<Vec<u8>>::new(vec![]).unwrap().size_bytes(),
            0
        );
    }

    #[cfg(not(target_arch = "wasm32"))]
    #[test]
    fn a_file_reads_like_its_bytes_and_a_folder_is_refused() {
        let path = std::env::temp_dir().join(format!("nox-source-{}", std::process::id()));
        std::fs::write(&path, b"positioned").unwrap();
        let source = FileSource::open(&path).unwrap();
        let mut buf = [0u8; 4];
        source.read_at(3, &mut buf).unwrap();
        assert_eq!((&buf, source.size_bytes()), (b"itio", 10));
        assert!(source.read_at(7, &mut buf).is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(FileSource::open(std::env::temp_dir()).is_err());
    }
}
