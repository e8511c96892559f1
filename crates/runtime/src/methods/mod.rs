//! The methods that work on the database of chats, by theme, and their part of the
//! method table.

mod command;
mod config;
mod exchange;
mod persona;
mod sessions;
mod target;
mod telemetry;
mod users;
mod wire;

use std::rc::Rc;

use nox_protocol::method;
use serde::Serialize;

pub(crate) use command::commands_list;

use crate::connection::{Attachment, Call, Reply};
use crate::error::RuntimeError;
use crate::loader::or_cancelled;
use crate::params::Params;
use crate::runtime::Shared;

/// A method that waits for nothing once the database is open.
type AtOnce = fn(&Shared, &Params<'_>) -> Result<Reply, RuntimeError>;

impl Shared {
    /// The part of the method table that is about what is stored beside models.
    pub(crate) async fn answer_stored(
        self: &Rc<Self>,
        call: &Call,
        method: &str,
        params: &Params<'_>,
        attachment: Option<Attachment>,
    ) -> Result<Reply, RuntimeError> {
        let answer = self.answer_stored_alone(call, method, params, attachment);
        let answer = answer.await;
        if answer.is_ok() && changes_chats(method) {
            self.tidy_warm();
        }
        answer
    }

    async fn answer_stored_alone(
        self: &Rc<Self>,
        call: &Call,
        method: &str,
        params: &Params<'_>,
        attachment: Option<Attachment>,
    ) -> Result<Reply, RuntimeError> {
        let ready = or_cancelled(&call.cancel, self.chats.ready());
        match method {
            // Some commands need no database, so each one waits by itself.
            method::COMMAND => self.command(call, params).await,
            method::SESSIONS_IMPORT => {
                ready.await??;
                let result = self.sessions_import(call, params, attachment).await?;
                Ok(Reply::new(&result))
            }
            method::CONFIG_SET => {
                ready.await??;
                Ok(Reply::new(&self.config_set(params).await?))
            }
            _ => {
                let answer = at_once(method).ok_or_else(|| RuntimeError::UnknownMethod {
                    method: method.chars().take(64).collect(),
                })?;
                ready.await??;
                answer(self, params)
            }
        }
    }
}

/// Whether a method may take chats away, or the room for what is kept of them. A command
/// tells by itself.
fn changes_chats(method: &str) -> bool {
    matches!(
        method,
        method::CONFIG_SET
            | method::SESSIONS_ARCHIVE
            | method::SESSIONS_DELETE
            | method::SESSIONS_IMPORT
            | method::SESSIONS_MERGE
    )
}

fn at_once(method: &str) -> Option<AtOnce> {
    Some(match method {
        method::SESSIONS_LIST => |shared, params| reply(shared.sessions_list(params)),
        method::SESSIONS_GET => |shared, params| reply(shared.sessions_get(params)),
        method::SESSIONS_RENAME => |shared, params| reply(shared.sessions_rename(params)),
        method::SESSIONS_DELETE => |shared, params| reply(shared.sessions_delete(params)),
        method::SESSIONS_MERGE => |shared, params| reply(shared.sessions_merge(params)),
        method::SESSIONS_ARCHIVE => |shared, params| reply(shared.sessions_archive(params)),
        method::SESSIONS_SEARCH => |shared, params| reply(shared.sessions_search(params)),
        method::SESSIONS_EXPORT => Shared::sessions_export,
        method::USERS_LIST => |shared, _| reply(shared.users_list()),
        method::USERS_SET => |shared, params| reply(shared.users_set(params)),
        method::PERSONA_GET => |shared, params| reply(shared.persona_get(params)),
        method::PERSONA_SET => |shared, params| reply(shared.persona_set(params)),
        method::PERSONA_RESET => |shared, params| reply(shared.persona_reset(params)),
        method::CONFIG_GET => |shared, _| Ok(Reply::new(&shared.config())),
        method::TELEMETRY_SUMMARY => |shared, params| reply(shared.telemetry_summary(params)),
        _ => return None,
    })
}

fn reply<T: Serialize>(outcome: Result<T, RuntimeError>) -> Result<Reply, RuntimeError> {
    outcome.map(|result| Reply::new(&result))
}
