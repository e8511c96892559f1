//! What it costs to write a value out, paid before it is written.
//!
//! minijinja charges for text as it is made, but a list is written out as one
//! piece, and a list that holds itself twice over in every level is small to
//! build and endless to write.

use minijinja::value::ValueKind;
use minijinja::{Error, Output, State, Value, escape_formatter};

use super::nesting::check_depth;

/// What a unit of fuel stands for in bytes; minijinja's own rate.
const BYTES_PER_FUEL: u64 = 64;
/// Takes the fuel for `n_bytes` of text.
pub(super) fn charge_bytes(state: &State, n_bytes: u64) -> Result<(), Error> {
    state.consume_fuel(n_bytes / BYTES_PER_FUEL)
}

/// Takes the fuel for everything that `value` holds.
pub(super) fn charge_written(state: &State, value: &Value) -> Result<(), Error> {
    charge_level(state, value, 0)
}

/// What `{{ value }}` writes.
pub(super) fn format(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    charge_written(state, value)?;
    escape_formatter(out, state, value)
}

/// `value | string`.
pub(super) fn string(state: &mut State, value: &Value) -> Result<Value, Error> {
    charge_written(state, value)?;
    Ok(match value.kind() {
        ValueKind::String => value.clone(),
        _ => Value::from(value.to_string()),
    })
}

fn charge_level(state: &State, value: &Value, depth: usize) -> Result<(), Error> {
    let is_map = match value.kind() {
        ValueKind::Map => true,
        ValueKind::Seq | ValueKind::Iterable => false,
        _ => return charge_bytes(state, value.as_str().map_or(0, str::len) as u64),
    };
    check_depth(depth)?;
    for item in value.try_iter()? {
        state.consume_fuel(1)?;
        charge_level(state, &item, depth + 1)?;
        if is_map {
            charge_level(state, &value.get_item(&item)?, depth + 1)?;
        }
    }
    Ok(())
}
