//! The product's database: sessions and their messages, users, persona overrides,
//! settings, telemetry and full-text search in one SQLite file, and the exchange
//! of sessions with the directory tree that earlier systems kept.
//!
//! Everything is synchronous, and a call that returns has been written as far as
//! its host can write. The crate holds all SQL of the product. It has no clock and
//! no randomness of its own ([`Host`] brings both), it opens no file but the
//! database and the folders of an exchange, and it knows no chat rules: titles, redaction and cleaning are done
//! before text arrives here.

mod archive;
mod error;
mod export;
#[cfg(not(target_family = "wasm"))]
mod folder;
mod host;
mod id;
mod import;
pub mod limits;
mod lines;
mod names;
mod record;
mod schema;
mod search;
mod session;
mod settings;
mod store;
mod telemetry;
mod timestamp;
mod tree;
mod turn;
mod users;
mod zip_file;

pub use archive::{ArchiveEarly, Archived};
pub use error::{StoreError, What};
#[cfg(not(target_family = "wasm"))]
pub use folder::{FolderError, read_folder, write_folder};
pub use host::Host;
pub use id::{SessionId, UserId};
pub use import::{ImportOptions, ImportReport, Problem, ProblemKind};
pub use names::display_name;
pub use search::{SearchHit, SearchPage, SearchQuery, Snippet};
pub use session::{
    ListPage, ListQuery, Message, NewSession, Role, SessionInfo, SessionKind, TitleKind,
    TurnContent, TurnPage, TurnState,
};
pub use store::{Place, Store};
pub use telemetry::{ModelSummary, TelemetrySummary, TurnTelemetry};
pub use timestamp::{format_timestamp, parse_timestamp};
pub use tree::{TreeFile, safe_path};
pub use turn::{Begun, FinishedTurn, NewMessage, NewTurn, Target, TurnHandle};
pub use users::User;
pub use zip_file::{ZipError, read_zip, write_zip};
