//! What happens around one turn of a chat: the request is checked, the messages
//! get a system prompt, personal data is replaced, a [`Backend`] answers, and the
//! reply's reasoning is kept apart while it streams.
//!
//! This crate is pure. It knows no JSON-RPC, no HTTP, no browser, no storage and
//! no tensors; a model is whatever implements [`Backend`].

mod backend;
mod cancel;
mod clock;
mod persona;
mod redact;
mod reply;
mod request;
mod turn;

pub use backend::{Backend, BackendEvent, Completion, GenerateRequest, Phase, SamplingOptions};
pub use cancel::CancelToken;
pub use clock::Clock;
pub use persona::{DEFAULT_ALIAS, DEFAULT_SYSTEM_PROMPT, PERSONA, Persona};
pub use redact::redact;
pub use reply::{ReplyFilter, ReplyPiece};
pub use request::{ChatRequest, RequestError, limits};
pub use turn::{ChatClient, Turn, TurnEvent};
