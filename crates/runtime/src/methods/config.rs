//! `config.*`: the user's settings and the routing configuration.

use nox_core::{BackendKind, RuntimeConfig, Settings};
use nox_protocol::ConfigResult;
use serde_json::{Map, Value};

use crate::error::{ParamError, RuntimeError};
use crate::model_id::ModelId;
use crate::params::{self, Params};
use crate::runtime::Shared;
use crate::stored::{RUNTIME_KEY, SETTINGS_KEY, Stored};

impl Shared {
    /// What is in force.
    pub(super) fn config(&self) -> ConfigResult {
        let stored = self.chats.stored();
        ConfigResult {
            settings: stored.settings.to_wire(),
            runtime: stored.runtime_json(),
            is_runtime_custom: stored.runtime_document.is_some(),
            aliases: aliases(&stored.runtime),
        }
    }

    pub(super) async fn config_set(
        &self,
        params: &Params<'_>,
    ) -> Result<ConfigResult, RuntimeError> {
        let stored = self.chats.stored();
        let runtime = match params.present("runtime") {
            None => None,
            Some(Value::Null) => Some((None, RuntimeConfig::default())),
            Some(document @ Value::Object(_)) => {
                let text = document.to_string();
                let runtime = RuntimeConfig::parse(&text)?;
                Some((Some(text), runtime))
            }
            // A document as it stands in a file; its errors name line and column.
            Some(Value::String(text)) => Some((Some(text.clone()), RuntimeConfig::parse(text)?)),
            Some(_) => return Err(params::wrong("runtime", "an object, or its JSON text").into()),
        };
        let in_force = runtime.as_ref().map_or(&stored.runtime, |(_, read)| read);
        let settings = match params.get("settings") {
            None => None,
            Some(changes) => Some(self.changed_settings(&stored, in_force, changes).await?),
        };
        let settings = settings.as_ref().map(settings_text);
        let mut changes = Vec::new();
        if let Some(text) = &settings {
            changes.push((SETTINGS_KEY, Some(text.as_str())));
        }
        if let Some((text, _)) = &runtime {
            changes.push((RUNTIME_KEY, text.as_deref()));
        }
        self.chats
            .change_stored(|store| store.set_settings(&changes))?;
        Ok(self.config())
    }

    /// Changes settings; the names in the changes must stand for something now.
    pub(super) async fn set_settings(&self, changes: &Value) -> Result<(), RuntimeError> {
        let stored = self.chats.stored();
        let settings = self
            .changed_settings(&stored, &stored.runtime, changes)
            .await?;
        let text = settings_text(&settings);
        self.chats
            .change_stored(|store| store.set_setting(SETTINGS_KEY, Some(&text)))
    }

    async fn changed_settings(
        &self,
        stored: &Stored,
        runtime: &RuntimeConfig,
        changes: &Value,
    ) -> Result<Settings, RuntimeError> {
        let settings = stored.settings.patched(changes)?;
        let changed = |name| changes.get(name).and_then(Value::as_str);
        if let Some(instrument) = settings.instrument()
            && changed("instrument").is_some()
            && runtime.alias(instrument).is_none()
        {
            return Err(ParamError::UnknownName {
                field: "instrument",
                found: instrument.to_owned(),
                known: aliases(runtime),
            }
            .into());
        }
        if let Some(model) = settings.model()
            && changed("model").is_some()
            && runtime.plan(model, |_| None).is_err()
        {
            self.resolve(model).await?;
        }
        Ok(settings)
    }

    /// Whether an alias has a route that this host can take.
    pub(super) fn is_reachable(&self, runtime: &RuntimeConfig, alias: &str) -> bool {
        let routes = runtime.alias(alias).map(|alias| alias.routes.as_slice());
        routes.unwrap_or_default().iter().any(|route| {
            let mut given = self.options.backends.iter();
            if given.any(|(name, _)| *name == route.backend) {
                return true;
            }
            let backend = runtime.backend(&route.backend);
            let is_local = backend.is_some_and(|backend| backend.kind == BackendKind::Local);
            is_local && self.has_model(route.model.as_deref())
        })
    }

    /// Whether this model is installed; without a name, whether any is.
    fn has_model(&self, model: Option<&str>) -> bool {
        let Some(model) = model else {
            return !self.catalogue.known().is_empty();
        };
        let id = ModelId::parse(model).ok();
        id.is_some_and(|id| self.catalogue.find(&id).is_some())
    }
}

fn aliases(runtime: &RuntimeConfig) -> Vec<String> {
    runtime
        .aliases()
        .map(|(alias, _)| alias.to_owned())
        .collect()
}

fn settings_text(settings: &Settings) -> String {
    let fields: &Map<String, Value> = settings.fields();
    Value::Object(fields.clone()).to_string()
}
