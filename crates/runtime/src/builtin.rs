//! The model that comes with the product: put into storage on the first start, and
//! again when it is missing there or has become another one.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

use nox_core::CancelToken;
use nox_engine::ModelSource;

use crate::error::RuntimeError;
use crate::import::{ImportJob, hash_source};
use crate::model_id::ModelId;
use crate::platform::StorageError;
use crate::runtime::Shared;

/// How often, and how many times, to look whether another tab has put it there.
const RETRY_INTERVAL_MS: f64 = 250.0;
const MAX_ATTEMPTS: u32 = 120;

/// Where the built-in model comes from, and how it is told from another file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltinModel {
    /// Its id; no other model may take it.
    pub id: ModelId,
    /// The address of its file.
    pub url: String,
    /// SHA-256 of its file in hexadecimal; without it any sound file will do.
    pub sha256: Option<String>,
}

/// Whether the built-in model has been seen to.
#[derive(Debug, Default)]
pub(crate) struct BuiltinState {
    is_settled: Cell<bool>,
    warning: RefCell<Option<String>>,
    waiting: RefCell<Vec<Waker>>,
}

impl BuiltinState {
    /// Completes when the model is in storage, or could not be put there.
    pub(crate) async fn ready(&self) {
        poll_fn(|context| {
            if self.is_settled.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Why it is not in storage, or not up to date there.
    pub(crate) fn warning(&self) -> Option<String> {
        self.warning.borrow().clone()
    }

    fn settle(&self, warning: Option<String>) {
        *self.warning.borrow_mut() = warning;
        self.is_settled.set(true);
        for waker in self.waiting.take() {
            waker.wake();
        }
    }
}

impl Shared {
    /// Reads what storage holds and sees to the built-in model. Failures become
    /// warnings: the runtime works with what is there.
    pub(crate) async fn prepare_models(&self) {
        let outcome = self.install_builtin().await;
        // Without a listing there are no models, and each call says why.
        let _ = self.refresh_catalogue().await;
        self.builtin
            .settle(outcome.err().map(|error| self.describe_failure(&error)));
    }

    /// An update that fails leaves the model of before in storage, and in use.
    fn describe_failure(&self, error: &RuntimeError) -> String {
        let builtin = self.options.builtin.as_ref();
        let is_there = builtin.is_some_and(|builtin| self.catalogue.find(&builtin.id).is_some());
        if is_there {
            format!(
                "The built-in model could not be updated, so the version of before stays in use; \
                 the next start tries again: {error}."
            )
        } else {
            format!("The built-in model could not be installed: {error}.")
        }
    }

    async fn install_builtin(&self) -> Result<(), RuntimeError> {
        let Some(builtin) = &self.options.builtin else {
            return Ok(());
        };
        let mut n_attempts = 0;
        while !self.has_builtin(builtin).await? {
            match self.fetch_builtin(builtin).await {
                // Another tab is putting it there.
                Err(RuntimeError::Storage(StorageError::Busy { .. }))
                    if n_attempts < MAX_ATTEMPTS =>
                {
                    n_attempts += 1;
                    self.platform.sleep_ms(RETRY_INTERVAL_MS).await;
                }
                outcome => return outcome,
            }
        }
        Ok(())
    }

    async fn fetch_builtin(&self, builtin: &BuiltinModel) -> Result<(), RuntimeError> {
        let claim = self.claim_import(&builtin.id)?;
        let bytes = self.platform.fetch(&builtin.url).await?;
        let job = ImportJob {
            file: &builtin.id,
            bytes,
            expected_sha256: builtin.sha256.as_deref(),
            call: None,
            cancel: &CancelToken::new(),
            _claim: claim,
        };
        self.import(job).await.map(|_| ())
    }

    async fn has_builtin(&self, builtin: &BuiltinModel) -> Result<bool, RuntimeError> {
        let source: Box<dyn ModelSource> = match self.store.open(&builtin.id).await {
            Ok(source) => source,
            Err(StorageError::NotFound { .. }) => return Ok(false),
            // Another tab uses it.
            Err(StorageError::Busy { .. }) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        if nox_engine::gguf::Gguf::read(&source).is_err() {
            return Ok(false);
        }
        let Some(expected) = &builtin.sha256 else {
            return Ok(true);
        };
        let found = hash_source(&source, &*self.platform).await;
        Ok(found.is_ok_and(|found| found.eq_ignore_ascii_case(expected)))
    }
}
