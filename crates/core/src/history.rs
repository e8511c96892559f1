//! How much of a conversation is sent along with the next turn.
//!
//! A turn is a user's message with all that follows it up to the next one. Whole
//! turns are dropped, the oldest first, so that what is left begins with a user's
//! message, as chat templates demand. Of several system messages the last one is
//! kept: it is what the conversation runs under.

use nox_protocol::{Message, Role};

/// What the history before the next turn may hold. `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Turns.
    pub max_turns: Option<usize>,
    /// Messages of the user and the assistant together.
    pub max_messages: Option<usize>,
}

/// The newest part of `messages` that the limits allow, behind the last system
/// message if there is one.
pub fn trim_history(messages: &[Message], limits: HistoryLimits) -> Vec<Message> {
    let dialogue: Vec<&Message> = dialogue(messages).collect();
    let max_turns = limits.max_turns.unwrap_or(usize::MAX);
    let max_messages = limits.max_messages.unwrap_or(usize::MAX);
    let n_turns = dialogue.iter().filter(|message| is_user(message)).count();
    let fits = |start: usize, turns_before: usize| {
        n_turns - turns_before <= max_turns && dialogue.len() - start <= max_messages
    };
    // Where nothing has to go, an assistant's opening words stay too.
    let start = if fits(0, 0) {
        0
    } else {
        turn_starts(&dialogue)
            .enumerate()
            .find(|&(turns_before, start)| fits(start, turns_before))
            .map_or(dialogue.len(), |(_, start)| start)
    };
    keep(messages, &dialogue[start..])
}

/// Drops the oldest turns until the costs of all messages together are within
/// `budget`, as counted by `cost` (for instance in tokens). The last turn and the
/// system message stay in any case: whether those fit is for the model to say.
pub fn fit_history(
    messages: &[Message],
    budget: usize,
    cost: impl Fn(&Message) -> usize,
) -> Vec<Message> {
    let dialogue: Vec<&Message> = dialogue(messages).collect();
    let mut total = last_system(messages).map_or(0, &cost);
    let last_turn = turn_starts(&dialogue).last().unwrap_or(0);
    let mut start = dialogue.len();
    for (idx, message) in dialogue.iter().enumerate().rev() {
        total = total.saturating_add(cost(message));
        if total > budget && idx < last_turn {
            break;
        }
        // An assistant's opening words belong to no turn.
        if is_user(message) || idx == 0 {
            start = idx;
        }
    }
    keep(messages, &dialogue[start..])
}

fn is_user(message: &Message) -> bool {
    message.role == Role::User
}

fn dialogue(messages: &[Message]) -> impl Iterator<Item = &Message> {
    messages
        .iter()
        .filter(|message| message.role != Role::System)
}

fn turn_starts(dialogue: &[&Message]) -> impl Iterator<Item = usize> {
    let enumerated = dialogue.iter().enumerate();
    enumerated.filter_map(|(idx, message)| is_user(message).then_some(idx))
}

fn last_system(messages: &[Message]) -> Option<&Message> {
    messages
        .iter()
        .rfind(|message| message.role == Role::System)
}

fn keep(messages: &[Message], dialogue: &[&Message]) -> Vec<Message> {
    last_system(messages)
        .into_iter()
        .chain(dialogue.iter().copied())
        .cloned()
        .collect()
}
