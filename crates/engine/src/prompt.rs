//! From messages to a prompt that fits the context.

use crate::error::EngineError;
use crate::markup::Shielded;
use crate::model::Model;
use crate::template::{ChatMessage, RenderOptions};

/// What a prompt is made for.
#[derive(Debug, Clone, Default)]
pub struct PromptOptions {
    /// Tokens to be left for the reply; at most half of the context is.
    pub reserve_tokens: usize,
    /// The time for templates that write the date (see [`RenderOptions::now_unix_s`]).
    pub now_unix_s: Option<i64>,
    /// Further template variables.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// A prompt that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// What the template wrote.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// How many messages were left out, the oldest ones.
    pub n_dropped: usize,
}

impl Model {
    /// Renders `messages` with the model's template and leaves out the oldest turns
    /// until the prompt and the reserve fit the context. System messages at the
    /// beginning and the last message always stay; what stays begins with a user's
    /// message if it did before, as templates insist on that.
    ///
    /// Control tokens come from the template alone: what a message spells of them stays
    /// text.
    ///
    /// # Errors
    /// There is no template, it refuses the messages, or what must stay is too long.
    pub fn prompt(
        &self,
        messages: &[ChatMessage],
        options: &PromptOptions,
    ) -> Result<Prompt, EngineError> {
        let reserve = options.reserve_tokens.min(self.n_ctx() / 2);
        let room = self.n_ctx() - reserve;
        let cuts = Cuts::new(messages);
        let others = serde_json::json!(options.extra).to_string();
        let messages = &Shielded::new(self.tokenizer(), messages, &others)?;
        let whole = self.render(messages, &cuts, 0, options)?;
        if whole.tokens.len() <= room {
            return Ok(whole);
        }
        // The more is left out the shorter it gets: look for the first cut that fits.
        let (mut too_long, mut fits) = (0, cuts.starts.len());
        let mut best = None;
        let mut shortest = whole.tokens.len();
        while too_long + 1 < fits {
            let cut = (too_long + fits) / 2;
            let prompt = self.render(messages, &cuts, cut, options)?;
            shortest = shortest.min(prompt.tokens.len());
            if prompt.tokens.len() <= room {
                best = Some(prompt);
                fits = cut;
            } else {
                too_long = cut;
            }
        }
        best.ok_or(EngineError::ContextOverflow {
            needed: shortest + reserve,
            n_ctx: self.n_ctx(),
        })
    }

    fn render(
        &self,
        shielded: &Shielded,
        cuts: &Cuts,
        cut: usize,
        options: &PromptOptions,
    ) -> Result<Prompt, EngineError> {
        let tokenizer = self.tokenizer();
        let text_of = |id: Option<u32>| id.map_or("", |id| tokenizer.token_text(id)).to_owned();
        let render_options = RenderOptions {
            add_generation_prompt: true,
            bos_token: text_of(tokenizer.bos()),
            eos_token: text_of(tokenizer.eos()),
            now_unix_s: options.now_unix_s,
            extra: options.extra.clone(),
        };
        let start = cuts.starts.get(cut).copied().unwrap_or(cuts.n_system);
        let messages = &shielded.messages;
        let kept: Vec<ChatMessage> = messages[..cuts.n_system]
            .iter()
            .chain(&messages[start..])
            .cloned()
            .collect();
        let rendered = self.template()?.render(&kept, &render_options)?;
        let (text, as_text) = shielded.restore(rendered)?;
        let tokens = tokenizer.encode_prompt_around(&text, &as_text)?;
        Ok(Prompt {
            text,
            tokens,
            n_dropped: start - cuts.n_system,
        })
    }
}

/// Where a conversation may begin.
struct Cuts {
    /// System messages at the beginning, which stay.
    n_system: usize,
    /// Possible first messages after them: everything, then each later user's message.
    starts: Vec<usize>,
}

impl Cuts {
    fn new(messages: &[ChatMessage]) -> Self {
        let is_system =
            |message: &ChatMessage| matches!(message.role.as_str(), "system" | "developer");
        let n_system = messages
            .iter()
            .take_while(|message| is_system(message))
            .count();
        let mut starts = vec![n_system];
        for (idx, message) in messages.iter().enumerate().skip(n_system + 1) {
            if message.role == "user" {
                starts.push(idx);
            }
        }
        Self { n_system, starts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_may_begin_at_users_messages_after_the_system_ones() {
        let roles = [
            "system",
            "user",
            "assistant",
            "user",
            "tool",
            "assistant",
            "user",
        ];
        let messages: Vec<_> = roles
            .iter()
            .map(|role| ChatMessage::new(*role, "x"))
            .collect();
        let cuts = Cuts::new(&messages);
        assert_eq!((cuts.n_system, cuts.starts), (1, vec![1, 3, 6]));
        assert_eq!(Cuts::new(&messages[1..2]).starts, [0]);
        assert_eq!(Cuts::new(&[]).starts, [0]);
    }
}
