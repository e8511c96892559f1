//! What a host is told of a turn while it goes on.

use nox_core::{Phase, ReplyPiece};
use nox_protocol::{ChatDelta, ChatPhase, ChatProgress, HandleChatResult, method};

use crate::connection::Call;
use crate::runtime::Shared;

/// Deltas are not sent more often than a screen is drawn.
const MIN_DELTA_INTERVAL_MS: f64 = 16.0;
/// Progress of one phase is not told more often than a person can read.
const MIN_PROGRESS_INTERVAL_MS: f64 = 50.0;

/// Tells the host what a turn is doing; silent for a call that does not stream.
pub(crate) struct Teller<'a> {
    call: &'a Call,
    shared: &'a Shared,
    is_streaming: bool,
    /// Text that has not been sent.
    pending: ReplyPiece,
    next_seq: u64,
    delta_ms: Option<f64>,
    progress_ms: Option<(Phase, f64)>,
}

impl<'a> Teller<'a> {
    pub(crate) fn new(call: &'a Call, shared: &'a Shared, is_streaming: bool) -> Self {
        Self {
            call,
            shared,
            is_streaming,
            pending: ReplyPiece::default(),
            next_seq: 0,
            delta_ms: None,
            progress_ms: None,
        }
    }

    pub(crate) fn progress(&mut self, phase: Phase, done: u64, total: u64) {
        let now_ms = self.shared.platform.now_ms();
        let is_due = match self.progress_ms {
            Some((told, told_ms)) if told == phase && done < total => {
                now_ms - told_ms >= MIN_PROGRESS_INTERVAL_MS
            }
            _ => true,
        };
        if !self.is_streaming || !is_due {
            return;
        }
        self.progress_ms = Some((phase, now_ms));
        self.call.notify(
            method::CHAT_PROGRESS,
            &ChatProgress {
                id: self.call.id.clone(),
                phase: match phase {
                    Phase::Queued => ChatPhase::Queued,
                    Phase::Loading => ChatPhase::Loading,
                    Phase::Prefill => ChatPhase::Prefill,
                },
                done,
                total,
            },
        );
    }

    /// The first delta goes out at once, later ones when the last is old enough.
    pub(crate) fn delta(&mut self, piece: &ReplyPiece) {
        self.pending.text.push_str(&piece.text);
        self.pending.reasoning.push_str(&piece.reasoning);
        let now_ms = self.shared.platform.now_ms();
        if self
            .delta_ms
            .is_none_or(|sent_ms| now_ms - sent_ms >= MIN_DELTA_INTERVAL_MS)
        {
            self.delta_ms = Some(now_ms);
            self.flush();
        }
    }

    pub(crate) fn flush(&mut self) {
        let piece = std::mem::take(&mut self.pending);
        if !self.is_streaming || piece.is_empty() {
            return;
        }
        self.call.notify(
            method::CHAT_DELTA,
            &ChatDelta {
                id: self.call.id.clone(),
                seq: self.next_seq,
                text: piece.text,
                reasoning: Some(piece.reasoning).filter(|text| !text.is_empty()),
            },
        );
        self.next_seq += 1;
    }

    /// Tells a kept reply as if it had just been made.
    pub(crate) fn repeat(&mut self, result: &HandleChatResult) {
        let message = &result.message;
        self.delta(&ReplyPiece {
            text: message.content.clone(),
            reasoning: message.reasoning.clone().unwrap_or_default(),
        });
        self.flush();
    }
}
