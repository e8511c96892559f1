//! Ids of models that are busy with something, each for as long as somebody says so.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::model_id::ModelId;

/// The ids that are claimed.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    ids: RefCell<HashSet<ModelId>>,
}

/// Keeps an id claimed until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    claims: &'a Claims,
    id: ModelId,
}

impl Claims {
    /// Claims an id; `None` while another has it.
    pub(crate) fn claim(&self, id: &ModelId) -> Option<Claim<'_>> {
        let is_free = self.ids.borrow_mut().insert(id.clone());
        is_free.then(|| Claim {
            claims: self,
            id: id.clone(),
        })
    }

    pub(crate) fn contains(&self, id: &ModelId) -> bool {
        self.ids.borrow().contains(id)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims.ids.borrow_mut().remove(&self.id);
    }
}
