//! Events from a future to whoever polls it, one at a time: the future stands still
//! until an event was taken, so nothing piles up and nothing runs ahead.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::future::LocalBoxFuture;
use futures::stream::Stream;

/// The future's end.
pub(super) struct Emitter<T> {
    slot: Rc<RefCell<Option<T>>>,
}

impl<T> Emitter<T> {
    /// Completes when the event was taken.
    pub(super) async fn give(&self, event: T) {
        *self.slot.borrow_mut() = Some(event);
        // Whoever takes an item from a stream polls it for the next one, and the
        // future with it, so nobody has to be woken.
        poll_fn(|_| match *self.slot.borrow() {
            Some(_) => Poll::Pending,
            None => Poll::Ready(()),
        })
        .await;
    }
}

/// The events of a future, then what it comes to.
pub(super) struct Events<'a, T, E> {
    slot: Rc<RefCell<Option<T>>>,
    /// `None` when it has ended.
    work: Option<LocalBoxFuture<'a, Result<T, E>>>,
}

impl<'a, T, E> Events<'a, T, E> {
    /// The events of the future that `work` makes. Its outcome is the last of them.
    pub(super) fn new<F>(work: impl FnOnce(Emitter<T>) -> F) -> Self
    where
        F: Future<Output = Result<T, E>> + 'a,
    {
        let slot = Rc::new(RefCell::new(None));
        let emitter = Emitter {
            slot: Rc::clone(&slot),
        };
        Self {
            slot,
            work: Some(Box::pin(work(emitter))),
        }
    }
}

impl<T, E> Stream for Events<'_, T, E> {
    type Item = Result<T, E>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(work) = &mut this.work else {
            return Poll::Ready(None);
        };
        match work.as_mut().poll(context) {
            Poll::Ready(end) => {
                this.work = None;
                Poll::Ready(Some(end))
            }
            Poll::Pending => match this.slot.take() {
                Some(event) => Poll::Ready(Some(Ok(event))),
                None => Poll::Pending,
            },
        }
    }
}

impl<T, E> Unpin for Events<'_, T, E> {}
