//! Brotli, at its highest quality: done once at build time, so that the server
//! only sends bytes, and so that budgets are held against what is really sent.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const QUALITY: i32 = 11;
/// 4 MiB, the largest window that every browser takes.
const WINDOW_LOG2: i32 = 22;

/// Where the compressed form of `path` lies.
pub(crate) fn path_beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".br");
    PathBuf::from(name)
}

/// Writes `path.br` for a file that compression pays for.
///
/// # Errors
/// A file cannot be read or written.
pub(crate) fn write_beside(path: &Path) -> Result<()> {
    if !pays_for(path) {
        return Ok(());
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    std::fs::write(path_beside(path), compressed(&bytes)?).context("cannot write brotli")
}

/// `bytes` after brotli.
///
/// # Errors
/// The encoder failed.
pub(crate) fn compressed(bytes: &[u8]) -> Result<Vec<u8>> {
    let params = brotli::enc::BrotliEncoderParams {
        quality: QUALITY,
        lgwin: WINDOW_LOG2,
        size_hint: bytes.len(),
        ..Default::default()
    };
    let mut writer = brotli::CompressorWriter::with_params(Vec::new(), 1 << 16, &params);
    writer.write_all(bytes).context("brotli")?;
    Ok(writer.into_inner())
}

/// Text and wasm shrink; pictures, fonts and quantised weights do not.
fn pays_for(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(
        extension,
        Some("css" | "html" | "js" | "json" | "map" | "svg" | "txt" | "wasm" | "webmanifest")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_bytes_decompress_to_the_same() {
        let text = "the same words, the same words, the same words"
            .repeat(100)
            .into_bytes();
        let small = compressed(&text).unwrap();
        assert!(small.len() < text.len() / 10);
        let mut back = Vec::new();
        brotli::BrotliDecompress(&mut small.as_slice(), &mut back).unwrap();
        assert_eq!(back, text);
    }

    #[test]
    fn leaves_weights_alone() {
        assert!(pays_for(Path::new("a/nox_worker_bg.wasm")));
        assert!(!pays_for(Path::new("models/nox-builtin.gguf")));
        assert!(!pays_for(Path::new("LICENSE")));
    }
}
