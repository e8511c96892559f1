//! A host's connection: frames in, frames out, and which calls are open.
//!
//! Whatever comes in, a call gets exactly one response. A frame that is no proper
//! call gets one too, with `id: null` where it has none that can be read.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use nox_core::CancelToken;
use nox_protocol::{
    Id, JsonRpc, Notification, PROTOCOL_VERSIONS, Response, ResponseOutcome, RpcError,
    RuntimeFrame, method,
};
use serde::Serialize;
use serde_json::Value;

use crate::error::{FrameError, ParamError, RuntimeError};
use crate::params::{self, Params};
use crate::platform::ByteStream;
use crate::runtime::Shared;

/// Calls that one connection may have open.
const MAX_OPEN_CALLS: usize = 64;

/// Bytes that came beside a frame: a file that the user chose.
pub struct Attachment {
    /// The file's name, if it has one.
    pub name: Option<String>,
    /// Its bytes.
    pub bytes: Box<dyn ByteStream>,
}

/// A frame to the host, and a file that travels beside it.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The frame.
    pub frame: RuntimeFrame,
    /// The file that its result describes.
    pub file: Option<OutgoingFile>,
}

/// The bytes of a [`nox_protocol::ExportedFile`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingFile {
    /// Where in the frame's `result` the file is described, as a JSON pointer. A door
    /// that carries bytes puts them there under the key `file`.
    pub pointer: &'static str,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Outgoing {
    /// The frame alone, with the file in it as `data_base64`.
    pub fn into_frame(self) -> RuntimeFrame {
        let Self { mut frame, file } = self;
        if let Some(file) = file
            && let RuntimeFrame::Response(response) = &mut frame
            && let ResponseOutcome::Result(result) = &mut response.outcome
            && let Some(described) = result.pointer_mut(file.pointer)
        {
            described["data_base64"] = STANDARD.encode(file.bytes).into();
        }
        frame
    }
}

/// What a call is answered with.
pub(crate) struct Reply {
    result: Value,
    file: Option<OutgoingFile>,
}

impl Reply {
    pub(crate) fn new(result: &impl Serialize) -> Self {
        Self {
            result: to_value(result),
            file: None,
        }
    }

    /// The same with a file that the result describes.
    pub(crate) fn with_file(mut self, file: Option<OutgoingFile>) -> Self {
        self.file = file;
        self
    }
}

/// One host's connection. Dropping it cancels its open calls.
pub struct Connection {
    shared: Rc<Shared>,
    state: Rc<ConnectionState>,
}

/// What calls need of their connection; they may outlive it.
pub(crate) struct ConnectionState {
    instance: String,
    outbox: Box<dyn Fn(Outgoing)>,
    /// `None` until `hello`.
    greeting: RefCell<Option<Greeting>>,
    /// Whether `hello` was answered.
    is_welcome: Cell<bool>,
    open: RefCell<HashMap<Id, CancelToken>>,
}

struct Greeting {
    nonce: Option<String>,
}

/// A frame that was checked.
struct Checked<'a> {
    id: Option<Id>,
    method: &'a str,
    params: Option<&'a Value>,
}

impl Connection {
    pub(crate) fn new(shared: Rc<Shared>, outbox: Box<dyn Fn(Outgoing)>) -> Self {
        let state = Rc::new(ConnectionState {
            instance: shared.instance.clone(),
            outbox,
            greeting: RefCell::default(),
            is_welcome: Cell::new(false),
            open: RefCell::default(),
        });
        Self { shared, state }
    }

    pub(crate) fn state(&self) -> Weak<ConnectionState> {
        Rc::downgrade(&self.state)
    }

    /// Takes in a frame. Answers go to the outbox: some during this call, others
    /// later.
    pub fn receive(&self, frame: &Value, attachment: Option<Attachment>) {
        match self.check(frame) {
            Ok(checked) => self.accept(&checked, attachment),
            Err((id, error)) => self.state.respond(id, Err(error.into())),
        }
    }

    /// Takes in something that can't be read as a frame at all.
    pub fn receive_unreadable(&self, reason: impl Into<String>) {
        let reason = reason.into();
        let error = FrameError::Unreadable { reason };
        self.state.respond(None, Err(error.into()));
    }

    /// Takes in a frame as JSON text.
    pub fn receive_text(&self, text: &str) {
        match serde_json::from_str(text) {
            Ok(frame) => self.receive(&frame, None),
            Err(error) => self.receive_unreadable(error.to_string()),
        }
    }

    /// The id goes with the error where it can be read.
    fn check<'a>(&self, frame: &'a Value) -> Result<Checked<'a>, (Option<Id>, FrameError)> {
        let fields = match frame {
            Value::Object(fields) => fields,
            Value::Array(_) => return Err((None, FrameError::Batch)),
            _ => return Err((None, FrameError::NotAnObject)),
        };
        let id = match fields.get("id") {
            None => None,
            Some(value) => Some(params::id(value).ok_or((None, FrameError::BadId))?),
        };
        if fields.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err((id, FrameError::WrongVersion));
        }
        let Some(method) = fields.get("method").and_then(Value::as_str) else {
            return Err((id, FrameError::BadMethod));
        };
        let nonce = fields.get("nonce").and_then(Value::as_str);
        if method != method::HELLO && !self.state.accepts_nonce(nonce) {
            return Err((id, FrameError::WrongNonce));
        }
        Ok(Checked {
            id,
            method,
            params: fields.get("params"),
        })
    }

    fn accept(&self, frame: &Checked<'_>, attachment: Option<Attachment>) {
        let Some(id) = &frame.id else {
            self.notice(frame);
            return;
        };
        if let Err(error) = self.admit(id, frame.method) {
            self.state.respond(Some(id.clone()), Err(error.into()));
            return;
        }
        let call = Call {
            connection: Rc::clone(&self.state),
            id: id.clone(),
            cancel: CancelToken::new(),
        };
        let mut open = self.state.open.borrow_mut();
        open.insert(id.clone(), call.cancel.clone());
        drop(open);
        let shared = Rc::clone(&self.shared);
        let method = frame.method.to_owned();
        let params = frame.params.cloned();
        self.shared.platform.spawn(
            async move {
                let outcome = shared
                    .answer(&call, &method, params.as_ref(), attachment)
                    .await;
                call.connection.open.borrow_mut().remove(&call.id);
                call.connection.respond(Some(call.id), outcome);
            }
            .boxed_local(),
        );
    }

    fn admit(&self, id: &Id, method: &str) -> Result<(), FrameError> {
        let open = self.state.open.borrow();
        if open.contains_key(id) {
            return Err(FrameError::DuplicateId { id: id.clone() });
        }
        if open.len() >= MAX_OPEN_CALLS {
            return Err(FrameError::TooManyCalls { n_open: open.len() });
        }
        if method != method::HELLO && self.state.greeting.borrow().is_none() {
            return Err(FrameError::HelloFirst {
                method: method.to_owned(),
            });
        }
        Ok(())
    }

    /// Notifications have no answer, so those that mean nothing here are ignored.
    fn notice(&self, frame: &Checked<'_>) {
        if frame.method != method::CANCEL {
            return;
        }
        let id = frame
            .params
            .and_then(|params| params::id(params.get("id")?));
        let token = id.and_then(|id| self.state.open.borrow().get(&id).cloned());
        if let Some(token) = token {
            token.cancel();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for (_, cancel) in self.state.open.take() {
            cancel.cancel();
        }
    }
}

impl ConnectionState {
    /// Before `hello`, and when it named no nonce, every frame will do.
    fn accepts_nonce(&self, nonce: Option<&str>) -> bool {
        match &*self.greeting.borrow() {
            Some(Greeting {
                nonce: Some(agreed),
            }) => nonce == Some(agreed),
            _ => true,
        }
    }

    fn nonce(&self) -> Option<String> {
        self.greeting.borrow().as_ref()?.nonce.clone()
    }

    /// Opens the connection, or opens it anew. Returns the version to speak.
    pub(crate) fn greet(&self, params: &Params<'_>) -> Result<u32, ParamError> {
        let version = negotiate(params.get("protocol"))?;
        let nonce = params.optional_str("nonce")?.map(str::to_owned);
        *self.greeting.borrow_mut() = Some(Greeting { nonce });
        Ok(version)
    }

    /// Notifications that belong to no call go to the host from now on.
    pub(crate) fn welcome(&self) {
        self.is_welcome.set(true);
    }

    pub(crate) fn is_welcome(&self) -> bool {
        self.is_welcome.get()
    }

    fn respond(&self, id: Option<Id>, outcome: Result<Reply, RuntimeError>) {
        let (outcome, file) = match outcome {
            Ok(reply) => (ResponseOutcome::Result(reply.result), reply.file),
            Err(error) => (ResponseOutcome::Error(RpcError::from(&error)), None),
        };
        let frame = RuntimeFrame::Response(Response {
            jsonrpc: JsonRpc::V2,
            id,
            outcome,
            instance: Some(self.instance.clone()),
            nonce: self.nonce(),
        });
        (self.outbox)(Outgoing { frame, file });
    }

    pub(crate) fn notify(&self, method: &str, params: &impl Serialize) {
        let frame = RuntimeFrame::Notification(Notification {
            jsonrpc: JsonRpc::V2,
            method: method.to_owned(),
            params: to_value(params),
            instance: Some(self.instance.clone()),
            nonce: self.nonce(),
        });
        (self.outbox)(Outgoing { frame, file: None });
    }
}

/// The newest version that both sides speak.
fn negotiate(value: Option<&Value>) -> Result<u32, ParamError> {
    const EXPECTED: &str = "the oldest and the newest version as two whole numbers";
    let value = value.ok_or(ParamError::Missing { field: "protocol" })?;
    let versions: Option<Vec<u64>> = value
        .as_array()
        .and_then(|entries| entries.iter().map(Value::as_u64).collect());
    let Some(&[found_min, found_max]) = versions.as_deref() else {
        return Err(params::wrong("protocol", EXPECTED));
    };
    let [own_min, own_max] = PROTOCOL_VERSIONS;
    match u32::try_from(found_max.min(u64::from(own_max))) {
        Ok(version) if version >= own_min && u64::from(version) >= found_min => Ok(version),
        _ => Err(ParamError::NoCommonVersion {
            found_min,
            found_max,
        }),
    }
}

/// A call that is being answered.
pub(crate) struct Call {
    pub(crate) connection: Rc<ConnectionState>,
    pub(crate) id: Id,
    pub(crate) cancel: CancelToken,
}

impl Call {
    /// Sends a notification about this call.
    pub(crate) fn notify(&self, method: &str, params: &impl Serialize) {
        self.connection.notify(method, params);
    }
}

/// A wire type as JSON.
///
/// # Panics
/// Never for a type of `nox-protocol`: none has a map with keys that are no text.
pub(crate) fn to_value(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("wire types can be written as JSON")
}
