//! The keywords of a schema whose values are no schemas.

use serde_json::Value;

use super::schema::{Pointer, SchemaError, schema_limits as limits};

/// The values of `format` that a reply can be held to.
const FORMATS: &[&str] = &[
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "time",
    "uri",
    "uuid",
];

const TYPES: &[&str] = &[
    "array", "boolean", "integer", "null", "number", "object", "string",
];

/// A keyword's value as it is kept; `None` for one that only describes.
pub(super) fn check(
    keyword: &str,
    value: &Value,
    at: &Pointer,
) -> Result<Option<Value>, SchemaError> {
    match keyword {
        "type" => check_type(value, at),
        "pattern" => match value.as_str() {
            Some(pattern) => check_pattern(pattern, at),
            None => Err(at.wrong(keyword, "a string")),
        },
        "format" => match value.as_str() {
            Some(format) if FORMATS.contains(&format) => Ok(()),
            Some(_) => Err(at.wrong(
                keyword,
                "date, date-time, duration, email, hostname, ipv4, ipv6, time, uri or uuid",
            )),
            None => Err(at.wrong(keyword, "a string")),
        },
        "minLength" | "maxLength" => check_count(keyword, value, limits::MAX_LENGTH, at),
        "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
            check_count(keyword, value, limits::MAX_ITEMS, at)
        }
        // Draft 4 has switches here.
        "exclusiveMinimum" | "exclusiveMaximum" if value.is_boolean() => Ok(()),
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
            check_bound(keyword, value, at)
        }
        "multipleOf" => check_multiple(value, at),
        _ => return Ok(None),
    }?;
    Ok(Some(value.clone()))
}

fn check_type(value: &Value, at: &Pointer) -> Result<(), SchemaError> {
    let is_type = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    let is_valid = match value {
        Value::Array(types) => {
            (1..=TYPES.len()).contains(&types.len()) && types.iter().all(is_type)
        }
        one => is_type(one),
    };
    if is_valid {
        Ok(())
    } else {
        Err(at.wrong("type", "the name of a JSON type, or a list of such names"))
    }
}

fn check_count(keyword: &str, value: &Value, limit: u64, at: &Pointer) -> Result<(), SchemaError> {
    match value.as_u64() {
        None => Err(at.wrong(keyword, "a whole number, 0 or more")),
        Some(count) if count > limit => Err(at.too_much(keyword, limit)),
        Some(_) => Ok(()),
    }
}

/// Numbers beyond this have bounds that take a digit for each power of ten.
const MAX_BOUND: f64 = 1e18;

fn check_bound(keyword: &str, value: &Value, at: &Pointer) -> Result<(), SchemaError> {
    match value.as_f64() {
        Some(bound) if bound.abs() <= MAX_BOUND => Ok(()),
        _ => Err(at.wrong(keyword, "a number between -1e18 and 1e18")),
    }
}

/// The library counts remainders, so what the step is without its decimal point counts.
const MAX_MULTIPLE: u64 = 2_000;

fn check_multiple(value: &Value, at: &Pointer) -> Result<(), SchemaError> {
    const MAX_DECIMALS: usize = 6;
    let text = match value {
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    let decimals = decimals.trim_end_matches('0');
    let digits = format!("{whole}{decimals}").parse::<u64>();
    match digits {
        Ok(1..=MAX_MULTIPLE) if decimals.len() <= MAX_DECIMALS => Ok(()),
        _ => Err(at.wrong(
            "multipleOf",
            "a number above 0, of at most 2000 without its decimal point",
        )),
    }
}

/// What is said of texts with characters for which [`is_unwritable`] holds.
pub(super) const WRITABLE: &str =
    "without control characters other than \\b, \\f, \\n, \\r and \\t";

/// Whether JSON has no way to write this character but by its number.
pub(super) fn is_unwritable(c: char) -> bool {
    let is_short = matches!(c, '\u{8}' | '\u{c}' | '\n' | '\r' | '\t');
    (c < ' ' && !is_short) || c == '\u{7f}'
}

/// Whether a pattern asks for a character that can't be written, itself or by name.
fn has_unwritable(pattern: &str) -> bool {
    let by_name = pattern.match_indices('\\').any(|(start, _)| {
        let rest = &pattern[start + 1..];
        let Some(digits) = rest.strip_prefix(['x', 'u', 'U']) else {
            return rest.starts_with(['a', 'v', 'e', 'c', '0']);
        };
        let digits = digits.trim_start_matches('{');
        let end = digits.find(|c: char| !c.is_ascii_hexdigit());
        let n_digits = match &rest[..1] {
            _ if rest[1..].starts_with('{') => usize::MAX,
            "x" => 2,
            "u" => 4,
            _ => 8,
        };
        let digits = &digits[..end.unwrap_or(digits.len()).min(n_digits)];
        let named = u32::from_str_radix(digits, 16)
            .ok()
            .and_then(char::from_u32);
        named.is_some_and(is_unwritable)
    });
    by_name || pattern.chars().any(is_unwritable)
}

/// A pattern that may take no more work than its length promises. Whether it can be
/// read at all is the library's question.
pub(super) fn check_pattern(pattern: &str, at: &Pointer) -> Result<(), SchemaError> {
    if pattern.len() > limits::MAX_PATTERN_BYTES {
        let limit = limits::MAX_PATTERN_BYTES as u64;
        return Err(at.too_much("the bytes of a pattern", limit));
    }
    if has_unwritable(pattern) {
        return Err(at.wrong("a pattern", WRITABLE));
    }
    if repeats(pattern) > limits::MAX_PATTERN_REPEATS {
        let limit = limits::MAX_PATTERN_REPEATS;
        return Err(at.too_much("the repetitions in a pattern", limit));
    }
    Ok(())
}

/// An upper bound of how often something is repeated: the counts in braces multiplied,
/// whether or not one is inside the other.
fn repeats(pattern: &str) -> u64 {
    let counts = pattern.split('{').skip(1).filter_map(|rest| {
        let inside = rest.split('}').next()?;
        let highest = inside.split(',').rev().find(|count| !count.is_empty())?;
        let is_number = highest.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| highest.parse().unwrap_or(u64::MAX))
    });
    counts.fold(1, |product: u64, count| {
        product.saturating_mul(count.max(1))
    })
}
