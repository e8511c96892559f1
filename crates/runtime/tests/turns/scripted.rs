//! Backends that play scripts, and a host whose chats they answer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::stream::{LocalBoxStream, Stream};
use nox_core::{Backend, BackendEvent, Completion, GenerateRequest};
use nox_protocol::{ErrorKind, FinishReason, HandleChatResult, Id, RpcError, Timings, Usage};
use nox_runtime::{BackendFailure, HostBackend};
use serde_json::{Value, json};

use crate::common::{Folder, Host, Setup, in_file};

/// What a backend does next.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Say(String),
    /// Fails; whether bytes were sent before.
    Fail {
        sent: bool,
    },
    /// Waits until the call is cancelled.
    Hang,
}

pub(crate) fn say(text: &str) -> Vec<Step> {
    vec![Step::Say(text.to_owned())]
}

/// Plays a script for each call, one step in a turn of the event loop, and remembers
/// what it was asked. Without a script it repeats what the user said.
#[derive(Default)]
pub(crate) struct Scripted {
    leaves_device: bool,
    pub(crate) scripts: RefCell<VecDeque<Vec<Step>>>,
    pub(crate) asked: RefCell<Vec<GenerateRequest>>,
}

impl Scripted {
    /// The texts of the last call's messages.
    pub(crate) fn last_asked(&self) -> Vec<String> {
        let asked = self.asked.borrow();
        let messages = &asked.last().expect("a call").messages;
        messages.iter().map(|it| it.content.clone()).collect()
    }
}

struct Play {
    request: GenerateRequest,
    steps: VecDeque<Step>,
    n_said: u64,
    is_over: bool,
    /// Whether the event loop has had its turn.
    has_yielded: bool,
}

impl Play {
    fn done(&mut self) -> BackendEvent {
        self.is_over = true;
        let n_prompt = self.request.messages.len() as u64 * 10;
        BackendEvent::Done(Completion {
            model: self.request.model.clone(),
            finish_reason: if self.request.cancel.is_cancelled() {
                FinishReason::Cancelled
            } else {
                FinishReason::Stop
            },
            usage: Usage {
                prompt_tokens: n_prompt,
                cached_tokens: 3,
                restored_tokens: 0,
                completion_tokens: self.n_said,
            },
            timings: Timings {
                queued_ms: 0.5,
                load_ms: 1.0,
                prefill_ms: 2.0,
                decode_ms: 8.0,
                first_token_ms: 4.25,
                tokens_per_second: 125.0,
            },
            lane: None,
        })
    }
}

impl Stream for Play {
    type Item = Result<BackendEvent, BackendFailure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if !std::mem::replace(&mut self.has_yielded, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.has_yielded = false;
        if self.request.cancel.is_cancelled() {
            return Poll::Ready(Some(Ok(self.done())));
        }
        match self.steps.pop_front() {
            None => Poll::Ready(Some(Ok(self.done()))),
            Some(Step::Say(text)) => {
                self.n_said += 1;
                Poll::Ready(Some(Ok(BackendEvent::Delta { text })))
            }
            Some(Step::Fail { sent }) => {
                self.is_over = true;
                Poll::Ready(Some(Err(BackendFailure {
                    kind: ErrorKind::RateLimited,
                    message: "come back later".to_owned(),
                    sent_bytes: sent,
                })))
            }
            Some(Step::Hang) => {
                self.steps.push_front(Step::Hang);
                self.has_yielded = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl Backend for Scripted {
    type Error = BackendFailure;

    fn kind(&self) -> &str {
        "scripted"
    }

    fn leaves_device(&self) -> bool {
        self.leaves_device
    }

    fn generate(
        &self,
        request: GenerateRequest,
    ) -> LocalBoxStream<'_, Result<BackendEvent, BackendFailure>> {
        self.asked.borrow_mut().push(request.clone());
        let script = self.scripts.borrow_mut().pop_front();
        let steps = script.unwrap_or_else(|| {
            let asked = &request.messages.last().expect("a message").content;
            say(&format!("You said: {asked}"))
        });
        Play {
            request,
            steps: steps.into(),
            n_said: 0,
            is_over: false,
            has_yielded: false,
        }
        .boxed_local()
    }
}

pub(crate) fn runtime_json() -> Value {
    json!({
        "version": 1,
        "backends": {
            "engine": {"kind": "local"},
            "local": {"kind": "local"},
            "cloud": {"kind": "openai", "key": {"id": "mine"}}
        },
        "aliases": {
            "nox": {"routes": [{"backend": "local", "model": "small"}]},
            "big": {
                "routes": [{"backend": "cloud", "model": "huge"}],
                "options": {"temperature": 0.25, "max_tokens": 77}
            },
            "either": {"routes": [
                {"backend": "cloud", "model": "huge"},
                {"backend": "local", "model": "small"}
            ]},
            "poet": {
                "routes": [{"backend": "local", "model": "small"}],
                "options": {"temperature": 1.5},
                "persona": "prime"
            }
        }
    })
}

/// A host with a database in a folder of its own, whose `nox` is answered by `local`
/// and `big` by `cloud`.
pub(crate) struct Desk {
    pub(crate) folder: Rc<Folder>,
    pub(crate) host: Host,
    pub(crate) local: Rc<Scripted>,
    pub(crate) cloud: Rc<Scripted>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let desk = Self::open(Rc::new(Folder::new()));
        desk.set(&json!({ "runtime": runtime_json() }));
        desk
    }

    /// A host in a folder that may have been used before.
    pub(crate) fn open(folder: Rc<Folder>) -> Self {
        let setup = in_file(&folder.chats());
        Self::start(folder, setup)
    }

    fn start(folder: Rc<Folder>, setup: Setup) -> Self {
        let local = Rc::new(Scripted::default());
        let cloud = Rc::new(Scripted {
            leaves_device: true,
            ..Scripted::default()
        });
        let backends: Vec<(String, Rc<HostBackend>)> = vec![
            ("local".to_owned(), Rc::clone(&local) as _),
            ("cloud".to_owned(), Rc::clone(&cloud) as _),
        ];
        let host = Host::greeted(Setup { backends, ..setup });
        Self {
            folder,
            host,
            local,
            cloud,
        }
    }

    /// Ends this host and opens another one in its folder.
    pub(crate) fn restart(self) -> Self {
        self.restart_with(|folder| in_file(&folder.chats()))
    }

    pub(crate) fn restart_with(self, setup: impl FnOnce(&Folder) -> Setup) -> Self {
        let folder = Rc::clone(&self.folder);
        drop(self);
        let setup = setup(&folder);
        Self::start(folder, setup)
    }

    /// Another host in the same folder takes the chats over.
    pub(crate) fn hand_over(&self) -> Self {
        let other = Self::open(Rc::clone(&self.folder));
        let taken = other.host.begin("storage.take_over", &json!({}));
        while !other.host.has_ended(&taken) {
            self.host.skip_ms(10.0);
            self.host.step();
            other.host.step();
        }
        other.host.end(&taken).unwrap();
        other
    }

    pub(crate) fn set(&self, params: &Value) {
        self.host.call("config.set", params).unwrap();
    }

    pub(crate) fn script(&self, scripts: &[Vec<Step>]) {
        *self.local.scripts.borrow_mut() = scripts.to_vec().into();
    }

    pub(crate) fn cloud_script(&self, scripts: &[Vec<Step>]) {
        *self.cloud.scripts.borrow_mut() = scripts.to_vec().into();
    }

    pub(crate) fn chat(&self, params: &Value) -> Result<HandleChatResult, RpcError> {
        self.host.chat(params)
    }

    pub(crate) fn ask(&self, text: &str, params: &Value) -> HandleChatResult {
        self.chat(&asking(text, params)).unwrap()
    }

    pub(crate) fn begin(&self, text: &str, params: &Value) -> Id {
        self.host.begin("handle_chat", &asking(text, params))
    }

    /// What `sessions.get` tells.
    pub(crate) fn session(&self, id: &str) -> Value {
        let params = json!({ "session": id });
        self.host.call("sessions.get", &params).unwrap()
    }

    pub(crate) fn n_sessions(&self) -> u64 {
        let list = self.host.call("sessions.list", &json!({})).unwrap();
        list["total"].as_u64().unwrap()
    }
}

/// Params with one message.
pub(crate) fn asking(text: &str, params: &Value) -> Value {
    let mut params = params.clone();
    params["messages"] = json!([{"role": "user", "content": text}]);
    params
}

pub(crate) fn session_of(result: &HandleChatResult) -> String {
    result.meta.session.as_ref().unwrap().id.clone()
}

/// Role and content of every message that a chat holds.
pub(crate) fn said(session: &Value) -> Vec<(String, String)> {
    let turns = session["turns"].as_array().unwrap();
    let messages = turns
        .iter()
        .flat_map(|turn| turn["messages"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    messages
        .map(|it| (text(&it["role"]), text(&it["content"])))
        .collect()
}
