//! `sessions.export` and `sessions.import`: chats as a zip of the tree that
//! [`nox_store`] reads and writes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nox_core::{CancelToken, compute_title};
use nox_protocol::{ExportedFile, Message, ProgressPhase, SessionsImportResult};
use nox_store::{
    ImportOptions, ImportReport, Problem, ProblemKind, SessionId, limits, read_zip, write_zip,
};

use super::wire;
use crate::connection::{Attachment, Call, OutgoingFile, Reply};
use crate::error::{ExchangeError, ParamError, RuntimeError};
use crate::loader::or_cancelled;
use crate::params::Params;
use crate::platform::ByteStream;
use crate::progress::Meter;
use crate::runtime::Shared;

const ZIP_TYPE: &str = "application/zip";
/// Problems of an import that are told one by one.
const MAX_PROBLEMS_TOLD: usize = 100;

/// A file that was made, described and whole.
pub(super) struct MadeFile {
    pub(super) described: ExportedFile,
    pub(super) bytes: Vec<u8>,
}

impl MadeFile {
    /// As it is sent: `pointer` says where in the result it is described.
    pub(super) fn outgoing(self, pointer: &'static str) -> OutgoingFile {
        OutgoingFile {
            pointer,
            bytes: self.bytes,
        }
    }
}

impl Shared {
    pub(super) fn sessions_export(&self, params: &Params<'_>) -> Result<Reply, RuntimeError> {
        let names = params.optional_strs("sessions")?;
        let only = names.map(|names| self.resolve_all(&names)).transpose()?;
        let file = self.export_chats(only.as_deref())?;
        let reply = Reply::new(&file.described);
        Ok(reply.with_file(Some(file.outgoing(""))))
    }

    /// A zip of these chats, or of everything that is kept.
    pub(super) fn export_chats(
        &self,
        only: Option<&[SessionId]>,
    ) -> Result<MadeFile, RuntimeError> {
        if only.is_some_and(<[SessionId]>::is_empty) {
            return Err(ParamError::TooFew {
                field: "sessions",
                min: 1,
            }
            .into());
        }
        let (files, n_sessions, name) = self.chats.with(|store| {
            let files = store.export(only)?;
            let n_sessions = match only {
                Some(ids) => ids.len() as u64,
                None => store.users()?.iter().map(|user| user.sessions).sum(),
            };
            let name = match only {
                Some([id]) => Some(store.session(id)?.name().to_owned()),
                _ => None,
            };
            Ok((files, n_sessions, name))
        })?;
        let bytes = write_zip(&files).map_err(ExchangeError::from)?;
        let name = name.unwrap_or_else(|| format!("noxics-chats-{}", self.today()));
        Ok(MadeFile {
            described: ExportedFile {
                file_name: format!("{name}.zip"),
                media_type: ZIP_TYPE.to_owned(),
                size_bytes: bytes.len() as u64,
                n_sessions,
                data_base64: None,
            },
            bytes,
        })
    }

    /// `2026-11-22`, in UTC.
    fn today(&self) -> String {
        let now = nox_store::format_timestamp(self.platform.unix_ms());
        now.split('T').next().unwrap_or_default().to_owned()
    }

    pub(super) async fn sessions_import(
        &self,
        call: &Call,
        params: &Params<'_>,
        attachment: Option<Attachment>,
    ) -> Result<SessionsImportResult, RuntimeError> {
        let zip = match (attachment, params.optional_str("data_base64")?) {
            (Some(_), Some(_)) => return Err(ExchangeError::TwoSources.into()),
            (None, None) => return Err(ExchangeError::NoSource.into()),
            (Some(attachment), None) => self.collect(call, attachment.bytes).await?,
            (None, Some(text)) => decode(text)?,
        };
        let clock = &*self.platform;
        let n_bytes = zip.len() as u64;
        let mut meter = Meter::new(Some(call), clock, ProgressPhase::Verifying, Some(n_bytes));
        self.let_others(&call.cancel).await?;
        let (files, problems) = read_zip(&zip).map_err(ExchangeError::from)?;
        drop(zip);
        self.let_others(&call.cancel).await?;
        let report = self.chats.change_stored(|store| {
            store.import(
                files,
                &ImportOptions {
                    title_of: &title_of,
                },
            )
        })?;
        meter.tell(n_bytes);
        Ok(told(report, problems))
    }

    /// All bytes of a stream, as far as an export may have them.
    async fn collect(
        &self,
        call: &Call,
        mut stream: Box<dyn ByteStream>,
    ) -> Result<Vec<u8>, RuntimeError> {
        let clock = &*self.platform;
        let total = stream.size_bytes();
        check_size(total.unwrap_or(0))?;
        let mut meter = Meter::new(Some(call), clock, ProgressPhase::Copying, total);
        let mut bytes = Vec::new();
        while let Some(piece) = or_cancelled(&call.cancel, stream.next()).await?? {
            check_size((bytes.len() as u64).saturating_add(piece.len() as u64))?;
            bytes.extend(piece);
            meter.tell(bytes.len() as u64);
        }
        Ok(bytes)
    }

    async fn let_others(&self, cancel: &CancelToken) -> Result<(), RuntimeError> {
        self.platform.yield_now().await;
        if cancel.is_cancelled() {
            return Err(RuntimeError::Cancelled);
        }
        Ok(())
    }
}

fn check_size(found_bytes: u64) -> Result<(), ExchangeError> {
    if found_bytes <= limits::ZIP_BYTES {
        return Ok(());
    }
    Err(ExchangeError::TooLarge {
        found_bytes,
        cap_bytes: limits::ZIP_BYTES,
    })
}

fn decode(text: &str) -> Result<Vec<u8>, ExchangeError> {
    // Four characters stand for three bytes.
    check_size(text.len() as u64 / 4 * 3)?;
    let decoded = STANDARD.decode(text.trim_ascii());
    decoded.map_err(|error| ExchangeError::NotBase64 {
        reason: error.to_string(),
    })
}

/// A title for a chat that brings none, from what was said.
fn title_of(messages: &[nox_store::Message]) -> Option<String> {
    let messages: Vec<Message> = messages
        .iter()
        .map(|message| Message {
            role: wire::role(message.role),
            content: message.content.clone(),
        })
        .collect();
    compute_title(&messages)
}

/// Of what is told first a person gets to see more: files that have nothing to do
/// with chats come last.
fn told(report: ImportReport, archive: Vec<Problem>) -> SessionsImportResult {
    let mut problems = archive;
    problems.extend(report.problems);
    problems.sort_by_key(|problem| problem.kind == ProblemKind::Unknown);
    let n_problems = problems.len() as u64;
    SessionsImportResult {
        n_sessions: report.sessions.len() as u64,
        n_turns: report.turns,
        n_unchanged: report.unchanged,
        n_users: report.users,
        n_kept_files: report.kept_files,
        problems: problems
            .into_iter()
            .take(MAX_PROBLEMS_TOLD)
            .map(wire::problem)
            .collect(),
        n_problems,
    }
}
