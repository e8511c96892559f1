//! Personas, their overrides and system prompts: what is done where recorded behaviour
//! was wrong, and what an editor relies on.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use nox_core::{
    NOX_CATALOG, PERSONA, PersonaEnvironment, PersonaError, PersonaField, PersonaNotice,
    PersonaOverrides, PersonaValue, SCALE_CATALOG, choose_system_prompt, persona_limits,
    unknown_placeholders,
};
use serde_json::{Value, json};

fn parse(document: &Value) -> PersonaOverrides {
    PersonaOverrides::from_json(document).unwrap().overrides
}

fn notices(document: &Value) -> Vec<String> {
    let parsed = PersonaOverrides::from_json(document).unwrap();
    parsed
        .notices
        .iter()
        .map(PersonaNotice::to_string)
        .collect()
}

fn name_with(overrides: &PersonaOverrides) -> String {
    PERSONA.resolve(&[overrides]).central_name
}

#[test]
fn a_name_is_found_in_a_model_only_as_a_word_of_its_own() {
    for (model, scale) in [
        ("qwen3-4b-instruct", "milli"),
        ("some-4b-model", "milli"),
        ("qwen3:14b", "prime"),
        ("gemma-2.4b", "prime"),
        ("centimeter", "prime"),
        ("microsoft/phi", "prime"),
        ("registry/nano-nox:latest", "nano"),
        ("CENTI", "centi"),
        ("ñano", "prime"),
    ] {
        let found = SCALE_CATALOG.find(None, None, Some(model));
        assert_eq!(found.central_scale, scale, "{model}");
    }
}

#[test]
fn a_scale_that_is_asked_for_goes_before_the_environment_and_the_model() {
    let find =
        |scale, environment, model| SCALE_CATALOG.find(scale, environment, model).central_scale;
    assert_eq!(find(Some("milli"), Some("micro"), Some("nano")), "milli");
    assert_eq!(
        find(Some("unheard of"), Some("micro"), Some("nano")),
        "micro"
    );
    assert_eq!(find(None, Some("?"), Some("nano")), "nano");
    assert_eq!(find(None, None, None), "prime");
}

#[test]
fn the_catalogs_hold_what_the_product_promises() {
    let names: Vec<&str> = SCALE_CATALOG
        .rows()
        .iter()
        .map(|row| row.central_name)
        .collect();
    assert_eq!(
        names,
        [
            "nano-nox",
            "micro-nox",
            "milli-nox",
            "centi-nox",
            "cloud-nox"
        ]
    );
    for row in NOX_CATALOG.rows().iter().chain(SCALE_CATALOG.rows()) {
        assert!(!row.tagline.is_empty() && !row.strengths.is_empty() && !row.limits.is_empty());
        let found = SCALE_CATALOG.find(Some(row.central_scale), None, None);
        assert!(found == row || row.central_scale == "nox");
    }
}

#[test]
fn a_global_block_counts_without_scales_too() {
    let overrides = parse(&json!({"global": {"name": "G"}, "nano": {"name": "N"}}));
    assert_eq!(name_with(&overrides), "G");
    let nano = SCALE_CATALOG.find(Some("nano"), None, None);
    assert_eq!(nano.resolve(&[&overrides]).central_name, "N");
}

#[test]
fn what_has_no_effect_is_told() {
    for (document, told) in [
        (
            json!(null),
            "document is ignored: it must be an object, not null",
        ),
        (
            json!([]),
            "document is ignored: it must be an object, not a list",
        ),
        (
            json!({"name": "Top"}),
            "name is ignored: put it under \"global\" or under a scale",
        ),
        (
            json!({"nox": ["a"]}),
            "nox is ignored: it must be an object, not a list",
        ),
        (
            json!({"nox": {"Name": "x"}}),
            "nox.Name is ignored: a persona has no such field",
        ),
        (
            json!({"scales": {"nox": "x"}}),
            "scales.nox is ignored: it must be an object, not a text",
        ),
        (
            json!({"scales": {}, "nox": {}}),
            "nox is ignored: beside \"scales\" only \"global\" is read",
        ),
        (
            json!({"scales": null, "global": {"name": "G"}}),
            "global is ignored: \"scales\" must be an object; remove it or write {}",
        ),
        (
            json!({" ": {"name": "x"}}),
            "  is ignored: a scale must have a name",
        ),
    ] {
        assert_eq!(notices(&document), [told], "{document}");
        assert!(parse(&document).is_empty(), "{document}");
    }
    assert_eq!(
        notices(&json!({"global": null, "scales": {"nox": {"name": "x"}}})).len(),
        0
    );
}

#[test]
fn a_misspelt_scale_can_be_told() {
    let overrides = parse(&json!({"nox": {"name": "a"}, "nxo": {"name": "b"}}));
    assert_eq!(overrides.unknown_scales(&NOX_CATALOG), ["nxo"]);
}

#[test]
fn a_value_that_cannot_be_meant_is_refused_with_its_place() {
    for (document, told) in [
        (
            json!({"nox": {"name": true}}),
            "nox.name must be a text, not true or false; correct it or remove it",
        ),
        (
            json!({"nox": {"name": ["a"]}}),
            "nox.name must be a text, not a list; correct it or remove it",
        ),
        (
            json!({"scales": {"nox": {"limits": {}}}}),
            "scales.nox.limits must be a text or a list of texts, not an object; correct it or \
             remove it",
        ),
        (
            json!({"global": {"strengths": ["a", {}]}}),
            "global.strengths[1] must be a text, not an object; correct it or remove it",
        ),
        (
            json!({"global": {"motto": "x".repeat(4097)}}),
            "global.motto may have at most 4096 bytes, not 4097; shorten it",
        ),
        (
            json!({"global": {"limits": vec!["x"; 65]}}),
            "global.limits may have at most 64 items, not 65; shorten it",
        ),
    ] {
        let error = PersonaOverrides::from_json(&document).unwrap_err();
        assert_eq!(error.to_string(), told);
    }
}

#[test]
fn a_broken_or_huge_document_is_refused() {
    for text in ["not json", "{", ""] {
        let error = PersonaOverrides::parse(text).unwrap_err();
        assert!(matches!(error, PersonaError::NotJson { .. }), "{text}");
        assert!(error.to_string().contains("line 1"), "{error}");
    }
    let huge = " ".repeat(persona_limits::MAX_DOCUMENT_BYTES + 1);
    let error = PersonaOverrides::parse(&huge).unwrap_err();
    assert!(matches!(error, PersonaError::DocumentTooLarge { .. }));
    let deep = "[".repeat(100_000);
    assert!(PersonaOverrides::parse(&deep).is_err());
    let many: serde_json::Map<String, Value> = (0..=persona_limits::MAX_SCALES)
        .map(|idx| (format!("s{idx}"), json!({"name": "x"})))
        .collect();
    let error = PersonaOverrides::from_json(&Value::Object(many)).unwrap_err();
    assert!(matches!(error, PersonaError::TooMuch { .. }));
    let error = PersonaOverrides::from_json(&json!({"x".repeat(65): {"name": "x"}})).unwrap_err();
    assert!(matches!(error, PersonaError::TooMuch { .. }));
}

#[test]
fn nothing_said_under_one_name_leaves_the_next_to_speak() {
    for nothing in [json!(""), json!(null), json!("  ")] {
        let document = json!({"nox": {"central_name": nothing, "name": "short"}});
        assert_eq!(name_with(&parse(&document)), "short");
    }
}

#[test]
fn null_in_a_list_is_nothing() {
    let overrides = parse(&json!({"nox": {"strengths": ["one", " two ", "", null, 3]}}));
    assert_eq!(
        PERSONA.resolve(&[&overrides]).strengths,
        ["one", "two", "3"]
    );
}

#[test]
fn the_environment_goes_over_everything_and_its_scale_over_the_rest() {
    let document =
        parse(&json!({"global": {"name": "G", "tagline": "T"}, "scales": {"nox": {"name": "S"}}}));
    let environment =
        |vars: &[(&str, &str)]| PersonaEnvironment::from_vars(vars.iter().copied()).unwrap();
    let name = |vars: &[(&str, &str)]| {
        let environment = environment(vars);
        PERSONA
            .resolve(&[&document, environment.overrides()])
            .central_name
    };
    assert_eq!(name(&[]), "S");
    assert_eq!(name(&[("NOX_PERSONA_NAME", "E")]), "E");
    assert_eq!(
        name(&[("NOX_PERSONA_NAME_NOX", "N"), ("NOX_PERSONA_NAME", "E")]),
        "N"
    );
    assert_eq!(
        name(&[("NOX_PERSONA_NAME_NOX", " "), ("NOX_PERSONA_NAME", "E")]),
        "E"
    );
    assert_eq!(
        name(&[("NOX_PERSONA_NAMES", "E"), ("NOX_PERSONA_FILE", "f")]),
        "S"
    );
    assert_eq!(
        environment(&[("NOX_SCALE", " micro ")]).scale(),
        Some("micro")
    );
    assert_eq!(environment(&[("NOX_SCALE", " ")]).scale(), None);
    let long = "x".repeat(5000);
    let error =
        PersonaEnvironment::from_vars([("NOX_PERSONA_NAME_NOX", long.as_str())]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("NOX_PERSONA_NAME_NOX may have"),
        "{error}"
    );
}

#[test]
fn a_placeholder_in_a_persona_is_text() {
    let overrides = parse(&json!({"nox": {"name": "{{NOX_SCALE}}", "tagline": "{{NOX_NAME}}"}}));
    let persona = PERSONA.resolve(&[&overrides]);
    assert_eq!(
        persona.render("a {{NOX_NAME}} b {{NOX_PERSONA_TAGLINE}}{{{NOX_SCALE}}}"),
        "a {{NOX_SCALE}} b {{NOX_NAME}}{nox}"
    );
}

#[test]
fn unknown_placeholders_stay_and_can_be_told() {
    let template = "{{UNKNOWN}} {{NOX_NAME}} {{ NOX_NAME }} {{nox_name}} {{{{X}} {{";
    assert_eq!(unknown_placeholders(template), ["UNKNOWN", "X"]);
    assert_eq!(
        PERSONA.resolve(&[]).render(template),
        "{{UNKNOWN}} nox {{ NOX_NAME }} {{nox_name}} {{{{X}} {{"
    );
}

#[test]
fn an_empty_list_says_that_details_are_pending() {
    let mut persona = PERSONA.resolve(&[]);
    persona.limits.clear();
    assert_eq!(persona.limits_block(), "- (details pending)");
}

#[test]
fn a_blank_candidate_leaves_the_prompt_to_the_files() {
    let persona = PERSONA.resolve(&[]);
    let choose = |candidate, files: &[&'static str]| {
        choose_system_prompt(candidate, files.iter().copied(), &persona)
    };
    assert_eq!(choose(Some(" "), &[" \n", " b \n", "c"]).unwrap(), "b");
    assert_eq!(choose(Some(" a"), &["b"]).unwrap(), " a");
    assert_eq!(choose(None, &["  "]), None);
}

#[test]
fn an_editor_reads_sets_and_resets_single_fields() {
    let mut overrides = PersonaOverrides::default();
    let (name, limits) = (PersonaField::Name, PersonaField::Limits);
    assert_eq!(overrides.get(None, name), None);
    overrides.set(None, name, &json!(" Vega ")).unwrap();
    overrides.set(Some("NOX"), limits, &json!("a, b")).unwrap();
    assert_eq!(overrides.get(None, name), Some(PersonaValue::Text("Vega")));
    let set = overrides.get(Some("nox"), limits).map(Value::from);
    assert_eq!(set, Some(json!(["a", "b"])));

    let before = overrides.clone();
    let error = overrides.set(Some("nox"), name, &json!({})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "scales.nox.central_name must be a text, not an object; correct it or remove it"
    );
    assert_eq!(
        overrides.set(Some(" "), name, &json!("x")),
        Err(PersonaError::BlankScale)
    );
    assert_eq!(overrides, before);

    overrides.set(Some("nox"), limits, &json!([])).unwrap();
    assert_eq!(overrides.get(Some("nox"), limits), None);
    overrides.reset(None, None);
    assert!(overrides.is_empty());
    overrides.reset(Some("never set"), Some(name));
    assert!(matches!(
        PersonaField::by_name("colour"),
        Err(PersonaError::UnknownField { .. })
    ));
}

#[test]
fn what_is_kept_is_read_back_the_same() {
    let overrides = parse(&json!({
        "global": {"motto": "m", "strength": "a|b,c"},
        "scales": {"Nano": {"name": 7, "weaknesses": ["x,y"]}, "nox": {"model": "m:1"}},
    }));
    let kept = overrides.to_json();
    assert_eq!(
        kept,
        json!({
            "global": {"tagline": "m", "strengths": ["a", "b", "c"]},
            "scales": {
                "nano": {"central_name": "7", "limits": ["x,y"]},
                "nox": {"model_target": "m:1"},
            },
        })
    );
    let read = PersonaOverrides::parse(&kept.to_string()).unwrap();
    assert_eq!(read.overrides, overrides);
    assert_eq!(read.notices, []);
}
