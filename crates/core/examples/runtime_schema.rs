//! Prints the JSON Schema of `runtime.json`, which `docs/runtime.schema.json` is.

fn main() {
    println!("{:#}", nox_core::runtime_schema());
}
