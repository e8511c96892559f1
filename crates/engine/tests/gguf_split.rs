//! Models in several files.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;
mod tiny;

use common::GgufWriter;
use nox_engine::gguf::{GgmlType, Gguf, GgufError, Split, SplitError};
use nox_engine::{EngineError, JoinedSource, LoadOptions, ModelLoader};
use tiny::Tiny;

fn read(parts: Vec<Vec<u8>>) -> Result<Gguf, GgufError> {
    Gguf::read(&JoinedSource::new(parts).unwrap())
}

fn split_error(parts: Vec<Vec<u8>>) -> SplitError {
    match read(parts).unwrap_err() {
        GgufError::Split(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn parts_in_any_order_are_the_model_that_was_split() {
    let tiny = Tiny::default();
    let whole = tiny.load();
    let expected = whole.greedy(&[5, 40, 70], 20).unwrap();
    for count in [2, 3, 7] {
        let mut parts = tiny.parts(count);
        assert_eq!(parts.len(), count);
        for _ in 0..count {
            parts.rotate_left(1);
            let source = JoinedSource::new(parts.clone()).unwrap();
            let loader = ModelLoader::new(source, tiny::single_threaded()).unwrap();
            let model = loader.load().unwrap();
            assert_eq!(model.name(), "tiny");
            assert_eq!(model.greedy(&[5, 40, 70], 20).unwrap(), expected);
        }
    }
}

#[test]
fn the_joined_header_describes_the_whole_model() {
    let tiny = Tiny::default();
    let whole = Gguf::read(&tiny.gguf()).unwrap();
    let parts = tiny.parts(3);
    let size_bytes: usize = parts.iter().map(Vec::len).sum();
    let joined = read(parts.clone()).unwrap();
    assert_eq!(joined.file_size_bytes(), size_bytes as u64);
    assert_eq!((whole.split(), joined.split()), (None, None));
    let described = |gguf: &Gguf| -> Vec<_> {
        let tensors = gguf.tensors().iter();
        tensors
            .map(|tensor| (tensor.name.clone(), tensor.shape.clone(), tensor.quant))
            .collect()
    };
    assert_eq!(described(&joined), described(&whole));
    let second = Gguf::read_part(&parts[1]).unwrap();
    let expected = Split {
        part: 2,
        count: 3,
        n_tensors: whole.tensors().len(),
    };
    assert_eq!(second.split(), Some(expected));
}

#[test]
fn missing_parts_are_named() {
    let parts = Tiny::default().parts(4);
    let missing = |of: &[usize]| split_error(of.iter().map(|&idx| parts[idx].clone()).collect());
    let of = |missing: &[usize]| SplitError::Missing {
        missing: missing.to_vec(),
        count: 4,
    };
    assert_eq!(missing(&[0, 1, 3]), of(&[3]));
    assert_eq!(missing(&[1, 2, 3]), of(&[1]));
    assert_eq!(missing(&[3]), of(&[1, 2, 3]));
    assert_eq!(
        missing(&[0]).to_string(),
        "the model is split into 4 files; parts 2, 3, 4 are missing"
    );
    // A single part by itself, as anybody may choose it.
    let error = ModelLoader::new(parts[0].clone(), LoadOptions::default()).map(|_| ());
    assert!(matches!(
        error,
        Err(EngineError::Gguf(GgufError::Split(
            SplitError::Missing { .. }
        )))
    ));
}

#[test]
fn a_part_that_is_there_twice_is_named() {
    let mut parts = Tiny::default().parts(3);
    parts[2] = parts[1].clone();
    assert_eq!(split_error(parts), SplitError::Twice { part: 2, count: 3 });
}

#[test]
fn parts_of_other_models_are_named() {
    let tiny = Tiny::default();
    // Split into another number of files.
    let mut parts = tiny.parts(3);
    parts[1] = tiny.parts(4)[1].clone();
    assert!(matches!(
        split_error(parts),
        SplitError::Foreign {
            part: 2,
            found_count: 4,
            count: 3,
            ..
        }
    ));
    // Another model with as many parts.
    let mut parts = tiny.parts(3);
    let larger = Tiny {
        extra: Some("blk.0.attn_rot_embd"),
        ..tiny.clone()
    };
    parts[0] = larger.parts(3)[0].clone();
    assert!(matches!(
        split_error(parts),
        SplitError::Foreign { part: 1, .. }
    ));
    // A whole model among parts.
    let mut parts = tiny.parts(3);
    parts[2] = tiny.gguf();
    let expected = SplitError::Whole {
        file: 3,
        n_files: 3,
    };
    assert_eq!(split_error(parts), expected);
}

/// Part `no` of `count` with the tensors `names`, of `n_tensors` in all.
fn part(no: usize, count: usize, n_tensors: usize, names: &[&str]) -> Vec<u8> {
    let writer = GgufWriter::new().split(no, count, n_tensors);
    let with_tensor = |writer: GgufWriter, name: &&str| writer.tensor(name, &[8], GgmlType::F32);
    names.iter().fold(writer, with_tensor).finish()
}

#[test]
fn parts_whose_tensors_do_not_add_up_are_refused() {
    let shared = vec![part(0, 2, 3, &["a", "b"]), part(1, 2, 3, &["b"])];
    let expected = SplitError::SharedTensor {
        tensor: "b".to_owned(),
        first: 1,
        second: 2,
    };
    assert_eq!(split_error(shared), expected);
    let too_few = vec![part(0, 2, 3, &["a"]), part(1, 2, 3, &["b"])];
    let expected = SplitError::TensorCount {
        count: 2,
        found: 2,
        expected: 3,
    };
    assert_eq!(split_error(too_few), expected);
}

#[test]
fn impossible_numbers_are_refused() {
    for (no, count) in [(2, 2), (5, 3), (0, 1000), (0, 65_535), (65_535, 2)] {
        let error = Gguf::read_part(&part(no, count, 1, &["a"])).unwrap_err();
        let number = SplitError::Number {
            part: no as u64 + 1,
            count: count as u64,
        };
        assert!(
            matches!(&error, GgufError::Split(found) if *found == number),
            "{error}"
        );
    }
    // The greatest number has no successor where addresses have 32 bits.
    let file = GgufWriter::new()
        .u32("split.no", u32::MAX)
        .u32("split.count", 2)
        .u32("split.tensors.count", 1)
        .tensor("a", &[8], GgmlType::F32)
        .finish();
    let error = Gguf::read_part(&file).unwrap_err();
    let number = SplitError::Number {
        part: 1 << 32,
        count: 2,
    };
    assert!(
        matches!(&error, GgufError::Split(found) if *found == number),
        "{error}"
    );
    // Some writers say that a whole file is the only part.
    let alone = part(0, 1, 1, &["a"]);
    assert_eq!(Gguf::read(&alone).unwrap().split(), None);
}

#[test]
fn a_damaged_part_is_named_and_its_tensors_stay_inside_it() {
    let mut parts = Tiny::default().parts(3);
    let end = parts[1].len() - 32;
    parts[1].truncate(end);
    let error = read(parts).unwrap_err();
    let GgufError::InFile {
        file: 2,
        n_files: 3,
        source,
    } = &error
    else {
        panic!("{error}");
    };
    assert!(matches!(**source, GgufError::TensorOutOfFile { .. }));
    assert!(error.to_string().starts_with("file 2 of 3: "), "{error}");
}
