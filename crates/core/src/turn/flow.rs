//! The course of a turn: the reply, then the instrument if the model asks for one,
//! then the grade, then the instrument if the grade is low.

use futures::stream::StreamExt;
use nox_protocol::{
    ChatMeta, FinishReason, HandleChatResult, Lane, ReplyMessage, Role, Route, Timings, Usage,
};

use crate::backend::{Backend, BackendEvent, Completion, GenerateRequest};
use crate::cancel::CancelToken;
use crate::reply::{ReplyEffects, ReplyFilter, ReplyPiece, clean_reply};
use crate::routing::{AttemptError, RouteError, RouteReport, RouteTarget, Router, RouterCall};

use super::consult::{self, MAX_ANSWER_BYTES};
use super::events::Emitter;
use super::prepare::PreparedTurn;
use super::score;
use super::{InstrumentUse, MayAsk, TurnEvent, TurnFailure, TurnOutcome};

/// Between what was said before an instrument was asked and after.
const PARAGRAPH: &str = "\n\n";

/// A turn that is going on.
pub(super) struct Flow<'r, B> {
    router: &'r Router<B>,
    may_ask: MayAsk<'r>,
    prepared: PreparedTurn,
    /// What the model is told of the instrument, where there is one to ask.
    advice: Option<&'static str>,
    cancel: CancelToken,
    out: Emitter<TurnEvent>,
    /// Everything given out so far.
    reply: ReplyPiece,
    title: Option<String>,
    instrument: Option<InstrumentUse>,
    /// Why the instrument can't be used, whether or not it is wanted.
    obstacle: Option<String>,
    /// Why it was not used, where it was wanted.
    warning: Option<String>,
    score: Option<f32>,
    facts: Facts,
}

/// What the calls of a turn were, put together.
#[derive(Default)]
struct Facts {
    usage: Usage,
    timings: Timings,
    n_calls: usize,
    left_device: bool,
}

impl Facts {
    fn add(&mut self, completion: &Completion) {
        let (sum, new) = (&mut self.usage, completion.usage);
        sum.prompt_tokens += new.prompt_tokens;
        sum.cached_tokens += new.cached_tokens;
        sum.restored_tokens += new.restored_tokens;
        sum.completion_tokens += new.completion_tokens;
        self.n_calls += 1;
        if self.n_calls == 1 {
            self.timings = completion.timings;
            return;
        }
        // The first token stays that of the first call.
        let (sum, new) = (&mut self.timings, completion.timings);
        sum.queued_ms += new.queued_ms;
        sum.load_ms += new.load_ms;
        sum.prefill_ms += new.prefill_ms;
        sum.decode_ms += new.decode_ms;
        #[expect(clippy::cast_precision_loss, reason = "no reply has 2^53 tokens")]
        let n_tokens = self.usage.completion_tokens as f64;
        if sum.decode_ms > 0.0 {
            sum.tokens_per_second = n_tokens * 1000.0 / sum.decode_ms;
        }
    }
}

/// How the reply came about, from its first call.
struct Answered {
    model: String,
    lane: Option<Lane>,
    finish_reason: FinishReason,
    report: RouteReport,
}

/// How much of the reply was given out at some moment, in bytes.
#[derive(Clone, Copy)]
struct Given {
    n_text: usize,
    n_reasoning: usize,
}

/// One call that was given out as part of the reply.
struct Spoken {
    completion: Completion,
    effects: ReplyEffects,
    /// What it added to the reply.
    text: String,
}

/// What came of asking an instrument.
enum Consulted {
    Answer(String),
    Nothing,
    Cancelled,
}

impl<'r, B: Backend> Flow<'r, B>
where
    B::Error: AttemptError,
{
    pub(super) fn new(
        router: &'r Router<B>,
        may_ask: MayAsk<'r>,
        prepared: PreparedTurn,
        cancel: CancelToken,
        out: Emitter<TurnEvent>,
    ) -> Self {
        let obstacle = consult::obstacle(&prepared, router);
        let has_instrument = prepared.instrument.is_some() && obstacle.is_none();
        Self {
            advice: has_instrument.then(|| consult::advice(&prepared)).flatten(),
            obstacle,
            router,
            may_ask,
            prepared,
            cancel,
            out,
            reply: ReplyPiece::default(),
            title: None,
            instrument: None,
            warning: None,
            score: None,
            facts: Facts::default(),
        }
    }

    /// A whole turn.
    pub(super) async fn run(mut self) -> Result<TurnEvent, TurnFailure<B::Error>> {
        let request = self.prepared.generate(self.advice, self.cancel.clone());
        let (mut answered, first) = self.answer(request).await?;
        if let Some(query) = first.effects.instrument_query {
            self.consult(&mut answered, &first.text, &query).await;
        }
        self.grade(&mut answered, first.effects.had_reasoning).await;
        Ok(self.done(answered))
    }

    /// A turn that begins where an instrument has answered.
    pub(super) async fn take_up(
        mut self,
        said: String,
        asked: String,
        answer: String,
    ) -> Result<TurnEvent, TurnFailure<B::Error>> {
        let cancel = self.cancel.clone();
        let request = consult::follow_up(&self.prepared, &said, &asked, &answer, cancel);
        let (answered, _) = self.answer(request).await?;
        Ok(self.done(answered))
    }

    /// The first call of the turn, on whichever route answers.
    async fn answer(
        &mut self,
        request: GenerateRequest,
    ) -> Result<(Answered, Spoken), TurnFailure<B::Error>> {
        let call = self.router.call();
        let spoken = self.speak(&call, request).await;
        let report = call.report();
        self.facts.left_device |= report.left_device();
        match spoken {
            Ok(spoken) => {
                let answered = Answered {
                    model: spoken.completion.model.clone(),
                    lane: spoken.completion.lane.clone(),
                    finish_reason: spoken.completion.finish_reason,
                    report,
                };
                Ok((answered, spoken))
            }
            Err(error) => {
                let partial = (!self.reply.is_empty()).then(|| {
                    let route = report.route();
                    Box::new(self.outcome(Answered {
                        model: route.map_or_else(String::new, |route| route.model),
                        lane: None,
                        finish_reason: FinishReason::Error,
                        report,
                    }))
                });
                Err(TurnFailure {
                    error,
                    partial,
                    left_device: self.facts.left_device,
                })
            }
        }
    }

    /// Makes a call whose reply is given out as part of the message.
    async fn speak(
        &mut self,
        call: &RouterCall<'_, B>,
        request: GenerateRequest,
    ) -> Result<Spoken, RouteError<B::Error>> {
        let mut filter = match request.format.is_structured() {
            true => ReplyFilter::verbatim(),
            false => ReplyFilter::new(self.prepared.request.strip_reasoning),
        };
        let before = self.given();
        let mut events = call.generate(request);
        let completion = loop {
            match events.next().await {
                Some(Ok(BackendEvent::Progress { phase, done, total })) => {
                    if self.reply.is_empty() {
                        let progress = TurnEvent::Progress { phase, done, total };
                        self.out.give(progress).await;
                    }
                }
                Some(Ok(BackendEvent::Delta { text })) => {
                    let piece = filter.push(&text);
                    self.give(piece, before).await;
                }
                Some(Ok(BackendEvent::Done(completion))) => break completion,
                Some(Err(error)) => return Err(error),
                None => unreachable!("a backend's stream ends with Done or an error"),
            }
        };
        self.facts.add(&completion);
        let rest = filter.finish();
        self.give(rest, before).await;
        let effects = filter.effects();
        if effects.title.is_some() {
            self.title.clone_from(&effects.title);
        }
        let text = self.reply.text[before.n_text..].trim_start().to_owned();
        Ok(Spoken {
            completion,
            effects,
            text,
        })
    }

    fn given(&self) -> Given {
        Given {
            n_text: self.reply.text.len(),
            n_reasoning: self.reply.reasoning.len(),
        }
    }

    /// Gives a piece out; its first words begin a paragraph behind what was there
    /// before.
    async fn give(&mut self, mut piece: ReplyPiece, before: Given) {
        let given = self.given();
        begin_paragraph(&mut piece.text, given.n_text, before.n_text);
        begin_paragraph(&mut piece.reasoning, given.n_reasoning, before.n_reasoning);
        if piece.is_empty() {
            return;
        }
        self.reply.text.push_str(&piece.text);
        self.reply.reasoning.push_str(&piece.reasoning);
        self.out.give(TurnEvent::Delta(piece)).await;
    }

    /// Asks the instrument, if it may be asked, and lets the model go on with what
    /// it answers.
    async fn consult(&mut self, answered: &mut Answered, said: &str, query: &str) {
        if answered.finish_reason == FinishReason::Cancelled {
            return;
        }
        let Some(route) = answered.report.route() else {
            return;
        };
        let asked = consult::anonymized(query, &self.prepared);
        match self.ask_instrument(&route, &asked).await {
            Consulted::Answer(answer) => {
                self.go_on(answered, route, said, &asked, &answer).await;
            }
            Consulted::Nothing => {}
            Consulted::Cancelled => answered.finish_reason = FinishReason::Cancelled,
        }
    }

    async fn ask_instrument(&mut self, route: &RouteTarget, question: &str) -> Consulted {
        let Some(alias) = self.prepared.instrument.clone() else {
            self.warning = Some("the model asked for an instrument, but none is set".to_owned());
            return Consulted::Nothing;
        };
        if self.obstacle.is_none() && consult::is_the_same(&alias, route, self.router) {
            self.obstacle = Some(format!("the instrument {alias} is what answered already"));
        }
        if self.obstacle.is_some() {
            self.warning.clone_from(&self.obstacle);
            return Consulted::Nothing;
        }
        if self.cancel.is_cancelled() {
            return Consulted::Cancelled;
        }
        if !(self.may_ask)(&alias) {
            self.warning = Some(format!("the instrument {alias} is no longer allowed"));
            return Consulted::Nothing;
        }
        let cancel = self.cancel.clone();
        let request = match consult::ask(&alias, question, self.router, cancel) {
            Ok(request) => request,
            Err(error) => {
                self.warning = Some(format!("the instrument {alias} can't be asked: {error}"));
                return Consulted::Nothing;
            }
        };
        let collected = self.collect(&self.router.call(), request).await;
        let answer = match &collected {
            Ok((_, text)) => clean_reply(text, true).0.text,
            Err(_) => String::new(),
        };
        self.instrument = Some(InstrumentUse {
            alias: alias.clone(),
            question: question.to_owned(),
            answer: Some(answer.clone()).filter(|answer| !answer.is_empty()),
        });
        match collected {
            Ok((FinishReason::Cancelled, _)) => Consulted::Cancelled,
            Ok(_) if answer.is_empty() => {
                self.warning = Some(format!("the instrument {alias} answered nothing"));
                Consulted::Nothing
            }
            Ok(_) => Consulted::Answer(answer),
            Err(error) => {
                self.warning = Some(format!("the instrument {alias} did not answer: {error}"));
                Consulted::Nothing
            }
        }
    }

    /// Lets the model take up an instrument's answer. Where it can't, the answer
    /// itself goes to the user, who has paid for it.
    async fn go_on(
        &mut self,
        answered: &mut Answered,
        route: RouteTarget,
        said: &str,
        asked: &str,
        answer: &str,
    ) {
        let before = self.given();
        let cancel = self.cancel.clone();
        let request = consult::follow_up(&self.prepared, said, asked, answer, cancel);
        let call = self.router.call_on(route);
        let spoken = self.speak(&call, request).await;
        self.facts.left_device |= call.report().left_device();
        let has_spoken = self.reply.text.len() > before.n_text;
        match spoken {
            Ok(spoken) => answered.finish_reason = spoken.completion.finish_reason,
            Err(error) => {
                if has_spoken {
                    answered.finish_reason = FinishReason::Error;
                }
                self.warning = Some(format!(
                    "the model could not go on with the instrument's answer: {error}"
                ));
            }
        }
        if !has_spoken && answered.finish_reason != FinishReason::Cancelled {
            let piece = ReplyPiece {
                text: answer.to_owned(),
                reasoning: String::new(),
            };
            self.give(piece, before).await;
        }
    }

    /// Lets the model grade its reply if that is wanted, and asks the instrument if
    /// the grade is low.
    async fn grade(&mut self, answered: &mut Answered, reasons: bool) {
        let is_whole = matches!(
            answered.finish_reason,
            FinishReason::Stop | FinishReason::Length
        );
        let is_wanted = self.prepared.request.self_score && is_whole;
        if !is_wanted || self.reply.text.is_empty() || self.cancel.is_cancelled() {
            return;
        }
        let Some(route) = answered.report.route() else {
            return;
        };
        // The same beginning as before, so that the model need not read it again.
        let request = self.prepared.generate(self.advice, self.cancel.clone());
        let request = score::ask(request, &self.reply.text, reasons);
        let call = self.router.call_on(route);
        // A grade that fails is absent: the reply stands without it.
        let Ok((FinishReason::Stop | FinishReason::Length, text)) =
            self.collect(&call, request).await
        else {
            return;
        };
        self.score = score::parse(&clean_reply(&text, true).0.text);
        let is_low = self.score.is_some_and(|score| score <= score::LOW_SCORE);
        let may_ask = self.prepared.instrument.is_some() && self.instrument.is_none();
        if is_low && may_ask {
            let said = self.reply.text.clone();
            let question = self.prepared.user_text().to_owned();
            self.consult(answered, &said, &question).await;
        }
    }

    /// Makes a call whose reply is not shown.
    async fn collect(
        &mut self,
        call: &RouterCall<'_, B>,
        request: GenerateRequest,
    ) -> Result<(FinishReason, String), RouteError<B::Error>> {
        let mut events = call.generate(request);
        let mut collected = String::new();
        let end = loop {
            match events.next().await {
                Some(Ok(BackendEvent::Progress { .. })) => {}
                Some(Ok(BackendEvent::Delta { text })) => {
                    let room = MAX_ANSWER_BYTES.saturating_sub(collected.len());
                    collected.push_str(&text[..text.floor_char_boundary(room)]);
                }
                Some(Ok(BackendEvent::Done(completion))) => {
                    self.facts.add(&completion);
                    break Ok((completion.finish_reason, collected));
                }
                Some(Err(error)) => break Err(error),
                None => unreachable!("a backend's stream ends with Done or an error"),
            }
        };
        self.facts.left_device |= call.report().left_device();
        end
    }

    fn done(mut self, answered: Answered) -> TurnEvent {
        TurnEvent::Done(Box::new(self.outcome(answered)))
    }

    fn outcome(&mut self, answered: Answered) -> TurnOutcome {
        let reply = std::mem::take(&mut self.reply);
        let mut target = self.prepared.target();
        target.target_model.clone_from(&answered.model);
        target.instrument_warning = self.warning.clone().or(self.obstacle.take());
        let mut meta = ChatMeta {
            target,
            route: Route {
                alias: self.prepared.request.model.clone(),
                backend: String::new(),
                model: answered.model,
                left_device: false,
                fallback_from: Vec::new(),
            },
            lane: answered.lane,
            usage: self.facts.usage,
            timings: rounded(self.facts.timings),
            finish_reason: answered.finish_reason,
            session: None,
            score: self.score,
            instrument_warning: self.warning.take(),
            session_log: None,
        };
        answered.report.apply(&mut meta);
        meta.route.left_device = self.facts.left_device;
        TurnOutcome {
            result: HandleChatResult {
                message: ReplyMessage {
                    role: Role::Assistant,
                    content: reply.text,
                    reasoning: Some(reply.reasoning).filter(|text| !text.is_empty()),
                },
                meta,
            },
            title: self.title.take(),
            instrument: self.instrument.take(),
        }
    }
}

/// In whole microseconds, as they are stored: a result that is given again is the
/// same to the last digit.
fn rounded(timings: Timings) -> Timings {
    let round = |number: f64| (number * 1000.0).round() / 1000.0;
    Timings {
        queued_ms: round(timings.queued_ms),
        load_ms: round(timings.load_ms),
        prefill_ms: round(timings.prefill_ms),
        decode_ms: round(timings.decode_ms),
        first_token_ms: round(timings.first_token_ms),
        tokens_per_second: round(timings.tokens_per_second),
    }
}

fn begin_paragraph(piece: &mut String, n_given: usize, n_before: usize) {
    if !piece.is_empty() && n_before > 0 && n_given == n_before {
        piece.insert_str(0, PARAGRAPH);
    }
}
