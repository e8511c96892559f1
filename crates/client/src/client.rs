//! Calls and their ends.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures::stream::Stream;
use futures::{FutureExt, StreamExt};
use gloo_worker::{Spawnable, WorkerBridge};
use nox_protocol::{
    CancelParams, ChatDelta, ChatProgress, DiedParams, ErrorKind, HandleChatParams,
    HandleChatResult, HelloParams, HelloResult, HostInfo, Id, JsonRpc, Notification,
    PROTOCOL_VERSIONS, Request, Response, ResponseOutcome, RpcError, RuntimeFrame, method,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wasm_bindgen::JsValue;

use crate::codec::GlooCodec;
use crate::page::PageActor;

/// A runtime in a worker of its own. Dropping the last clone ends the worker.
#[derive(Clone)]
pub struct NoxClient {
    bridge: Rc<WorkerBridge<PageActor>>,
    shared: Rc<Shared>,
}

#[derive(Default)]
struct Shared {
    next_id: Cell<i64>,
    /// Where the frames of each open call go.
    open: RefCell<HashMap<Id, UnboundedSender<RuntimeFrame>>>,
    /// Why the runtime is gone.
    death: RefCell<Option<String>>,
}

impl NoxClient {
    /// Starts a worker from the address of its script, `worker.js` of the npm
    /// package. Say [`hello`](Self::hello) next.
    ///
    /// # Panics
    /// The browser refuses to make a worker of that address.
    pub fn spawn(worker_url: &str) -> Self {
        let shared = Rc::new(Shared::default());
        let weak = Rc::downgrade(&shared);
        GlooCodec::on_stray(move |message| {
            if let Some(shared) = weak.upgrade() {
                shared.take_stray(message);
            }
        });
        let receiver = Rc::clone(&shared);
        let bridge = PageActor::spawner()
            .encoding::<GlooCodec>()
            .callback(move |frame| receiver.take(frame))
            .with_loader(true)
            .spawn(worker_url);
        Self {
            bridge: Rc::new(bridge),
            shared,
        }
    }

    /// Opens the connection.
    ///
    /// # Errors
    /// The runtime speaks none of this crate's protocol versions, or has died.
    pub async fn hello(&self, host: HostInfo) -> Result<HelloResult, RpcError> {
        let params = HelloParams {
            protocol: PROTOCOL_VERSIONS,
            host,
            nonce: None,
        };
        self.call(method::HELLO, &params).await
    }

    /// Makes a call and waits for its result; notifications are left out.
    ///
    /// # Errors
    /// What the runtime answers; [`ErrorKind::RuntimeRestarted`] when it has died.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub async fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<R, RpcError> {
        let mut call = self.begin(method, params)?;
        while let Some(frame) = call.frames.next().await {
            if let RuntimeFrame::Response(response) = frame {
                return read_result(response);
            }
        }
        Err(self.shared.gone())
    }

    /// Takes a turn of a chat; see [`ChatCall`].
    ///
    /// # Errors
    /// [`ErrorKind::RuntimeRestarted`] when the runtime has died.
    pub fn handle_chat(&self, params: &HandleChatParams) -> Result<ChatCall, RpcError> {
        let call = self.begin(method::HANDLE_CHAT, params)?;
        Ok(ChatCall {
            call,
            has_ended: false,
        })
    }

    fn begin(&self, method: &str, params: &impl Serialize) -> Result<OpenCall, RpcError> {
        if self.shared.death.borrow().is_some() {
            return Err(self.shared.gone());
        }
        let id = Id::Number(self.shared.next_id.replace(self.shared.next_id.get() + 1));
        let (sender, frames) = mpsc::unbounded();
        self.shared.open.borrow_mut().insert(id.clone(), sender);
        self.send(Some(id.clone()), method, params)?;
        Ok(OpenCall {
            client: self.clone(),
            id,
            frames,
        })
    }

    fn send(&self, id: Option<Id>, method: &str, params: &impl Serialize) -> Result<(), RpcError> {
        let params = serde_json::to_value(params).map_err(|error| {
            RpcError::new(ErrorKind::InvalidRequest, format!("params: {error}"))
        })?;
        self.bridge.send(Request {
            jsonrpc: JsonRpc::V2,
            id,
            method: method.to_owned(),
            params: Some(params),
            nonce: None,
        });
        Ok(())
    }
}

impl Shared {
    fn take(&self, frame: RuntimeFrame) {
        let id = match &frame {
            RuntimeFrame::Response(response) => response.id.clone(),
            RuntimeFrame::Notification(notification) => {
                serde_json::from_value(notification.params["id"].clone()).ok()
            }
        };
        let is_end = matches!(frame, RuntimeFrame::Response(_));
        let mut open = self.open.borrow_mut();
        let Some(id) = id else { return };
        if let Some(sender) = open.get(&id) {
            // A call that nobody waits for any more has dropped its receiver.
            let _ = sender.unbounded_send(frame);
        }
        if is_end {
            open.remove(&id);
        }
    }

    /// The only other message that matters is the runtime's last word.
    fn take_stray(&self, message: &JsValue) {
        let Ok(frame) = serde_wasm_bindgen::from_value::<Notification>(message.clone()) else {
            return;
        };
        if frame.method != method::DIED {
            return;
        }
        let params = serde_json::from_value::<DiedParams>(frame.params);
        let message = params.map_or_else(|_| String::new(), |params| params.message);
        *self.death.borrow_mut() = Some(message);
        // Open calls see the end of their stream.
        self.open.take();
    }

    fn gone(&self) -> RpcError {
        let reason = self.death.borrow().clone().unwrap_or_default();
        RpcError::new(
            ErrorKind::RuntimeRestarted,
            format!("The runtime has ended; start a new one. {reason}")
                .trim()
                .to_owned(),
        )
    }
}

/// A call whose end has not been seen. Dropping it cancels the call.
struct OpenCall {
    client: NoxClient,
    id: Id,
    frames: UnboundedReceiver<RuntimeFrame>,
}

impl OpenCall {
    fn cancel(&self) {
        let params = CancelParams {
            id: self.id.clone(),
        };
        // Params of our own can be written.
        let _ = self.client.send(None, method::CANCEL, &params);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if self
            .client
            .shared
            .open
            .borrow_mut()
            .remove(&self.id)
            .is_some()
        {
            self.cancel();
        }
    }
}

/// What a chat call tells.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatEvent {
    /// What it is waiting for.
    Progress(ChatProgress),
    /// More of the reply.
    Delta(ChatDelta),
    /// The whole reply; nothing comes after it.
    Done(Box<HandleChatResult>),
}

/// A chat call: a stream of [`ChatEvent`]s that ends with [`ChatEvent::Done`] or an
/// error. Progress and deltas come when the params ask for a stream.
///
/// # Cancel safety
/// Dropping it cancels the call.
pub struct ChatCall {
    call: OpenCall,
    has_ended: bool,
}

impl ChatCall {
    /// Ends the call within one token; the stream then gives what there is, with
    /// `finish_reason: cancelled`.
    pub fn cancel(&self) {
        self.call.cancel();
    }
}

impl Stream for ChatCall {
    type Item = Result<ChatEvent, RpcError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.has_ended {
                return Poll::Ready(None);
            }
            let frame = match self.call.frames.next().poll_unpin(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(frame)) => frame,
                Poll::Ready(None) => {
                    self.has_ended = true;
                    return Poll::Ready(Some(Err(self.call.client.shared.gone())));
                }
            };
            let event = match frame {
                RuntimeFrame::Response(response) => {
                    self.has_ended = true;
                    Some(read_result(response).map(|result| ChatEvent::Done(Box::new(result))))
                }
                RuntimeFrame::Notification(notification) => read_event(notification),
            };
            if event.is_some() {
                return Poll::Ready(event);
            }
        }
    }
}

fn read_event(notification: Notification) -> Option<Result<ChatEvent, RpcError>> {
    let params = notification.params;
    match notification.method.as_str() {
        method::CHAT_DELTA => Some(read(params).map(ChatEvent::Delta)),
        method::CHAT_PROGRESS => Some(read(params).map(ChatEvent::Progress)),
        _ => None,
    }
}

fn read_result<R: DeserializeOwned>(response: Response) -> Result<R, RpcError> {
    match response.outcome {
        ResponseOutcome::Result(result) => read(result),
        ResponseOutcome::Error(error) => Err(error),
    }
}

/// Runtime and client are of one release, so that this fails only for a caller that
/// asks for the wrong type.
fn read<R: DeserializeOwned>(value: Value) -> Result<R, RpcError> {
    serde_json::from_value(value)
        .map_err(|error| RpcError::new(ErrorKind::Internal, format!("unexpected answer: {error}")))
}
