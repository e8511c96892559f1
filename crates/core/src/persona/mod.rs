//! Who the assistant is: the built-in personas, what a user changes about them,
//! and the labels and prompts that are derived from the result.
//!
//! A persona is resolved in layers, each one over those before it: the catalog's
//! row, then the layers that the caller gives (usually an override document, what
//! the persona editor has stored, and the environment). Within a layer, what is
//! set for one scale goes over what is set for all.
//!
//! This module reads no file, no environment and no database; it is handed their
//! contents.

mod catalog;
mod environment;
mod overrides;
mod prompt;

pub use catalog::{BuiltinPersona, Catalog, FULL_CATALOG, NOX_CATALOG, SCALE_CATALOG};
pub use environment::PersonaEnvironment;
pub use overrides::{
    OVERRIDE_FILES, ParsedOverrides, PersonaError, PersonaField, PersonaNotice, PersonaOverrides,
    PersonaValue, persona_limits,
};
pub use prompt::{SYSTEM_PROMPT_FILES, choose_system_prompt, unknown_placeholders};

use serde_json::{Value, json};

use crate::title::title_case;

/// The alias that stands for the product's own choice of model.
pub const DEFAULT_ALIAS: &str = "nox";

/// The system prompt of a conversation that brings none, with a placeholder.
pub const DEFAULT_SYSTEM_PROMPT: &str =
    "You are {{NOX_NAME_DISPLAY}}, the private assistant of Noxics. You run on the user's device.";

/// The built-in persona.
pub const PERSONA: BuiltinPersona = catalog::NOX;

/// A persona with everything applied that a user has set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persona {
    /// Its scale: the key under which it is overridden.
    pub central_scale: String,
    /// What the assistant calls itself.
    pub central_name: String,
    /// The variant that it belongs to.
    pub variant_name: String,
    /// The model that it is made for.
    pub model_target: String,
    /// How large that model is, in words.
    pub parameter_label: String,
    /// One sentence about it.
    pub tagline: String,
    /// What it is good at.
    pub strengths: Vec<String>,
    /// What it is not good at.
    pub limits: Vec<String>,
}

impl Persona {
    /// `nox-tier · 0.5B parameters`.
    pub fn scale_label(&self) -> String {
        format!("{}-tier · {}", self.central_scale, self.parameter_label)
    }

    /// The name as a sentence has it: `nano-nox` is `Nano Nox`. One that has capitals
    /// stays as it is.
    pub fn name_display(&self) -> String {
        if self.central_name.chars().any(char::is_uppercase) {
            return self.central_name.clone();
        }
        title_case(&self.central_name.replace('-', " "))
    }

    /// The variant's name for display: `nano-nox` is `Nano Nox`.
    pub fn variant_display(&self) -> String {
        title_case(&self.variant_name.replace('-', " "))
    }

    /// One line that says who this is.
    pub fn summary_line(&self) -> String {
        format!(
            "{} is the {} profile that powers {}. {}",
            self.central_name,
            self.scale_label(),
            self.variant_name,
            self.tagline
        )
    }

    /// The strengths as a list, one line each.
    pub fn strengths_block(&self) -> String {
        bullet_list(&self.strengths)
    }

    /// The limits as a list, one line each.
    pub fn limits_block(&self) -> String {
        bullet_list(&self.limits)
    }

    /// Its fields and what is derived from them, for a host that shows them.
    pub fn to_json(&self) -> Value {
        json!({
            "scale": self.central_scale,
            "central_name": self.central_name,
            "variant_name": self.variant_name,
            "model_target": self.model_target,
            "parameter_label": self.parameter_label,
            "tagline": self.tagline,
            "strengths": self.strengths,
            "limits": self.limits,
            "scale_label": self.scale_label(),
            "variant_display": self.variant_display(),
            "summary_line": self.summary_line(),
            "strengths_block": self.strengths_block(),
            "limits_block": self.limits_block(),
        })
    }
}

fn bullet_list(items: &[String]) -> String {
    if items.is_empty() {
        return "- (details pending)".to_owned();
    }
    let lines: Vec<String> = items.iter().map(|item| format!("- {item}")).collect();
    lines.join("\n")
}
