//! Running a plan over real backends.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use futures::stream::{self, LocalBoxStream, StreamExt};
use nox_protocol::{ChatMeta, FinishReason, RouteFallback, Timings, Usage};

use super::{AttemptEnd, RoutePlan, RouteTarget, RuntimeConfig, UnknownModel};
use crate::backend::{Backend, BackendEvent, Completion, GenerateRequest};

/// What a router has to know of a backend's error beside its text, which goes into
/// `meta.route.fallback_from` and so must hold nothing secret.
pub trait AttemptError: std::error::Error + 'static {
    /// Whether any part of the conversation had been sent when it failed. Errors of
    /// backends that don't leave the device are not asked.
    fn sent_bytes(&self) -> bool;
}

/// Why no route gave a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError<E: std::error::Error> {
    /// Nothing has the name that was asked for.
    #[error(transparent)]
    Unknown(UnknownModel),
    /// The last backend that was tried failed.
    #[error("{error}{}", Earlier(.fallback_from))]
    Failed {
        /// Its error.
        #[source]
        error: E,
        /// The attempts before it, oldest first.
        fallback_from: Vec<RouteFallback>,
    },
    /// The last backend that was to be tried does not exist on this host.
    #[error("the backend {backend} is not available on this host{}", Earlier(.fallback_from))]
    Unavailable {
        /// Its name in the configuration.
        backend: String,
        /// The attempts before it, oldest first.
        fallback_from: Vec<RouteFallback>,
    },
}

/// The earlier attempts, as the end of an error's text.
struct Earlier<'a>(&'a [RouteFallback]);

impl fmt::Display for Earlier<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, RouteFallback { backend, reason }) in self.0.iter().enumerate() {
            let before = if idx == 0 { "; before that" } else { "," };
            write!(out, "{before} {backend} failed ({reason})")?;
        }
        Ok(())
    }
}

type ModelLookup = Box<dyn Fn(&str) -> Option<String>>;

/// A configuration and the backends that it names.
pub struct Router<B> {
    config: RuntimeConfig,
    /// By their names in the configuration.
    backends: Vec<(String, B)>,
    lookup: ModelLookup,
}

impl<B: Backend> Router<B>
where
    B::Error: AttemptError,
{
    /// A router over these backends, by their names in the configuration. One that
    /// is configured but not given counts as failing; one that is given but not
    /// configured is never asked.
    pub fn new(config: RuntimeConfig, backends: impl IntoIterator<Item = (String, B)>) -> Self {
        Self {
            config,
            backends: backends.into_iter().collect(),
            lookup: Box::new(|_| None),
        }
    }

    /// With a way to find the backend that has a model which the configuration
    /// doesn't name: it is given the model's id and gives a backend's name.
    #[must_use]
    pub fn with_model_lookup(mut self, lookup: impl Fn(&str) -> Option<String> + 'static) -> Self {
        self.lookup = Box::new(lookup);
        self
    }

    /// The configuration.
    pub fn config(&self) -> &RuntimeConfig {
        &self.config
    }

    /// The plan for an alias or a model's id.
    ///
    /// # Errors
    /// Nothing has this name.
    pub fn plan(&self, name: &str) -> Result<RoutePlan, UnknownModel> {
        self.config.plan(name, &self.lookup)
    }

    /// Whether some backend is there that could answer this alias or model.
    ///
    /// # Errors
    /// Nothing has this name.
    pub fn is_available(&self, name: &str) -> Result<bool, UnknownModel> {
        let plan = self.plan(name)?;
        let mut routes = plan.routes().iter();
        Ok(routes.any(|route| self.backend(&route.backend).is_some()))
    }

    /// A backend for one call, and the report on which route it took.
    pub fn call(&self) -> RouterCall<'_, B> {
        RouterCall {
            router: self,
            only: None,
            report: RouteReport::default(),
        }
    }

    /// The same, but the call takes this route and no other.
    pub fn call_on(&self, route: RouteTarget) -> RouterCall<'_, B> {
        RouterCall {
            only: Some(route),
            ..self.call()
        }
    }

    fn backend(&self, name: &str) -> Option<&B> {
        let mut backends = self.backends.iter();
        let (_, backend) = backends.find(|(other, _)| other == name)?;
        Some(backend)
    }
}

/// What became of one call. Clones share it; it is whole when the call's stream has
/// ended.
#[derive(Debug, Clone, Default)]
pub struct RouteReport {
    state: Rc<RefCell<ReportState>>,
}

#[derive(Debug, Default)]
struct ReportState {
    plan: Option<RoutePlan>,
    left_device: bool,
}

impl RouteReport {
    /// Whether any part of the conversation left the device, on the route that
    /// answered or on one that failed.
    pub fn left_device(&self) -> bool {
        self.state.borrow().left_device
    }

    /// The route that answered, or the last one that was tried.
    pub fn route(&self) -> Option<RouteTarget> {
        let state = self.state.borrow();
        state.plan.as_ref().and_then(RoutePlan::current).cloned()
    }

    /// The attempts that failed before their first delta, oldest first.
    pub fn fallback_from(&self) -> Vec<RouteFallback> {
        let state = self.state.borrow();
        let plan = state.plan.as_ref();
        plan.map_or_else(Vec::new, |plan| plan.fallback_from().to_vec())
    }

    /// Puts into `meta` what only the router knows: which route answered, after
    /// which others, and whether anything left the device. To be called when the
    /// turn is done.
    pub fn apply(&self, meta: &mut ChatMeta) {
        meta.route.left_device = self.left_device();
        meta.route.fallback_from = self.fallback_from();
        let state = self.state.borrow();
        if let Some(route) = state.plan.as_ref().and_then(RoutePlan::current) {
            route.kind.clone_into(&mut meta.route.backend);
            meta.target.url.clone_from(&route.url);
            meta.target.has_api_key = route.has_api_key;
        }
    }
}

/// One call through a router. As a [`Backend`] it serves a `ChatClient`, whose
/// result its [report](Self::report) then completes.
pub struct RouterCall<'r, B> {
    router: &'r Router<B>,
    /// The route to take; `None` lets the configuration say.
    only: Option<RouteTarget>,
    report: RouteReport,
}

impl<B> RouterCall<'_, B> {
    /// The report on the latest request that was made through this call.
    pub fn report(&self) -> RouteReport {
        self.report.clone()
    }
}

impl<B: Backend> Backend for RouterCall<'_, B>
where
    B::Error: AttemptError,
{
    type Error = RouteError<B::Error>;

    /// Not a kind that can be configured: the one that answered is in the report.
    fn kind(&self) -> &str {
        "router"
    }

    /// Whether it might; the report tells whether it did.
    fn leaves_device(&self) -> bool {
        let mut backends = self.router.backends.iter();
        backends.any(|(_, backend)| backend.leaves_device())
    }

    fn generate(
        &self,
        request: GenerateRequest,
    ) -> LocalBoxStream<'_, Result<BackendEvent, Self::Error>> {
        let plan = match &self.only {
            Some(route) => Ok(RoutePlan::single(&request.model, route.clone())),
            None => self.router.plan(&request.model),
        };
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => {
                self.report.state.take();
                return stream::iter([Err(RouteError::Unknown(error))]).boxed_local();
            }
        };
        *self.report.state.borrow_mut() = ReportState {
            plan: Some(plan.clone()),
            left_device: false,
        };
        let attempts = Attempts {
            router: self.router,
            report: self.report.clone(),
            request,
            plan,
            running: None,
            is_over: false,
        };
        stream::unfold(attempts, |mut attempts| async {
            let event = attempts.next().await?;
            Some((event, attempts))
        })
        .boxed_local()
    }
}

/// The attempts of one request.
struct Attempts<'r, B: Backend> {
    router: &'r Router<B>,
    report: RouteReport,
    request: GenerateRequest,
    plan: RoutePlan,
    /// The attempt that is going on.
    running: Option<Attempt<'r, B::Error>>,
    is_over: bool,
}

struct Attempt<'r, E> {
    events: LocalBoxStream<'r, Result<BackendEvent, E>>,
    leaves_device: bool,
    /// Whether it gave a delta.
    has_spoken: bool,
}

/// Why an attempt gave no whole reply.
enum Failure<E> {
    Backend(E),
    Unavailable,
}

impl<B: Backend> Attempts<'_, B>
where
    B::Error: AttemptError,
{
    async fn next(&mut self) -> Option<Result<BackendEvent, RouteError<B::Error>>> {
        while !self.is_over {
            if self.running.is_none() {
                self.start();
            }
            let Some(attempt) = &mut self.running else {
                if let Some(end) = self.fail(false, Failure::Unavailable) {
                    return Some(end);
                }
                continue;
            };
            match attempt.events.next().await {
                None => self.is_over = true,
                Some(Ok(event)) => {
                    let is_progress = matches!(event, BackendEvent::Progress { .. });
                    attempt.has_spoken |= matches!(event, BackendEvent::Delta { .. });
                    self.is_over = matches!(event, BackendEvent::Done(_));
                    if attempt.leaves_device && !is_progress {
                        self.report.state.borrow_mut().left_device = true;
                    }
                    return Some(Ok(event));
                }
                Some(Err(error)) => {
                    if attempt.leaves_device && error.sent_bytes() {
                        self.report.state.borrow_mut().left_device = true;
                    }
                    let has_spoken = attempt.has_spoken;
                    self.running = None;
                    if let Some(end) = self.fail(has_spoken, Failure::Backend(error)) {
                        return Some(end);
                    }
                }
            }
        }
        None
    }

    /// Begins the plan's current attempt, if its backend is there.
    fn start(&mut self) {
        let Some(route) = self.plan.current() else {
            return;
        };
        self.running = self.router.backend(&route.backend).map(|backend| {
            let request = GenerateRequest {
                model: route.model.clone(),
                ..self.request.clone()
            };
            Attempt {
                events: backend.generate(request),
                leaves_device: backend.leaves_device(),
                has_spoken: false,
            }
        });
    }

    /// Goes on to the next route, or gives what ends the call.
    fn fail(
        &mut self,
        has_spoken: bool,
        failure: Failure<B::Error>,
    ) -> Option<Result<BackendEvent, RouteError<B::Error>>> {
        let is_cancelled = self.request.cancel.is_cancelled();
        let end = if is_cancelled {
            AttemptEnd::Cancelled
        } else if has_spoken {
            AttemptEnd::AfterDelta
        } else {
            AttemptEnd::BeforeDelta {
                reason: match &failure {
                    Failure::Backend(error) => error.to_string(),
                    Failure::Unavailable => "it is not available on this host".to_owned(),
                },
            }
        };
        let route = self.plan.current().cloned();
        let fallback_from = self.plan.fallback_from().to_vec();
        if self.plan.end_attempt(end).is_some() {
            self.report.state.borrow_mut().plan = Some(self.plan.clone());
            return None;
        }
        // The report keeps the route of the last attempt.
        self.is_over = true;
        if is_cancelled {
            // An error that comes late is nothing that the caller waits for.
            return Some(Ok(BackendEvent::Done(Completion {
                model: route.map_or_else(String::new, |route| route.model),
                finish_reason: FinishReason::Cancelled,
                usage: Usage::default(),
                timings: Timings::default(),
                lane: None,
            })));
        }
        Some(Err(match failure {
            Failure::Backend(error) => RouteError::Failed {
                error,
                fallback_from,
            },
            Failure::Unavailable => RouteError::Unavailable {
                backend: route.map_or_else(String::new, |route| route.backend),
                fallback_from,
            },
        }))
    }
}
