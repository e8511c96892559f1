//! `config.*`: the user's settings and the routing configuration.

use nox_core::{BackendKind, RuntimeConfig};
use nox_protocol::ConfigResult;
use serde_json::Value;

use crate::error::{ParamError, RuntimeError};
use crate::model_id::ModelId;
use crate::params::{self, Params};
use crate::runtime::Shared;
use crate::stored::{RUNTIME_KEY, SETTINGS_KEY};

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
        let wanted = params.get("settings");
        let new_runtime = runtime.as_ref().map(|(_, read)| read);
        if let Some(wanted) = wanted {
            self.check_changes(new_runtime, wanted).await?;
        }
        let settings = wanted
            .map(|wanted| self.changed_settings(wanted))
            .transpose()?;
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
        self.check_changes(None, changes).await?;
        let text = self.changed_settings(changes)?;
        self.chats
            .change_stored(|store| store.set_setting(SETTINGS_KEY, Some(&text)))
    }

    /// Whether these changes can be made, with a routing that comes with them or the
    /// one in force. Others may be made while this waits, so what is to be stored is
    /// worked out [afterwards](Self::changed_settings).
    async fn check_changes(
        &self,
        new_runtime: Option<&RuntimeConfig>,
        changes: &Value,
    ) -> Result<(), RuntimeError> {
        let stored = self.chats.stored();
        let runtime = new_runtime.unwrap_or(&stored.runtime);
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
        Ok(())
    }

    /// The settings in force with these changes, as they are stored. To be stored
    /// before anything is waited for.
    fn changed_settings(&self, changes: &Value) -> Result<String, RuntimeError> {
        let settings = self.chats.stored().settings.patched(changes)?;
        Ok(Value::Object(settings.fields().clone()).to_string())
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
            return self.catalogue.has_any();
        };
        let id = ModelId::parse(model).ok();
        let listed = id.and_then(|id| self.catalogue.look_up(&id));
        listed.is_some_and(|listed| listed.missing().is_empty())
    }
}

fn aliases(runtime: &RuntimeConfig) -> Vec<String> {
    runtime
        .aliases()
        .map(|(alias, _)| alias.to_owned())
        .collect()
}
