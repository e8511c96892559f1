//! Who would answer the next turn, and with which settings: what `/config` tells.

use nox_core::{BackendKind, ChatRequest, RoutePlan};
use nox_protocol::ChatTarget;
use serde_json::json;

use crate::error::RuntimeError;
use crate::runtime::Shared;
use crate::stored::Stored;

impl Shared {
    pub(super) async fn next_target(&self) -> Result<ChatTarget, RuntimeError> {
        let stored = self.chats.stored();
        let name = self.model_in_use();
        let request = next_request(&stored, &name)?;
        let persona = self.persona_as_set(&stored, self.persona_row(&stored, &name));
        let plan = plan(&stored, &name);
        let route = plan.as_ref().and_then(RoutePlan::current);
        let mut target_model = route.map_or(name.as_str(), |route| &route.model).to_owned();
        let is_local = route.is_none_or(|route| route.kind == BackendKind::Local.as_str());
        if is_local && let Ok(id) = self.resolve(&target_model).await {
            target_model = id.to_string();
        }
        Ok(ChatTarget {
            url: route.and_then(|route| route.url.clone()),
            model: name,
            central_name: persona.central_name,
            central_scale: persona.central_scale,
            noctics_variant: persona.variant_name,
            model_target: persona.model_target,
            stream: request.stream,
            temperature: request.temperature,
            max_tokens: request.max_tokens,
            sanitize: request.sanitize,
            strip_reasoning: request.strip_reasoning,
            logging_enabled: stored.settings.keep_chats(),
            target_model,
            has_api_key: route.is_some_and(|route| route.has_api_key),
            instrument: stored.settings.instrument().map(str::to_owned),
            instrument_warning: None,
        })
    }
}

/// A call that says nothing of its own.
fn next_request(stored: &Stored, name: &str) -> Result<ChatRequest, RuntimeError> {
    let params = json!({
        "model": name,
        "messages": [{"role": "user", "content": ""}],
    });
    let request = ChatRequest::parse_with(&params, &stored.settings, &stored.runtime)?;
    Ok(request)
}

/// A name that is no alias is a model of this device.
fn plan(stored: &Stored, name: &str) -> Option<RoutePlan> {
    let mut backends = stored.runtime.backends();
    let local = backends.find(|(_, backend)| backend.kind == BackendKind::Local);
    let local = local.map(|(backend, _)| backend.to_owned());
    stored.runtime.plan(name, |_| local.clone()).ok()
}
