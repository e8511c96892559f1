//! How deeply a template and its values may be nested.
//!
//! minijinja compiles expressions, drops syntax trees and drops values by recursion,
//! and fuel says nothing about depth: a few hundred kilobytes of `a.a.a.a`, or a list
//! wrapped in itself a hundred thousand times, are cheap to make and overflow the
//! stack when they are let go. On wasm, with about a megabyte of stack, that is the
//! end of the worker. So the source is measured token by token before it is parsed,
//! and whatever a template assigns, the only way for a value to grow from one
//! statement or one round of a loop to the next, passes through a filter that
//! measures it. At the caps an optimised build takes some hundred kilobytes of stack, and
//! one that is not optimised fits into 512.

use std::fmt;

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::TemplateError;

/// Tokens between `{{` or `{%` and its end; an expression is no deeper than it has
/// tokens. Tags in use have some tens.
pub const MAX_TAG_TOKENS: usize = 400;
/// Brackets of any kind inside each other, in one tag; two or three are in use.
pub const MAX_BRACKET_DEPTH: usize = 16;
/// Statements inside each other; every `elif` lies inside the one before.
pub const MAX_STATEMENT_DEPTH: usize = 32;
/// Lists and dictionaries inside each other, in a value that is assigned or written.
/// Far beyond what a tool's parameters need.
pub const MAX_VALUE_DEPTH: usize = 64;
/// minijinja's own measure: a macro that calls itself costs some five a level.
pub const MAX_CALL_DEPTH: usize = 80;

/// The filter behind every assignment.
const MEASURE_VARIABLE: &str = "__measured";
/// The same for the attributes of a namespace.
const MEASURE_ATTRIBUTE: &str = "__measured_attribute";

/// What is nested too deeply.
#[derive(Debug, Clone)]
pub(super) struct TooNested(String);

impl fmt::Display for TooNested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TooNested {}

impl From<TooNested> for TemplateError {
    fn from(TooNested(what): TooNested) -> Self {
        Self::TooNested { what }
    }
}

fn too_nested(what: &str, cap: usize) -> TooNested {
    TooNested(format!("{what}, of which {cap} are accepted"))
}

/// Prepares an environment for a source from [`mark_assignments`].
pub(super) fn limit(environment: &mut Environment<'_>) {
    environment.set_recursion_limit(MAX_CALL_DEPTH);
    environment.add_filter(MEASURE_VARIABLE, measure_variable);
    environment.add_filter(MEASURE_ATTRIBUTE, measure_attribute);
}

/// Tags that bring in other templates or parts of them. A model has one template, which
/// could only bring in itself.
const JOINING_TAGS: [&str; 5] = ["block", "extends", "from", "import", "include"];

/// Measures a source, and puts a filter behind everything that it assigns. What is
/// wrong with it in other ways is left for the parser to say.
pub(super) fn mark_assignments(
    source: &str,
    syntax: &SyntaxConfig,
) -> Result<String, TemplateError> {
    let mut marked = String::with_capacity(source.len() + source.len() / 8);
    let mut copied = 0;
    let mut tag = Tag::default();
    let mut statements = Statements::default();
    for token in tokenize(source, false, syntax.clone()) {
        let Ok((token, span)) = token else {
            break;
        };
        match token {
            Token::TemplateData(_) => {}
            Token::VariableStart | Token::BlockStart => tag = Tag::default(),
            Token::VariableEnd => {}
            Token::BlockEnd => {
                if let Some(tag) = tag.keyword.filter(|name| JOINING_TAGS.contains(name)) {
                    let tag = tag.to_owned();
                    return Err(TemplateError::JoinsTemplates { tag });
                }
                statements.push(&tag)?;
                if let Some(marks) = tag.marks() {
                    for (at, mark) in marks {
                        marked.push_str(&source[copied..at]);
                        marked.push_str(&mark);
                        copied = at;
                    }
                }
            }
            token => tag.push(&token, span.end_offset as usize)?,
        }
    }
    marked.push_str(&source[copied..]);
    Ok(marked)
}

/// What is known of a tag, up to the token that was read last.
#[derive(Default)]
struct Tag<'s> {
    keyword: Option<&'s str>,
    n_tokens: usize,
    bracket_depth: usize,
    /// Where the tag's first `=`, `|` and `.` outside of brackets end.
    assign_end: Option<usize>,
    has_pipe: bool,
    /// Whether what is assigned to is an attribute.
    is_attribute: bool,
    /// Where the last token ends.
    end: usize,
}

impl<'s> Tag<'s> {
    fn push(&mut self, token: &Token<'s>, end: usize) -> Result<(), TooNested> {
        match token {
            Token::Ident(name) if self.n_tokens == 0 => self.keyword = Some(name),
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => {
                self.bracket_depth += 1;
                if self.bracket_depth > MAX_BRACKET_DEPTH {
                    return Err(too_nested("brackets inside each other", MAX_BRACKET_DEPTH));
                }
            }
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                self.bracket_depth = self.bracket_depth.saturating_sub(1);
            }
            Token::Dot if self.assign_end.is_none() => self.is_attribute = true,
            Token::Assign if self.bracket_depth == 0 => {
                self.assign_end.get_or_insert(end);
            }
            Token::Pipe if self.bracket_depth == 0 => self.has_pipe = true,
            _ => {}
        }
        self.n_tokens += 1;
        self.end = end;
        if self.n_tokens > MAX_TAG_TOKENS {
            return Err(too_nested("the parts of one tag", MAX_TAG_TOKENS));
        }
        Ok(())
    }

    /// Whether this is a `set` whose value stands between it and an `endset`.
    fn is_set_block(&self) -> bool {
        self.keyword == Some("set") && self.assign_end.is_none()
    }

    /// What is to be written where, in the order of the source.
    fn marks(&self) -> Option<Vec<(usize, String)>> {
        if self.keyword != Some("set") {
            return None;
        }
        let filter = match self.is_attribute {
            true => MEASURE_ATTRIBUTE,
            false => MEASURE_VARIABLE,
        };
        match self.assign_end {
            // In parentheses, as a filter binds more tightly than most operators.
            Some(assign_end) => Some(vec![
                (assign_end, "(".to_owned()),
                (self.end, format!(") | {filter}")),
            ]),
            // The filters of a block can build lists from their arguments.
            None if self.has_pipe => Some(vec![(self.end, format!(" | {MEASURE_VARIABLE}"))]),
            None => None,
        }
    }
}

/// The statements that are open.
#[derive(Default)]
struct Statements {
    /// For each of them how deep it takes the parser.
    levels: Vec<usize>,
    depth: usize,
}

impl Statements {
    fn push(&mut self, tag: &Tag<'_>) -> Result<(), TooNested> {
        match tag.keyword {
            Some("if" | "for" | "with" | "macro" | "call" | "filter" | "autoescape") => {
                self.levels.push(1);
                self.depth += 1;
            }
            Some("set") if tag.is_set_block() => {
                self.levels.push(1);
                self.depth += 1;
            }
            Some("elif") => {
                if let Some(level) = self.levels.last_mut() {
                    *level += 1;
                    self.depth += 1;
                }
            }
            Some(end) if end.starts_with("end") => {
                self.depth -= self.levels.pop().unwrap_or(0);
            }
            _ => {}
        }
        if self.depth > MAX_STATEMENT_DEPTH {
            return Err(too_nested(
                "statements inside each other",
                MAX_STATEMENT_DEPTH,
            ));
        }
        Ok(())
    }
}

/// Refuses what lies deeper than a value may be nested.
pub(super) fn check_depth(depth: usize) -> Result<(), Error> {
    if depth < MAX_VALUE_DEPTH {
        return Ok(());
    }
    let what = too_nested("lists or dictionaries inside each other", MAX_VALUE_DEPTH);
    Err(Error::new(ErrorKind::InvalidOperation, what.to_string()).with_source(what))
}

fn measure_variable(state: &mut State, value: &Value) -> Result<Value, Error> {
    Ok(settle(state, value, 0, true)?.unwrap_or_else(|| value.clone()))
}

fn measure_attribute(state: &mut State, value: &Value) -> Result<Value, Error> {
    Ok(settle(state, value, 0, false)?.unwrap_or_else(|| value.clone()))
}

/// Walks through a value and pays for it. Returns the value anew if it, or something
/// in it, is an iterable that only holds what it is made from, like a slice: such a
/// chain cannot be measured, so it is not allowed to form.
fn settle(
    state: &State,
    value: &Value,
    depth: usize,
    may_hold_state: bool,
) -> Result<Option<Value>, Error> {
    let kind = value.kind();
    if !matches!(kind, ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) {
        return Ok(None);
    }
    check_depth(depth)?;
    let is_own = |name| {
        value
            .as_object()
            .is_some_and(|object| object.type_name().ends_with(name))
    };
    // A loop's items were there before it, and outside of a namespace it is gone when it ends.
    if is_own("::Loop") && may_hold_state {
        return Ok(None);
    }
    if (is_own("::Loop") || is_own("::Namespace")) && !may_hold_state {
        let message = "a loop or a namespace cannot be kept in a variable of a namespace";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    let mut is_changed = kind == ValueKind::Iterable;
    let mut settled = |item: Value| {
        state.consume_fuel(1)?;
        let changed = settle(state, &item, depth + 1, may_hold_state)?;
        is_changed |= changed.is_some();
        Ok::<_, Error>(changed.unwrap_or(item))
    };
    if kind != ValueKind::Map {
        let items = value
            .try_iter()?
            .map(settled)
            .collect::<Result<Vec<_>, _>>()?;
        return Ok(is_changed.then(|| Value::from(items)));
    }
    let mut pairs = Vec::new();
    for key in value.try_iter()? {
        let item = value.get_item(&key)?;
        pairs.push((key, settled(item)?));
    }
    // A namespace is not made anew, as others may hold it; its own values are settled.
    Ok((is_changed && !is_own("::Namespace")).then(|| Value::from_pairs(pairs)))
}
