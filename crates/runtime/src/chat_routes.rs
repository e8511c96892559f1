//! What answers a chat: the engine on this device and whatever backends the host
//! gives, under the names that the routing configuration has for them.

use std::rc::Rc;

use futures::StreamExt;
use futures::stream::LocalBoxStream;
use nox_core::{
    AttemptError, Backend, BackendEvent, BackendKind, GenerateRequest, RouteError, Router,
    RuntimeConfig, UnknownModel,
};
use nox_protocol::{ErrorKind, RouteFallback};
use nox_store::SessionId;

use crate::backend::LocalBackend;
use crate::error::RuntimeError;
use crate::runtime::Shared;

/// A backend that a host brings along.
pub type HostBackend = dyn Backend<Error = BackendFailure>;

/// Why a host's backend did not answer. The message is for a person, goes into
/// `meta.route.fallback_from`, and holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BackendFailure {
    /// The protocol's name for it.
    pub kind: ErrorKind,
    /// What happened.
    pub message: String,
    /// Whether any part of the conversation had been sent.
    pub sent_bytes: bool,
}

impl AttemptError for BackendFailure {
    fn sent_bytes(&self) -> bool {
        self.sent_bytes
    }
}

/// Why no route gave a reply, where that isn't the local engine's own error.
#[derive(Debug, thiserror::Error)]
pub enum RouteFailure {
    /// Nothing has the name that was asked for.
    #[error(transparent)]
    Unknown(#[from] UnknownModel),
    /// A host's backend failed.
    #[error(transparent)]
    Backend(#[from] BackendFailure),
    /// The host has no such backend.
    #[error("the backend {backend} is not available on this host")]
    Unavailable {
        /// Its name in the configuration.
        backend: String,
    },
    /// The last of several routes failed.
    #[error("{}; before that {}", .error.message(), earlier(.fallback_from))]
    AfterOthers {
        /// Why the last one failed.
        error: Box<RuntimeError>,
        /// The ones before it, oldest first.
        fallback_from: Vec<RouteFallback>,
    },
}

fn earlier(fallback_from: &[RouteFallback]) -> String {
    let failed = fallback_from
        .iter()
        .map(|RouteFallback { backend, reason }| format!("{backend} failed ({reason})"));
    failed.collect::<Vec<_>>().join(", ")
}

impl RouteFailure {
    /// The protocol's name for this failure: that of the last route.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) => ErrorKind::UnknownModel,
            Self::Backend(failure) => failure.kind,
            Self::Unavailable { .. } => ErrorKind::Upstream,
            Self::AfterOthers { error, .. } => error.kind(),
        }
    }
}

impl AttemptError for RuntimeError {
    fn sent_bytes(&self) -> bool {
        matches!(self, Self::Route(RouteFailure::Backend(failure)) if failure.sent_bytes)
    }
}

/// The engine, or a backend of the host's.
pub(crate) enum AnyBackend {
    Local(LocalBackend),
    Host(Rc<HostBackend>),
}

impl Backend for AnyBackend {
    type Error = RuntimeError;

    fn kind(&self) -> &str {
        match self {
            Self::Local(backend) => backend.kind(),
            Self::Host(backend) => backend.kind(),
        }
    }

    fn leaves_device(&self) -> bool {
        match self {
            Self::Local(backend) => backend.leaves_device(),
            Self::Host(backend) => backend.leaves_device(),
        }
    }

    fn generate(
        &self,
        request: GenerateRequest,
    ) -> LocalBoxStream<'_, Result<BackendEvent, RuntimeError>> {
        match self {
            Self::Local(backend) => backend.generate(request),
            Self::Host(backend) => {
                let failed = |failure| RuntimeError::Route(RouteFailure::Backend(failure));
                let events = backend.generate(request);
                events.map(move |event| event.map_err(failed)).boxed_local()
            }
        }
    }
}

impl Shared {
    /// The backends that this configuration names. A model that it does not name is
    /// asked of the engine, which knows what is installed.
    ///
    /// `chat` is where the turn is kept, if it is.
    pub(crate) fn router(
        self: &Rc<Self>,
        config: &RuntimeConfig,
        chat: Option<&SessionId>,
    ) -> Router<AnyBackend> {
        let given = &self.options.backends;
        let backends: Vec<(String, AnyBackend)> = config
            .backends()
            .filter_map(|(name, backend)| {
                let given = given.iter().find(|(given, _)| given == name);
                let backend = match given {
                    Some((_, backend)) => AnyBackend::Host(Rc::clone(backend)),
                    None if backend.kind == BackendKind::Local => {
                        AnyBackend::Local(LocalBackend::new(Rc::clone(self), chat.cloned()))
                    }
                    None => return None,
                };
                Some((name.to_owned(), backend))
            })
            .collect();
        let mut configured = config.backends();
        let local = configured.find(|(_, backend)| backend.kind == BackendKind::Local);
        let local = local.map(|(name, _)| name.to_owned());
        Router::new(config.clone(), backends).with_model_lookup(move |_| local.clone())
    }
}

/// Why a turn failed, as a call's error.
pub(crate) fn call_error(error: RouteError<RuntimeError>) -> RuntimeError {
    let (error, fallback_from) = match error {
        RouteError::Unknown(unknown) => return RouteFailure::Unknown(unknown).into(),
        RouteError::Failed {
            error,
            fallback_from,
        } => (error, fallback_from),
        RouteError::Unavailable {
            backend,
            fallback_from,
        } => (RouteFailure::Unavailable { backend }.into(), fallback_from),
    };
    if fallback_from.is_empty() {
        return error;
    }
    let error = Box::new(error);
    RouteFailure::AfterOthers {
        error,
        fallback_from,
    }
    .into()
}
