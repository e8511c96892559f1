//! A model's own chat template: messages in, prompt text out.
//!
//! Templates are written for Jinja2 as Hugging Face's `transformers` sets it up;
//! this module gives them the same environment (whitespace control, loop
//! controls, `raise_exception`, `strftime_now`, `tojson`, Python's string
//! methods). They come from files that are not trusted, so time and memory are
//! limited. The module knows no roles and no markup of its own.
//!
//! What is not promised: operators (`+`, `~`, `==`) on lists that one expression
//! multiplies into millions of items run unmetered, as minijinja has no hook for them.

mod cost;
mod methods;
mod nesting;
mod strftime;
mod tojson;

use std::collections::BTreeMap;
use std::fmt;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value};
use serde::{Deserialize, Serialize};

use crate::gguf::{Gguf, GgufError, OptionalKey as _};

use nesting::TooNested;
pub use nesting::{
    MAX_BRACKET_DEPTH, MAX_CALL_DEPTH, MAX_STATEMENT_DEPTH, MAX_TAG_TOKENS, MAX_VALUE_DEPTH,
};

/// The longest templates in use have some tens of kilobytes.
pub const MAX_TEMPLATE_BYTES: usize = 1024 * 1024;

/// What a rendering may cost: an instruction is one unit of fuel, and so are
/// 64 bytes of text made or looked at. Real templates take some hundred units a
/// message; this much ends a runaway one within a second. It pays for 38 MB of text,
/// and text that is padded or grows is there up to four times while it is made: 160 MiB.
const BASE_FUEL: u64 = 600_000;
/// Long conversations may cost more.
const FUEL_PER_INPUT_BYTE: u64 = 4;

const NAME: &str = "chat_template";

/// A turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant` or what else the template knows.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl ChatMessage {
    /// A message of that role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// What a template is given besides the messages.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions {
    /// Whether the prompt ends where the assistant's answer begins.
    pub add_generation_prompt: bool,
    /// The text of the model's BOS token, empty if it has none.
    pub bos_token: String,
    /// The text of the model's EOS token, empty if it has none.
    pub eos_token: String,
    /// The time for templates that write the date: seconds since 1970 on the
    /// user's clock, so local time if that is wanted. Without it they go without
    /// a date, or with the one they were written with.
    pub now_unix_s: Option<i64>,
    /// Further variables, e.g. `enable_thinking`. The ones above win.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// Why there is no prompt.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The file has no template, as is usual for base models.
    #[error(
        "the model file has no chat template (the metadata key \"tokenizer.chat_template\" is missing); \
         it may be a base model that is not made for chat"
    )]
    Missing,
    /// The template is longer than any real one.
    #[error(
        "the chat template has {found_bytes} bytes, more than the {cap_bytes} that are accepted"
    )]
    #[allow(missing_docs)]
    TooLarge {
        found_bytes: usize,
        cap_bytes: usize,
    },
    /// The template cannot be parsed.
    #[error("the chat template is not valid: {0}")]
    Syntax(#[source] minijinja::Error),
    /// The template itself refuses these messages.
    #[error("the chat template refuses these messages: {0}")]
    Refused(String),
    /// The template loops for too long or makes too much text.
    #[error("the chat template takes too long or writes too much")]
    TooExpensive,
    /// The template, or a value that it makes, is nested more deeply than the stack is
    /// sure to bear; see [`MAX_TAG_TOKENS`] and its neighbours.
    #[error("the chat template is nested too deeply: {what}")]
    #[allow(missing_docs)]
    TooNested { what: String },
    /// The template asks for templates beside it.
    #[error(
        "the chat template has the tag {tag:?}, which takes templates from other files; a model has only one"
    )]
    #[allow(missing_docs)]
    JoinsTemplates { tag: String },
    /// The template fails on these messages.
    #[error("the chat template failed: {0}")]
    Render(#[source] minijinja::Error),
    /// The metadata key holds something else than text.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

/// A parsed chat template.
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
}

impl ChatTemplate {
    /// The template of a model file. Of several, the one without a name counts,
    /// else the one named `default`.
    ///
    /// # Errors
    /// There is none, or it is not valid.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, TemplateError> {
        for key in ["tokenizer.chat_template", "tokenizer.chat_template.default"] {
            if let Some(source) = gguf.metadata().str(key).optional()? {
                return Self::from_source(source);
            }
        }
        Err(TemplateError::Missing)
    }

    /// A template from its text.
    ///
    /// # Errors
    /// It is too long or not valid.
    pub fn from_source(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLarge {
                found_bytes: source.len(),
                cap_bytes: MAX_TEMPLATE_BYTES,
            });
        }
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        let syntax = syntax.build().map_err(TemplateError::Syntax)?;
        let marked = nesting::mark_assignments(&without_generation_tags(source), &syntax)?;
        let mut environment = Environment::new();
        environment.set_syntax(syntax);
        nesting::limit(&mut environment);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(methods::call);
        environment.add_function("raise_exception", raise_exception);
        environment.set_formatter(cost::format);
        environment.add_filter("format", methods::format);
        environment.add_filter("string", cost::string);
        environment.add_filter("tojson", tojson::tojson);
        environment
            .add_template_owned(NAME, marked)
            .map_err(TemplateError::Syntax)?;
        Ok(Self {
            source: source.to_owned(),
            environment,
        })
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Writes the prompt for `messages`.
    ///
    /// # Errors
    /// The template refuses the messages, fails, or takes too long.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        options: &RenderOptions,
    ) -> Result<String, TemplateError> {
        let mut variables: BTreeMap<&str, Value> = BTreeMap::new();
        for (name, value) in &options.extra {
            variables.insert(name, Value::from(Serde(value)));
        }
        variables.insert("messages", Value::from(Serde(messages)));
        variables.insert(
            "add_generation_prompt",
            options.add_generation_prompt.into(),
        );
        variables.insert("bos_token", Value::from(options.bos_token.as_str()));
        variables.insert("eos_token", Value::from(options.eos_token.as_str()));
        if let Some(now) = options.now_unix_s {
            let strftime_now = move |format: &str| strftime::strftime(now, format);
            variables.insert("strftime_now", Value::from_function(strftime_now));
        }
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel(messages)));
        environment
            .get_template(NAME)
            .and_then(|template| template.render(Value::from_pairs(variables)))
            .map_err(classify)
    }
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

fn fuel(messages: &[ChatMessage]) -> u64 {
    let n_bytes: usize = messages
        .iter()
        .map(|message| message.role.len() + message.content.len())
        .sum();
    BASE_FUEL.saturating_add((n_bytes as u64).saturating_mul(FUEL_PER_INPUT_BYTE))
}

/// What a template said in calling `raise_exception`.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    let error = minijinja::Error::new(ErrorKind::InvalidOperation, "raise_exception was called");
    Err(error.with_source(Refusal(message)))
}

fn classify(error: minijinja::Error) -> TemplateError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(Refusal(message)) = current.downcast_ref() {
            return TemplateError::Refused(message.clone());
        }
        if let Some(too_nested) = current.downcast_ref::<TooNested>() {
            return too_nested.clone().into();
        }
        let jinja = current.downcast_ref::<minijinja::Error>();
        if jinja.is_some_and(|error| error.kind() == ErrorKind::OutOfFuel) {
            return TemplateError::TooExpensive;
        }
        cause = current.source();
    }
    TemplateError::Render(error)
}

/// Replaces `{% generation %}` and `{% endgeneration %}`, which mark the
/// assistant's words for training and mean nothing here, with a condition that
/// always holds: so the whitespace control of the tags still counts.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag_on) = rest.split_at(start);
        out.push_str(before);
        // The end's own two bytes: in `{%}` the beginning has taken one of them.
        let Some(inner_bytes) = tag_on[2..].find("%}") else {
            rest = tag_on;
            break;
        };
        let (tag, after) = tag_on.split_at(2 + inner_bytes + 2);
        let inner = &tag[2..2 + inner_bytes];
        let is_control = |c: char| matches!(c, '-' | '+');
        match inner.trim_matches(is_control).trim() {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render_with(
        source: &str,
        messages: &[(&str, &str)],
        options: &RenderOptions,
    ) -> Result<String, TemplateError> {
        let messages: Vec<_> = messages
            .iter()
            .map(|&(role, content)| ChatMessage::new(role, content))
            .collect();
        ChatTemplate::from_source(source)?.render(&messages, options)
    }

    fn render(source: &str) -> Result<String, TemplateError> {
        render_with(source, &[("user", "Hi")], &RenderOptions::default())
    }

    #[test]
    fn gives_templates_what_they_are_used_to() {
        let options = RenderOptions {
            add_generation_prompt: true,
            bos_token: "<s>".to_owned(),
            eos_token: "</s>".to_owned(),
            now_unix_s: Some(1_795_353_600),
            extra: serde_json::from_str(r#"{"enable_thinking": false}"#).unwrap(),
        };
        let cases = [
            (
                "{{ bos_token }}{{ messages[0]['content'] }}{{ eos_token }}",
                "<s>Hi</s>",
            ),
            ("{% if add_generation_prompt %}A:{% endif %}", "A:"),
            ("{{ messages | length }}{% if tools %}T{% endif %}", "1"),
            ("{% if enable_thinking is false %}quick{% endif %}", "quick"),
            ("{{ strftime_now('%d %b %Y') }}", "22 Nov 2026"),
            (
                "{% for m in messages %}\n  {% if loop.first %}\n{{ m.role }}{% endif %}\n{% endfor %}\n",
                "user",
            ),
            (
                "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}",
                "01",
            ),
            (
                "{{ ' x '.strip() ~ 'a-b'.split('-')[1] ~ 'Up'.lower() }}",
                "xbup",
            ),
            (
                "{% set ns = namespace(n=1) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}",
                "2",
            ),
            (
                "{{ {'a': [1, true, none, '<é>']} | tojson }}",
                r#"{"a": [1, true, null, "<é>"]}"#,
            ),
            (
                "x\n  {%- generation -%}\n {{ 1 }}\n{%- endgeneration %}y",
                "x1y",
            ),
        ];
        for (source, expected) in cases {
            let rendered = render_with(source, &[("user", "Hi")], &options).unwrap();
            assert_eq!(rendered, expected, "{source}");
        }
    }

    #[test]
    fn a_tag_without_an_inside_is_an_error_like_any_other() {
        for source in [
            "{%}",
            "a{%}b",
            "{%}{% if true %}%}{% endif %}",
            "{%%}",
            "{%",
        ] {
            let error = render(source).expect_err(source);
            assert!(
                matches!(error, TemplateError::Syntax(_)),
                "{source}: {error}"
            );
        }
    }

    #[test]
    fn time_is_undefined_unless_given() {
        let source = "{{ strftime_now('%Y') if strftime_now is defined else 'no date' }}";
        assert_eq!(render(source).unwrap(), "no date");
    }

    #[test]
    fn a_refusal_comes_back_in_the_templates_words() {
        for source in [
            "{{ raise_exception('roles must alternate') }}",
            "{% macro m() %}{{ raise_exception('roles must alternate') }}{% endmacro %}{{ m() }}",
            "{% for m in messages %}{{ raise_exception('roles must alternate') }}{% endfor %}",
        ] {
            match render(source) {
                Err(TemplateError::Refused(message)) => assert_eq!(message, "roles must alternate"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn runaway_templates_end_in_an_error() {
        for source in [
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "{% for i in range(99999) %}{{ 'x' * 99999 }}{% endfor %}",
            "{{ 'x' * 9999999999 }}",
            "{{ [1] * 9999999999 }}",
            "{{ ('x' * 99999).replace('x', 'y' * 99999) }}",
            "{{ ('x' * 99999) | replace('x', 'y' * 99999) }}",
            "{{ ('x' * 99999).join(range(99999)) }}",
            "{{ ('x' * 99999).join(['y'] * 99999) }}",
            "{{ (['x'] * 99999) | join('y' * 99999) }}",
            "{{ '{:999999999}'.format('x') }}",
            "{{ '{:99999999}'.format('x') }}",
            "{{ '{:🦙>9999999}'.format('x') }}",
            "{{ '%99999999s' | format('x') }}",
            "{{ ('{0}' * 99999).format('x' * 99999) }}",
            "{{ '%999999999s' | format('x') }}",
            "{{ 'x' | indent(999999999, true) }}",
            "{% for i in range(99999) %}{{ strftime_now('%c' * 99999) | length }}{% endfor %}",
        ] {
            assert_too_expensive(source);
        }
    }

    #[test]
    fn what_doubles_in_every_round_ends_in_an_error() {
        for (grow, write) in [
            ("ns.v ~ 'x' ~ ns.v", "{{ ns.v }}"),
            ("(ns.v | string) ~ (ns.v | string)", "{{ ns.v }}"),
            ("ns.v + ns.v", "{{ ns.v }}"),
            ("[ns.v, ns.v]", "{{ ns.v }}"),
            ("{'a': ns.v, 'b': ns.v}", "{{ ns.v }}"),
            ("[ns.v, ns.v]", "{{ ns.v | tojson }}"),
            ("[ns.v, ns.v]", "{{ ns.v | string | length }}"),
            ("[ns.v, ns.v]", "{{ ','.join(ns.v) }}"),
            ("[ns.v, ns.v]", "{{ '{}'.format(ns.v) }}"),
        ] {
            assert_too_expensive(&format!(
                "{{% set ns = namespace(v=[1]) %}}{{% for i in range(30) %}}\
                 {{% set ns.v = {grow} %}}{{% endfor %}}{write}"
            ));
        }
    }

    fn assert_too_expensive(source: &str) {
        let options = RenderOptions {
            now_unix_s: Some(0),
            ..RenderOptions::default()
        };
        let error = render_with(source, &[("user", "Hi")], &options).expect_err(source);
        assert!(
            matches!(
                error,
                TemplateError::TooExpensive | TemplateError::Render(_)
            ),
            "{source}: {error}"
        );
    }

    #[test]
    fn keys_in_formats_are_ascii() {
        for source in [
            "{{ '{0[é'.format('x') }}",
            "{{ '{0[a][é]}'.format('x') }}",
            "{{ '{0[{é]}'.format('x') }}",
            "{{ '{0[}][é]}'.format('x') }}",
            "{{ '{a[é]}'.format(a='x') }}",
            "{{ '%(é' | format(a=1) }}",
            "{{ '%(é)s' | format(a=1) }}",
        ] {
            assert!(
                matches!(render(source), Err(TemplateError::Render(_))),
                "{source}"
            );
        }
        for (source, expected) in [
            ("{{ '[é] {} [é]'.format('ü') }}", "[é] ü [é]"),
            ("{{ 'é%s [é]' | format('ü') }}", "éü [é]"),
            ("{{ '{0}é'.format(1) }}", "1é"),
        ] {
            assert_eq!(render(source).ok().as_deref(), Some(expected), "{source}");
        }
    }

    #[test]
    fn endless_recursion_ends_in_an_error() {
        let source = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
        assert!(render(source).is_err());
    }

    #[test]
    fn broken_templates_are_refused_when_read() {
        for source in [
            "{% if %}",
            "{% for m in messages %}",
            "{{ messages",
            "{% generation",
            "{% nonsense %}",
        ] {
            let error = ChatTemplate::from_source(source).expect_err(source);
            assert!(
                matches!(error, TemplateError::Syntax(_)),
                "{source}: {error}"
            );
        }
        let error = ChatTemplate::from_source(&" ".repeat(MAX_TEMPLATE_BYTES + 1)).unwrap_err();
        assert!(matches!(error, TemplateError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn a_failing_expression_is_an_error() {
        for source in [
            "{{ messages[7].content.strip() }}",
            "{{ nothing.at.all }}",
            "{{ 1 / 'a' }}",
        ] {
            let error = render(source).expect_err(source);
            assert!(
                matches!(error, TemplateError::Render(_)),
                "{source}: {error}"
            );
        }
    }
}
