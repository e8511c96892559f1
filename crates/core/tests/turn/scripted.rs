//! Backends that play scripts, and a chat with them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use futures::executor::block_on_stream;
use futures::stream::{self, LocalBoxStream, StreamExt};
use nox_core::{
    AttemptError, Backend, BackendEvent, CancelToken, ChatClient, ChatRequest, Completion,
    GenerateRequest, Phase, PreparedTurn, Router, RuntimeConfig, Turn, TurnContext, TurnEvent,
    TurnFailure, TurnOutcome,
};
use nox_protocol::{FinishReason, Message, Role, Timings, Usage};
use serde_json::{Value, json};

/// What a backend does next.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Say(String),
    /// Tells a progress of its own.
    Progress,
    /// Fails; whether bytes were sent before.
    Fail {
        sent: bool,
    },
    /// Somebody cancels while it works. What comes after is not played.
    Cancel,
}

pub(crate) fn say(text: &str) -> Vec<Step> {
    vec![Step::Say(text.to_owned())]
}

pub(crate) const REFUSED: Step = Step::Fail { sent: false };
pub(crate) const BROKEN: Step = Step::Fail { sent: true };

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the script says so")]
pub(crate) struct ScriptedError {
    sent: bool,
}

impl AttemptError for ScriptedError {
    fn sent_bytes(&self) -> bool {
        self.sent
    }
}

/// Plays a script for each call, and remembers what it was asked.
#[derive(Default)]
pub(crate) struct Scripted {
    leaves_device: bool,
    scripts: RefCell<VecDeque<Vec<Step>>>,
    asked: RefCell<Vec<GenerateRequest>>,
}

impl Scripted {
    fn new(leaves_device: bool, scripts: Vec<Vec<Step>>) -> Rc<Self> {
        Rc::new(Self {
            leaves_device,
            scripts: RefCell::new(scripts.into()),
            asked: RefCell::default(),
        })
    }

    fn end(&self, request: &GenerateRequest) -> Completion {
        Completion {
            model: format!("{}-1", request.model),
            finish_reason: if request.cancel.is_cancelled() {
                FinishReason::Cancelled
            } else {
                FinishReason::Stop
            },
            usage: Usage {
                prompt_tokens: 10,
                cached_tokens: 4,
                restored_tokens: 0,
                completion_tokens: 2,
            },
            timings: Timings {
                queued_ms: 1.0,
                load_ms: 2.0,
                prefill_ms: 3.0,
                decode_ms: 4.0,
                first_token_ms: 5.0,
                tokens_per_second: 500.0,
            },
            lane: None,
        }
    }
}

impl Backend for Scripted {
    type Error = ScriptedError;

    fn kind(&self) -> &str {
        "scripted"
    }

    fn leaves_device(&self) -> bool {
        self.leaves_device
    }

    fn generate(
        &self,
        request: GenerateRequest,
    ) -> LocalBoxStream<'_, Result<BackendEvent, ScriptedError>> {
        self.asked.borrow_mut().push(request.clone());
        let script = self.scripts.borrow_mut().pop_front();
        let mut steps = script
            .expect("a call that is not in the script")
            .into_iter();
        let mut is_over = false;
        stream::poll_fn(move |_| {
            let event = match steps.next() {
                _ if is_over => None,
                Some(Step::Say(text)) => Some(Ok(BackendEvent::Delta { text })),
                Some(Step::Progress) => Some(Ok(BackendEvent::Progress {
                    phase: Phase::Prefill,
                    done: 3,
                    total: 3,
                })),
                Some(Step::Fail { sent }) => {
                    is_over = true;
                    Some(Err(ScriptedError { sent }))
                }
                step @ (Some(Step::Cancel) | None) => {
                    if step.is_some() {
                        request.cancel.cancel();
                    }
                    is_over = true;
                    Some(Ok(BackendEvent::Done(self.end(&request))))
                }
            };
            std::task::Poll::Ready(event)
        })
        .boxed_local()
    }
}

/// A router with `local` on this device under `nox`, and `cloud` under `big`.
pub(crate) struct Chat {
    pub(crate) local: Rc<Scripted>,
    pub(crate) cloud: Rc<Scripted>,
    router: Router<Rc<Scripted>>,
    pub(crate) context: TurnContext,
}

impl Chat {
    pub(crate) fn new(local: Vec<Vec<Step>>, cloud: Vec<Vec<Step>>) -> Self {
        let config = json!({
            "version": 1,
            "backends": {
                "local": {"kind": "local"},
                "cloud": {"kind": "openai", "key": {"id": "mine"}},
                "lost": {"kind": "ollama"}
            },
            "aliases": {
                "nox": {"routes": [{"backend": "local", "model": "small"}]},
                "twin": {"routes": [{"backend": "local", "model": "small"}]},
                "big": {
                    "routes": [{"backend": "cloud", "model": "huge"}],
                    "options": {"temperature": 0.1, "max_tokens": 99}
                },
                "either": {"routes": [
                    {"backend": "cloud", "model": "huge"},
                    {"backend": "local", "model": "small"}
                ]},
                "lost": {"routes": [{"backend": "lost", "model": "m"}]}
            }
        });
        let local = Scripted::new(false, local);
        let cloud = Scripted::new(true, cloud);
        let backends = [
            ("local".to_owned(), Rc::clone(&local)),
            ("cloud".to_owned(), Rc::clone(&cloud)),
        ];
        Self {
            local,
            cloud,
            router: Router::new(RuntimeConfig::from_json(&config).unwrap(), backends),
            context: TurnContext::default(),
        }
    }

    /// One whose user allows `big` to be asked.
    pub(crate) fn with_instrument(local: Vec<Vec<Step>>, cloud: Vec<Vec<Step>>) -> Self {
        let mut chat = Self::new(local, cloud);
        chat.context.instrument = Some("big".to_owned());
        chat
    }

    pub(crate) fn prepare(&self, params: &Value) -> PreparedTurn {
        let request = ChatRequest::parse(params).unwrap();
        PreparedTurn::new(request, self.context.clone())
    }

    /// A turn with these params beside one message.
    pub(crate) fn ask(&self, mut params: Value) -> Run {
        if params.get("messages").is_none() {
            params["messages"] = json!([{"role": "user", "content": "How far is the moon?"}]);
        }
        let prepared = self.prepare(&params);
        self.run(self.client().turn(prepared, CancelToken::new()))
    }

    pub(crate) fn client(&self) -> ChatClient<'_, Rc<Scripted>> {
        ChatClient::new(&self.router)
    }

    /// Runs a turn to its end, and checks what holds for every turn: one end, after
    /// which nothing comes, and deltas that joined are the reply.
    pub(crate) fn run(&self, turn: Turn<'_, ScriptedError>) -> Run {
        let mut run = Run {
            text: String::new(),
            reasoning: String::new(),
            n_progress: 0,
            end: Err(None),
        };
        for event in block_on_stream(turn) {
            assert!(matches!(run.end, Err(None)), "nothing comes after the end");
            match event {
                Ok(TurnEvent::Progress { .. }) => {
                    assert!(run.text.is_empty(), "progress comes before text");
                    run.n_progress += 1;
                }
                Ok(TurnEvent::Delta(piece)) => {
                    assert!(!piece.is_empty());
                    run.text.push_str(&piece.text);
                    run.reasoning.push_str(&piece.reasoning);
                }
                Ok(TurnEvent::Done(outcome)) => run.end = Ok(outcome),
                Err(failure) => run.end = Err(Some(failure)),
            }
        }
        let outcome = match &run.end {
            Ok(outcome) => Some(outcome),
            Err(failure) => failure.as_ref().expect("an end").partial.as_ref(),
        };
        if let Some(outcome) = outcome {
            let message = &outcome.result.message;
            assert_eq!(message.content, run.text);
            assert_eq!(message.reasoning.as_deref().unwrap_or(""), run.reasoning);
        } else {
            assert!(run.text.is_empty());
        }
        run
    }

    /// What the backend on this device was given, call by call.
    pub(crate) fn local_asked(&self) -> Vec<GenerateRequest> {
        self.local.asked.borrow().clone()
    }

    /// What left the device, call by call.
    pub(crate) fn cloud_asked(&self) -> Vec<GenerateRequest> {
        self.cloud.asked.borrow().clone()
    }
}

/// A turn that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// The deltas, joined.
    pub(crate) text: String,
    pub(crate) reasoning: String,
    pub(crate) n_progress: usize,
    pub(crate) end: Result<Box<TurnOutcome>, Option<TurnFailure<ScriptedError>>>,
}

impl Run {
    pub(crate) fn done(self) -> TurnOutcome {
        *self.end.unwrap()
    }

    pub(crate) fn failure(self) -> TurnFailure<ScriptedError> {
        self.end.unwrap_err().unwrap()
    }
}

pub(crate) fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|it| it.content.as_str()).collect()
}

pub(crate) fn roles(messages: &[Message]) -> Vec<Role> {
    messages.iter().map(|it| it.role).collect()
}

pub(crate) fn message(role: Role, content: &str) -> Message {
    Message {
        role,
        content: content.to_owned(),
    }
}
