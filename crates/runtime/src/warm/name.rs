//! Names of stored snapshots: everything that must be known of one without reading it.

use std::fmt;

use nox_engine::snapshot::{BLOCK_TOKENS, PrefixKey};
use nox_store::SessionId;

use crate::model_id::ModelId;

/// The name of a stored block: safe as a file's name everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotName {
    /// The model that computed it.
    pub(crate) model: ModelId,
    /// The chat whose turn it was kept for; with the chat it goes.
    pub(crate) chat: SessionId,
    /// What comes before it.
    pub(crate) parent: PrefixKey,
    /// Everything up to its end.
    pub(crate) own: PrefixKey,
    /// Its positions.
    pub(crate) n_tokens: usize,
}

/// Between the parts; no part has it.
const SEPARATOR: char = '+';

impl SnapshotName {
    /// The name in `text`, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(SEPARATOR);
        let mut next = || parts.next();
        let name = Self {
            model: ModelId::parse(next()?).ok()?,
            chat: SessionId::parse(next()?)?,
            parent: PrefixKey::parse(next()?)?,
            own: PrefixKey::parse(next()?)?,
            n_tokens: next()?.parse().ok()?,
        };
        // One name, one text: no other spelling of the number, nothing behind it.
        let is_whole = (1..=BLOCK_TOKENS).contains(&name.n_tokens) && name.to_string() == text;
        is_whole.then_some(name)
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            model,
            chat,
            parent,
            own,
            n_tokens,
        } = self;
        write!(f, "{model}+{chat}+{parent}+{own}+{n_tokens}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_else_is() {
        let chat = "0190aaaa-0000-7000-8000-0123456789ab";
        let (parent, own) = ("0".repeat(32), "f".repeat(32));
        let text = format!("smol-135m.q4_0+{chat}+{parent}+{own}+64");
        let name = SnapshotName::parse(&text).unwrap();
        assert_eq!(name.to_string(), text);
        assert_eq!((name.model.as_str(), name.n_tokens), ("smol-135m.q4_0", 64));
        for wrong in [
            String::new(),
            "notes.txt".to_owned(),
            format!("{text}+1"),
            format!("{text}.part"),
            text.replace("+64", "+0"),
            text.replace("+64", "+65"),
            text.replace("+64", "+064"),
            text.replace("+64", "+ 64"),
            text.replace("smol", "SMOL"),
            text.replace(chat, "chat"),
            text.replace(&own, &parent[1..]),
        ] {
            assert_eq!(SnapshotName::parse(&wrong), None, "{wrong}");
        }
    }
}
