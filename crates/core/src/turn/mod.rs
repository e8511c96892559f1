//! One turn: from a checked request to a reply and the facts about it.
//!
//! A turn is first [prepared](PreparedTurn), which is plain data: what the model is
//! given, and what is stored of the user's words. Then a [`ChatClient`] takes it:
//! the reply streams, is cleaned on the way, and may lead to further calls, an
//! instrument that the model asks and the model's grade for its own reply. However
//! many calls there are, the deltas are one message, and the stream ends once.
//!
//! Nobody is asked but the routes of the request's alias and, where the user has set
//! one, the instrument. What to keep of a turn, and where, is the caller's business.

mod consult;
mod events;
mod flow;
mod prepare;
mod score;

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::Stream;
use nox_protocol::HandleChatResult;

use crate::backend::{Backend, Phase};
use crate::cancel::CancelToken;
use crate::reply::ReplyPiece;
use crate::routing::{AttemptError, RouteError, Router};

use events::Events;
use flow::Flow;
pub use prepare::{PreparedTurn, TurnContext};

/// What a turn tells while it goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnEvent {
    /// How far a phase before the first text has come.
    Progress {
        /// The phase.
        phase: Phase,
        /// How much of it is done.
        done: u64,
        /// How much there is.
        total: u64,
    },
    /// More of the reply; never empty.
    Delta(ReplyPiece),
    /// The whole turn; nothing comes after it. The result's `content` is the deltas'
    /// text joined.
    Done(Box<TurnOutcome>),
}

/// What a turn came to.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnOutcome {
    /// The reply and how it came about; what is known only to who keeps the turn,
    /// such as `meta.session`, is absent.
    pub result: HandleChatResult,
    /// The title that the model gave the chat.
    pub title: Option<String>,
    /// The instrument that was asked, were it in vain.
    pub instrument: Option<InstrumentUse>,
}

/// A question to an instrument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstrumentUse {
    /// The alias that was asked.
    pub alias: String,
    /// What it was sent.
    pub question: String,
    /// What it answered, cleaned; `None` where it didn't.
    pub answer: Option<String>,
}

/// A turn that gave no result.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct TurnFailure<E: std::error::Error + 'static> {
    /// Why.
    #[source]
    pub error: RouteError<E>,
    /// What was said before it broke off, with `finish_reason: error`; `None` when
    /// nothing was.
    pub partial: Option<Box<TurnOutcome>>,
    /// Whether any byte of the conversation left the device all the same.
    pub left_device: bool,
}

/// Takes turns with the backends of a router.
pub struct ChatClient<'r, B> {
    router: &'r Router<B>,
    may_ask: MayAsk<'r>,
}

/// Whether the instrument of this alias may be asked now.
type MayAsk<'r> = &'r dyn Fn(&str) -> bool;

impl<'r, B: Backend> ChatClient<'r, B>
where
    B::Error: AttemptError,
{
    /// A client of these backends.
    pub fn new(router: &'r Router<B>) -> Self {
        Self {
            router,
            may_ask: &|_| true,
        }
    }

    /// With a last word on instruments: it is asked for the alias right before the
    /// instrument is, which may be long after the turn was prepared.
    #[must_use]
    pub fn with_permission(mut self, may_ask: &'r dyn Fn(&str) -> bool) -> Self {
        self.may_ask = may_ask;
        self
    }

    /// Starts a turn; it goes on while the stream is polled. Raising `cancel` ends
    /// it with what it has and `finish_reason: cancelled`; a reply that is whole by
    /// then keeps its own reason.
    ///
    /// # Cancel safety
    /// Dropping the stream ends the turn.
    pub fn turn(&self, prepared: PreparedTurn, cancel: CancelToken) -> Turn<'r, B::Error> {
        let (router, may_ask) = (self.router, self.may_ask);
        Turn {
            events: Events::new(|out| Flow::new(router, may_ask, prepared, cancel, out).run()),
        }
    }

    /// Goes on with a turn whose instrument was asked by somebody else: the model
    /// had said `said` with the query `asked`, and `answer` is what came back. The
    /// turn is what the model says to that: no instrument is asked, and no grade.
    ///
    /// # Cancel safety
    /// Dropping the stream ends the turn.
    pub fn process_instrument_result(
        &self,
        prepared: PreparedTurn,
        said: String,
        asked: String,
        answer: String,
        cancel: CancelToken,
    ) -> Turn<'r, B::Error> {
        let (router, may_ask) = (self.router, self.may_ask);
        Turn {
            events: Events::new(|out| {
                Flow::new(router, may_ask, prepared, cancel, out).take_up(said, asked, answer)
            }),
        }
    }
}

/// A turn that is going on: a stream of [`TurnEvent`]s that ends with
/// [`TurnEvent::Done`] or an error.
pub struct Turn<'r, E: std::error::Error + 'static> {
    events: Events<'r, TurnEvent, TurnFailure<E>>,
}

impl<E: std::error::Error + 'static> Stream for Turn<'_, E> {
    type Item = Result<TurnEvent, TurnFailure<E>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.events).poll_next(context)
    }
}
