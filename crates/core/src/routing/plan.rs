//! The choice of route as plain data: what was tried, how it ended, what is next.

use nox_protocol::RouteFallback;

use super::config::routing_limits::MAX_REASON_BYTES;

/// Where a request would go, with everything looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTarget {
    /// The backend's name in the configuration.
    pub backend: String,
    /// The backend's kind, as `meta.route.backend` tells it.
    pub kind: &'static str,
    /// The model to ask it for; [`DEFAULT_ALIAS`](crate::DEFAULT_ALIAS) where the
    /// choice is left to it.
    pub model: String,
    /// The backend's address; `None` for a local one.
    pub url: Option<String>,
    /// Whether a key is configured for it.
    pub has_api_key: bool,
}

/// How an attempt ended that gave no whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptEnd {
    /// It failed before it said anything.
    BeforeDelta {
        /// Why, for a person.
        reason: String,
    },
    /// It failed in the middle of the reply.
    AfterDelta,
    /// Nobody wants the reply any more.
    Cancelled,
}

/// The routes of one request, and how far they have been tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePlan {
    alias: String,
    routes: Vec<RouteTarget>,
    /// The place of the route to try; beyond the last when none is left.
    current_idx: usize,
    fallback_from: Vec<RouteFallback>,
}

impl RoutePlan {
    /// A plan with at least one route.
    pub(super) fn new(alias: &str, routes: Vec<RouteTarget>) -> Option<Self> {
        (!routes.is_empty()).then(|| Self {
            alias: alias.to_owned(),
            routes,
            current_idx: 0,
            fallback_from: Vec::new(),
        })
    }

    /// A plan with one route.
    pub(super) fn single(alias: &str, route: RouteTarget) -> Self {
        Self {
            alias: alias.to_owned(),
            routes: vec![route],
            current_idx: 0,
            fallback_from: Vec::new(),
        }
    }

    /// All routes, the best first.
    pub fn routes(&self) -> &[RouteTarget] {
        &self.routes
    }

    /// The alias or model id that the plan is for.
    pub fn alias(&self) -> &str {
        &self.alias
    }

    /// The route to try now; `None` when nothing more is to be tried.
    pub fn current(&self) -> Option<&RouteTarget> {
        self.routes.get(self.current_idx)
    }

    /// Tells how the current attempt ended, and gives the next route. Only a failure
    /// before the first delta has one.
    pub fn end_attempt(&mut self, end: AttemptEnd) -> Option<&RouteTarget> {
        match (end, self.routes.get(self.current_idx)) {
            (AttemptEnd::BeforeDelta { reason }, Some(route)) => {
                self.fallback_from.push(RouteFallback {
                    backend: route.kind.to_owned(),
                    reason: worded_reason(route, &reason),
                });
                self.current_idx += 1;
            }
            _ => self.current_idx = self.routes.len(),
        }
        self.current()
    }

    /// The attempts that failed before their first delta, oldest first.
    pub fn fallback_from(&self) -> &[RouteFallback] {
        &self.fallback_from
    }
}

/// The reason on one line within its cap, with the backend's name where its kind
/// alone does not tell which one it was.
fn worded_reason(route: &RouteTarget, reason: &str) -> String {
    let words: Vec<&str> = reason
        .get(..reason.floor_char_boundary(MAX_REASON_BYTES))
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let mut worded = words.join(" ");
    if route.backend != route.kind {
        worded = format!("{}: {worded}", route.backend);
    }
    worded.truncate(worded.floor_char_boundary(MAX_REASON_BYTES));
    worded
}
