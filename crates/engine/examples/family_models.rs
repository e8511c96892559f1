//! Writes the tests' models of all families into a folder, each with a file of
//! prompts beside it (a line of token ids for each), for another engine to compute
//! what the tests expect. See `tests/fixtures/families/README.md`.
#![allow(clippy::unwrap_used)] // a tool of the tests

use std::path::PathBuf;

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/family_models/mod.rs"]
mod family_models;

fn main() {
    let folder = PathBuf::from(
        std::env::args_os()
            .nth(1)
            .expect("usage: family_models FOLDER"),
    );
    std::fs::create_dir_all(&folder).unwrap();
    for model in family_models::family_models() {
        std::fs::write(folder.join(model.file_name()), model.gguf()).unwrap();
        let mut lines = format!("{}\n", model.n_ctx);
        for prompt in family_models::prompts(&model) {
            let ids: Vec<String> = prompt.iter().map(u32::to_string).collect();
            lines += &format!("{}\n", ids.join(" "));
        }
        let prompts = folder.join(model.file_name()).with_extension("prompts");
        std::fs::write(prompts, lines).unwrap();
    }
}
