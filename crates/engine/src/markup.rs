//! Keeps what people wrote from becoming markup.
//!
//! A prompt's control tokens are the template's to write. Where a message spells one,
//! a single character of private use stands for the spelling while the template works,
//! so that whatever the template cuts or compares, it can't make markup of it; then the
//! spelling comes back, as a stretch that is encoded as text. This module knows no
//! template and no tokens, only where a tokenizer finds markup.

use std::collections::{HashMap, HashSet};
use std::ops::{Range, RangeInclusive};

use crate::error::EngineError;
use crate::template::{ChatMessage, TemplateError};
use crate::tokenizer::Tokenizer;

/// Unicode's planes of private use: no template has a meaning for them.
const STAND_INS: RangeInclusive<char> = '\u{F0000}'..='\u{10FFFD}';

/// The longest prompt: a template that repeats what stands for a long text writes more
/// than it was charged for. It is as much as a rendering may write by itself.
const MAX_PROMPT_BYTES: usize = 128 << 20;

/// Messages without markup, and what stands in them for it.
pub(crate) struct Shielded {
    pub(crate) messages: Vec<ChatMessage>,
    spellings: HashMap<char, String>,
}

impl Shielded {
    /// Messages that spell no markup stay as they are. No stand-in occurs in what was
    /// said, nor in `others`, which the template is given too.
    ///
    /// # Errors
    /// What was said leaves no character that could stand in.
    pub(crate) fn new(
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        others: &str,
    ) -> Result<Self, EngineError> {
        let mut shielded = Self {
            messages: messages.to_vec(),
            spellings: HashMap::new(),
        };
        let contents = messages.iter().map(|message| message.content.as_str());
        let places: Vec<_> = contents
            .clone()
            .map(|text| tokenizer.markup_in(text))
            .collect();
        if places.iter().all(Vec::is_empty) {
            return Ok(shielded);
        }
        let roles = messages.iter().map(|message| message.role.as_str());
        let texts = contents.chain(roles).chain([others]);
        let is_private = |c: &char| STAND_INS.contains(c);
        let taken: HashSet<char> = texts.flat_map(str::chars).filter(is_private).collect();
        let mut free = STAND_INS.filter(|c| !taken.contains(c));
        let mut known: HashMap<String, char> = HashMap::new();
        for (message, places) in shielded.messages.iter_mut().zip(places) {
            let mut content = String::with_capacity(message.content.len());
            let mut plain_start = 0;
            for place in places {
                let spelling = &message.content[place.clone()];
                let stand_in = match known.get(spelling) {
                    Some(stand_in) => *stand_in,
                    None => {
                        let stand_in = free.next().ok_or_else(|| EngineError::InvalidOption {
                            field: "messages",
                            found: "text with nearly all of Unicode's private characters".into(),
                            expected: "text that leaves some of them".into(),
                        })?;
                        known.insert(spelling.to_owned(), stand_in);
                        stand_in
                    }
                };
                content.push_str(&message.content[plain_start..place.start]);
                content.push(stand_in);
                plain_start = place.end;
            }
            content.push_str(&message.content[plain_start..]);
            message.content = content;
        }
        shielded.spellings = known
            .into_iter()
            .map(|(spelling, stand_in)| (stand_in, spelling))
            .collect();
        Ok(shielded)
    }

    /// What the template wrote with the spellings back in their places, and these.
    ///
    /// # Errors
    /// The text is too long.
    pub(crate) fn restore(
        &self,
        rendered: String,
    ) -> Result<(String, Vec<Range<usize>>), TemplateError> {
        if self.spellings.is_empty() {
            return Ok((rendered, Vec::new()));
        }
        let mut text = String::with_capacity(rendered.len());
        let mut places = Vec::new();
        for c in rendered.chars() {
            match self.spellings.get(&c) {
                Some(spelling) => {
                    if text.len() + spelling.len() > MAX_PROMPT_BYTES {
                        return Err(TemplateError::TooExpensive);
                    }
                    places.push(text.len()..text.len() + spelling.len());
                    text.push_str(spelling);
                }
                None => text.push(c),
            }
        }
        Ok((text, places))
    }
}
