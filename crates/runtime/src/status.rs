//! `hello`, `status`, `storage.estimate` and `self_test`: what the runtime is, has
//! and does.

use futures::future::{Either, join, select};
use nox_protocol::{
    HelloResult, Lane, LaneKind, SelfTestCheck, SelfTestResult, StatusResult,
    StorageEstimateResult, StorageInfo, StoragePersistResult,
};

use crate::connection::Call;
use crate::error::RuntimeError;
use crate::model_id::ModelId;
use crate::params::{self, Params};
use crate::platform::StorageError;
use crate::runtime::Shared;

/// How long `hello` waits for the built-in model to be put into storage and for the
/// database of chats. The first takes longer on a slow network only; the host may go
/// on without a list then.
const HELLO_PATIENCE_MS: f64 = 5000.0;

/// More than one page of any storage.
const SELF_TEST_BYTES: usize = 100_000;

impl Shared {
    pub(crate) async fn hello(
        &self,
        call: &Call,
        params: &Params<'_>,
    ) -> Result<HelloResult, RuntimeError> {
        let host = params.get("host").map(serde_json::Value::is_object);
        if host == Some(false) {
            return Err(params::wrong("host", "an object with name and version").into());
        }
        let protocol = call.connection.greet(params)?;
        let ready = std::pin::pin!(join(self.builtin.ready(), self.chats.settled()));
        let patience = self.platform.sleep_ms(HELLO_PATIENCE_MS);
        let models = match select(ready, patience).await {
            Either::Left(_) => self.list_models().await.unwrap_or_default(),
            Either::Right(_) => self.catalogue.known(),
        };
        // Nothing comes between here and the answer.
        call.connection.welcome();
        Ok(HelloResult {
            protocol,
            build: self.options.build.clone(),
            instance: self.instance.clone(),
            lanes: vec![self.lane()],
            storage: self.storage_info(),
            chats: self.chats.info(),
            models,
        })
    }

    pub(crate) fn status(&self) -> StatusResult {
        let lane = self.lane();
        StatusResult {
            build: self.options.build.clone(),
            instance: self.instance.clone(),
            uptime_ms: self.platform.now_ms() - self.started_ms,
            lane: lane.kind,
            kernels: nox_engine::quant::InstructionSet::chosen()
                .name()
                .to_owned(),
            threads: lane.threads,
            threads_why: self.options.threads.why(),
            model: self.loaded.borrow().clone(),
            memory: self.platform.memory_usage(),
            active_calls: self.n_active_chats.get(),
            completed_calls: self.n_completed_chats.get(),
            storage: self.storage_info(),
            chats: self.chats.info(),
        }
    }

    pub(crate) async fn storage_estimate(&self) -> Result<StorageEstimateResult, RuntimeError> {
        let usage = self.store.usage().await?;
        let models = self.store.list().await?;
        Ok(StorageEstimateResult {
            usage_bytes: usage.usage_bytes,
            quota_bytes: usage.quota_bytes,
            models_bytes: models.iter().map(|model| model.size_bytes).sum(),
            chats_bytes: self.chats.info().size_bytes,
            snapshots_bytes: self.warm.size_bytes().await,
            persisted: usage.persisted,
        })
    }

    /// The promise is one for all that the origin stores, so the model store is asked.
    pub(crate) async fn storage_persist(&self) -> Result<StoragePersistResult, RuntimeError> {
        Ok(StoragePersistResult {
            persisted: self.store.persist().await?,
        })
    }

    /// Checks what differs between devices: the kernels, and the storage.
    pub(crate) async fn self_test(&self) -> SelfTestResult {
        let kernels = nox_engine::quant::kernel_check().map(|_| ());
        let storage = self.check_storage().await;
        let checks = vec![
            check("kernels equal their scalar twins", kernels),
            check("storage gives back what was written", storage),
        ];
        SelfTestResult {
            passed: checks.iter().all(|check| check.passed),
            checks,
        }
    }

    /// Writes a file that is never published, and reads it back.
    async fn check_storage(&self) -> Result<(), StorageError> {
        let Ok(id) = ModelId::parse("self-test") else {
            unreachable!("the id follows the grammar");
        };
        let pattern: Vec<u8> = (0..=u8::MAX).cycle().take(SELF_TEST_BYTES).collect();
        let mut writer = self.store.create(&id).await?;
        let mut found = vec![0; pattern.len()];
        let outcome = match writer.write(&pattern).await {
            Ok(()) => writer
                .source()
                .read_at(0, &mut found)
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        writer.discard().await;
        let differs = "other bytes came back".to_owned();
        outcome
            .and_then(|()| (found == pattern).then_some(()).ok_or(differs))
            .map_err(|reason| StorageError::Failed {
                action: "pass its test",
                reason,
            })
    }

    /// The lane that computes here.
    pub(crate) fn lane(&self) -> Lane {
        use nox_engine::lane::LaneKind as Kind;
        let lane = &self.options.lane;
        Lane {
            kind: match lane.kind() {
                Kind::Native => LaneKind::Native,
                Kind::WasmSimd => LaneKind::WasmSimd,
                Kind::WasmRelaxed => LaneKind::WasmRelaxed,
                Kind::WasmThreads => LaneKind::WasmThreads,
            },
            threads: u32::try_from(lane.n_threads()).unwrap_or(u32::MAX),
            why: self.options.lane_why.clone(),
        }
    }

    /// The lane of the model in memory, else the one there is.
    pub(crate) fn lane_in_use(&self) -> Lane {
        let loaded = self.loaded.borrow();
        loaded
            .as_ref()
            .map_or_else(|| self.lane(), |model| model.lane.clone())
    }

    fn storage_info(&self) -> StorageInfo {
        let warnings = [
            self.store.warning(),
            self.builtin.warning(),
            self.catalogue.warning(),
        ];
        let warnings: Vec<String> = warnings.into_iter().flatten().collect();
        StorageInfo {
            kind: self.store.kind(),
            warning: Some(warnings.join(" ")).filter(|text| !text.is_empty()),
        }
    }
}

fn check<E: std::fmt::Display>(name: &str, outcome: Result<(), E>) -> SelfTestCheck {
    SelfTestCheck {
        name: name.to_owned(),
        passed: outcome.is_ok(),
        detail: outcome.err().map(|error| error.to_string()),
    }
}
