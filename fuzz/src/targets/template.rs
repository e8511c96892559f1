//! A chat template, rendered for a conversation. What follows the first zero byte is
//! what the user says.

use nox_engine::template::{ChatMessage, ChatTemplate, RenderOptions};

use crate::memory::MemoryCap;
use crate::script::Script;
use crate::{Target, seeds};

pub(crate) const TARGET: Target = Target {
    name: "template",
    memory: MemoryCap {
        // The module's own promise is 128 MiB for what a rendering makes.
        fixed_bytes: 160 << 20,
        per_input_byte: 1 << 10,
    },
    max_input_bytes: 16 << 10,
    words: &[
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "{%-",
        "-%}",
        "if ",
        "elif ",
        "else",
        "endif",
        "for ",
        " in ",
        "endfor",
        "recursive",
        "break",
        "continue",
        "loop.index",
        "loop.first",
        "loop.last",
        "loop.previtem",
        "loop.nextitem",
        "loop.cycle",
        "loop.changed",
        "loop(",
        "set ",
        "endset",
        "macro ",
        "endmacro",
        "call ",
        "endcall",
        "caller()",
        "filter ",
        "endfilter",
        "with ",
        "endwith",
        "raw",
        "endraw",
        "generation",
        "endgeneration",
        "namespace(",
        "ns.x",
        "range(",
        "dict(",
        "messages",
        "messages[0]",
        "message.content",
        "['role']",
        "add_generation_prompt",
        "bos_token",
        "eos_token",
        "tools",
        "raise_exception(",
        "strftime_now(",
        "%Y-%m-%d",
        "%-d",
        "|tojson",
        "|tojson(indent=2)",
        "|string",
        "|join(",
        "|replace(",
        "|length",
        "|list",
        "|map(attribute=",
        "|selectattr(",
        "|rejectattr(",
        "|sort",
        "|groupby(",
        "|batch(",
        "|slice(",
        "|unique",
        "|items",
        "|dictsort",
        "|default(",
        "|indent(",
        "|trim",
        "|upper",
        "|first",
        "|last",
        "|reverse",
        "|format(",
        ".strip()",
        ".split(",
        ".replace(",
        ".join(",
        ".format(",
        ".items()",
        ".startswith(",
        ".endswith(",
        " is defined",
        " is none",
        " is mapping",
        " is iterable",
        " not ",
        " and ",
        " or ",
        "~",
        "**",
        "//",
        "[::-1]",
        "[1:]",
        "none",
        "true",
        "99999",
    ],
    run,
    seeds: seeds::template,
};

fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let source = String::from_utf8_lossy(script.until(0));
    let said = String::from_utf8_lossy(script.rest()).into_owned();
    let Ok(template) = ChatTemplate::from_source(&source) else {
        return;
    };
    let messages = [
        ChatMessage::new("system", "Be brief."),
        ChatMessage::new("user", said),
        ChatMessage::new("assistant", "Hello."),
        ChatMessage::new("user", "And?"),
    ];
    let options = RenderOptions {
        add_generation_prompt: true,
        bos_token: "<s>".to_owned(),
        eos_token: "</s>".to_owned(),
        now_unix_s: Some(1_795_353_600),
        ..RenderOptions::default()
    };
    let rendered = template.render(&messages, &options);
    // Rendering is a function: nothing of one call is left for the next.
    if let Ok(text) = &rendered {
        let again = template.render(&messages, &options);
        assert_eq!(again.ok().as_ref(), Some(text));
    }
}
