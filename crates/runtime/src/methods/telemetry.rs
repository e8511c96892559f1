//! `telemetry.summary`.

use nox_protocol::{FinishCount, ModelTelemetry, TelemetrySummaryResult};

use crate::error::RuntimeError;
use crate::params::Params;
use crate::runtime::Shared;

impl Shared {
    pub(super) fn telemetry_summary(
        &self,
        params: &Params<'_>,
    ) -> Result<TelemetrySummaryResult, RuntimeError> {
        let since_ms = params.optional_i64("since_ms")?.unwrap_or(i64::MIN);
        let summary = self.chats.with(|store| store.telemetry_summary(since_ms))?;
        let finish_reasons = summary.finish_reasons.into_iter();
        let models = summary.models.into_iter();
        Ok(TelemetrySummaryResult {
            turns: summary.turns,
            left_device: summary.left_device,
            fell_back: summary.fell_back,
            finish_reasons: finish_reasons
                .map(|(finish_reason, turns)| FinishCount {
                    finish_reason,
                    turns,
                })
                .collect(),
            models: models
                .map(|of| ModelTelemetry {
                    model: of.model,
                    backend: of.backend,
                    lane: of.lane,
                    turns: of.turns,
                    prompt_tokens: of.prompt_tokens,
                    cached_tokens: of.cached_tokens,
                    completion_tokens: of.completion_tokens,
                    tokens_per_second: of.tokens_per_second,
                    first_token_ms: of.first_token_ms,
                    score: of.score,
                })
                .collect(),
        })
    }
}
