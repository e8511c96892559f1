//! Caps on what comes from outside. A value over its cap is refused before it is
//! written, with the cap in the error.

/// A session's title.
pub const TITLE_BYTES: usize = 1024;
/// One message, and the reasoning that goes with it.
pub const MESSAGE_BYTES: usize = 16 << 20;
/// The name of a model, a lane, a route or a finish reason.
pub const NAME_BYTES: usize = 512;
/// A user's id.
pub const USER_ID_BYTES: usize = 128;
/// A user's display name.
pub const DISPLAY_BYTES: usize = 512;
/// The key of a setting, or the scope of a persona override.
pub const KEY_BYTES: usize = 128;
/// The value of a setting, or one scope's persona override.
pub const VALUE_BYTES: usize = 1 << 20;
/// An idempotency key.
pub const IDEMPOTENCY_KEY_BYTES: usize = 256;
/// The reply that is kept under an idempotency key.
pub const IDEMPOTENT_REPLY_BYTES: usize = 32 << 20;
/// What is typed into the search box.
pub const QUERY_BYTES: usize = 1024;
/// Entries on one page of a list or a search.
pub const PAGE_ENTRIES: usize = 500;
/// Sessions that one merge takes.
pub const MERGE_SOURCES: usize = 1000;

/// One file of an imported tree. A worker's memory ends at 2 GiB, and the tree lies in
/// it as a whole.
pub const TREE_FILE_BYTES: usize = if cfg!(target_family = "wasm") {
    64 << 20
} else {
    256 << 20
};
/// All files of an imported tree together.
pub const TREE_BYTES: u64 = if cfg!(target_family = "wasm") {
    512 << 20
} else {
    2 << 30
};
/// Records in the sessions of an imported tree, in one of them or all together.
pub const TREE_RECORDS: usize = 1_000_000;
/// Messages in those records.
pub const TREE_MESSAGES: usize = 4_000_000;
/// Files in an imported tree.
pub const TREE_FILES: usize = 200_000;
/// The path of a file in an imported tree.
pub const TREE_PATH_BYTES: usize = 1024;
/// An archive that holds such a tree.
pub const ZIP_BYTES: u64 = 512 << 20;
/// How many times larger than its archive an unpacked archive may be.
pub const ZIP_RATIO: u64 = 200;
