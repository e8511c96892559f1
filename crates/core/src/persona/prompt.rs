//! System prompts: which text is used, and its placeholders.

use super::Persona;

/// Files that may hold the system prompt, below the folder `memory`, best first.
pub const SYSTEM_PROMPT_FILES: [&str; 4] = [
    "system_prompt.local.md",
    "system_prompt.local.txt",
    "system_prompt.md",
    "system_prompt.txt",
];

/// The system prompt for `persona`: the candidate when it says anything, else the
/// first of the files' texts that does, its placeholders filled in.
pub fn choose_system_prompt<'a>(
    candidate: Option<&'a str>,
    files: impl IntoIterator<Item = &'a str>,
    persona: &Persona,
) -> Option<String> {
    let says_something = |text: &&str| !text.trim().is_empty();
    candidate
        .filter(says_something)
        .or_else(|| files.into_iter().map(str::trim).find(says_something))
        .map(|template| persona.render(template))
}

/// Names between double braces that stand for nothing, in order of appearance, so
/// that an editor can point at them. They stay in the prompt as they are.
pub fn unknown_placeholders(template: &str) -> Vec<&str> {
    placeholders(template)
        .filter(|found| Placeholder::by_name(found.name).is_none())
        .map(|found| found.name)
        .collect()
}

impl Persona {
    /// Fills in the placeholders of a system prompt, such as `{{NOX_NAME}}`.
    ///
    /// It goes through the template once: a placeholder inside a persona's own
    /// fields is text. What is no placeholder is left alone.
    pub fn render(&self, template: &str) -> String {
        let mut out = String::with_capacity(template.len());
        let mut done = 0;
        for found in placeholders(template) {
            let Some(placeholder) = Placeholder::by_name(found.name) else {
                continue;
            };
            out.push_str(&template[done..found.start]);
            out.push_str(&placeholder.value(self));
            done = found.start + found.name.len() + "{{}}".len();
        }
        out.push_str(&template[done..]);
        out
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    Name,
    NameDisplay,
    Variant,
    VariantDisplay,
    Scale,
    ScaleLabel,
    ModelTarget,
    Tagline,
    Summary,
    Strengths,
    Limits,
    Emoji,
}

impl Placeholder {
    fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "NOX_NAME" => Self::Name,
            "NOX_NAME_DISPLAY" => Self::NameDisplay,
            "NOX_VARIANT" => Self::Variant,
            "NOX_VARIANT_DISPLAY" => Self::VariantDisplay,
            "NOX_SCALE" => Self::Scale,
            "NOX_SCALE_LABEL" => Self::ScaleLabel,
            "NOX_MODEL_TARGET" => Self::ModelTarget,
            "NOX_PERSONA_TAGLINE" => Self::Tagline,
            "NOX_PERSONA_SUMMARY" => Self::Summary,
            "NOX_PERSONA_STRENGTHS" => Self::Strengths,
            "NOX_PERSONA_LIMITS" => Self::Limits,
            "NOX_PERSONA_EMOJI" => Self::Emoji,
            _ => return None,
        })
    }

    fn value(self, persona: &Persona) -> String {
        match self {
            Self::Name => persona.central_name.clone(),
            Self::NameDisplay => persona.name_display(),
            Self::Variant => persona.variant_name.clone(),
            Self::VariantDisplay => persona.variant_display(),
            Self::Scale => persona.central_scale.clone(),
            Self::ScaleLabel => persona.scale_label(),
            Self::ModelTarget => persona.model_target.clone(),
            Self::Tagline => persona.tagline.clone(),
            Self::Summary => persona.summary_line(),
            Self::Strengths => persona.strengths_block(),
            Self::Limits => persona.limits_block(),
            // Old prompts hold it; personas have no emoji.
            Self::Emoji => String::new(),
        }
    }
}

/// A name between double braces.
struct Found<'a> {
    /// Where its braces begin.
    start: usize,
    name: &'a str,
}

/// Names of capital letters, digits and underscores between double braces.
fn placeholders(template: &str) -> impl Iterator<Item = Found<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(found) = template[at..].find("{{") {
            let start = at + found;
            let inner = &template[start + 2..];
            let n_name = inner
                .bytes()
                .take_while(|byte| {
                    byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_'
                })
                .count();
            if n_name > 0 && inner[n_name..].starts_with("}}") {
                at = start + n_name + 4;
                let name = &inner[..n_name];
                return Some(Found { start, name });
            }
            // Of three braces the inner two may be meant.
            at = start + 1;
        }
        None
    })
}
