//! Cancellation: a flag that one side raises and the other looks at between steps.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A shared flag that can be raised once. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct CancelToken {
    state: Rc<State>,
}

#[derive(Debug, Default)]
struct State {
    cancelled: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl CancelToken {
    /// A token that nobody has raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag and wakes everyone in [`cancelled`](Self::cancelled).
    pub fn cancel(&self) {
        self.state.cancelled.set(true);
        for waker in self.state.waiting.take() {
            waker.wake();
        }
    }

    /// Whether the flag is raised.
    pub fn is_cancelled(&self) -> bool {
        self.state.cancelled.get()
    }

    /// Completes when the flag is raised.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn cancelled(&self) {
        poll_fn(|context| {
            if self.is_cancelled() {
                return Poll::Ready(());
            }
            let mut waiting = self.state.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn raising_one_clone_raises_all_and_wakes_who_waits() {
        let token = CancelToken::new();
        let clone = token.clone();
        let mut waiting = Box::pin(clone.cancelled());
        assert!(waiting.as_mut().now_or_never().is_none());
        token.cancel();
        assert!(clone.is_cancelled());
        assert!(waiting.now_or_never().is_some());
    }
}
