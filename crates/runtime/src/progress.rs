//! How far a long call has come, told at a bearable rate.

use nox_core::Clock;
use nox_protocol::{Progress, ProgressPhase, method};

use crate::connection::Call;

/// At most ten notifications a second.
const MIN_INTERVAL_MS: f64 = 100.0;
/// Before that a speed is guesswork.
const MIN_MEASURED_MS: f64 = 300.0;

/// Measures one phase of a call and tells the host; without a call it is silent.
pub(crate) struct Meter<'a> {
    call: Option<&'a Call>,
    clock: &'a dyn Clock,
    phase: ProgressPhase,
    total: Option<u64>,
    started_ms: f64,
    told_ms: Option<f64>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(
        call: Option<&'a Call>,
        clock: &'a dyn Clock,
        phase: ProgressPhase,
        total: Option<u64>,
    ) -> Self {
        let mut meter = Self {
            call,
            clock,
            phase,
            total,
            started_ms: clock.now_ms(),
            told_ms: None,
        };
        meter.tell(0);
        meter
    }

    /// Tells `done`, unless something was told a moment ago.
    pub(crate) fn tell(&mut self, done: u64) {
        let now_ms = self.clock.now_ms();
        let is_end = Some(done) == self.total;
        let is_due = self
            .told_ms
            .is_none_or(|told_ms| now_ms - told_ms >= MIN_INTERVAL_MS);
        let Some(call) = self.call.filter(|_| is_due || is_end) else {
            return;
        };
        self.told_ms = Some(now_ms);
        let elapsed_ms = now_ms - self.started_ms;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a speed needs no more precision"
        )]
        let speed =
            (elapsed_ms >= MIN_MEASURED_MS && done > 0).then(|| done as f64 * 1000.0 / elapsed_ms);
        #[expect(clippy::cast_precision_loss, reason = "a time needs no more precision")]
        let eta_ms = speed
            .zip(self.total)
            .map(|(speed, total)| total.saturating_sub(done) as f64 * 1000.0 / speed);
        call.notify(
            method::PROGRESS,
            &Progress {
                id: call.id.clone(),
                phase: self.phase,
                done,
                total: self.total,
                bytes_per_second: speed,
                eta_ms,
            },
        );
    }
}
