//! JSON-RPC 2.0 frames. Source: <https://www.jsonrpc.org/specification>.
//!
//! Two fields go beyond the specification: `nonce`, which every frame carries
//! when the host gave one in `hello`, and `instance` on frames from the runtime,
//! by which a host tells a restarted runtime's frames from an older one's.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::RpcError;

/// The version tag `"2.0"`; any other value is refused when parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub enum JsonRpc {
    /// JSON-RPC 2.0.
    #[default]
    #[serde(rename = "2.0")]
    V2,
}

/// A call's identifier, chosen by the host and unique among its open calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(untagged)]
pub enum Id {
    /// A number.
    Number(i64),
    /// A string.
    Text(String),
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// A frame from the host: a call (with `id`) or a notification (without).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct Request {
    /// Always `"2.0"`.
    pub jsonrpc: JsonRpc,
    /// Absent on a notification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// The name of the method or notification.
    pub method: String,
    /// The method's params object; absent is the same as `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", ts(type = "unknown"))]
    pub params: Option<Value>,
    /// The nonce given in `hello`, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

/// What a call came to: exactly one of `result` and `error`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum ResponseOutcome {
    /// The method's result.
    #[cfg_attr(feature = "schema", ts(type = "unknown"))]
    Result(Value),
    /// Why there is none.
    Error(RpcError),
}

/// The one terminal frame of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct Response {
    /// Always `"2.0"`.
    pub jsonrpc: JsonRpc,
    /// The call's id; `null` when the frame was too malformed to have one.
    #[cfg_attr(feature = "schema", ts(type = "Id | null"))]
    pub id: Option<Id>,
    /// The result or the error.
    #[serde(flatten)]
    pub outcome: ResponseOutcome,
    /// Which run of the runtime answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The nonce given in `hello`, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

/// A frame from the runtime that answers no call by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct Notification {
    /// Always `"2.0"`.
    pub jsonrpc: JsonRpc,
    /// `chat.delta`, `chat.progress` or `progress`.
    pub method: String,
    /// The notification's params.
    #[cfg_attr(feature = "schema", ts(type = "unknown"))]
    pub params: Value,
    /// Which run of the runtime spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The nonce given in `hello`, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

/// Any frame from the runtime.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(untagged)]
pub enum RuntimeFrame {
    /// The end of a call.
    Response(Response),
    /// News of a call that is going on, or of the runtime.
    Notification(Notification),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn frames_of_the_runtime_are_told_apart_by_their_fields() {
        let frames = [
            RuntimeFrame::Response(Response {
                jsonrpc: JsonRpc::V2,
                id: Some(Id::Number(7)),
                outcome: ResponseOutcome::Result(Value::Bool(true)),
                instance: Some("i".to_owned()),
                nonce: None,
            }),
            RuntimeFrame::Response(Response {
                jsonrpc: JsonRpc::V2,
                id: None,
                outcome: ResponseOutcome::Error(RpcError::new(ErrorKind::Busy, "no")),
                instance: None,
                nonce: Some("n".to_owned()),
            }),
            RuntimeFrame::Notification(Notification {
                jsonrpc: JsonRpc::V2,
                method: "progress".to_owned(),
                params: Value::Null,
                instance: None,
                nonce: None,
            }),
        ];
        for frame in frames {
            let text = serde_json::to_string(&frame).unwrap();
            assert_eq!(
                serde_json::from_str::<RuntimeFrame>(&text).unwrap(),
                frame,
                "{text}"
            );
        }
    }
}
