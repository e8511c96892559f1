//! Metadata values, and the map from keys to them.
//!
//! Strings stay the bytes they are in the file: a vocabulary holds tokens that
//! are no UTF-8, and a stray byte in a model's description is no reason to refuse
//! the model. Text is checked when somebody asks for text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use super::GgufError;

/// A metadata value with the type it has in the file.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    /// Usually UTF-8; see [`Metadata::str`].
    String(Vec<u8>),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl Value {
    /// The value as an integer, whatever integer type it is stored in.
    pub fn as_integer(&self) -> Option<i128> {
        Some(match *self {
            Self::U8(v) => v.into(),
            Self::I8(v) => v.into(),
            Self::U16(v) => v.into(),
            Self::I16(v) => v.into(),
            Self::U32(v) => v.into(),
            Self::I32(v) => v.into(),
            Self::U64(v) => v.into(),
            Self::I64(v) => v.into(),
            _ => return None,
        })
    }

    /// The type's name, e.g. `u32` or `array of 12 f32`.
    pub fn type_name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::U8(_) => "u8",
            Self::I8(_) => "i8",
            Self::U16(_) => "u16",
            Self::I16(_) => "i16",
            Self::U32(_) => "u32",
            Self::I32(_) => "i32",
            Self::F32(_) => "f32",
            Self::Bool(_) => "bool",
            Self::String(_) => "string",
            Self::Array(array) => {
                return format!("array of {} {}", array.len(), array.element_name()).into();
            }
            Self::U64(_) => "u64",
            Self::I64(_) => "i64",
            Self::F64(_) => "f64",
        })
    }
}

/// An array of metadata values, all of one type.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(StrArray),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

/// Calls `$do` with the elements of whichever vector an [`Array`] holds.
macro_rules! with_elements {
    ($array:expr, $elements:ident => $do:expr) => {
        match $array {
            Array::U8($elements) => $do,
            Array::I8($elements) => $do,
            Array::U16($elements) => $do,
            Array::I16($elements) => $do,
            Array::U32($elements) => $do,
            Array::I32($elements) => $do,
            Array::F32($elements) => $do,
            Array::Bool($elements) => $do,
            Array::String($elements) => $do,
            Array::Array($elements) => $do,
            Array::U64($elements) => $do,
            Array::I64($elements) => $do,
            Array::F64($elements) => $do,
        }
    };
}

impl Array {
    /// The number of elements.
    pub fn len(&self) -> usize {
        with_elements!(self, elements => elements.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the elements' type, e.g. `f32`.
    pub fn element_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::I8(_) => "i8",
            Self::U16(_) => "u16",
            Self::I16(_) => "i16",
            Self::U32(_) => "u32",
            Self::I32(_) => "i32",
            Self::F32(_) => "f32",
            Self::Bool(_) => "bool",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::U64(_) => "u64",
            Self::I64(_) => "i64",
            Self::F64(_) => "f64",
        }
    }

    /// All elements as `T`, if they are integers that fit.
    fn to_integers<T: TryFrom<i128>>(&self) -> Option<Vec<T>> {
        fn convert<S: Copy + Into<i128>, T: TryFrom<i128>>(from: &[S]) -> Option<Vec<T>> {
            from.iter().map(|&v| T::try_from(v.into()).ok()).collect()
        }
        match self {
            Self::U8(v) => convert(v),
            Self::I8(v) => convert(v),
            Self::U16(v) => convert(v),
            Self::I16(v) => convert(v),
            Self::U32(v) => convert(v),
            Self::I32(v) => convert(v),
            Self::U64(v) => convert(v),
            Self::I64(v) => convert(v),
            _ => None,
        }
    }
}

/// Many strings in one allocation, as raw bytes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct StrArray {
    bytes: Vec<u8>,
    /// `ends[i]` is where string `i` ends in `bytes`; it begins where the one before ends.
    ends: Vec<u32>,
}

impl StrArray {
    /// The number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no strings.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of string `idx`.
    pub fn get(&self, idx: usize) -> Option<&[u8]> {
        let end = *self.ends.get(idx)? as usize;
        let start = match idx.checked_sub(1) {
            Some(before) => self.ends[before] as usize,
            None => 0,
        };
        Some(&self.bytes[start..end])
    }

    /// Every string in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let bytes = &self.bytes[start..end as usize];
            start = end as usize;
            bytes
        })
    }

    /// An array of nothing, with room for as many strings of as many bytes as `other` has.
    pub(crate) fn with_room_of(other: &Self) -> Self {
        Self {
            bytes: Vec::with_capacity(other.bytes.len()),
            ends: Vec::with_capacity(other.ends.len()),
        }
    }

    /// The bytes of all strings together.
    pub(super) fn total_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a string that `write` adds to the end of the buffer.
    ///
    /// The reader's cap on the whole header keeps the total far below `u32::MAX`, and no
    /// string that is made of one there is longer.
    pub(crate) fn push_with<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let outcome = write(&mut self.bytes);
        debug_assert!(u32::try_from(self.bytes.len()).is_ok());
        self.ends.push(self.bytes.len() as u32);
        outcome
    }
}

impl<S: AsRef<[u8]>> FromIterator<S> for StrArray {
    /// # Panics
    /// If the strings take more than 4 GiB together.
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut array = Self::default();
        for string in strings {
            array.bytes.extend_from_slice(string.as_ref());
            let end = u32::try_from(array.bytes.len());
            array.ends.push(end.expect("more than 4 GiB of strings"));
        }
        array
    }
}

impl fmt::Debug for StrArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(String::from_utf8_lossy))
            .finish()
    }
}

/// A file's metadata: keys with values, in the file's order.
///
/// The typed getters accept any integer type that holds the value, as writers
/// differ in the widths they choose; a missing key and a wrong type are errors
/// that name the key, what was expected and what is there. Use
/// [`OptionalKey::optional`](super::OptionalKey::optional) where a key may be absent.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// Adds a key; `false` if it is there already (and nothing changes).
    pub(super) fn insert(&mut self, key: String, value: Value) -> bool {
        if self.index.contains_key(&key) {
            return false;
        }
        self.index.insert(key.clone(), self.entries.len());
        self.entries.push((key, value));
        true
    }

    /// The value of `key`, whatever its type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&idx| &self.entries[idx].1)
    }

    /// Every key with its value, in the file's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + '_ {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no metadata.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Text.
    ///
    /// # Errors
    /// The key is missing, no string, or no UTF-8.
    pub fn str(&self, key: &str) -> Result<&str, GgufError> {
        match self.require(key, "string")? {
            Value::String(bytes) => {
                std::str::from_utf8(bytes).map_err(|_| GgufError::InvalidUtf8 {
                    what: format!("the value of metadata key {key:?}"),
                })
            }
            other => Err(wrong_type(key, "string", other)),
        }
    }

    /// An integer that fits `u32`.
    ///
    /// # Errors
    /// The key is missing, no integer, or out of range.
    pub fn u32(&self, key: &str) -> Result<u32, GgufError> {
        const EXPECTED: &str = "u32";
        let value = self.require(key, EXPECTED)?;
        let integer = value
            .as_integer()
            .ok_or_else(|| wrong_type(key, EXPECTED, value))?;
        u32::try_from(integer).map_err(|_| GgufError::WrongType {
            key: key.to_owned(),
            expected: EXPECTED,
            found: integer.to_string(),
        })
    }

    /// A floating-point number; an `f64` is rounded.
    ///
    /// # Errors
    /// The key is missing or no floating-point number.
    pub fn f32(&self, key: &str) -> Result<f32, GgufError> {
        match *self.require(key, "f32")? {
            Value::F32(v) => Ok(v),
            Value::F64(v) => Ok(v as f32),
            ref other => Err(wrong_type(key, "f32", other)),
        }
    }

    /// A boolean.
    ///
    /// # Errors
    /// The key is missing or no boolean.
    pub fn bool(&self, key: &str) -> Result<bool, GgufError> {
        match self.require(key, "bool")? {
            Value::Bool(v) => Ok(*v),
            other => Err(wrong_type(key, "bool", other)),
        }
    }

    /// An array of strings, as raw bytes.
    ///
    /// # Errors
    /// The key is missing or something else.
    pub fn str_array(&self, key: &str) -> Result<&StrArray, GgufError> {
        match self.require(key, "array of string")? {
            Value::Array(Array::String(strings)) => Ok(strings),
            other => Err(wrong_type(key, "array of string", other)),
        }
    }

    /// An array of integers that all fit `u32`.
    ///
    /// # Errors
    /// The key is missing or something else.
    pub fn u32_array(&self, key: &str) -> Result<Cow<'_, [u32]>, GgufError> {
        const EXPECTED: &str = "array of u32";
        match self.require(key, EXPECTED)? {
            Value::Array(Array::U32(v)) => Ok(Cow::Borrowed(v)),
            other => integers(other)
                .map(Cow::Owned)
                .ok_or_else(|| wrong_type(key, EXPECTED, other)),
        }
    }

    /// An array of integers that all fit `i32`.
    ///
    /// # Errors
    /// The key is missing or something else.
    pub fn i32_array(&self, key: &str) -> Result<Cow<'_, [i32]>, GgufError> {
        const EXPECTED: &str = "array of i32";
        match self.require(key, EXPECTED)? {
            Value::Array(Array::I32(v)) => Ok(Cow::Borrowed(v)),
            other => integers(other)
                .map(Cow::Owned)
                .ok_or_else(|| wrong_type(key, EXPECTED, other)),
        }
    }

    /// An array of floating-point numbers; `f64`s are rounded.
    ///
    /// # Errors
    /// The key is missing or something else.
    pub fn f32_array(&self, key: &str) -> Result<Cow<'_, [f32]>, GgufError> {
        match self.require(key, "array of f32")? {
            Value::Array(Array::F32(v)) => Ok(Cow::Borrowed(v)),
            Value::Array(Array::F64(v)) => Ok(v.iter().map(|&v| v as f32).collect()),
            other => Err(wrong_type(key, "array of f32", other)),
        }
    }

    fn require(&self, key: &str, expected: &'static str) -> Result<&Value, GgufError> {
        self.get(key).ok_or_else(|| GgufError::MissingKey {
            key: key.to_owned(),
            expected,
        })
    }
}

fn integers<T: TryFrom<i128>>(value: &Value) -> Option<Vec<T>> {
    match value {
        Value::Array(array) => array.to_integers(),
        _ => None,
    }
}

fn wrong_type(key: &str, expected: &'static str, found: &Value) -> GgufError {
    GgufError::WrongType {
        key: key.to_owned(),
        expected,
        found: found.type_name().into_owned(),
    }
}
