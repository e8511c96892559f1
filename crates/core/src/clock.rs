//! Time, as the platform tells it.

/// A source of time. Implementations never fail and never go backwards in
/// [`now_ms`](Clock::now_ms).
pub trait Clock {
    /// Milliseconds since some fixed moment; monotonic, with a fraction.
    fn now_ms(&self) -> f64;

    /// What the user's wall clock shows, in seconds since 1970-01-01 of that clock
    /// (local time), for prompts that state the date.
    fn local_unix_seconds(&self) -> i64;
}
