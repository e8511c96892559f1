//! What the store gives, in the shapes of the wire.

use nox_protocol as wire;
use nox_store::{
    Message, Problem, ProblemKind, Role, SearchHit, SessionInfo, SessionKind, TitleKind,
    TurnContent, TurnState, TurnTelemetry, User,
};

pub(super) fn session(info: SessionInfo) -> wire::SessionInfo {
    wire::SessionInfo {
        id: info.id.to_string(),
        name: info.name().to_owned(),
        display_name: info.display_name(),
        title_kind: match info.title_kind {
            TitleKind::None => wire::TitleKind::None,
            TitleKind::Automatic => wire::TitleKind::Automatic,
            TitleKind::Custom => wire::TitleKind::Custom,
            TitleKind::Derived => wire::TitleKind::Imported,
        },
        kind: match info.kind {
            SessionKind::Chat => wire::SessionKind::Chat,
            SessionKind::Merged => wire::SessionKind::Merged,
            SessionKind::Archive => wire::SessionKind::Archive,
        },
        archived: info.archived,
        user: info.user.to_string(),
        title: info.title,
        user_display: info.user_display,
        model: info.model,
        sanitized: info.sanitized,
        turns: info.turns,
        created_ms: info.created_ms,
        updated_ms: info.updated_ms,
    }
}

/// The title that a person sees: a chat without one goes by its name.
pub(super) fn shown_title(info: &SessionInfo) -> String {
    let title = info.title.clone();
    title.unwrap_or_else(|| info.display_name())
}

pub(super) fn turn(content: TurnContent, telemetry: Option<TurnTelemetry>) -> wire::SessionTurn {
    let TurnContent {
        number,
        state,
        model,
        messages,
        ..
    } = content;
    wire::SessionTurn {
        turn: number,
        state: match state {
            TurnState::Finished => wire::TurnState::Complete,
            TurnState::Open => wire::TurnState::Open,
            TurnState::Interrupted => wire::TurnState::Interrupted,
        },
        messages: messages
            .into_iter()
            .map(|said| message(said, model.as_deref()))
            .collect(),
        telemetry: telemetry.map(turn_telemetry),
    }
}

/// A reply without a model of its own is of the turn's.
fn message(said: Message, turn_model: Option<&str>) -> wire::SessionMessage {
    let is_reply = said.role == Role::Assistant;
    let turn_model = turn_model.filter(|_| is_reply).map(str::to_owned);
    wire::SessionMessage {
        role: role(said.role),
        content: said.content,
        reasoning: said.reasoning,
        model: said.model.or(turn_model),
        at_ms: said.at_ms,
        partial: said.partial,
    }
}

pub(super) fn role(role: Role) -> wire::Role {
    match role {
        Role::User => wire::Role::User,
        Role::Assistant => wire::Role::Assistant,
    }
}

fn turn_telemetry(telemetry: TurnTelemetry) -> wire::TurnTelemetry {
    #[expect(clippy::cast_precision_loss, reason = "no reply has 2^53 tokens")]
    let tokens_per_second = match (telemetry.completion_tokens, telemetry.decode_ms) {
        (Some(n_tokens), Some(ms)) if ms > 0.0 => Some(n_tokens as f64 * 1000.0 / ms),
        _ => None,
    };
    // An import may bring any word.
    let finish_reason = serde_json::from_value(telemetry.finish_reason.into()).ok();
    wire::TurnTelemetry {
        alias: telemetry.alias,
        backend: telemetry.backend,
        model: telemetry.model,
        lane: telemetry.lane,
        left_device: telemetry.left_device,
        n_fallbacks: telemetry.fallbacks.into(),
        prompt_tokens: telemetry.prompt_tokens,
        cached_tokens: telemetry.cached_tokens,
        completion_tokens: telemetry.completion_tokens,
        first_token_ms: telemetry.first_token_ms,
        tokens_per_second,
        finish_reason,
        score: telemetry.score,
    }
}

pub(super) fn hit(hit: SearchHit) -> wire::SearchHit {
    wire::SearchHit {
        session: session(hit.session),
        snippet: hit.snippet.map(|snippet| wire::Snippet {
            matches: snippet
                .utf16_matches()
                .into_iter()
                .map(|range| [range.start as u64, range.end as u64])
                .collect(),
            text: snippet.text,
        }),
    }
}

pub(super) fn user(user: User, is_current: bool) -> wire::UserInfo {
    wire::UserInfo {
        id: user.id.to_string(),
        display: user.display,
        n_sessions: user.sessions,
        current: is_current,
    }
}

pub(super) fn problem(problem: Problem) -> wire::ImportProblem {
    wire::ImportProblem {
        path: problem.path,
        kind: match problem.kind {
            ProblemKind::Path => wire::ImportProblemKind::BadPath,
            ProblemKind::Unknown => wire::ImportProblemKind::Foreign,
            ProblemKind::TooLarge => wire::ImportProblemKind::TooLarge,
            ProblemKind::Encoding => wire::ImportProblemKind::NotText,
            ProblemKind::Syntax => wire::ImportProblemKind::Unreadable,
            ProblemKind::Description => wire::ImportProblemKind::Unusable,
            ProblemKind::Differs => wire::ImportProblemKind::Conflict,
        },
        detail: problem.detail,
    }
}
