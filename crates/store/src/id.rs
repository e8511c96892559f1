//! Ids of sessions and users.

use std::fmt;

use crate::{Host, StoreError, What, limits};

/// A session's id: 48 bits of time and 74 of randomness in the layout of UUIDv7, so
/// that ids sort by age and those of different devices do not collide.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(String);

impl SessionId {
    /// A new id.
    pub fn new(host: &dyn Host) -> Self {
        let mut bytes = [0_u8; 16];
        host.fill_random(&mut bytes);
        // A clock before 1970 is a clock that was never set.
        let time = u64::try_from(host.now_ms()).unwrap_or(0).to_be_bytes();
        bytes[..6].copy_from_slice(&time[2..]);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        let mut text = String::with_capacity(36);
        for (at, byte) in bytes.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            for digit in [byte >> 4, byte & 0x0f] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        SessionId(text)
    }

    /// The id in `text`, if it is one: lower-case hexadecimal with hyphens.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            });
        fits.then(|| SessionId(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A user's id: also the name of a folder in an exported tree, so it can never lead
/// out of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(String);

impl UserId {
    /// The user of whoever gave no name.
    pub const DEFAULT: &str = "default";

    /// Takes an id as it is.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for what could not be the name of one folder on
    /// every system, [`StoreError::TooLarge`] for what is too long for it.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        crate::error::check_bytes(What::User, text, limits::USER_ID_BYTES)?;
        if !is_folder_name(text) {
            return Err(StoreError::invalid(
                What::User,
                "an id is one folder name: no slashes, colons or control characters, no dots or blanks at its ends",
            ));
        }
        Ok(UserId(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a user without a display name is called.
    pub(crate) fn default_display(&self) -> String {
        self.0.replace('_', " ")
    }
}

impl Default for UserId {
    fn default() -> Self {
        UserId(Self::DEFAULT.to_owned())
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` names one folder, and the same one, on every system.
pub(crate) fn is_folder_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['.', ' '])
        && !text.ends_with(['.', ' '])
        && !text.chars().any(|c| {
            c.is_control() || matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

    use super::*;

    struct Fixed(i64, u8);

    impl Host for Fixed {
        fn now_ms(&self) -> i64 {
            self.0
        }
        fn fill_random(&self, bytes: &mut [u8]) {
            bytes.fill(self.1);
        }
    }

    #[test]
    fn ids_have_the_layout_of_uuid_v7_and_sort_by_time() {
        let id = SessionId::new(&Fixed(0x0123_4567_89ab, 0xff));
        assert_eq!(id.as_str(), "01234567-89ab-7fff-bfff-ffffffffffff");
        assert_eq!(SessionId::parse(id.as_str()), Some(id.clone()));
        assert!(id < SessionId::new(&Fixed(0x0123_4567_89ac, 0)));
        assert_eq!(
            SessionId::new(&Fixed(-5, 0)).as_str(),
            "00000000-0000-7000-8000-000000000000"
        );
        for text in ["", "01234567-89AB-7fff-bfff-ffffffffffff", "x"] {
            assert_eq!(SessionId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_user_id_is_one_folder_name() {
        for text in ["user_one", "a.b", "Ünal", "x y"] {
            assert_eq!(UserId::parse(text).unwrap().as_str(), text);
        }
        for text in [
            "", ".", "..", "../x", "a/b", "a\\b", "c:", "a\nb", " a", "a ", "a.", "\0",
        ] {
            assert!(UserId::parse(text).is_err(), "{text:?}");
        }
        assert!(matches!(
            UserId::parse(&"a".repeat(129)),
            Err(StoreError::TooLarge {
                max_bytes: 128,
                got_bytes: 129,
                ..
            })
        ));
    }
}
