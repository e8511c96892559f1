//! Python's methods on strings, lists and dictionaries, with their cost paid in
//! advance.
//!
//! minijinja charges a method for the value that it returns, when the memory is
//! already taken. The few methods whose result may be far larger than what they
//! are given are therefore charged here before they run.

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Error, ErrorKind, State, Value, filters};
use minijinja_contrib::pycompat;

use super::cost::charge_bytes;

pub(super) fn call(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let n_bytes = match (value.as_str(), method) {
        (Some(text), "replace") => replaced_bytes(text, args),
        (Some(separator), "join") => joined_bytes(state, separator, args)?,
        (Some(format), "format") => {
            check_keys(bracketed_keys(format))?;
            formatted_bytes(format, args)?
        }
        _ => 0,
    };
    charge_bytes(state, n_bytes)?;
    pycompat::unknown_method_callback(state, value, method, args)
}

/// `text | format(…)`, in the manner of printf. minijinja pays for it in advance.
pub(super) fn format(
    state: &mut State,
    format: &Value,
    args: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    let keys = format.as_str().into_iter().flat_map(|format| {
        let after = format.split("%(").skip(1);
        after.map(|rest| rest.split(')').next().unwrap_or_default())
    });
    check_keys(keys)?;
    filters::format(state, format, args)
}

/// What may be a key in a field of a format, as in `{0[key]}`: what stands in brackets
/// right behind a name, a number or another key.
fn bracketed_keys(format: &str) -> impl Iterator<Item = &str> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_]".contains(&byte);
    let first_field = format.find('{').unwrap_or(format.len());
    let brackets = format.match_indices('[').map(|(at, _)| at);
    brackets
        .filter(move |&at| at > first_field && is_name(format.as_bytes()[at - 1]))
        .map(|at| format[at + 1..].split(']').next().unwrap_or_default())
}

/// minijinja 3.1 goes through such keys byte by byte, and panics inside a character.
fn check_keys<'a>(mut keys: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    if keys.all(str::is_ascii) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidOperation,
        "a key in a format has characters beyond ASCII",
    ))
}

/// Arguments of the wrong kind cost nothing: the method refuses them.
fn replaced_bytes(text: &str, args: &[Value]) -> u64 {
    let text_arg = |idx: usize| args.get(idx).and_then(Value::as_str);
    let (Some(old), Some(new)) = (text_arg(0), text_arg(1)) else {
        return 0;
    };
    let n_matches = text.matches(old).count() as u64;
    n_matches
        .saturating_mul(new.len() as u64)
        .saturating_add(text.len() as u64)
}

/// Like Python's, `join` takes strings alone; how long anything else would be
/// when written out cannot be known in advance.
fn joined_bytes(state: &State, separator: &str, args: &[Value]) -> Result<u64, Error> {
    let mut n_bytes = 0u64;
    for item in args.first().into_iter().flat_map(Value::try_iter).flatten() {
        let length = text_bytes(&item, "join")?;
        n_bytes = n_bytes
            .saturating_add(length)
            .saturating_add(separator.len() as u64);
        state.consume_fuel(1)?;
    }
    Ok(n_bytes)
}

/// Every field may take any argument, padded to any width that is written down, with a
/// character of up to four bytes.
fn formatted_bytes(format: &str, args: &[Value]) -> Result<u64, Error> {
    let mut widest = 0u64;
    for arg in args {
        widest = widest.saturating_add(text_bytes(arg, "format")?);
    }
    for digits in format
        .split(|c: char| !c.is_ascii_digit())
        .filter(|d| !d.is_empty())
    {
        // What does not fit is larger than any budget.
        let n_chars = digits.parse().unwrap_or(u64::MAX);
        widest = widest.saturating_add(n_chars.saturating_mul(4));
    }
    let n_fields = format.matches('{').count() as u64;
    Ok(n_fields
        .saturating_mul(widest)
        .saturating_add(format.len() as u64))
}

fn text_bytes(value: &Value, method: &str) -> Result<u64, Error> {
    /// The longest number, boolean or `None`.
    const MAX_SCALAR_BYTES: u64 = 64;
    match value.kind() {
        ValueKind::String => Ok(value.as_str().map_or(0, str::len) as u64),
        ValueKind::Number | ValueKind::Bool | ValueKind::None | ValueKind::Undefined => {
            Ok(MAX_SCALAR_BYTES)
        }
        other => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("{method} takes text, not a {other}"),
        )),
    }
}
