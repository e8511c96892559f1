//! `command` and `commands.list`: slash commands, carried out with what the methods
//! use, and answered in words.

use std::rc::Rc;

use nox_core::{
    AliasState, COMMANDS, Command, CommandError, DEFAULT_ALIAS, ExportScope, FoundSession, Outcome,
    PersonaCommand, SessionLine, SessionRef,
};
use nox_protocol::{
    CommandEffect, CommandInfo, CommandResult, CommandsListResult, ErrorKind, Message,
};
use nox_store::{ListQuery, SearchQuery, SessionId, SessionInfo, StoreError, UserId};
use serde_json::{Value, json};

use super::wire;
use crate::connection::{Call, OutgoingFile, Reply};
use crate::error::RuntimeError;
use crate::loader::or_cancelled;
use crate::params::Params;
use crate::runtime::Shared;

/// Chats that one answer lists; numbers beyond it work all the same.
const MAX_LISTED: usize = 100;
const MAX_FOUND: usize = 20;
/// Characters of a line that is no command that an answer repeats.
const MAX_ECHOED_CHARS: usize = 64;

pub(crate) fn commands_list() -> CommandsListResult {
    let owned = |text: &&str| (*text).to_owned();
    CommandsListResult {
        commands: COMMANDS
            .iter()
            .map(|info| CommandInfo {
                name: info.name.to_owned(),
                aliases: info.aliases.iter().map(owned).collect(),
                arguments: info.arguments.to_owned(),
                help: info.help.to_owned(),
            })
            .collect(),
    }
}

/// A command that was carried out.
struct Done {
    text: String,
    effect: Option<CommandEffect>,
    file: Option<OutgoingFile>,
}

impl From<Outcome> for Done {
    fn from(outcome: Outcome) -> Self {
        Self {
            text: outcome.answer().text,
            effect: None,
            file: None,
        }
    }
}

impl Done {
    fn with(mut self, effect: CommandEffect) -> Self {
        self.effect = Some(effect);
        self
    }

    fn with_changed(self, session: SessionInfo) -> Self {
        let session = Some(wire::session(session));
        self.with(CommandEffect::SessionsChanged { session })
    }
}

impl Shared {
    pub(super) async fn command(
        self: &Rc<Self>,
        call: &Call,
        params: &Params<'_>,
    ) -> Result<Reply, RuntimeError> {
        let line = params.str("line")?;
        let current = params.optional_str("session")?;
        or_cancelled(&call.cancel, self.chats.settled()).await?;
        let done = match Command::parse(line) {
            Ok(Some(command)) => self.carry_out(call, command, current).await,
            Ok(None) => Err(CommandError::Unknown {
                name: line.trim().chars().take(MAX_ECHOED_CHARS).collect(),
            }
            .into()),
            Err(error) => Err(error.into()),
        };
        match done {
            Ok(Done { text, effect, file }) => {
                if effect.as_ref().is_some_and(changes_chats) {
                    self.tidy_warm();
                }
                let result = CommandResult {
                    text,
                    is_error: false,
                    effect,
                };
                Ok(Reply::new(&result).with_file(file))
            }
            Err(error) if is_answered_in_words(&error) => Ok(Reply::new(&CommandResult {
                text: format!("{}\n", error.message()),
                is_error: true,
                effect: None,
            })),
            Err(error) => Err(error),
        }
    }

    async fn carry_out(
        self: &Rc<Self>,
        call: &Call,
        command: Command,
        current: Option<&str>,
    ) -> Result<Done, RuntimeError> {
        let needs_chats = !matches!(
            command,
            Command::Help { .. }
                | Command::Exit
                | Command::Reset
                | Command::Config
                | Command::Models
                | Command::Model { name: None }
        );
        if needs_chats {
            or_cancelled(&call.cancel, self.chats.ready()).await??;
        }
        match command {
            Command::Help { .. } | Command::Exit => Ok(own_answer(&command)),
            Command::Reset => Ok(Done::from(Outcome::Reset).with(CommandEffect::Reset)),
            Command::Config => {
                let target = Box::new(self.next_target().await?);
                Ok(Outcome::Config(target).into())
            }
            Command::Models => self.alias_states().await,
            Command::Title { title } => self.title(title.as_deref(), current),
            Command::Sessions => self.list_sessions(current),
            Command::Show { session } => self.show(&session, current),
            Command::Load { session } => self.load_session(&session, current),
            Command::Rename { session, title } => {
                let id = self.find_session(&session, current)?.id;
                self.retitle(&id, &title)
            }
            Command::Merge { sessions } => self.merge(&sessions, current),
            Command::Archive => self.archive(),
            Command::Search { query } => self.find(&query),
            Command::Export { scope } => self.export(scope, current),
            Command::Persona(wanted) => self.persona(wanted),
            Command::Iam { name } => self.iam(name.as_deref()),
            Command::Instrument { name } => self.instrument(name).await,
            Command::Model { name: None } => Ok(self.model_is(false).into()),
            Command::Model { name } => {
                let before = self.model_in_use();
                self.set_settings(&json!({ "model": name })).await?;
                let is_changed = self.model_in_use() != before;
                Ok(self.settings_changed(self.model_is(is_changed)))
            }
        }
    }

    /// `/models`: an alias can answer when one of its routes can be taken here.
    async fn alias_states(&self) -> Result<Done, RuntimeError> {
        self.builtin.ready().await;
        self.refresh_catalogue().await?;
        let runtime = &self.chats.stored().runtime;
        let has_models = self.catalogue.has_any();
        let aliases = runtime.aliases().map(|(alias, _)| AliasState {
            alias: alias.to_owned(),
            is_installed: self.is_reachable(runtime, alias),
        });
        let aliases = aliases.collect();
        Ok(Outcome::Models {
            aliases,
            has_models,
        }
        .into())
    }

    fn title(&self, title: Option<&str>, current: Option<&str>) -> Result<Done, RuntimeError> {
        let session = self.find_session(&SessionRef::Current, current)?;
        match title {
            None => Ok(Outcome::TitleIs(session.title).into()),
            Some(title) => self.retitle(&session.id, title),
        }
    }

    fn retitle(&self, id: &SessionId, title: &str) -> Result<Done, RuntimeError> {
        let session = self.rename_session(id, Some(title))?;
        let outcome = Outcome::Titled(wire::shown_title(&session));
        Ok(Done::from(outcome).with_changed(session))
    }

    fn list_sessions(&self, current: Option<&str>) -> Result<Done, RuntimeError> {
        let user = self.chats.stored().user.id.clone();
        let query = ListQuery {
            limit: MAX_LISTED,
            ..of_user(&user)
        };
        let page = self.chats.with(|store| store.sessions(&query))?;
        let lines = page.sessions.iter().map(|session| SessionLine {
            id: session.name().to_owned(),
            title: wire::shown_title(session),
            n_turns: session.turns,
            updated: minute(session.updated_ms),
            is_current: current == Some(session.id.as_str()),
        });
        Ok(Outcome::Sessions(lines.collect()).into())
    }

    fn show(&self, wanted: &SessionRef, current: Option<&str>) -> Result<Done, RuntimeError> {
        let session = self.find_session(wanted, current)?;
        let turns = self.chats.with(|store| store.turns(&session.id))?;
        let messages = turns.into_iter().flat_map(|turn| turn.messages);
        Ok(Outcome::Shown {
            title: wire::shown_title(&session),
            assistant: self.persona_in_use().central_name,
            messages: messages
                .map(|message| Message {
                    role: wire::role(message.role),
                    content: message.content,
                })
                .collect(),
        }
        .into())
    }

    fn load_session(
        &self,
        wanted: &SessionRef,
        current: Option<&str>,
    ) -> Result<Done, RuntimeError> {
        let session = self.find_session(wanted, current)?;
        let outcome = Outcome::Loaded {
            title: wire::shown_title(&session),
            n_turns: session.turns,
        };
        Ok(Done::from(outcome).with(CommandEffect::OpenSession {
            session: wire::session(session),
        }))
    }

    fn merge(&self, wanted: &[SessionRef], current: Option<&str>) -> Result<Done, RuntimeError> {
        let mut ids: Vec<SessionId> = Vec::new();
        for session in wanted {
            let id = self.find_session(session, current)?.id;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let merged = self.merge_sessions(&ids, None)?;
        let outcome = Outcome::Merged {
            id: merged.name().to_owned(),
            title: wire::shown_title(&merged),
            n_sources: ids.len(),
        };
        Ok(Done::from(outcome).with_changed(merged))
    }

    fn archive(&self) -> Result<Done, RuntimeError> {
        let user = self.chats.stored().user.id.clone();
        let archived = self.archive_older(user)?;
        let n_sessions = archived.as_ref().map_or(0, |done| done.sources);
        let done = Done::from(Outcome::Archived { n_sessions });
        Ok(match archived {
            Some(archived) => done.with_changed(archived.archive),
            None => done,
        })
    }

    fn find(&self, text: &str) -> Result<Done, RuntimeError> {
        let user = self.chats.stored().user.id.clone();
        let query = SearchQuery {
            text,
            user: Some(user.as_str()),
            archived: false,
            limit: MAX_FOUND,
        };
        let page = self.chats.with(|store| store.search(&query))?;
        let found = page.hits.into_iter().map(|hit| FoundSession {
            id: hit.session.name().to_owned(),
            title: wire::shown_title(&hit.session),
            excerpt: hit.snippet.map(|snippet| snippet.text).unwrap_or_default(),
        });
        Ok(Outcome::Found(found.collect()).into())
    }

    fn export(&self, scope: ExportScope, current: Option<&str>) -> Result<Done, RuntimeError> {
        let only = match scope {
            ExportScope::All => None,
            ExportScope::One(session) => Some([self.find_session(&session, current)?.id]),
        };
        let file = self.export_chats(only.as_ref().map(<[SessionId; 1]>::as_slice))?;
        let described = file.described.clone();
        let outcome = Outcome::Exported {
            file_name: described.file_name.clone(),
            size_bytes: described.size_bytes,
            n_sessions: usize::try_from(described.n_sessions).unwrap_or(usize::MAX),
        };
        let mut done = Done::from(outcome).with(CommandEffect::File { file: described });
        done.file = Some(file.outgoing("/effect/file"));
        Ok(done)
    }

    fn persona(&self, wanted: PersonaCommand) -> Result<Done, RuntimeError> {
        let stored = self.chats.stored();
        let row = self.persona_row(&stored, self.model_in_use().as_str());
        let field = match wanted {
            PersonaCommand::Show => {
                let persona = Box::new(self.persona_in_use());
                return Ok(Outcome::PersonaIs(persona).into());
            }
            PersonaCommand::Set { field, value } => {
                self.set_persona_field(row, field, &Value::from(value))?;
                Some(field)
            }
            PersonaCommand::Reset { field } => {
                self.reset_persona(Some(row), field)?;
                field
            }
        };
        let outcome = Outcome::PersonaChanged {
            field,
            persona: Box::new(self.persona_in_use()),
        };
        Ok(Done::from(outcome).with(CommandEffect::PersonaChanged))
    }

    fn iam(&self, name: Option<&str>) -> Result<Done, RuntimeError> {
        let before = self.chats.stored().user.clone();
        let Some(name) = name else {
            return Ok(Outcome::User {
                name: before.display,
                is_changed: false,
            }
            .into());
        };
        let user = self.set_user(name, None)?;
        let is_changed = user.id != before.id.as_str();
        let done = Done::from(Outcome::User {
            name: user.display,
            is_changed,
        });
        Ok(if is_changed {
            done.with(CommandEffect::UserChanged { user: user.id })
        } else {
            done
        })
    }

    async fn instrument(&self, name: Option<String>) -> Result<Done, RuntimeError> {
        self.set_settings(&json!({ "instrument": name })).await?;
        let stored = self.chats.stored();
        let is_here = |alias: &String| self.is_reachable(&stored.runtime, alias);
        let warning = name.as_ref().filter(|alias| !is_here(alias));
        let warning = warning.map(|alias| format!("nothing here can reach {alias} now."));
        Ok(self.settings_changed(Outcome::Instrument { name, warning }))
    }

    fn settings_changed(&self, outcome: Outcome) -> Done {
        let settings = self.chats.stored().settings.to_wire();
        Done::from(outcome).with(CommandEffect::SettingsChanged { settings })
    }

    fn model_is(&self, is_changed: bool) -> Outcome {
        Outcome::Model {
            name: self.model_in_use(),
            is_changed,
        }
    }

    /// The alias or model that answers where a call names none.
    pub(super) fn model_in_use(&self) -> String {
        let stored = self.chats.stored();
        let model = stored.settings.model();
        model.unwrap_or(DEFAULT_ALIAS).to_owned()
    }

    fn persona_in_use(&self) -> nox_core::Persona {
        let stored = self.chats.stored();
        let row = self.persona_row(&stored, &self.model_in_use());
        self.persona_as_set(&stored, row)
    }

    /// The chat that is meant. A number is a place in what `/sessions` lists.
    fn find_session(
        &self,
        wanted: &SessionRef,
        current: Option<&str>,
    ) -> Result<SessionInfo, RuntimeError> {
        let user = self.chats.stored().user.id.clone();
        let none = |wanted: &str| CommandError::NoSession {
            wanted: wanted.to_owned(),
        };
        let found = match wanted {
            SessionRef::Current => {
                let id = current.ok_or_else(|| none("going on"))?;
                self.chats.with(|store| store.resolve(id))
            }
            SessionRef::Newest => {
                let query = ListQuery {
                    limit: 1,
                    ..of_user(&user)
                };
                let page = self.chats.with(|store| store.sessions(&query))?;
                return Ok(page
                    .sessions
                    .into_iter()
                    .next()
                    .ok_or_else(|| none("yet"))?);
            }
            SessionRef::Named(name) => {
                let list = of_user(&user);
                self.chats.with(|store| store.resolve_listed(name, &list))
            }
        };
        found.map_err(|error| match error {
            RuntimeError::Store(StoreError::NotFound { name, .. }) => none(&name).into(),
            error => error,
        })
    }
}

/// Whether chats may have gone, or the room for what is kept of them.
fn changes_chats(effect: &CommandEffect) -> bool {
    matches!(
        effect,
        CommandEffect::SessionsChanged { .. } | CommandEffect::SettingsChanged { .. }
    )
}

/// The answer of a command that is answered out of itself.
fn own_answer(command: &Command) -> Done {
    let answer = command.own_answer();
    let is_end = answer.as_ref().is_some_and(|answer| !answer.goes_on);
    Done {
        text: answer.map(|answer| answer.text).unwrap_or_default(),
        effect: is_end.then_some(CommandEffect::Exit),
        file: None,
    }
}

fn of_user(user: &UserId) -> ListQuery<'_> {
    ListQuery {
        user: Some(user.as_str()),
        ..ListQuery::default()
    }
}

/// `2026-11-22 13:30 UTC`
fn minute(at_ms: i64) -> String {
    let moment = nox_store::format_timestamp(at_ms);
    let (date, time) = moment.split_once('T').unwrap_or((&moment, ""));
    format!("{date} {} UTC", time.get(..5).unwrap_or(time))
}

/// What a person typed wrongly; the rest is the host's to deal with.
fn is_answered_in_words(error: &RuntimeError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidRequest | ErrorKind::UnknownModel | ErrorKind::ModelNotInstalled
    )
}
