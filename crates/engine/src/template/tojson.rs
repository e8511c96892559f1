//! `tojson` as Hugging Face's `transformers` defines it: Python's `json.dumps`
//! with its spaces, non-ASCII text as it is, nothing escaped for HTML.

use std::io;

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, State, Value};
use serde::Serialize as _;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::cost::charge_written;

/// Deeper indentation than a template could want.
const MAX_INDENT: usize = 16;

/// `value | tojson(indent=…)`; Python's other arguments are accepted and left alone.
#[allow(clippy::needless_pass_by_value)] // filters are given their arguments
pub(super) fn tojson(
    state: &mut State,
    value: &Value,
    indent: Option<usize>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    charge_written(state, value)?;
    let indent = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get::<Option<usize>>("indent")?,
    };
    match indent {
        Some(indent) => {
            let spaces = " ".repeat(indent.min(MAX_INDENT));
            dump(value, PrettyFormatter::with_indent(spaces.as_bytes()))
        }
        None => dump(value, PythonFormatter),
    }
}

fn dump(value: &Value, formatter: impl Formatter) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, formatter);
    value.serialize(&mut serializer).map_err(|error| {
        Error::new(ErrorKind::BadSerialization, "tojson failed").with_source(error)
    })?;
    String::from_utf8(bytes).map_err(|error| {
        Error::new(ErrorKind::BadSerialization, "tojson failed").with_source(error)
    })
}

/// A space after every comma and colon.
struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }
}
