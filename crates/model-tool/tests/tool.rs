//! The built tool from outside: JSON alone on stdout, errors on stderr.
#![allow(clippy::unwrap_used)] // helpers fail the test that calls them

#[path = "../../engine/tests/common/mod.rs"]
mod common;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::GgufWriter;
use nox_engine::gguf::GgmlType;
use serde_json::{Value, json};

/// Runs the tool; stdout as JSON, or stderr if it failed (stdout is then empty).
fn run(arguments: &[&str], stdin: &[u8]) -> Result<Value, String> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nox-model"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The tool may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    if output.status.success() {
        return Ok(serde_json::from_str(&stdout).unwrap());
    }
    assert_eq!(stdout, "", "a failure leaves stdout empty");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("panicked"), "{stderr}");
    Err(stderr)
}

/// A file that is removed at the end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("nox-model-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A file with a tokenizer and a template, but no model.
fn chat_vocabulary() -> GgufWriter {
    let tokens: Vec<String> = (0..20).map(|n| ((b'a' + n) as char).to_string()).collect();
    let tokens: Vec<&str> = tokens
        .iter()
        .map(String::as_str)
        .chain(["<s>", "</s>"])
        .collect();
    let mut types = vec![1; 20];
    types.extend([3, 3]);
    GgufWriter::new()
        .str("general.architecture", "llama")
        .str("tokenizer.ggml.model", "gpt2")
        .str("tokenizer.ggml.pre", "gpt-2")
        .strings("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &types)
        .strings("tokenizer.ggml.merges", &["a b"])
        .u32("tokenizer.ggml.bos_token_id", 20)
        .u32("tokenizer.ggml.eos_token_id", 21)
        .str(
            "tokenizer.chat_template",
            "{{ bos_token }}{% for m in messages %}{% if m.role == 'tool' %}\
             {{ raise_exception('no tools') }}{% endif %}[{{ m.role }}] {{ m.content }}{{ eos_token }}\
             {% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}{{ mood }}",
        )
}

#[test]
fn inspect_describes_files_that_cannot_be_run_as_well() {
    let file = chat_vocabulary()
        .f32s("numbers", &[1e-5, 2.5])
        .tensor("token_embd.weight", &[32, 22], GgmlType::Q4_0)
        .tensor("norm", &[32], GgmlType::F32)
        .finish();
    let file = Temporary::new("inspect.gguf", &file);
    let description = run(&["inspect", file.path()], b"").unwrap();
    assert_eq!(description["architecture"], "llama");
    assert_eq!(description["metadata"]["numbers"], json!([1e-5, 2.5]));
    let tokens = &description["metadata"]["tokenizer.ggml.tokens"];
    assert_eq!(
        (&tokens["length"], &tokens["first"][1]),
        (&json!(22), &json!("b"))
    );
    assert_eq!(description["tensors"][0]["shape"], json!([22, 32]));
    assert_eq!(
        description["quantisations"]["Q4_0"],
        json!({ "n_tensors": 1, "n_elements": 704, "size_bytes": 396 })
    );
    assert_eq!(
        description["tokenizer"]["bos"],
        json!({ "id": 20, "text": "<s>" })
    );
    assert!(
        description["memory"]["error"]
            .as_str()
            .unwrap()
            .contains("llama."),
        "{description}"
    );
}

#[test]
fn tokenize_takes_markup_as_text_unless_told_otherwise() {
    let file = Temporary::new("tokenize.gguf", &chat_vocabulary().finish());
    let ids = |arguments: &[&str]| run(arguments, b"ab</s>").unwrap()["ids"].clone();
    // Of `</s>` only the `s` has a token as text.
    assert_eq!(ids(&["tokenize", file.path()]), json!([0, 1, 18]));
    assert_eq!(
        ids(&["tokenize", file.path(), "--parse-special"]),
        json!([0, 1, 21])
    );
    assert_eq!(
        run(&["tokenize", file.path()], b"").unwrap(),
        json!({ "ids": [] })
    );
    let error = run(&["tokenize", file.path()], b"\xFF").unwrap_err();
    assert!(error.contains("not UTF-8"), "{error}");
}

#[test]
fn tokenize_gives_llama_cpps_tokens() {
    let Some(folder) = common::fixtures("vocab") else {
        return;
    };
    let path = folder.join("ggml-vocab-llama-spm.gguf");
    let path = path.to_str().unwrap();
    let texts = std::fs::read_to_string(format!("{path}.inp")).unwrap();
    let expected = std::fs::read_to_string(format!("{path}.out")).unwrap();
    let texts = texts.split("\n__ggml_vocab_test__\n");
    let mut n_cases = 0;
    for (text, expected) in texts.zip(expected.lines()) {
        let found = run(&["tokenize", path], text.as_bytes()).unwrap();
        let expected: Vec<u32> = expected
            .split_whitespace()
            .map(|id| id.parse().unwrap())
            .collect();
        assert_eq!(found, json!({ "ids": expected }), "{text:?}");
        n_cases += 1;
    }
    assert!(n_cases > 40, "{n_cases} cases");
}

#[test]
fn template_takes_an_array_or_an_object() {
    let file = Temporary::new("template.gguf", &chat_vocabulary().finish());
    let prompt = |stdin: &str| run(&["template", file.path()], stdin.as_bytes());
    let messages = r#"[{"role": "user", "content": "Hi"}]"#;
    assert_eq!(
        prompt(messages).unwrap()["prompt"],
        "<s>[user] Hi</s>[assistant]"
    );
    let object = format!(
        r#"{{"messages": {messages}, "add_generation_prompt": false, "bos_token": "", "mood": "!"}}"#
    );
    assert_eq!(prompt(&object).unwrap()["prompt"], "[user] Hi</s>!");
    for (stdin, expected) in [
        (
            r#"[{"role": "tool", "content": "x"}]"#,
            "refuses these messages: no tools",
        ),
        (r#"[{"role": "user"}]"#, "missing field `content`"),
        (r#"{"message": []}"#, "missing field `messages`"),
        ("no JSON", "not JSON"),
    ] {
        let error = prompt(stdin).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn files_that_are_no_models_are_refused_by_every_command() {
    let whole = chat_vocabulary().tensor("t", &[32], GgmlType::F32).finish();
    let files = [
        Temporary::new("empty.gguf", b""),
        Temporary::new("text.gguf", b"This is no model file."),
        Temporary::new("cut.gguf", &whole[..whole.len() - 1]),
        Temporary::new("half.gguf", &whole[..whole.len() / 2]),
    ];
    let missing = Path::new("/nonexistent.gguf");
    let paths = files.iter().map(Temporary::path).chain(missing.to_str());
    for path in paths {
        for arguments in [
            &["inspect", path][..],
            &["tokenize", path],
            &["template", path],
            &["generate", path, "--prompt", "x"],
            &["logits", path, "--tokens", "1"],
            &["greedy", path, "--tokens", "1", "--count", "1"],
        ] {
            let error = run(arguments, b"[]").unwrap_err();
            assert!(error.starts_with("error: "), "{arguments:?}: {error}");
        }
    }
}

#[test]
fn models_that_cannot_be_run_are_refused_with_the_reason() {
    let check = |name: &str, writer: GgufWriter, expected: &str| {
        let file = Temporary::new(name, &writer.finish());
        let error = run(&["generate", file.path(), "--prompt", "x"], b"").unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    let unknown = GgufWriter::new().str("general.architecture", "martian");
    check("unknown.gguf", unknown, "\"martian\"");
    check("nameless.gguf", GgufWriter::new(), "general.architecture");
    check("vocabulary.gguf", chat_vocabulary(), "llama.");
}

#[test]
fn wrong_arguments_are_refused() {
    let file = Temporary::new("arguments.gguf", &chat_vocabulary().finish());
    for arguments in [
        &["generate", file.path()][..],
        &["generate", file.path(), "--prompt", "x", "--messages", "y"],
        &[
            "generate",
            file.path(),
            "--prompt",
            "x",
            "--temperature",
            "hot",
        ],
        &["logits", file.path(), "--tokens", "1,x"],
        &["logits", file.path(), "--tokens", "-1"],
        &["greedy", file.path(), "--tokens", "1"],
        &["nonsense"],
    ] {
        assert!(run(arguments, b"").is_err(), "{arguments:?}");
    }
}

#[test]
fn logits_and_greedy_agree_with_llama_cpp_on_tiny_models() {
    let Some(folder) = common::fixtures("logits") else {
        return;
    };
    let rows = std::fs::read_to_string(folder.join("expected.jsonl")).unwrap();
    let mut n_rows = 0;
    for line in rows.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let model = row["model"].as_str().unwrap();
        if !["llama.gguf", "qwen2.gguf"].contains(&model) {
            continue;
        }
        n_rows += 1;
        let path = folder.join(model);
        let path = path.to_str().unwrap();
        let tokens = row["tokens"].to_string().replace(['[', ']'], "");
        let found = run(&["logits", path, "--tokens", &tokens, "--top", "20"], b"").unwrap();
        assert_eq!(found["tokens"], row["tokens"]);
        for (found, expected) in pairs(&found["top"]).zip(pairs(&row["top"])) {
            // f32 on both sides: only the order of additions differs.
            assert!(
                (found.1 - expected.1).abs() < 1e-3,
                "{model}: {found:?} {expected:?}"
            );
        }
        let found = run(&["greedy", path, "--tokens", &tokens, "--count", "24"], b"").unwrap();
        assert_eq!(found["ids"], row["greedy"], "{model} {tokens}");
    }
    assert!(n_rows > 0, "no rows for the models");
}

fn pairs(top: &Value) -> impl Iterator<Item = (u64, f64)> + '_ {
    let rows = top.as_array().unwrap().iter();
    rows.map(|row| (row[0].as_u64().unwrap(), row[1].as_f64().unwrap()))
}

#[test]
fn generate_gives_the_same_reply_for_the_same_seed() {
    let Some(folder) = common::fixtures("logits") else {
        return;
    };
    let path = folder.join("llama.gguf");
    let path = path.to_str().unwrap();
    let generate = |more: &[&str]| {
        let mut arguments = vec!["generate", path, "--prompt", "Hello", "--max-tokens", "12"];
        arguments.extend(more);
        run(&arguments, b"").unwrap()
    };
    let first = generate(&["--seed", "7", "--temperature", "1.5"]);
    let second = generate(&["--seed", "7", "--temperature", "1.5", "--threads", "1"]);
    let third = generate(&["--seed", "8", "--temperature", "1.5"]);
    assert_eq!(
        (&first["ids"], &first["text"]),
        (&second["ids"], &second["text"])
    );
    assert_ne!(first["ids"], third["ids"]);
    let n_ids = first["ids"].as_array().unwrap().len();
    assert_eq!(first["usage"]["completion_tokens"], n_ids);
    assert!(["stop", "length"].contains(&first["finish_reason"].as_str().unwrap()));
    assert!(first["timings"]["prefill_ms"].is_number(), "{first}");
}
