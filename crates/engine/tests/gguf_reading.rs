//! What the GGUF reader makes of sound files, and of files that are not.
#![allow(clippy::unwrap_used)] // helpers fail the test that calls them

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;

use common::{GgufWriter, string};
use nox_engine::gguf::read::{
    MAX_ALIGNMENT, MAX_ARRAY_LEN, MAX_KEY_BYTES, MAX_METADATA_COUNT, MAX_NESTED_ARRAYS,
    MAX_STRING_BYTES, MAX_TENSOR_COUNT, MAX_TENSOR_NAME_BYTES,
};
use nox_engine::gguf::{GgmlType, Gguf, GgufError, OptionalKey as _, Value};
use nox_engine::{FileSource, ModelSource};

/// Notes the largest allocation, so that tests can tell that a word in a header
/// does not decide how much memory is taken.
struct Watching;

thread_local! {
    /// For each test its own: they run side by side.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn note(n_bytes: usize) {
    LARGEST.set(LARGEST.get().max(n_bytes));
}

// SAFETY: every call goes to the system's allocator with the arguments as they came.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// The broken files are a few kilobytes, or as large as their arrays; the reader
/// holds no more than a small multiple of that.
const ABSURD_BYTES: usize = 1024 * 1024;

fn sound() -> GgufWriter {
    GgufWriter::new()
        .str("general.architecture", "llama")
        .u32("llama.block_count", 2)
        .bool("flag", true)
        .raw("big", 10, &(u64::MAX).to_le_bytes())
        .raw("ratio", 12, &1.5f64.to_le_bytes())
        .strings("tokenizer.ggml.tokens", &["a".as_bytes(), b"", b"\xFF\xFE"])
        .f32s("scores", &[0.5, -1.0])
        .i32s("types", &[1, 2, 3])
        .array("nested", 9, 1, {
            let mut inner = 4u32.to_le_bytes().to_vec();
            inner.extend(2u64.to_le_bytes());
            inner.extend([7u32, 9].iter().flat_map(|v| v.to_le_bytes()));
            inner
        })
        .tensor("token_embd.weight", &[64, 3], GgmlType::Q4_0)
        .tensor("output_norm.weight", &[5], GgmlType::F32)
}

fn read(file: &[u8]) -> Result<Gguf, GgufError> {
    Gguf::read(&file)
}

#[test]
fn reads_metadata_and_tensors_of_a_sound_file() {
    let file = sound().finish();
    let gguf = read(&file).unwrap();
    let metadata = gguf.metadata();
    assert_eq!(gguf.architecture().unwrap(), "llama");
    assert_eq!(gguf.file_size_bytes(), file.len() as u64);
    assert_eq!(metadata.u32("llama.block_count").unwrap(), 2);
    assert!(metadata.bool("flag").unwrap());
    assert_eq!(metadata.f32("ratio").unwrap(), 1.5);
    let tokens = metadata.str_array("tokenizer.ggml.tokens").unwrap();
    assert_eq!(
        tokens.iter().collect::<Vec<_>>(),
        ["a".as_bytes(), b"", b"\xFF\xFE"]
    );
    assert_eq!(tokens.get(2), Some(&b"\xFF\xFE"[..]));
    assert_eq!(tokens.get(3), None);
    assert_eq!(*metadata.f32_array("scores").unwrap(), [0.5, -1.0]);
    assert_eq!(*metadata.u32_array("types").unwrap(), [1, 2, 3]);
    assert_eq!(
        metadata.get("nested").unwrap().type_name(),
        "array of 1 array"
    );
    let keys: Vec<_> = metadata.iter().map(|(key, _)| key).collect();
    assert_eq!(&keys[..2], ["general.architecture", "llama.block_count"]);

    let embedding = gguf.tensor("token_embd.weight").unwrap();
    assert_eq!(embedding.shape, [3, 64]);
    assert_eq!(
        (embedding.quant, embedding.size_bytes),
        (GgmlType::Q4_0, 108)
    );
    let norm = &gguf.tensors()[1];
    assert_eq!(
        (norm.name.as_str(), norm.offset % 32, norm.size_bytes),
        ("output_norm.weight", 0, 20)
    );
    assert_eq!(norm.offset + norm.size_bytes, file.len() as u64);
    assert!(gguf.tensor("output.weight").is_none());
}

#[test]
fn getters_tell_missing_from_wrong() {
    let gguf = read(&sound().finish()).unwrap();
    let metadata = gguf.metadata();
    assert_eq!(metadata.u32("nothing").optional().unwrap(), None);
    let messages = [
        (
            metadata.u32("nothing").unwrap_err(),
            "\"nothing\" is missing (expected u32)",
        ),
        (
            metadata.u32("flag").unwrap_err(),
            "\"flag\" is bool, expected u32",
        ),
        (
            metadata.u32("big").unwrap_err(),
            "\"big\" is 18446744073709551615, expected u32",
        ),
        (
            metadata.str("scores").unwrap_err(),
            "\"scores\" is array of 2 f32, expected string",
        ),
        (
            metadata.f32("flag").unwrap_err(),
            "\"flag\" is bool, expected f32",
        ),
    ];
    for (error, expected) in messages {
        assert!(error.to_string().ends_with(expected), "{error}");
    }
    assert!(metadata.str("scores").optional().is_err());
    assert!(metadata.str_array("types").is_err());
    assert!(metadata.i32_array("scores").is_err());
}

#[test]
fn text_that_is_no_utf8_is_an_error_only_where_text_is_asked_for() {
    let file = GgufWriter::new()
        .raw("name", 8, &string(b"caf\xE9"))
        .finish();
    let gguf = read(&file).unwrap();
    assert_eq!(
        gguf.metadata().get("name"),
        Some(&Value::String(b"caf\xE9".to_vec()))
    );
    assert!(matches!(
        gguf.metadata().str("name"),
        Err(GgufError::InvalidUtf8 { .. })
    ));
}

#[test]
fn version_2_is_read_and_others_are_named() {
    let with_version = |version: [u8; 4]| {
        let mut file = sound().finish();
        file[4..8].copy_from_slice(&version);
        read(&file)
    };
    assert!(with_version(2u32.to_le_bytes()).is_ok());
    for found in [0, 1, 4, u32::MAX] {
        let result = with_version(found.to_le_bytes());
        assert!(matches!(result, Err(GgufError::UnsupportedVersion { found: f }) if f == found));
    }
    assert!(matches!(
        with_version(3u32.to_be_bytes()),
        Err(GgufError::BigEndian)
    ));
    assert!(matches!(
        read(b"GGML\x03\0\0\0"),
        Err(GgufError::NotGguf { .. })
    ));
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let file = sound().finish();
    for end in 0..file.len() {
        assert!(
            read(&file[..end]).is_err(),
            "the first {end} bytes passed for a file"
        );
    }
    assert!(read(&file).is_ok());
}

#[test]
fn no_change_of_a_byte_makes_the_reader_panic_or_take_much_memory() {
    let file = sound().finish();
    let header_bytes = read(&file).unwrap().tensors()[0].offset as usize;
    LARGEST.set(0);
    let mut changed = file.clone();
    for at in 0..header_bytes {
        for value in 0..=255 {
            changed[at] = value;
            // Whether it is still a file does not matter; that it ends does.
            if let Ok(gguf) = read(&changed) {
                for tensor in gguf.tensors() {
                    assert!(tensor.offset + tensor.size_bytes <= file.len() as u64);
                }
            }
        }
        changed[at] = file[at];
    }
    let largest = LARGEST.get();
    assert!(largest < ABSURD_BYTES, "an allocation of {largest} bytes");
}

#[test]
fn absurd_words_are_refused_before_anything_is_taken_for_them() {
    let header = |n_tensors: u64, n_metadata: u64| {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(n_tensors.to_le_bytes());
        file.extend(n_metadata.to_le_bytes());
        file.resize(4096, 0);
        file
    };
    let value = |type_id: u32, value: &[u8]| GgufWriter::new().raw("k", type_id, value).finish();
    let array = |element_type: u32, n: u64| {
        let mut bytes = element_type.to_le_bytes().to_vec();
        bytes.extend(n.to_le_bytes());
        value(9, &bytes)
    };
    let key = |n_bytes: u64| {
        let mut file = header(0, 1);
        file[24..32].copy_from_slice(&n_bytes.to_le_bytes());
        file
    };
    let mut deep = Vec::new();
    for _ in 0..10_000 {
        deep.extend(9u32.to_le_bytes());
        deep.extend(1u64.to_le_bytes());
    }
    let too_large = [
        header(MAX_TENSOR_COUNT + 1, 0),
        header(u64::MAX, 0),
        header(0, MAX_METADATA_COUNT + 1),
        header(0, u64::MAX),
        key(MAX_KEY_BYTES + 1),
        key(u64::MAX),
        value(8, &(MAX_STRING_BYTES + 1).to_le_bytes()),
        value(8, &u64::MAX.to_le_bytes()),
        array(4, MAX_ARRAY_LEN + 1),
        array(4, u64::MAX),
        array(4, u64::MAX / 4 + 2),
        array(8, u64::MAX),
        array(9, MAX_NESTED_ARRAYS + 1),
        value(9, &deep),
    ];
    let truncated = [
        header(MAX_TENSOR_COUNT, 0),
        header(0, MAX_METADATA_COUNT),
        key(MAX_KEY_BYTES),
        value(8, &MAX_STRING_BYTES.to_le_bytes()),
        array(12, MAX_ARRAY_LEN),
        array(8, MAX_ARRAY_LEN),
        array(9, MAX_NESTED_ARRAYS),
    ];
    LARGEST.set(0);
    for file in too_large {
        let error = read(&file).unwrap_err();
        assert!(matches!(error, GgufError::TooLarge { .. }), "{error}");
    }
    for file in truncated {
        let error = read(&file).unwrap_err();
        assert!(matches!(error, GgufError::Truncated { .. }), "{error}");
    }
    let largest = LARGEST.get();
    assert!(largest < ABSURD_BYTES, "an allocation of {largest} bytes");
}

#[test]
fn metadata_that_contradicts_itself_is_refused() {
    let check = |file: GgufWriter, expected: &str| {
        let error = read(&file.finish()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(
        GgufWriter::new().u32("k", 1).u32("k", 1),
        "\"k\" appears twice",
    );
    check(
        GgufWriter::new().raw("k", 13, &[0; 8]),
        "unknown value type 13",
    );
    check(
        GgufWriter::new().array("k", 13, 1, vec![0; 8]),
        "unknown value type 13",
    );
    check(GgufWriter::new().raw("k", 7, &[2]), "boolean 2");
    check(GgufWriter::new().array("k", 7, 2, vec![1, 2]), "boolean 2");
    let mut broken_key = GgufWriter::new().u32("kk", 1).finish();
    broken_key[32] = 0xFF;
    assert!(matches!(
        read(&broken_key),
        Err(GgufError::InvalidUtf8 { .. })
    ));
    for alignment in [0, 3, 48, MAX_ALIGNMENT * 2, u32::MAX] {
        check(
            GgufWriter::new().u32("general.alignment", alignment),
            "general.alignment is",
        );
    }
    check(
        GgufWriter::new().str("general.alignment", "32"),
        "expected u32",
    );
}

#[test]
fn tensors_that_cannot_be_are_refused() {
    let check = |file: GgufWriter, expected: &str| {
        let mut file = file.finish();
        // Room for the data of small tensors.
        file.resize(file.len() + 4096, 0);
        let error = read(&file).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let one =
        |dims: &[u64], type_id, offset| GgufWriter::new().tensor_entry("t", dims, type_id, offset);
    let (f32, q4_0) = (GgmlType::F32.id(), GgmlType::Q4_0.id());
    check(one(&[], f32, 0), "has 0 dimensions");
    check(one(&[1; 5], f32, 0), "has 5 dimensions");
    check(one(&[4, 0], f32, 0), "dimension of zero");
    check(one(&[0, u64::MAX], f32, 0), "dimension of zero");
    check(one(&[u64::MAX, 2], f32, 0), "too large to address");
    check(one(&[1 << 32, 1 << 32], f32, 0), "too large to address");
    check(one(&[1 << 62], f32, 0), "too large to address");
    // Each of these wraps to something small in 64 bits.
    check(
        one(&[1 << 32, 1 << 31, 2, 1], f32, 0),
        "too large to address",
    );
    check(one(&[(1 << 62) + 1], f32, 0), "too large to address");
    check(one(&[1 << 20], f32, 0), "beyond the file's end");
    check(one(&[4], f32, u64::MAX - 31), "beyond the file's end");
    check(one(&[4], f32, 1 << 20), "beyond the file's end");
    check(one(&[4], f32, 16), "not a multiple of 32");
    check(
        one(&[48, 2], q4_0, 0),
        "rows of 48 elements, which Q4_0 cannot hold",
    );
    check(one(&[4], 4, 0), "unknown type 4");
    check(one(&[4], 4_000_000_000, 0), "unknown type 4000000000");
    check(
        one(&[4], f32, 0).tensor_entry("t", &[4], f32, 32),
        "\"t\" appears twice",
    );
    check(
        one(&[16], f32, 0).tensor_entry("u", &[4], f32, 32),
        "\"t\" and \"u\" overlap",
    );
    let long_name = "n".repeat(MAX_TENSOR_NAME_BYTES as usize + 1);
    check(
        GgufWriter::new().tensor_entry(&long_name, &[4], f32, 0),
        "the length of the name",
    );
}

#[test]
fn tensor_data_may_be_aligned_as_the_file_says() {
    let mut writer = GgufWriter::new().u32("general.alignment", 1024);
    writer.alignment = 1024;
    let file = writer
        .tensor("a", &[3], GgmlType::F32)
        .tensor("b", &[3], GgmlType::F32)
        .finish();
    let offsets: Vec<_> = read(&file)
        .unwrap()
        .tensors()
        .iter()
        .map(|t| t.offset)
        .collect();
    assert_eq!(offsets, [1024, 2048]);
}

/// Counts reads, and fails the one whose number is `fails_at`.
struct Flaky<'a> {
    file: &'a [u8],
    n_reads: Cell<usize>,
    fails_at: usize,
}

impl ModelSource for Flaky<'_> {
    fn size_bytes(&self) -> u64 {
        self.file.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let n = self.n_reads.replace(self.n_reads.get() + 1);
        if n == self.fails_at {
            return Err(io::Error::other("the disk is gone"));
        }
        self.file.read_at(offset, buf)
    }
}

fn with_large_vocabulary() -> Vec<u8> {
    let tokens: Vec<String> = (0..150_000).map(|n| format!("token number {n}")).collect();
    GgufWriter::new()
        .strings("tokenizer.ggml.tokens", &tokens)
        .finish()
}

#[test]
fn a_large_vocabulary_takes_few_reads() {
    let file = with_large_vocabulary();
    let source = Flaky {
        file: &file,
        n_reads: Cell::new(0),
        fails_at: usize::MAX,
    };
    let gguf = Gguf::read(&source).unwrap();
    assert_eq!(
        gguf.metadata()
            .str_array("tokenizer.ggml.tokens")
            .unwrap()
            .len(),
        150_000
    );
    let n_reads = source.n_reads.get();
    assert!(n_reads <= 1 + file.len() / (256 * 1024), "{n_reads} reads");
}

#[test]
fn a_source_that_fails_is_an_error_wherever_it_fails() {
    let file = with_large_vocabulary();
    for fails_at in 0.. {
        let source = Flaky {
            file: &file,
            n_reads: Cell::new(0),
            fails_at,
        };
        match Gguf::read(&source) {
            Err(GgufError::Io { source, .. }) => assert_eq!(source.to_string(), "the disk is gone"),
            Ok(_) => {
                assert!(fails_at > 3, "the file was read at one go");
                return;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// A source that shrinks after its length was taken.
struct Shrunk;

impl ModelSource for Shrunk {
    fn size_bytes(&self) -> u64 {
        1000
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        b"GGUF".as_slice().read_at(offset, buf)
    }
}

#[test]
fn a_source_that_is_shorter_than_it_said_is_an_error() {
    assert!(matches!(Gguf::read(&Shrunk), Err(GgufError::Io { .. })));
}

#[test]
fn real_files_are_read_whole() {
    for name in ["logits", "vocab"] {
        let Some(folder) = common::fixtures(name) else {
            return;
        };
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "gguf") {
                continue;
            }
            let source = FileSource::open(&path).unwrap();
            let gguf =
                Gguf::read(&source).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(gguf.metadata().len() > 3, "{}", path.display());
            assert!(
                name == "vocab" || !gguf.tensors().is_empty(),
                "{}",
                path.display()
            );
        }
    }
}
