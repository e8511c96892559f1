//! Which blocks lie in storage: how they follow one another, and which go first when
//! there is no room.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use nox_engine::snapshot::{BLOCK_TOKENS, PrefixKey};
use nox_store::SessionId;

use super::name::SnapshotName;
use crate::model_id::ModelId;
use crate::platform::StoredSnapshot;

/// The blocks, by name.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: BTreeMap<SnapshotName, Entry>,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    size_bytes: u64,
    used: u64,
}

/// A block of a text's beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: SnapshotName,
    pub(super) first_position: usize,
}

impl Link {
    /// Where it ends, if all of it is of use.
    pub(super) fn end(&self) -> usize {
        self.first_position + self.name.n_tokens
    }
}

impl Index {
    /// Takes in what a store has. What was not known counts as used in the order in which
    /// it was written.
    pub(super) fn refresh(&mut self, mut stored: Vec<StoredSnapshot>) {
        let names: HashSet<&SnapshotName> = stored.iter().map(|found| &found.name).collect();
        self.entries.retain(|name, _| names.contains(name));
        stored.sort_by_key(|found| found.modified_ms);
        for StoredSnapshot {
            name, size_bytes, ..
        } in stored
        {
            match self.entries.get_mut(&name) {
                Some(entry) => entry.size_bytes = size_bytes,
                None => self.insert(name, size_bytes),
            }
        }
    }

    pub(super) fn insert(&mut self, name: SnapshotName, size_bytes: u64) {
        self.clock += 1;
        let used = self.clock;
        self.entries.insert(name, Entry { size_bytes, used });
    }

    pub(super) fn remove(&mut self, name: &SnapshotName) {
        self.entries.remove(name);
    }

    pub(super) fn touch(&mut self, name: &SnapshotName) {
        self.clock += 1;
        if let Some(entry) = self.entries.get_mut(name) {
            entry.used = self.clock;
        }
    }

    pub(super) fn n_blocks(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.entries.values().map(|entry| entry.size_bytes).sum()
    }

    /// The chats that anything belongs to.
    pub(super) fn chats(&self) -> BTreeSet<SessionId> {
        self.entries.keys().map(|name| name.chat.clone()).collect()
    }

    /// Those of which `is_meant` is true.
    pub(super) fn names(&self, is_meant: impl Fn(&SnapshotName) -> bool) -> Vec<SnapshotName> {
        let names = self.entries.keys().filter(|name| is_meant(name));
        names.cloned().collect()
    }

    /// The block that ends a text, whichever chat it was kept for.
    pub(super) fn find(&self, model: &ModelId, own: PrefixKey) -> Option<&SnapshotName> {
        let mut names = self.entries.keys();
        names.find(|name| name.own == own && name.model == *model)
    }

    /// Blocks with which these tokens begin, from the first on. Of the last one only a
    /// part may be of use, or nothing.
    pub(super) fn chain(&self, model: &ModelId, root: PrefixKey, tokens: &[u32]) -> Vec<Link> {
        let mut chain = Vec::new();
        let (mut key, mut first_position) = (root, 0);
        for block in tokens.chunks(BLOCK_TOKENS) {
            let own = key.then(block);
            let whole = self.find(model, own);
            let is_whole = whole.is_some() && block.len() == BLOCK_TOKENS;
            let found = whole.or_else(|| self.nearest(model, key, block));
            let Some(name) = found else { break };
            let name = name.clone();
            chain.push(Link {
                name,
                first_position,
            });
            if !is_whole {
                break;
            }
            key = own;
            first_position += BLOCK_TOKENS;
        }
        chain
    }

    /// Of the blocks behind `parent` the longest with which `tokens` begin; else the one
    /// that was used last, as it may begin with some of them.
    fn nearest(&self, model: &ModelId, parent: PrefixKey, tokens: &[u32]) -> Option<&SnapshotName> {
        let siblings = self.entries.iter();
        let siblings = siblings.filter(|(name, _)| name.parent == parent && name.model == *model);
        let best = siblings.max_by_key(|(name, entry)| {
            let n_common = if is_beginning(name, tokens) {
                name.n_tokens
            } else {
                0
            };
            (n_common, entry.used)
        });
        best.map(|(name, _)| name)
    }

    /// Shorter blocks that say nothing that a block of these tokens does not.
    pub(super) fn superseded(&self, by: &SnapshotName, tokens: &[u32]) -> Vec<SnapshotName> {
        self.names(|name| {
            name.parent == by.parent
                && name.model == by.model
                && name.n_tokens < by.n_tokens
                && is_beginning(name, tokens)
        })
    }

    /// Of the blocks that no other follows, the one unused for longest; none behind
    /// which a block with this parent is to be put.
    pub(super) fn oldest(&self, spared: Option<PrefixKey>) -> Option<SnapshotName> {
        let parents = self.entries.keys().map(|name| name.parent);
        let parents: HashSet<PrefixKey> = parents.chain(spared).collect();
        let is_last = |name: &SnapshotName| !parents.contains(&name.own);
        let last = self.entries.iter().filter(|(name, _)| is_last(name));
        last.min_by_key(|(_, entry)| entry.used)
            .map(|(name, _)| name.clone())
    }
}

fn is_beginning(name: &SnapshotName, tokens: &[u32]) -> bool {
    tokens
        .get(..name.n_tokens)
        .is_some_and(|tokens| name.parent.then(tokens) == name.own)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = "0190aaaa-0000-7000-8000-0123456789ab";

    fn root() -> PrefixKey {
        PrefixKey::parse(&"0".repeat(32)).unwrap()
    }

    fn model() -> ModelId {
        ModelId::parse("m").unwrap()
    }

    fn name(parent: PrefixKey, tokens: &[u32]) -> SnapshotName {
        SnapshotName {
            model: model(),
            chat: SessionId::parse(CHAT).unwrap(),
            parent,
            own: parent.then(tokens),
            n_tokens: tokens.len(),
        }
    }

    /// The blocks of a text.
    fn put(index: &mut Index, tokens: &[u32]) -> Vec<SnapshotName> {
        let mut parent = root();
        let blocks = tokens.chunks(BLOCK_TOKENS).map(|block| {
            let name = name(parent, block);
            parent = name.own;
            name
        });
        let names: Vec<_> = blocks.collect();
        for name in &names {
            index.insert(name.clone(), 10);
        }
        names
    }

    fn text(n: u32, first: u32) -> Vec<u32> {
        (first..first + n).collect()
    }

    fn names(chain: &[Link]) -> Vec<SnapshotName> {
        chain.iter().map(|link| link.name.clone()).collect()
    }

    #[test]
    fn a_text_finds_the_blocks_of_its_beginning() {
        let mut index = Index::default();
        let said = text(150, 0);
        let kept = put(&mut index, &said);
        let longer = [&said[..], &[7, 8, 9]].concat();
        let chain = index.chain(&model(), root(), &longer);
        assert_eq!(names(&chain), kept);
        assert_eq!(chain[2].first_position, 128);
        assert_eq!(chain[2].end(), 150);
        // It may begin with the same tokens, which only reading it tells.
        let parting = [&said[..100], &[1, 2, 3]].concat();
        assert_eq!(names(&index.chain(&model(), root(), &parting)), kept[..2]);
        let other = ModelId::parse("n").unwrap();
        assert_eq!(index.chain(&other, root(), &longer), []);
    }

    #[test]
    fn of_several_ends_the_longest_that_fits_is_taken() {
        let mut index = Index::default();
        let said = text(60, 0);
        let mut parted = said.clone();
        parted[50] = 1000;
        put(&mut index, &said[..20]);
        let fitting = put(&mut index, &said[..40]);
        put(&mut index, &said[..30]);
        let last = put(&mut index, &parted);
        assert_eq!(names(&index.chain(&model(), root(), &said)), fitting);
        index.remove(&fitting[0]);
        for short in index.names(|name| name.n_tokens <= 30) {
            index.remove(&short);
        }
        assert_eq!(names(&index.chain(&model(), root(), &said)), last);
    }

    #[test]
    fn longer_blocks_stand_for_shorter_ones() {
        let mut index = Index::default();
        let said = text(60, 0);
        let short = put(&mut index, &said[..20]);
        put(&mut index, &text(20, 5));
        let long = put(&mut index, &said);
        assert_eq!(index.superseded(&long[0], &said), short);
    }

    #[test]
    fn ends_of_chats_go_before_what_they_share() {
        let mut index = Index::default();
        let first = put(&mut index, &text(100, 0));
        let second = put(&mut index, &[&text(64, 0)[..], &text(40, 500)].concat());
        assert_eq!(first[0], second[0]);
        assert_eq!(index.size_bytes(), 30);
        index.touch(&first[1]);
        assert_eq!(index.oldest(None).as_ref(), Some(&second[1]));
        index.remove(&second[1]);
        assert_eq!(index.oldest(None).as_ref(), Some(&first[1]));
        index.remove(&first[1]);
        assert_eq!(index.oldest(Some(first[0].own)), None);
        assert_eq!(index.oldest(None).as_ref(), Some(&first[0]));
    }

    #[test]
    fn a_list_tells_what_is_there_and_in_which_order_it_was_written() {
        let stored = |modified_ms, first| StoredSnapshot {
            name: name(root(), &text(5, first)),
            size_bytes: 1,
            modified_ms,
        };
        let mut index = Index::default();
        index.refresh(vec![stored(30, 2), stored(10, 1), stored(20, 3)]);
        let oldest = index.oldest(None).unwrap();
        assert_eq!(oldest, stored(10, 1).name);
        // Uses that are known count more than times, and what is gone is forgotten.
        index.touch(&oldest);
        index.refresh(vec![stored(10, 1), stored(30, 2)]);
        assert_eq!(index.n_blocks(), 2);
        assert_eq!(index.oldest(None), Some(stored(30, 2).name));
    }
}
