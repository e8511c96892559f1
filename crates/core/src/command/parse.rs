//! From a line to a command.
//!
//! Arguments are words between blanks. A word with blanks in it stands in double
//! quotes, also in the curly ones that phones type; `\"` is a quote within. An
//! argument that goes to the end of the line needs none, and keeps the quotes in it
//! unless one pair encloses the whole.

use super::catalog::{self, CommandInfo, Kind};
use super::command_limits::{
    MAX_ECHOED_CHARS, MAX_MERGED_SESSIONS, MAX_NAME_BYTES, MAX_QUERY_BYTES, MAX_SESSION_BYTES,
    MAX_TITLE_BYTES, MAX_VALUE_BYTES,
};
use super::{Command, CommandError, ExportScope, PersonaCommand, SessionRef};
use crate::persona::PersonaField;

pub(super) fn parse(line: &str) -> Result<Option<Command>, CommandError> {
    if !Command::is_command(line) {
        return Ok(None);
    }
    let line = line.trim();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let Some(info) = catalog::find(name) else {
        return Err(CommandError::Unknown {
            name: name.chars().take(MAX_ECHOED_CHARS).collect(),
        });
    };
    let arguments = Arguments {
        info,
        rest: rest.trim(),
    };
    arguments.command(name).map(Some)
}

/// What stands behind the name, as far as it has not been read.
struct Arguments<'a> {
    info: &'static CommandInfo,
    /// Without blanks around it.
    rest: &'a str,
}

impl<'a> Arguments<'a> {
    fn command(mut self, name: &str) -> Result<Command, CommandError> {
        Ok(match self.info.kind {
            Kind::Help => Command::Help {
                topic: self.rest.split_whitespace().next().and_then(catalog::find),
            },
            // These have always ignored what stands behind them.
            Kind::Config => Command::Config,
            Kind::Models => Command::Models,
            Kind::Reset => Command::Reset,
            Kind::Exit => Command::Exit,
            Kind::Title => Command::Title {
                title: self.optional_title()?,
            },
            Kind::Sessions => self.nothing_more(Command::Sessions)?,
            Kind::Show => {
                let default = if name.eq_ignore_ascii_case("/last") {
                    SessionRef::Newest
                } else {
                    SessionRef::Current
                };
                let session = self.session()?.unwrap_or(default);
                self.nothing_more(Command::Show { session })?
            }
            Kind::Load => {
                let session = self.session()?.unwrap_or(SessionRef::Newest);
                self.nothing_more(Command::Load { session })?
            }
            Kind::Rename => Command::Rename {
                session: self
                    .session()?
                    .ok_or_else(|| self.wrong("Say which chat"))?,
                title: self
                    .optional_title()?
                    .ok_or_else(|| self.wrong("Say how the chat is to be called"))?,
            },
            Kind::Merge => Command::Merge {
                sessions: self.sessions()?,
            },
            Kind::Archive => self.nothing_more(Command::Archive)?,
            Kind::Search => Command::Search {
                query: self
                    .text("a query", MAX_QUERY_BYTES)?
                    .ok_or_else(|| self.wrong("Say what to look for"))?
                    .to_owned(),
            },
            Kind::Export => {
                let scope = match self.session()? {
                    None => ExportScope::One(SessionRef::Current),
                    Some(SessionRef::Named(name)) if name.eq_ignore_ascii_case("all") => {
                        ExportScope::All
                    }
                    Some(session) => ExportScope::One(session),
                };
                self.nothing_more(Command::Export { scope })?
            }
            Kind::Persona => Command::Persona(self.persona()?),
            Kind::Iam => Command::Iam {
                name: self.optional_name()?,
            },
            Kind::Instrument => Command::Instrument {
                name: self.optional_name()?,
            },
            Kind::Model => Command::Model {
                name: self.optional_name()?,
            },
        })
    }

    fn wrong(&self, problem: impl Into<String>) -> CommandError {
        CommandError::Usage {
            problem: problem.into(),
            usage: self.info.usage(),
        }
    }

    fn too_much(
        &self,
        argument: &'static str,
        limit: usize,
        unit: &'static str,
        found: usize,
    ) -> CommandError {
        CommandError::TooMuch {
            argument,
            limit,
            unit,
            found,
            usage: self.info.usage(),
        }
    }

    fn nothing_more(&self, command: Command) -> Result<Command, CommandError> {
        if self.rest.is_empty() {
            return Ok(command);
        }
        let more: String = self.rest.chars().take(MAX_ECHOED_CHARS).collect();
        Err(self.wrong(format!("{} does not take \"{more}\"", self.info.name)))
    }

    /// The next word, without its quotes.
    fn word(&mut self) -> Result<Option<String>, CommandError> {
        let Some(first) = self.rest.chars().next() else {
            return Ok(None);
        };
        let (word, rest) = if is_quote(first) {
            split_quoted(self.rest).ok_or_else(|| self.wrong("A quote is not closed"))?
        } else {
            let end = self.rest.find(char::is_whitespace);
            let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
            (word.to_owned(), rest)
        };
        self.rest = rest.trim_start();
        Ok(Some(word))
    }

    fn session(&mut self) -> Result<Option<SessionRef>, CommandError> {
        let Some(word) = self.word()? else {
            return Ok(None);
        };
        let word = word.trim();
        if word.is_empty() {
            return Err(self.wrong("A chat's name is blank"));
        }
        if word.len() > MAX_SESSION_BYTES {
            return Err(self.too_much("A chat's name", MAX_SESSION_BYTES, "bytes", word.len()));
        }
        Ok(Some(SessionRef::Named(word.to_owned())))
    }

    fn sessions(&mut self) -> Result<Vec<SessionRef>, CommandError> {
        let mut sessions = Vec::new();
        while let Some(session) = self.session()? {
            // The same name twice means one chat.
            if sessions.contains(&session) {
                continue;
            }
            if sessions.len() == MAX_MERGED_SESSIONS {
                let n_found = sessions.len() + 1 + self.rest.split_whitespace().count();
                return Err(self.too_much("A merge", MAX_MERGED_SESSIONS, "chats", n_found));
            }
            sessions.push(session);
        }
        if sessions.len() < 2 {
            return Err(self.wrong("Name at least two chats"));
        }
        Ok(sessions)
    }

    /// All that is left, without a pair of quotes around the whole.
    fn text(
        &mut self,
        argument: &'static str,
        limit: usize,
    ) -> Result<Option<&'a str>, CommandError> {
        let text = std::mem::take(&mut self.rest);
        if text.len() > limit {
            return Err(self.too_much(argument, limit, "bytes", text.len()));
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn unquoted_text(
        &mut self,
        argument: &'static str,
        limit: usize,
    ) -> Result<Option<String>, CommandError> {
        let Some(text) = self.text(argument, limit)? else {
            return Ok(None);
        };
        let quoted = text.starts_with(is_quote).then(|| split_quoted(text));
        let text = match quoted.flatten() {
            Some((inner, "")) => inner,
            _ => text.to_owned(),
        };
        // One line: what breaks lines is a blank like others.
        let words: Vec<&str> = text.split_whitespace().collect();
        Ok(Some(words.join(" ")))
    }

    /// A title; blanks in quotes are none.
    fn optional_title(&mut self) -> Result<Option<String>, CommandError> {
        match self.unquoted_text("A title", MAX_TITLE_BYTES)? {
            Some(title) if title.is_empty() => Err(self.wrong("The title is blank")),
            title => Ok(title),
        }
    }

    fn optional_name(&mut self) -> Result<Option<String>, CommandError> {
        match self.unquoted_text("A name", MAX_NAME_BYTES)? {
            Some(name) if name.is_empty() => Err(self.wrong("The name is blank")),
            name => Ok(name),
        }
    }

    fn persona(&mut self) -> Result<PersonaCommand, CommandError> {
        let Some(word) = self.word()? else {
            return Ok(PersonaCommand::Show);
        };
        if word.eq_ignore_ascii_case("reset") {
            let field = match self.word()? {
                Some(name) => Some(self.field(&name)?),
                None => None,
            };
            if !self.rest.is_empty() {
                return Err(self.wrong("One field is reset at a time, or all of them"));
            }
            return Ok(PersonaCommand::Reset { field });
        }
        let field = self.field(&word)?;
        match self.unquoted_text("A value", MAX_VALUE_BYTES)? {
            Some(value) if !value.is_empty() => Ok(PersonaCommand::Set { field, value }),
            _ => Err(self.wrong(format!("Say what {word} is to be"))),
        }
    }

    fn field(&self, name: &str) -> Result<PersonaField, CommandError> {
        PersonaField::by_name(&name.to_lowercase()).map_err(|error| self.wrong(error.to_string()))
    }
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '“' | '”' | '„')
}

/// The text between the quote at the front and the next one, and what stands behind
/// it; `None` where none closes, or something sticks to the closing one.
fn split_quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.char_indices();
    chars.next()?;
    let mut inner = String::new();
    while let Some((idx, c)) = chars.next() {
        match c {
            '\\' if text[idx + 1..].starts_with(is_quote) => {
                inner.extend(chars.next().map(|(_, quote)| quote));
            }
            c if is_quote(c) => {
                let rest = &text[idx + c.len_utf8()..];
                let ends = rest.is_empty() || rest.starts_with(char::is_whitespace);
                return ends.then_some((inner, rest));
            }
            c => inner.push(c),
        }
    }
    None
}
