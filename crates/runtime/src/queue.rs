//! One value, used by one caller at a time, first come, first served.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Hands a value to callers in the order in which they came.
pub(crate) struct Queue<T> {
    /// `None` while someone has it.
    value: RefCell<Option<T>>,
    waiting: RefCell<VecDeque<Ticket>>,
    next_number: Cell<u64>,
}

struct Ticket {
    number: u64,
    waker: Option<Waker>,
}

/// Too many are waiting already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueFull;

/// What a place in the queue leads to.
pub(crate) enum Step<T> {
    /// So many callers are still ahead, the one at work included.
    Ahead(usize),
    /// It is this caller's turn.
    Turn(Turn<T>),
}

impl<T> Queue<T> {
    pub(crate) fn new(value: T) -> Rc<Self> {
        Rc::new(Self {
            value: RefCell::new(Some(value)),
            waiting: RefCell::default(),
            next_number: Cell::new(0),
        })
    }

    /// Whether someone has the value or waits for it.
    pub(crate) fn is_busy(&self) -> bool {
        self.value.borrow().is_none() || !self.waiting.borrow().is_empty()
    }

    /// Takes a place behind everyone else.
    ///
    /// # Errors
    /// `max_waiting` others wait already.
    pub(crate) fn enter(self: &Rc<Self>, max_waiting: usize) -> Result<Place<T>, QueueFull> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= max_waiting {
            return Err(QueueFull);
        }
        let number = self.next_number.get();
        self.next_number.set(number.wrapping_add(1));
        waiting.push_back(Ticket {
            number,
            waker: None,
        });
        Ok(Place {
            queue: Rc::clone(self),
            number,
        })
    }

    /// Takes the value if nobody has it or waits for it.
    pub(crate) fn try_take(self: &Rc<Self>) -> Option<Turn<T>> {
        if self.is_busy() {
            return None;
        }
        let value = self.value.borrow_mut().take()?;
        Some(Turn {
            queue: Rc::clone(self),
            value: Some(value),
        })
    }

    fn wake_all(&self) {
        for ticket in self.waiting.borrow_mut().iter_mut() {
            if let Some(waker) = ticket.waker.take() {
                waker.wake();
            }
        }
    }
}

/// A place in the queue. Dropping it leaves the queue.
pub(crate) struct Place<T> {
    queue: Rc<Queue<T>>,
    number: u64,
}

impl<T> Place<T> {
    /// How many callers are ahead, the one at work included.
    pub(crate) fn ahead(&self) -> usize {
        let waiting = self.queue.waiting.borrow();
        let in_front = waiting
            .iter()
            .take_while(|ticket| ticket.number != self.number);
        in_front.count() + usize::from(self.queue.value.borrow().is_none())
    }

    /// Completes when fewer than `reported` callers are ahead, or it is our turn.
    ///
    /// # Cancel safety
    /// Dropping the future keeps the place.
    pub(crate) async fn advance(&mut self, reported: usize) -> Step<T> {
        poll_fn(|context| {
            let ahead = self.ahead();
            if ahead == 0
                && let Some(value) = self.queue.value.borrow_mut().take()
            {
                self.queue.waiting.borrow_mut().pop_front();
                return Poll::Ready(Step::Turn(Turn {
                    queue: Rc::clone(&self.queue),
                    value: Some(value),
                }));
            }
            if ahead < reported {
                return Poll::Ready(Step::Ahead(ahead));
            }
            let mut waiting = self.queue.waiting.borrow_mut();
            if let Some(own) = waiting
                .iter_mut()
                .find(|ticket| ticket.number == self.number)
            {
                own.waker = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        self.queue
            .waiting
            .borrow_mut()
            .retain(|ticket| ticket.number != self.number);
        self.queue.wake_all();
    }
}

/// The value, for as long as this lives.
pub(crate) struct Turn<T> {
    queue: Rc<Queue<T>>,
    /// Some until dropped.
    value: Option<T>,
}

impl<T> Deref for Turn<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("present until dropped")
    }
}

impl<T> DerefMut for Turn<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("present until dropped")
    }
}

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        *self.queue.value.borrow_mut() = self.value.take();
        self.queue.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn callers_are_served_in_the_order_in_which_they_came() {
        let queue = Queue::new(0);
        let mut first = queue.enter(8).unwrap();
        let mut second = queue.enter(8).unwrap();
        let mut third = queue.enter(8).unwrap();
        assert!(second.advance(1).now_or_never().is_none());
        let Some(Step::Turn(mut turn)) = first.advance(1).now_or_never() else {
            panic!("the first caller waits for nobody");
        };
        drop(first);
        *turn += 1;
        assert_eq!((second.ahead(), third.ahead()), (1, 2));
        assert!(third.advance(2).now_or_never().is_none());
        drop(second);
        assert!(matches!(
            third.advance(2).now_or_never(),
            Some(Step::Ahead(1))
        ));
        drop(turn);
        assert!(matches!(
            third.advance(1).now_or_never(),
            Some(Step::Turn(_))
        ));
    }

    #[test]
    fn a_full_queue_refuses() {
        let queue = Queue::new(());
        let turn = queue.try_take().unwrap();
        assert!(queue.try_take().is_none());
        let _place = queue.enter(1).unwrap();
        assert!(matches!(queue.enter(1), Err(QueueFull)));
        drop(turn);
        assert!(queue.is_busy());
    }
}
