//! Who the assistant is when the host configures nothing else.

/// The alias that stands for the product's own choice of model.
pub const DEFAULT_ALIAS: &str = "nox";

/// The system prompt of a conversation that brings none.
pub const DEFAULT_SYSTEM_PROMPT: &str =
    "You are Nox, the private assistant of Noxics. You run on the user's device.";

/// The persona that a reply's `meta.target` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Persona {
    /// Its name.
    pub central_name: &'static str,
    /// Its scale.
    pub central_scale: &'static str,
    /// Its variant.
    pub variant_name: &'static str,
    /// The model that it is made for.
    pub model_target: &'static str,
}

/// The built-in persona.
pub const PERSONA: Persona = Persona {
    central_name: "nox",
    central_scale: "nox",
    variant_name: "nox",
    model_target: "qwen2.5:0.5b",
};
