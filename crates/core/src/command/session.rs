//! How a person names a session, and which one is meant.

use super::CommandError;

/// A session as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionRef {
    /// The one that is going on.
    Current,
    /// The one that was changed last.
    Newest,
    /// By a number in the list, an id or the end of an id.
    Named(String),
}

impl SessionRef {
    /// Finds it among the ids of the user's sessions, the newest first, and gives its
    /// place. A number counts from 1 and means a place in the list before it means
    /// an id, so what `/sessions` shows always works; beyond the list it can still
    /// be the end of an id.
    ///
    /// # Errors
    /// None is meant, or several are.
    pub fn find(&self, ids: &[&str], current: Option<&str>) -> Result<usize, CommandError> {
        let none = |wanted: &str| CommandError::NoSession {
            wanted: wanted.to_owned(),
        };
        let place_of = |id: &str| ids.iter().position(|&other| other == id);
        match self {
            Self::Current => current.and_then(place_of).ok_or_else(|| none("going on")),
            Self::Newest if ids.is_empty() => Err(none("yet")),
            Self::Newest => Ok(0),
            Self::Named(name) => {
                if let Some(place) = list_place(name).filter(|&place| place < ids.len()) {
                    return Ok(place);
                }
                if let Some(place) = place_of(name) {
                    return Ok(place);
                }
                let mut ending = (0..ids.len()).filter(|&idx| ids[idx].ends_with(name.as_str()));
                match (ending.next(), ending.count()) {
                    (None, _) => Err(none(name)),
                    (Some(place), 0) => Ok(place),
                    (Some(_), n_more) => Err(CommandError::AmbiguousSession {
                        wanted: name.clone(),
                        n_found: n_more + 1,
                    }),
                }
            }
        }
    }
}

/// The place that a number in the list stands for.
fn list_place(name: &str) -> Option<usize> {
    // A sign is none of the list's numbers.
    if !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    name.parse::<usize>().ok()?.checked_sub(1)
}
