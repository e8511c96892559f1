//! What the process takes is told. Alone in its file: beside other tests, which give
//! memory back meanwhile, it could not be measured.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use nox_runtime::process_memory;

#[test]
fn what_is_taken_is_seen() {
    let before = process_memory().resident_bytes.unwrap();
    let taken = std::hint::black_box(vec![1_u8; 64 << 20]);
    let after = process_memory();
    assert!(after.resident_bytes.unwrap() >= before + (48 << 20));
    drop(taken);
    if let Some(peak_bytes) = process_memory().peak_bytes {
        assert!(peak_bytes >= before + (48 << 20));
    }
}
