//! The error of a call: a text for a person, and a stable kind for programs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What went wrong, in words that stay the same between releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The frame or its params are wrong; sending it again gives the same.
    InvalidRequest,
    /// No such method.
    UnknownMethod,
    /// No route or model of that name.
    UnknownModel,
    /// The model is known, but its file is not on this device.
    ModelNotInstalled,
    /// A sound file that this runtime can't run: architecture, quantisation, tokenizer.
    UnsupportedModel,
    /// The file is damaged, cut short or no model at all.
    CorruptModel,
    /// The device's memory does not suffice.
    OutOfMemory,
    /// The device's storage is full.
    QuotaExceeded,
    /// Another tab or process holds the storage.
    StorageBusy,
    /// The storage refused to read or write.
    StorageFailed,
    /// The network or the address did not answer.
    Network,
    /// Credentials are missing or wrong.
    Auth,
    /// The remote side asks to slow down.
    RateLimited,
    /// The remote side failed.
    Upstream,
    /// It took too long.
    Timeout,
    /// The caller cancelled it.
    Cancelled,
    /// Too much is already queued.
    Busy,
    /// The GPU went away.
    DeviceLost,
    /// The runtime died and was started again; the call is lost.
    RuntimeRestarted,
    /// A defect of the runtime.
    Internal,
}

impl ErrorKind {
    /// The JSON-RPC code that goes with the kind: the specification's own where
    /// it has one, else the server range from -32000 downwards in the order of
    /// the kinds.
    pub const fn code(self) -> i32 {
        match self {
            Self::InvalidRequest => -32600,
            Self::UnknownMethod => -32601,
            Self::Internal => -32603,
            kind => -32000 - kind as i32,
        }
    }

    /// Whether the same call may succeed later without a change on the caller's side.
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::StorageBusy
                | Self::StorageFailed
                | Self::Network
                | Self::RateLimited
                | Self::Upstream
                | Self::Timeout
                | Self::Busy
                | Self::DeviceLost
                | Self::RuntimeRestarted
        )
    }
}

/// The machine-readable half of an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct ErrorData {
    /// Stable name of the failure.
    pub kind: ErrorKind,
    /// Whether trying the same again can help.
    pub retryable: bool,
    /// More, where there is more to say; its shape depends on the kind.
    #[serde(default)]
    #[cfg_attr(feature = "schema", ts(type = "unknown"))]
    pub detail: Value,
}

/// JSON-RPC's error object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct RpcError {
    /// A number that goes with the kind.
    pub code: i32,
    /// One or two sentences for a person: what happened, and what to do.
    pub message: String,
    /// The machine-readable half.
    pub data: ErrorData,
}

impl RpcError {
    /// An error of `kind` that tells `message` to the user.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            code: kind.code(),
            message: message.into(),
            data: ErrorData {
                kind,
                retryable: kind.is_retryable(),
                detail: Value::Null,
            },
        }
    }

    /// The same error with `detail` attached.
    pub fn with_detail(mut self, detail: impl Into<Value>) -> Self {
        self.data.detail = detail.into();
        self
    }
}

impl std::fmt::Display for RpcError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RpcError {}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [ErrorKind; 20] = [
        ErrorKind::InvalidRequest,
        ErrorKind::UnknownMethod,
        ErrorKind::UnknownModel,
        ErrorKind::ModelNotInstalled,
        ErrorKind::UnsupportedModel,
        ErrorKind::CorruptModel,
        ErrorKind::OutOfMemory,
        ErrorKind::QuotaExceeded,
        ErrorKind::StorageBusy,
        ErrorKind::StorageFailed,
        ErrorKind::Network,
        ErrorKind::Auth,
        ErrorKind::RateLimited,
        ErrorKind::Upstream,
        ErrorKind::Timeout,
        ErrorKind::Cancelled,
        ErrorKind::Busy,
        ErrorKind::DeviceLost,
        ErrorKind::RuntimeRestarted,
        ErrorKind::Internal,
    ];

    #[test]
    fn every_kind_has_a_code_of_its_own() {
        let codes: std::collections::BTreeSet<i32> = ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), ALL.len());
    }

    #[test]
    fn kinds_are_written_in_snake_case() {
        let text = serde_json::to_string(&ErrorKind::RuntimeRestarted).unwrap();
        assert_eq!(text, "\"runtime_restarted\"");
    }
}
