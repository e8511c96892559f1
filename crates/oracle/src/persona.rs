//! `persona.jsonl` and `persona_scales.jsonl`: which persona a model has, and the
//! system prompts made with it.
//!
//! The recorded system's own sentences are not taken over. Where a recording holds
//! one of them unchanged, ours is put in its place before comparing; all around it
//! has to be the same.

use std::collections::BTreeSet;

use nox_core::{
    Catalog, NOX_CATALOG, OVERRIDE_FILES, Persona, PersonaEnvironment, PersonaError,
    PersonaOverrides, SCALE_CATALOG, SYSTEM_PROMPT_FILES, choose_system_prompt,
};
use serde_json::{Value, json};

use crate::case::Case;
use crate::report::{Report, Verdict};

/// Compares `persona.jsonl`, recorded with the catalog of one persona.
#[must_use]
pub fn check_persona(jsonl: &str) -> Report {
    check("persona.jsonl", jsonl, &NOX_CATALOG)
}

/// Compares `persona_scales.jsonl`, recorded with the catalog of scales.
#[must_use]
pub fn check_persona_scales(jsonl: &str) -> Report {
    check("persona_scales.jsonl", jsonl, &SCALE_CATALOG)
}

fn check(file: &'static str, jsonl: &str, catalog: &Catalog) -> Report {
    let sentences = Sentences::learn(jsonl, catalog);
    Report::of(file, jsonl, |case| {
        let ours = match resolve(&case.input, catalog) {
            Ok(persona) if !sentences.scales.contains(&persona.central_scale) => {
                Err("no case shows which sentences of this persona are built in")
            }
            Ok(persona) => ours(case, &persona),
            Err(error) => Ok(json!({ "refused": error.to_string() })),
        };
        match ours {
            Ok(ours) => Verdict::Compared {
                ours,
                recorded: sentences.replace(&case.output),
            },
            Err(reason) => Verdict::LeftOut(reason),
        }
    })
}

fn ours(case: &Case, persona: &Persona) -> Result<Value, &'static str> {
    let input = &case.input;
    Ok(match case.call.as_str() {
        "resolve_persona(model, scale_override=)" => persona.to_json(),
        "render_system_prompt(template, resolve_persona(model))" => {
            let template = input["template"].as_str();
            let template =
                template.ok_or("a template is a text here: other values can't be passed")?;
            persona.render(template).into()
        }
        "_build_system_prompt(candidate, model)" => {
            let texts = SYSTEM_PROMPT_FILES.map(|name| file_text(input, &format!("memory/{name}")));
            let texts = texts.iter().flatten().map(String::as_str);
            choose_system_prompt(input["candidate"].as_str(), texts, persona).into()
        }
        _ => return Err("the call has no counterpart"),
    })
}

/// The persona of a case, its files and its environment handed over as a host
/// would.
fn resolve(input: &Value, catalog: &Catalog) -> Result<Persona, PersonaError> {
    let environment = environment(input)?;
    Ok(catalog
        .find(
            input["scale_override"].as_str(),
            environment.scale(),
            input["model"].as_str(),
        )
        .resolve(&[&overrides(input), environment.overrides()]))
}

/// What the environment of a case says about personas.
pub(crate) fn environment(input: &Value) -> Result<PersonaEnvironment, PersonaError> {
    PersonaEnvironment::from_vars(vars(input))
}

/// The first override file of a case that can be read.
pub(crate) fn overrides(input: &Value) -> PersonaOverrides {
    vars(input)
        .find(|(key, _)| *key == "NOX_PERSONA_FILE")
        .map(|(_, path)| path.trim_start_matches("<root>/"))
        .into_iter()
        .chain(OVERRIDE_FILES)
        .filter_map(|path| file_text(input, path))
        .find_map(|text| PersonaOverrides::parse(&text).ok())
        .unwrap_or_default()
        .overrides
}

fn vars(input: &Value) -> impl Iterator<Item = (&str, &str)> {
    let vars = input["env"].as_object().into_iter().flatten();
    vars.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

fn file_text(input: &Value, path: &str) -> Option<String> {
    match input["files"].get(path)? {
        Value::String(text) => Some(text.clone()),
        document => Some(document.to_string()),
    }
}

fn has_no_overrides(case: &Case) -> bool {
    let is_scale_only = vars(&case.input).all(|(key, _)| key == "NOX_SCALE");
    is_scale_only && case.input["files"] == json!({})
}

/// Recorded sentences and ours in their place.
struct Sentences {
    /// The personas whose sentences are known.
    scales: BTreeSet<String>,
    texts: Vec<(String, String)>,
    lists: Vec<(Value, Value)>,
}

impl Sentences {
    /// Takes them from the cases in which nothing is overridden.
    fn learn(jsonl: &str, catalog: &Catalog) -> Self {
        let mut sentences = Self {
            scales: BTreeSet::new(),
            texts: Vec::new(),
            lists: Vec::new(),
        };
        let cases = jsonl.lines().filter_map(|line| Case::read(line).ok());
        for case in cases.filter(has_no_overrides) {
            let rows = catalog.rows().iter();
            for row in rows.filter(|row| case.output["scale"] == row.central_scale) {
                sentences.scales.insert(row.central_scale.to_owned());
                sentences.pair(&case.output, &row.resolve(&[]).to_json());
            }
        }
        sentences
    }

    fn pair(&mut self, recorded: &Value, ours: &Value) {
        for field in ["tagline", "strengths_block", "limits_block"] {
            if let (Some(theirs), Some(ours)) = (recorded[field].as_str(), ours[field].as_str()) {
                self.texts.push((theirs.to_owned(), ours.to_owned()));
            }
        }
        for field in ["strengths", "limits"] {
            let pair = (recorded[field].clone(), ours[field].clone());
            self.lists.push(pair);
        }
    }

    fn replace(&self, recorded: &Value) -> Value {
        match recorded {
            Value::String(text) => {
                let pairs = self.texts.iter();
                let text = pairs.fold(text.clone(), |text, (theirs, ours)| {
                    text.replace(theirs, ours)
                });
                text.into()
            }
            Value::Array(_) => {
                let pair = self.lists.iter().find(|(theirs, _)| theirs == recorded);
                pair.map_or(recorded, |(_, ours)| ours).clone()
            }
            Value::Object(fields) => {
                let fields = fields.iter();
                let fields = fields.map(|(key, value)| (key.clone(), self.replace(value)));
                Value::Object(fields.collect())
            }
            _ => recorded.clone(),
        }
    }
}
