//! The order of calls on one chat: the second begins when the first has ended, so
//! that it knows what was said.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use nox_store::SessionId;

use crate::error::RuntimeError;
use crate::queue::{Queue, Step, Turn};

/// Calls that may wait for one chat.
const MAX_WAITING: usize = 64;

/// Chats on which calls are going on.
#[derive(Default)]
pub(crate) struct SessionOrder {
    queues: RefCell<HashMap<SessionId, Rc<Queue<()>>>>,
}

impl SessionOrder {
    /// Waits until every earlier call on this chat has ended. While calls are ahead,
    /// `on_wait` is told how many of them have ended, and how many there were.
    pub(crate) async fn enter(
        self: &Rc<Self>,
        id: &SessionId,
        mut on_wait: impl FnMut(u64, u64),
    ) -> Result<InOrder, RuntimeError> {
        let queue = Rc::clone(
            self.queues
                .borrow_mut()
                .entry(id.clone())
                .or_insert_with(|| Queue::new(())),
        );
        // Dropped after the place, so that the entry goes when the wait is given up.
        let mut in_order = InOrder {
            order: Rc::clone(self),
            id: id.clone(),
            turn: None,
        };
        let mut place = queue.enter(MAX_WAITING).map_err(|_| RuntimeError::Busy {
            n_waiting: MAX_WAITING,
        })?;
        let total = place.ahead();
        let mut ahead = total + 1;
        loop {
            match place.advance(ahead).await {
                Step::Turn(turn) => {
                    in_order.turn = Some(turn);
                    return Ok(in_order);
                }
                Step::Ahead(fewer) => {
                    ahead = fewer;
                    on_wait(total.saturating_sub(fewer) as u64, total as u64);
                }
            }
        }
    }
}

/// A call whose turn it is; the next one's begins when it is dropped.
pub(crate) struct InOrder {
    order: Rc<SessionOrder>,
    id: SessionId,
    turn: Option<Turn<()>>,
}

impl Drop for InOrder {
    fn drop(&mut self) {
        self.turn = None;
        let mut queues = self.order.queues.borrow_mut();
        if queues.get(&self.id).is_some_and(|queue| !queue.is_busy()) {
            queues.remove(&self.id);
        }
    }
}
