//! What happens around one turn of a chat: the request is checked, what it leaves
//! out is taken from its alias and the user's settings, the messages get a system
//! prompt, personal data is replaced, a [`Router`] picks the [`Backend`] that answers,
//! and the reply is cleaned while it streams. Where the user allows it, an instrument
//! is asked on the way.
//!
//! This crate is pure. It knows no JSON-RPC, no HTTP, no browser, no storage and
//! no tensors; a model is whatever implements [`Backend`].

mod backend;
mod cancel;
mod clock;
mod command;
mod conversation;
mod history;
mod instrument;
mod json;
mod persona;
mod redact;
mod reply;
mod request;
mod routing;
mod settings;
mod slug;
mod title;
mod turn;

pub use backend::{
    Backend, BackendEvent, Completion, GenerateRequest, Phase, ReplyFormat, SamplingOptions,
};
pub use cancel::CancelToken;
pub use clock::Clock;
pub use command::{
    AliasState, Answer, COMMANDS, Command, CommandError, CommandInfo, ExportScope, FoundSession,
    Outcome, PersonaCommand, SessionLine, SessionRef, command_limits, complete, reset_history,
};
pub use conversation::Conversation;
pub use history::{HistoryLimits, fit_history, trim_history};
pub use instrument::{anonymize_for_instrument, extract_instrument_query, wants_instrument};
pub use persona::{
    BuiltinPersona, Catalog, DEFAULT_ALIAS, DEFAULT_SYSTEM_PROMPT, FULL_CATALOG, NOX_CATALOG,
    OVERRIDE_FILES, PERSONA, ParsedOverrides, Persona, PersonaEnvironment, PersonaError,
    PersonaField, PersonaNotice, PersonaOverrides, PersonaValue, SCALE_CATALOG,
    SYSTEM_PROMPT_FILES, choose_system_prompt, persona_limits, unknown_placeholders,
};
pub use redact::redact;
pub use reply::{ReplyEffects, ReplyFilter, ReplyPiece, clean_reply};
pub use request::{ChatRequest, RequestError, limits};
pub use routing::{
    AliasConfig, AliasOptions, AttemptEnd, AttemptError, BackendConfig, BackendKind, ConfigError,
    KeySource, RouteConfig, RouteError, RoutePlan, RouteReport, RouteTarget, Router, RouterCall,
    RuntimeConfig, UnknownModel, routing_limits, runtime_schema,
};
pub use settings::{Settings, SettingsError, settings_limits};
pub use slug::{slugify, user_id};
pub use title::{compute_title, session_display_name};
pub use turn::{
    ChatClient, InstrumentUse, PreparedTurn, Turn, TurnContext, TurnEvent, TurnFailure, TurnOutcome,
};
