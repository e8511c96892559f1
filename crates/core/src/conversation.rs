//! What was said in a chat, under one system prompt.
//!
//! It keeps nothing by itself and asks nobody; a host that holds a chat in memory
//! uses it as it is, and a turn is prepared with it.

use nox_protocol::{Message, Role};

use crate::history::{HistoryLimits, trim_history};
use crate::redact::redact;
use crate::title::compute_title;

/// The messages of a chat. The system prompt, if there is one, stands at the front:
/// chat templates of most models allow no other place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conversation {
    system: Option<String>,
    /// What the user and the assistant said.
    dialogue: Vec<Message>,
}

impl Conversation {
    /// One in which nothing was said; a blank system prompt is none.
    pub fn new(system: Option<&str>) -> Self {
        let mut conversation = Self::default();
        conversation.set_system(system);
        conversation
    }

    /// The system prompt.
    pub fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    /// Puts another system prompt in the place of this one; a blank one is none.
    pub fn set_system(&mut self, system: Option<&str>) {
        self.system = system.map(str::trim).and_then(|text| {
            let is_blank = text.is_empty();
            (!is_blank).then(|| text.to_owned())
        });
    }

    /// What the user and the assistant said, oldest first.
    pub fn dialogue(&self) -> &[Message] {
        &self.dialogue
    }

    /// Everything, as a model is given it.
    pub fn messages(&self) -> Vec<Message> {
        let system = self.system().map(|text| message(Role::System, text));
        system
            .into_iter()
            .chain(self.dialogue.iter().cloned())
            .collect()
    }

    /// Takes these messages in the place of what was said. Several system messages
    /// become one with a paragraph for each; without any, the system prompt stays.
    pub fn set_messages(&mut self, messages: Vec<Message>) {
        let (system, dialogue): (Vec<Message>, Vec<Message>) = messages
            .into_iter()
            .partition(|message| message.role == Role::System);
        let texts = system.iter().map(|message| message.content.trim());
        let paragraphs: Vec<&str> = texts.filter(|text| !text.is_empty()).collect();
        if !paragraphs.is_empty() {
            self.system = Some(paragraphs.join("\n\n"));
        }
        self.dialogue = dialogue;
    }

    /// Puts what was said before in front of what was said here.
    pub fn put_in_front(&mut self, earlier: Vec<Message>) {
        let earlier = earlier
            .into_iter()
            .filter(|message| message.role != Role::System);
        self.dialogue.splice(..0, earlier);
    }

    /// Forgets what was said; the system prompt stays.
    pub fn reset(&mut self) {
        self.dialogue.clear();
    }

    /// Adds a turn. A reply without a word is none.
    pub fn record_turn(&mut self, user: &str, reply: &str) {
        self.dialogue.push(message(Role::User, user));
        if !reply.trim().is_empty() {
            self.dialogue.push(message(Role::Assistant, reply));
        }
    }

    /// Drops the oldest turns until the rest is within the limits; see
    /// [`trim_history`].
    pub fn trim(&mut self, limits: HistoryLimits) {
        self.dialogue = trim_history(&self.dialogue, limits);
    }

    /// Replaces personal data in all of it, the system prompt included.
    pub fn redact(&mut self) {
        self.system = self.system.as_deref().map(redact);
        for message in &mut self.dialogue {
            message.content = redact(&message.content);
        }
    }

    /// A title made from the first thing that the user said.
    pub fn title(&self) -> Option<String> {
        compute_title(&self.dialogue)
    }
}

fn message(role: Role, content: &str) -> Message {
    Message {
        role,
        content: content.to_owned(),
    }
}
