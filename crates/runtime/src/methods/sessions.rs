//! `sessions.*` but for files: lists, reads and changes the chats that are kept.

use nox_protocol::{
    SessionResult, SessionsArchiveResult, SessionsDeleteResult, SessionsGetResult,
    SessionsListResult, SessionsSearchResult,
};
use nox_store::{ArchiveEarly, Archived, ListQuery, SearchQuery, SessionId, SessionInfo, UserId};

use super::wire;
use crate::error::{ParamError, RuntimeError};
use crate::params::Params;
use crate::runtime::Shared;

/// Entries of a page where a call does not say how many.
const DEFAULT_LIST_ENTRIES: usize = 100;
const DEFAULT_HITS: usize = 50;
/// A merge of less is a copy.
const MIN_MERGED: usize = 2;

impl Shared {
    pub(super) fn sessions_list(
        &self,
        params: &Params<'_>,
    ) -> Result<SessionsListResult, RuntimeError> {
        let user = self.whose(params)?;
        let offset = params.optional_u64("offset")?.unwrap_or(0);
        let query = ListQuery {
            user: user.as_ref().map(UserId::as_str),
            archived: params.optional_bool("archived")?.unwrap_or(false),
            offset: usize::try_from(offset).unwrap_or(usize::MAX),
            limit: params.page_limit(DEFAULT_LIST_ENTRIES)?,
        };
        let page = self.chats.with(|store| store.sessions(&query))?;
        Ok(SessionsListResult {
            sessions: page.sessions.into_iter().map(wire::session).collect(),
            total: page.total,
        })
    }

    pub(super) fn sessions_get(
        &self,
        params: &Params<'_>,
    ) -> Result<SessionsGetResult, RuntimeError> {
        let name = params.str("session")?;
        let before = params.optional_u64("before_turn")?;
        let limit = params.page_limit(DEFAULT_LIST_ENTRIES)?;
        let page = self.chats.with(|store| {
            let id = store.resolve(name)?.id;
            store.turns_before(&id, before, limit)
        })?;
        let turns = page.turns.into_iter();
        Ok(SessionsGetResult {
            session: wire::session(page.session),
            system: page.system,
            turns: turns
                .map(|(turn, telemetry)| wire::turn(turn, telemetry))
                .collect(),
            has_earlier: page.has_earlier,
        })
    }

    pub(super) fn sessions_rename(
        &self,
        params: &Params<'_>,
    ) -> Result<SessionResult, RuntimeError> {
        let name = params.str("session")?;
        let missing = ParamError::Missing { field: "title" };
        let title = params.nullable_str("title")?.ok_or(missing)?;
        let id = self.chats.with(|store| store.resolve(name))?.id;
        let session = wire::session(self.rename_session(&id, title)?);
        Ok(SessionResult { session })
    }

    /// Gives a chat the user's own title, or none.
    pub(super) fn rename_session(
        &self,
        id: &SessionId,
        title: Option<&str>,
    ) -> Result<SessionInfo, RuntimeError> {
        self.chats.with(|store| {
            store.rename(id, title)?;
            store.session(id)
        })
    }

    pub(super) fn sessions_delete(
        &self,
        params: &Params<'_>,
    ) -> Result<SessionsDeleteResult, RuntimeError> {
        let name = params.str("session")?;
        let id = self.chats.with(|store| {
            let id = store.resolve(name)?.id;
            store.delete(&id)?;
            Ok(id)
        })?;
        Ok(SessionsDeleteResult {
            deleted: id.to_string(),
        })
    }

    pub(super) fn sessions_merge(
        &self,
        params: &Params<'_>,
    ) -> Result<SessionResult, RuntimeError> {
        let missing = ParamError::Missing { field: "sessions" };
        let names = params.optional_strs("sessions")?.ok_or(missing)?;
        let title = params.optional_str("title")?;
        let ids = self.resolve_all(&names)?;
        let session = wire::session(self.merge_sessions(&ids, title)?);
        Ok(SessionResult { session })
    }

    /// Puts chats together, in the given order.
    pub(super) fn merge_sessions(
        &self,
        ids: &[SessionId],
        title: Option<&str>,
    ) -> Result<SessionInfo, RuntimeError> {
        if ids.len() < MIN_MERGED {
            return Err(ParamError::TooFew {
                field: "sessions",
                min: MIN_MERGED,
            }
            .into());
        }
        self.chats.with(|store| store.merge(ids, title, None))
    }

    /// The chats that are named, each of them once.
    pub(super) fn resolve_all(&self, names: &[&str]) -> Result<Vec<SessionId>, RuntimeError> {
        self.chats.with(|store| {
            let mut ids = Vec::with_capacity(names.len());
            for name in names {
                let id = store.resolve(name)?.id;
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
            Ok(ids)
        })
    }

    pub(super) fn sessions_archive(
        &self,
        params: &Params<'_>,
    ) -> Result<SessionsArchiveResult, RuntimeError> {
        let is_aside = params.optional_bool("archived")?;
        let Some(name) = params.optional_str("session")? else {
            if is_aside.is_some() {
                return Err(ParamError::Needs {
                    field: "archived",
                    other: "session",
                }
                .into());
            }
            let user = self.whose_alone(params)?;
            let archived = self.archive_older(user)?;
            return Ok(SessionsArchiveResult {
                n_sessions: archived.as_ref().map_or(0, |done| done.sources as u64),
                session: archived.map(|done| wire::session(done.archive)),
            });
        };
        let is_aside = is_aside.unwrap_or(true);
        let (before, after) = self.chats.with(|store| {
            let before = store.resolve(name)?;
            let after = store.set_archived(&before.id, is_aside)?;
            Ok((before, after))
        })?;
        Ok(SessionsArchiveResult {
            n_sessions: u64::from(before.archived != after.archived),
            session: Some(wire::session(after)),
        })
    }

    /// Puts a user's chats but the newest into one archive.
    pub(super) fn archive_older(&self, user: UserId) -> Result<Option<Archived>, RuntimeError> {
        let wanted = ArchiveEarly {
            user,
            keep_sources: false,
        };
        self.chats.with(|store| store.archive_early(&wanted))
    }

    pub(super) fn sessions_search(
        &self,
        params: &Params<'_>,
    ) -> Result<SessionsSearchResult, RuntimeError> {
        let user = self.whose(params)?;
        let query = SearchQuery {
            text: params.str("query")?,
            user: user.as_ref().map(UserId::as_str),
            archived: params.optional_bool("archived")?.unwrap_or(false),
            limit: params.page_limit(DEFAULT_HITS)?,
        };
        let page = self.chats.with(|store| store.search(&query))?;
        Ok(SessionsSearchResult {
            hits: page.hits.into_iter().map(wire::hit).collect(),
            has_more: page.more,
        })
    }
}
