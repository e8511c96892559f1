//! Templates that are made to overflow the stack, on a stack half as large as a
//! worker's.
#![allow(clippy::unwrap_used)] // helpers fail the test that calls them

use nox_engine::template::{ChatMessage, ChatTemplate, RenderOptions, TemplateError};

const STACK_BYTES: usize = 512 * 1024;

fn render(source: &str) -> Result<String, TemplateError> {
    let source = source.to_owned();
    std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let messages = [ChatMessage::new("user", "Hi")];
            ChatTemplate::from_source(&source)?.render(&messages, &RenderOptions::default())
        })
        .unwrap()
        .join()
        .unwrap()
}

/// The beginning of a source, for a test that fails.
fn beginning(source: &str) -> String {
    source.chars().take(80).collect()
}

fn assert_too_nested(source: &str) {
    let error = render(source).expect_err(&beginning(source));
    assert!(
        matches!(error, TemplateError::TooNested { .. }),
        "{}: {error}",
        beginning(source)
    );
    let text = error.to_string();
    assert!(text.contains("nested too deeply"), "{text}");
}

#[test]
fn deep_sources_are_refused_before_they_are_parsed() {
    let n = 30_000;
    for source in [
        format!("{{{{ {}1{} }}}}", "[".repeat(n), "]".repeat(n)),
        format!("{{{{ {}1{} }}}}", "(".repeat(n), ")".repeat(n)),
        format!("{{{{ {}1{} }}}}", "{'a':".repeat(n), "}".repeat(n)),
        format!("{{{{ a{} }}}}", ".a".repeat(n)),
        format!("{{{{ a{} }}}}", "[0]".repeat(n)),
        format!("{{{{ a{} }}}}", "()".repeat(n)),
        format!("{{{{ a{} }}}}", "|list".repeat(n)),
        format!("{{{{ a{} }}}}", " is defined".repeat(n)),
        format!("{{{{ a{} }}}}", " ~ a".repeat(n)),
        format!("{{{{ a{} }}}}", " or a".repeat(n)),
        format!("{{{{ a{} }}}}", " ** a".repeat(n)),
        format!("{{{{ {}a }}}}", "-".repeat(n)),
        format!("{{{{ {}a }}}}", "not ".repeat(n)),
        format!("{{{{ a{} }}}}", " if a else a".repeat(n)),
        format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(n)),
        format!("{}{}", "{% if a %}".repeat(n), "{% endif %}".repeat(n)),
        format!(
            "{}{}",
            "{% for a in b %}".repeat(n),
            "{% endfor %}".repeat(n)
        ),
        format!("{}{}", "{% set a %}".repeat(n), "{% endset %}".repeat(n)),
        format!("{{{{ '}}}}' ~ {}1{} }}}}", "[".repeat(n), "]".repeat(n)),
    ] {
        assert_too_nested(&source);
    }
}

/// What is just inside the caps has to be borne by the stack.
#[test]
fn sources_at_the_caps_are_rendered() {
    use nox_engine::template::{
        MAX_BRACKET_DEPTH, MAX_CALL_DEPTH, MAX_STATEMENT_DEPTH, MAX_TAG_TOKENS,
    };
    let brackets = MAX_BRACKET_DEPTH;
    let statements = MAX_STATEMENT_DEPTH;
    for source in [
        format!(
            "{{{{ {}1{} }}}}",
            "[".repeat(brackets),
            "]".repeat(brackets)
        ),
        format!(
            "{{{{ {}1{} }}}}",
            "(".repeat(brackets),
            ")".repeat(brackets)
        ),
        format!(
            "{{{{ {}1{} }}}}",
            "[not -1 if (".repeat(brackets / 2),
            ")]".repeat(brackets / 2)
        ),
        format!("{{{{ 'a'{} }}}}", " ~ 'a'".repeat((MAX_TAG_TOKENS - 1) / 2)),
        format!("{{{{ 1{} }}}}", "|int".repeat((MAX_TAG_TOKENS - 1) / 2)),
        format!("{{{{ {}1 }}}}", "not ".repeat(MAX_TAG_TOKENS - 1)),
        format!("{{{{ {}1 }}}}", "-".repeat(MAX_TAG_TOKENS - 1)),
        format!(
            "{{{{ 1{} }}}}",
            " if 0 else 1".repeat((MAX_TAG_TOKENS - 1) / 4)
        ),
        format!("{{% set x = [1]{} %}}", "|batch(1)|list".repeat(40)),
        format!(
            "{}{}",
            "{% if 1 %}".repeat(statements),
            "{% endif %}".repeat(statements)
        ),
        format!(
            "{}{}",
            "{% for a in [1] %}".repeat(statements),
            "{% endfor %}".repeat(statements)
        ),
        format!(
            "{{% if 0 %}}{}{{% endif %}}",
            "{% elif 0 %}".repeat(statements - 1)
        ),
    ] {
        match render(&source) {
            // A value may be too deep where its source is not.
            Ok(_) | Err(TemplateError::TooNested { .. }) => {}
            Err(error) => panic!("{}: {error}", beginning(&source)),
        }
    }
    let recursion = format!(
        "{{% macro m(n) %}}{{% if n %}}{{{{ m(n - 1) }}}}{{% endif %}}{{% endmacro %}}{{{{ m({}) }}}}",
        MAX_CALL_DEPTH / 8
    );
    assert_eq!(render(&recursion).unwrap(), "");
}

#[test]
fn values_that_grow_deeper_in_every_round_are_refused() {
    for grow in [
        "[ns.v]",
        "{'a': ns.v}",
        "(ns.v,)",
        "1, ns.v",
        "ns.v | batch(1) | list",
        "[ns.v] if true else 1",
        "dict(a=ns.v)",
        "[[ns.v][0:]]",
    ] {
        assert_too_nested(&format!(
            "{{% set ns = namespace(v=1) %}}{{% set ns.v = [1] %}}\
             {{% for i in range(100000) %}}{{% set ns.v = {grow} %}}{{% endfor %}}"
        ));
    }
}

#[test]
fn values_that_grow_deeper_with_every_statement_are_refused() {
    assert_too_nested(&"{% set v = [v] %}".repeat(40_000));
    assert_too_nested(&"{% set v = namespace(v=v) %}".repeat(30_000));
    assert_too_nested(&"{%set v|default([v],true)%}{%endset%}".repeat(20_000));
}

/// Every round makes an iterable of the one before; nobody can see how many there are.
#[test]
fn iterables_of_iterables_do_not_pile_up() {
    for grow in [
        "ns.v[0:]",
        "ns.v | reverse",
        "ns.v + [1][1:]",
        "ns.v[0:] + ns.v[9:]",
        "{'a': (ns.v.a if ns.v is mapping else ns.v)[0:]}",
    ] {
        let source = format!(
            "{{% set ns = namespace(v=[7]) %}}\
             {{% for i in range(20000) %}}{{% set ns.v = {grow} %}}{{% endfor %}}\
             {{{{ (ns.v.a if ns.v is mapping else ns.v) | join }}}}"
        );
        assert_eq!(render(&source).unwrap(), "7", "{grow}");
    }
}

#[test]
fn endless_calls_end_in_an_error() {
    for source in [
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m() %}{% call m() %}{% endcall %}{% endmacro %}{{ m() }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    ] {
        assert!(render(source).is_err(), "{source}");
    }
}

/// A template could include itself, or call its own block, without end.
#[test]
fn tags_that_join_templates_are_refused_by_name() {
    for (source, tag) in [
        ("{% block b %}{{ self.b() }}{% endblock %}", "block"),
        ("{% include 'chat_template' %}", "include"),
        ("{% extends 'chat_template' %}", "extends"),
        ("{% import 'chat_template' as t %}", "import"),
        ("{% from 'chat_template' import t %}", "from"),
    ] {
        match render(source) {
            Err(TemplateError::JoinsTemplates { tag: found }) => assert_eq!(found, tag),
            other => panic!("{source}: {other:?}"),
        }
    }
}

/// A namespace that holds itself would never be let go.
#[test]
fn a_namespace_cannot_hold_itself() {
    for value in ["ns", "[ns]", "{'a': [ns]}", "namespace(a=1)"] {
        let source = format!("{{% set ns = namespace() %}}{{% set ns.v = {value} %}}");
        assert!(render(&source).is_err(), "{value}");
    }
}

#[test]
fn assignments_keep_what_they_assign() {
    for (source, expected) in [
        ("{% set a = 1 if false else 2 %}{{ a }}", "2"),
        ("{% set a, b = 1, 2 %}{{ b }}{{ a }}", "21"),
        ("{% set (a, b) = [1, 2] %}{{ b }}{{ a }}", "21"),
        ("{% set a = 1, %}{{ a | length }}", "1"),
        ("{%- set a = messages[0:] -%} {{ a[0].content }}", "Hi"),
        ("{% set a %}x{% endset %}{{ a }}", "x"),
        ("{% set a | upper %}x{% endset %}{{ a }}", "X"),
        ("{% set a = '%}' ~ \"=\" %}{{ a }}", "%}="),
        ("{% set a = {'b': 1}.b == 1 and not false %}{{ a }}", "True"),
        ("{% set a = nothing %}{{ a is defined }}", "False"),
        ("{% set a = none %}{{ a is none }}", "True"),
        (
            "{% set f = namespace %}{% set n = f(a=1) %}{% set n.a = n.a + 1 %}{{ n.a }}",
            "2",
        ),
        (
            "{% for i in [1] %}{% set outer = loop %}{% for j in [2] %}{{ outer.index }}{% endfor %}{% endfor %}",
            "1",
        ),
        ("{% raw %}{% set a = [ %}{% endraw %}", "{% set a = [ %}"),
        ("{% set a = [1, [2, 3][1:]] %}{{ a | tojson }}", "[1, [3]]"),
        ("{# don't {% set #}{% set a = 3 %}{{ a }}", "3"),
    ] {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }
}
