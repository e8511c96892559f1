//! Everything about a turn that is settled before a model is asked: the system
//! prompt, the history that is sent along, and what is stored of the user's words.

use nox_protocol::{ChatTarget, Message, Role};

use crate::backend::GenerateRequest;
use crate::cancel::CancelToken;
use crate::conversation::Conversation;
use crate::history::HistoryLimits;
use crate::persona::{DEFAULT_SYSTEM_PROMPT, PERSONA, Persona};
use crate::request::ChatRequest;

/// What a turn goes by beside its request: what the user has set, and what was said
/// before.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnContext {
    /// Who the assistant is.
    pub persona: Persona,
    /// The system prompt where the request brings none, with placeholders; without
    /// either it is [`DEFAULT_SYSTEM_PROMPT`].
    pub system_prompt: Option<String>,
    /// What was said before in the chat that the turn belongs to.
    pub history: Vec<Message>,
    /// How much of what was said before is sent along.
    pub history_limits: HistoryLimits,
    /// The alias that the user allows to be asked when the model asks for help.
    /// Without one nobody is asked.
    pub instrument: Option<String>,
    /// What is never sent to an instrument: the user's names.
    pub user_names: Vec<String>,
    /// Whether the turn is kept.
    pub is_kept: bool,
}

impl Default for TurnContext {
    /// The built-in persona, and nothing set or said.
    fn default() -> Self {
        Self {
            persona: Persona::from(&PERSONA),
            system_prompt: None,
            history: Vec::new(),
            history_limits: HistoryLimits::default(),
            instrument: None,
            user_names: Vec::new(),
            is_kept: false,
        }
    }
}

/// A turn that is ready to be taken.
#[derive(Debug, Clone)]
pub struct PreparedTurn {
    pub(super) request: ChatRequest,
    pub(super) persona: Persona,
    pub(super) instrument: Option<String>,
    pub(super) user_names: Vec<String>,
    is_kept: bool,
    /// The system prompt and what is sent of the chat, the user's message at the end.
    conversation: Conversation,
}

impl PreparedTurn {
    /// Prepares a turn. The history goes in front of a request that brings only the
    /// user's message; one that brings what was said before is taken at its word.
    pub fn new(mut request: ChatRequest, context: TurnContext) -> Self {
        let messages = std::mem::take(&mut request.messages);
        let template = context.system_prompt.as_deref();
        let template = template.filter(|text| !text.trim().is_empty());
        let mut conversation = Conversation::new(Some(template.unwrap_or(DEFAULT_SYSTEM_PROMPT)));
        conversation.set_messages(messages);
        if conversation.dialogue().len() == 1 {
            conversation.put_in_front(context.history);
        }
        let rendered = conversation
            .system()
            .map(|text| context.persona.render(text));
        conversation.set_system(rendered.as_deref());
        conversation = trimmed(conversation, context.history_limits);
        if request.sanitize {
            conversation.redact();
        }
        let is_structured = request.format.is_structured();
        Self {
            conversation,
            request,
            persona: context.persona,
            // Its answer is text for a person, whatever the format.
            instrument: context.instrument.filter(|_| !is_structured),
            user_names: context.user_names,
            is_kept: context.is_kept,
        }
    }

    /// The request; its messages are in [`messages`](Self::messages).
    pub fn request(&self) -> &ChatRequest {
        &self.request
    }

    /// What the model is given.
    pub fn messages(&self) -> Vec<Message> {
        self.conversation.messages()
    }

    /// The system prompt in force.
    pub fn system_prompt(&self) -> Option<&str> {
        self.conversation.system()
    }

    /// What the user said, as it is to be stored.
    pub fn user_text(&self) -> &str {
        let last = self.conversation.dialogue().last();
        last.map_or("", |message| message.content.as_str())
    }

    /// A title made from what was said; see [`compute_title`](crate::compute_title).
    pub fn automatic_title(&self) -> Option<String> {
        self.conversation.title()
    }

    /// The call that makes the reply. `advice` is a paragraph that the system prompt
    /// ends with for this call only.
    pub(super) fn generate(&self, advice: Option<&str>, cancel: CancelToken) -> GenerateRequest {
        let request = &self.request;
        let mut conversation = self.conversation.clone();
        if let Some(advice) = advice {
            let system = conversation.system().unwrap_or_default();
            let system = format!("{system}\n\n{advice}");
            conversation.set_system(Some(&system));
        }
        GenerateRequest {
            model: request.model.clone(),
            messages: conversation.messages(),
            sampling: request.sampling,
            max_tokens: request.token_limit(),
            // A structured reply ends where it is complete, and nowhere before.
            stop: match request.format.is_structured() {
                true => Vec::new(),
                false => request.stop.clone(),
            },
            format: request.format.clone(),
            cancel,
        }
    }

    /// The sixteen fields by which hosts know a target, as far as they are settled.
    pub(super) fn target(&self) -> ChatTarget {
        let request = &self.request;
        ChatTarget {
            url: None,
            model: request.model.clone(),
            central_name: self.persona.central_name.clone(),
            central_scale: self.persona.central_scale.clone(),
            noctics_variant: self.persona.variant_name.clone(),
            model_target: self.persona.model_target.clone(),
            stream: request.stream,
            temperature: request.temperature,
            max_tokens: request.max_tokens,
            sanitize: request.sanitize,
            strip_reasoning: request.strip_reasoning,
            logging_enabled: self.is_kept,
            target_model: request.model.clone(),
            has_api_key: false,
            instrument: self.instrument.clone(),
            instrument_warning: None,
        }
    }
}

/// The limits are for what was said before: the user's message goes along always.
fn trimmed(mut conversation: Conversation, limits: HistoryLimits) -> Conversation {
    let mut dialogue = conversation.dialogue().to_vec();
    let Some(last) = dialogue.pop_if(|message| message.role == Role::User) else {
        return conversation;
    };
    conversation.set_messages(dialogue);
    conversation.trim(limits);
    conversation.record_turn(&last.content, "");
    conversation
}
