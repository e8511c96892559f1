//! Which backend answers: aliases with ordered routes, as `runtime.json` configures
//! them, and the falling back from one route to the next.
//!
//! - [`RuntimeConfig`] is the checked configuration.
//! - [`RoutePlan`] chooses: given how the earlier attempts ended, which route is
//!   next. It is plain data.
//! - [`Router`] runs a plan over real [`Backend`](crate::Backend)s.
//!
//! A route that fails before its first delta is followed by the next one, and the
//! reply's `meta` says why. After the first delta nothing else is tried: somebody
//! may have read it, and another model would say something else. A call that was
//! cancelled is not tried again either.
//!
//! This module reads no file and no environment, opens no connection and knows no
//! provider. Secrets don't pass through it: a configuration names them, and whoever
//! makes the backends looks them up.

mod config;
mod nearest;
mod plan;
mod read;
mod router;
mod schema;

pub use config::{
    AliasConfig, AliasOptions, BackendConfig, BackendKind, KeySource, RouteConfig, RuntimeConfig,
    routing_limits,
};
pub use plan::{AttemptEnd, RoutePlan, RouteTarget};
pub use router::{AttemptError, RouteError, RouteReport, Router, RouterCall};
pub use schema::runtime_schema;

pub(crate) use nearest::nearest;

/// Why a configuration is refused. The texts are for a person and never repeat a
/// value that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The document is no JSON.
    #[error("runtime.json is not valid JSON ({reason}); correct the file or remove it")]
    NotJson {
        /// What the JSON parser says, with line and column.
        reason: String,
    },
    /// The document is too large.
    #[error("runtime.json may have at most {limit} bytes, not {found}; shorten it")]
    DocumentTooLarge {
        /// The cap.
        limit: usize,
        /// The document's size.
        found: usize,
    },
    /// The document is of another version.
    #[error("version must be {supported}, not {found}; this build reads no other")]
    Version {
        /// The version that is read.
        supported: u64,
        /// The version that came.
        found: String,
    },
    /// A field that has to be there is not.
    #[error("{path} is missing; it must be {expected}")]
    Missing {
        /// The field's place, such as `aliases.nox.routes[0].backend`.
        path: String,
        /// What it must be.
        expected: &'static str,
    },
    /// There is no such field.
    #[error("{path} is no field of runtime.json{}", hint(.nearest.as_deref()))]
    UnknownField {
        /// Where it stands.
        path: String,
        /// The known field with the nearest name.
        nearest: Option<String>,
    },
    /// A field holds a value of a kind that it can't have.
    #[error("{path} must be {expected}, not {found}")]
    WrongType {
        /// The field's place.
        path: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A field holds a value that it can't have.
    #[error("{path}: {problem}")]
    WrongValue {
        /// The field's place.
        path: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A name stands for nothing.
    #[error("{path} names no {what}: {name}{}; known: {}", hint(.nearest.as_deref()), .known.join(", "))]
    UnknownName {
        /// The field's place.
        path: String,
        /// What it must name.
        what: &'static str,
        /// What it says.
        name: String,
        /// The known name that is nearest.
        nearest: Option<String>,
        /// All that can stand there.
        known: Vec<String>,
    },
    /// There is more of something than its cap.
    #[error("{path} may have at most {limit} {unit}, not {found}")]
    TooMuch {
        /// The field's place.
        path: String,
        /// The cap.
        limit: usize,
        /// Of what.
        unit: &'static str,
        /// How many there are.
        found: usize,
    },
}

/// A name that is no alias, and no model that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no model or alias {name}{}; known aliases: {}", hint(.nearest.as_deref()), .known.join(", "))]
pub struct UnknownModel {
    /// What was asked for; shortened if it is long.
    pub name: String,
    /// The alias with the nearest name.
    pub nearest: Option<String>,
    /// All aliases.
    pub known: Vec<String>,
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}
