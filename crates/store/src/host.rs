//! What the database needs from where it runs.

/// The clock and the randomness of a host.
pub trait Host {
    /// Milliseconds since 1970-01-01 UTC. May go backwards when the user sets the
    /// clock; nothing but the order of lists depends on it.
    fn now_ms(&self) -> i64;

    /// Fills `bytes` with randomness that differs between hosts and restarts. Ids
    /// are made from it; it need not be secret.
    fn fill_random(&self, bytes: &mut [u8]);
}

impl<H: Host + ?Sized> Host for Box<H> {
    fn now_ms(&self) -> i64 {
        (**self).now_ms()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        (**self).fill_random(bytes);
    }
}
