//! The built-in personas and how one is found by the names that people use.

use super::{Persona, PersonaOverrides};

/// A persona as it is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltinPersona {
    /// Its scale: the key under which it is overridden.
    pub central_scale: &'static str,
    /// What the assistant calls itself.
    pub central_name: &'static str,
    /// The variant that it belongs to.
    pub variant_name: &'static str,
    /// The model that it is made for.
    pub model_target: &'static str,
    /// How large that model is, in words.
    pub parameter_label: &'static str,
    /// One sentence about it.
    pub tagline: &'static str,
    /// What it is good at.
    pub strengths: &'static [&'static str],
    /// What it is not good at.
    pub limits: &'static [&'static str],
    /// Lower-case names by which it is found.
    aliases: &'static [&'static str],
}

impl BuiltinPersona {
    /// The persona with the layers applied, the first one lowest.
    pub fn resolve(&self, layers: &[&PersonaOverrides]) -> Persona {
        let mut persona = Persona::from(self);
        for layer in layers {
            layer.apply(&mut persona);
        }
        persona
    }
}

impl From<&BuiltinPersona> for Persona {
    fn from(row: &BuiltinPersona) -> Self {
        let owned = |items: &[&str]| items.iter().map(|&item| item.to_owned()).collect();
        Self {
            central_scale: row.central_scale.to_owned(),
            central_name: row.central_name.to_owned(),
            variant_name: row.variant_name.to_owned(),
            model_target: row.model_target.to_owned(),
            parameter_label: row.parameter_label.to_owned(),
            tagline: row.tagline.to_owned(),
            strengths: owned(row.strengths),
            limits: owned(row.limits),
        }
    }
}

/// A set of personas with one for every name that fits none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Catalog {
    rows: &'static [BuiltinPersona],
    fallback: &'static BuiltinPersona,
}

impl Catalog {
    /// The personas, in the order in which names are tried.
    pub fn rows(&self) -> &'static [BuiltinPersona] {
        self.rows
    }

    /// The persona that the first helpful name stands for: the scale that the
    /// caller asks for, the scale that the environment sets, the model's name. A
    /// name helps when it is an alias, or else when it holds one between
    /// characters that don't continue it (`qwen3-4b-instruct` holds `4b`,
    /// `qwen3-14b` doesn't).
    pub fn find(
        &self,
        scale: Option<&str>,
        environment_scale: Option<&str>,
        model: Option<&str>,
    ) -> &'static BuiltinPersona {
        [scale, environment_scale, model]
            .into_iter()
            .flatten()
            .find_map(|name| self.find_by_name(name))
            .unwrap_or(self.fallback)
    }

    fn find_by_name(&self, name: &str) -> Option<&'static BuiltinPersona> {
        let name = name.trim().to_lowercase();
        let by = |fits: &dyn Fn(&str) -> bool| {
            let mut rows = self.rows.iter();
            rows.find(|row| row.aliases.iter().any(|alias| fits(alias)))
        };
        by(&|alias| alias == name).or_else(|| by(&|alias| holds_alias(&name, alias)))
    }
}

fn holds_alias(name: &str, alias: &str) -> bool {
    name.match_indices(alias).any(|(start, _)| {
        let before = name[..start].chars().next_back();
        let after = name[start + alias.len()..].chars().next();
        // The 4 of `2.4b` is a fraction, not a number of its own.
        let is_fraction = before == Some('.') && alias.starts_with(|c: char| c.is_ascii_digit());
        let continues = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        !is_fraction && !continues(before) && !continues(after)
    })
}

pub(super) const NOX: BuiltinPersona = BuiltinPersona {
    central_scale: "nox",
    central_name: "nox",
    variant_name: "nox",
    model_target: "qwen2.5:0.5b",
    parameter_label: "0.5B parameters",
    tagline: "A small assistant that lives on this device and answers at once.",
    strengths: &[
        "Answers quickly, also on a phone and without a network.",
        "Short texts: summaries, rewording, snippets of code, shell commands.",
        "Needs little memory, so it can stay loaded.",
    ],
    limits: &[
        "Loses the thread in long conversations and long documents.",
        "Knows few facts; check names, numbers and dates.",
    ],
    aliases: &["nox"],
};

const NANO: BuiltinPersona = BuiltinPersona {
    central_scale: "nano",
    central_name: "nano-nox",
    variant_name: "nano-nox",
    model_target: "qwen3:0.6b",
    parameter_label: "0.6B parameters",
    tagline: "The smallest of the family, for quick answers anywhere.",
    strengths: &[
        "Starts and answers at once, even on old devices.",
        "Small jobs: short summaries, simple sums, one-line edits.",
        "Easy on battery and memory.",
    ],
    limits: &[
        "Best with one clear question at a time.",
        "Plans of many steps are better left to a larger scale.",
    ],
    aliases: &["nano", "nano-nox", "qwen3:0.6b", "qwen3-0.6b", "0.6b"],
};

const MICRO: BuiltinPersona = BuiltinPersona {
    central_scale: "micro",
    central_name: "micro-nox",
    variant_name: "micro-nox",
    model_target: "qwen3:1.7b",
    parameter_label: "1.7B parameters",
    tagline: "Quick on its feet, with room for a second thought.",
    strengths: &[
        "Follows tasks of a few steps and keeps to an outline.",
        "Explains code and reviews small changes.",
        "Runs well on most phones of recent years.",
    ],
    limits: &[
        "Large code bases and long sources are beyond it.",
        "Tends to be brief; ask again for detail.",
    ],
    aliases: &["micro", "micro-nox", "qwen3:1.7b", "qwen3-1.7b", "1.7b"],
};

const MILLI: BuiltinPersona = BuiltinPersona {
    central_scale: "milli",
    central_name: "milli-nox",
    variant_name: "milli-nox",
    model_target: "qwen3:4b",
    parameter_label: "4B parameters",
    tagline: "The steady one, for work that takes more than a moment.",
    strengths: &[
        "Drafts documents and weighs one design against another.",
        "Stays with a coding task over several turns and gives reasons.",
        "Says what speaks against its own proposal.",
    ],
    limits: &[
        "Proofs and wide research go better at the next scale.",
        "Wants a laptop or a strong phone.",
    ],
    aliases: &["milli", "milli-nox", "qwen3:4b", "qwen3-4b", "4b"],
};

const CENTI: BuiltinPersona = BuiltinPersona {
    central_scale: "centi",
    central_name: "centi-nox",
    variant_name: "centi-nox",
    model_target: "qwen3:8b",
    parameter_label: "8B parameters",
    tagline: "The largest that runs at home, for the hard questions.",
    strengths: &[
        "Thinks through difficult bugs and open questions.",
        "Writes and revises long texts in one voice.",
        "Knows when to ask an instrument, and what not to send it.",
    ],
    limits: &[
        "Slow where memory is short; a smaller scale is often enough.",
        "Still errs on rare facts.",
    ],
    aliases: &["centi", "centi-nox", "qwen3:8b", "qwen3-8b", "8b"],
};

const PRIME: BuiltinPersona = BuiltinPersona {
    central_scale: "prime",
    central_name: "cloud-nox",
    variant_name: "noctics-cloud",
    model_target: "auto",
    parameter_label: "unspecified capacity",
    tagline: "Nox in front of whatever model answers elsewhere.",
    strengths: &[
        "Keeps its manners whichever model is behind it.",
        "Reaches models that no device of yours could hold.",
    ],
    limits: &["What it can do depends on the model that is configured."],
    aliases: &["prime", "cloud-nox", "noctics-cloud"],
};

/// Every persona, and `nox` for the names that fit none: the catalog by which an
/// alias's scale or a model's name is looked up. `nox` comes last, since the names of
/// the others hold it.
pub const FULL_CATALOG: Catalog = Catalog {
    rows: &[NANO, MICRO, MILLI, CENTI, PRIME, NOX],
    fallback: &NOX,
};

/// The catalog of the product's own model: one persona for every name.
pub const NOX_CATALOG: Catalog = Catalog {
    rows: &[NOX],
    fallback: &NOX,
};

/// The catalog by scale: one persona for each size of model, and `prime` for the
/// models that run elsewhere.
pub const SCALE_CATALOG: Catalog = Catalog {
    rows: &[NANO, MICRO, MILLI, CENTI, PRIME],
    fallback: &PRIME,
};
