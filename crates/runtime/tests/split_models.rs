//! Models in several files, and models that only the fallback runs.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use std::path::PathBuf;
use std::rc::Rc;

use common::gguf::TinyModel;
use common::{Host, Pieces, Setup, check_error, has_notification, say};
use nox_protocol::ErrorKind;
use nox_runtime::store::{FileStore, MemoryStore};
use serde_json::{Value, json};

fn tiny() -> TinyModel {
    TinyModel {
        name: "Large",
        seed: 7,
        ..TinyModel::default()
    }
}

fn file_name(part: usize, count: usize) -> String {
    format!("Large-Q4-{part:05}-of-{count:05}.gguf")
}

fn model(host: &Host, id: &str) -> Value {
    let list = host.call("models.list", &json!({})).unwrap();
    let models = list["models"].as_array().unwrap();
    let found = models.iter().find(|model| model["id"] == id);
    found.unwrap().clone()
}

/// The model's words, greedily.
fn answer(host: &Host, id: &str) -> String {
    let mut params = say("hello", 8);
    params["model"] = json!(id);
    params["temperature"] = json!(0.0);
    host.chat(&params).unwrap().message.content
}

#[test]
fn parts_in_any_order_become_the_model_that_was_split() {
    let host = Host::greeted(Setup::default());
    host.import(&json!({"id": "whole"}), "a.gguf", &tiny().bytes())
        .unwrap();
    let parts = tiny().parts(3);
    for (part, missing) in [(2, vec![1, 3]), (3, vec![1]), (1, vec![])] {
        let result = host
            .import(&json!({}), &file_name(part, 3), &parts[part - 1])
            .unwrap();
        assert_eq!(result["model"]["id"], "large-q4");
        let expected = json!({"count": 3, "missing": missing});
        assert_eq!(result["model"]["parts"], expected, "after part {part}");
        assert_eq!(model(&host, "large-q4")["parts"], expected);
    }
    let (split, whole) = (model(&host, "large-q4"), model(&host, "whole"));
    for field in [
        "name",
        "architecture",
        "quantization",
        "parameters",
        "license",
    ] {
        assert_eq!(split[field], whole[field], "{field}");
    }
    let size_bytes: usize = parts.iter().map(Vec::len).sum();
    assert_eq!(split["size_bytes"], json!(size_bytes));
    assert_eq!(answer(&host, "whole"), answer(&host, "large-q4"));
    assert_eq!(model(&host, "large-q4")["loaded"], json!(true));
    assert_eq!(host.model_ids(), ["nox-builtin", "large-q4", "whole"]);
}

#[test]
fn a_set_with_parts_missing_is_listed_and_never_loaded() {
    let host = Host::greeted(Setup::default());
    let parts = tiny().parts(3);
    host.import(&json!({}), &file_name(2, 3), &parts[1])
        .unwrap();
    // Without the first part nothing is known but the name.
    let listed = model(&host, "large-q4");
    assert_eq!(
        (&listed["name"], &listed["architecture"]),
        (&json!("large-q4"), &json!(""))
    );
    host.import(&json!({}), &file_name(1, 3), &parts[0])
        .unwrap();
    assert_eq!(model(&host, "large-q4")["name"], "Large");
    let mut params = say("hello", 5);
    params["model"] = json!("large-q4");
    for outcome in [
        host.call("models.load", &json!({"model": "large-q4"})),
        host.call("handle_chat", &params),
    ] {
        let name = "large-q4-00003-of-00003";
        let error = check_error(outcome, ErrorKind::ModelNotInstalled, name);
        let detail = json!({"missing_parts": [3], "n_parts": 3});
        assert_eq!(error.data.detail, detail);
    }
    // `nox` means a model that can answer.
    let reply = host.chat(&say("hello", 5)).unwrap();
    assert_eq!(reply.meta.target.target_model, "nox-builtin");
}

#[test]
fn without_another_model_an_incomplete_one_is_none() {
    let host = Host::greeted(Setup {
        builtin: None,
        ..Setup::default()
    });
    host.import(&json!({}), &file_name(2, 2), &tiny().parts(2)[1])
        .unwrap();
    let outcome = host.call("handle_chat", &say("hello", 5));
    check_error(
        outcome,
        ErrorKind::ModelNotInstalled,
        "the model nox is not",
    );
}

#[test]
fn one_id_for_all_parts_takes_their_numbers_from_the_files_names() {
    let host = Host::greeted(Setup::default());
    let parts = tiny().parts(2);
    for part in [1, 2] {
        host.import(
            &json!({"id": "mine"}),
            &file_name(part, 2),
            &parts[part - 1],
        )
        .unwrap();
    }
    assert_eq!(host.model_ids(), ["nox-builtin", "mine"]);
    // The name has to say what the file says.
    for (params, name) in [
        (json!({}), "large.gguf".to_owned()),
        (json!({}), file_name(2, 2)),
        (json!({}), file_name(1, 3)),
        (json!({"id": "x-00002-of-00002"}), file_name(1, 2)),
    ] {
        let outcome = host.import(&params, &name, &parts[0]);
        check_error(outcome, ErrorKind::InvalidRequest, "-00001-of-00002");
    }
    assert_eq!(host.model_ids(), ["nox-builtin", "mine"]);
}

#[test]
fn parts_that_do_not_belong_are_refused_and_leave_the_others() {
    let host = Host::greeted(Setup::default());
    let parts = tiny().parts(2);
    host.import(&json!({}), &file_name(1, 2), &parts[0])
        .unwrap();
    // Of a model with more tensors.
    let other = TinyModel {
        has_experts: true,
        ..tiny()
    };
    let outcome = host.import(&json!({}), &file_name(2, 2), &other.parts(2)[1]);
    check_error(
        outcome,
        ErrorKind::InvalidRequest,
        "part 2 of another model",
    );
    // With as many tensors, but some of them of the first part.
    let mut repeated = tiny().parts(2)[0].clone();
    let key = b"split.no";
    let at = repeated.windows(key.len()).position(|bytes| bytes == key);
    repeated[at.unwrap() + key.len() + 4] = 1;
    let outcome = host.import(&json!({}), &file_name(2, 2), &repeated);
    check_error(
        outcome,
        ErrorKind::CorruptModel,
        "is in part 1 and in part 2",
    );
    // Damaged.
    let outcome = host.import(&json!({}), &file_name(2, 2), &parts[1][..300]);
    check_error(outcome, ErrorKind::CorruptModel, "");
    assert_eq!(model(&host, "large-q4")["parts"]["missing"], json!([2]));
    host.import(&json!({}), &file_name(2, 2), &parts[1])
        .unwrap();
    assert!(!answer(&host, "large-q4").is_empty());
    // There already, and replaced.
    let outcome = host.import(&json!({}), &file_name(2, 2), &parts[1]);
    check_error(outcome, ErrorKind::InvalidRequest, "already");
    host.import(&json!({"replace": true}), &file_name(2, 2), &parts[1])
        .unwrap();
    assert!(!answer(&host, "large-q4").is_empty());
}

#[test]
fn a_model_in_one_file_and_one_in_parts_do_not_share_an_id() {
    let host = Host::greeted(Setup::default());
    let parts = tiny().parts(2);
    host.import(&json!({"id": "a"}), "a.gguf", &tiny().bytes())
        .unwrap();
    let replace = json!({"id": "a", "replace": true});
    let outcome = host.import(&replace, &file_name(1, 2), &parts[0]);
    check_error(outcome, ErrorKind::InvalidRequest, "already");
    host.import(&json!({"id": "b"}), &file_name(1, 2), &parts[0])
        .unwrap();
    let outcome = host.import(
        &json!({"id": "b", "replace": true}),
        "b.gguf",
        &tiny().bytes(),
    );
    check_error(outcome, ErrorKind::InvalidRequest, "already");
    for id in ["nox", "nox-builtin"] {
        let outcome = host.import(&json!({"id": id}), &file_name(1, 2), &parts[0]);
        check_error(outcome, ErrorKind::InvalidRequest, "built-in");
    }
}

#[test]
fn a_first_part_of_a_kind_that_nothing_runs_is_refused_at_once() {
    let host = Host::greeted(Setup::default());
    let unknown = TinyModel {
        architecture: "mamba",
        ..tiny()
    };
    let outcome = host.import(&json!({}), &file_name(1, 2), &unknown.parts(2)[0]);
    let error = check_error(outcome, ErrorKind::UnsupportedModel, "mamba");
    assert!(error.message.contains("candle-transformers"), "{error:?}");
    assert_eq!(host.model_ids(), ["nox-builtin"]);
}

#[test]
fn two_parts_are_not_imported_at_the_same_time() {
    let host = Host::greeted(Setup::default());
    let parts = tiny().parts(2);
    let first = host.begin_import(&json!({}), &file_name(1, 2), Pieces::new(&parts[0]));
    host.run_until(|frames| has_notification(frames, &first, "progress", "copying"));
    let outcome = host.import(&json!({}), &file_name(2, 2), &parts[1]);
    check_error(outcome, ErrorKind::Busy, "imported already");
    host.end(&first).unwrap();
}

#[test]
fn removing_removes_every_part() {
    let store = MemoryStore::new();
    let host = Host::greeted(Setup {
        store: Rc::new(store.clone()),
        ..Setup::default()
    });
    let parts = tiny().parts(3);
    for part in [1, 2, 3] {
        host.import(&json!({}), &file_name(part, 3), &parts[part - 1])
            .unwrap();
    }
    answer(&host, "large-q4");
    let removed = host
        .call("models.remove", &json!({"model": "large-q4"}))
        .unwrap();
    let size_bytes: usize = parts.iter().map(Vec::len).sum();
    assert_eq!(removed["freed_bytes"], json!(size_bytes));
    assert_eq!(host.model_ids(), ["nox-builtin"]);
    let estimate = host.call("storage.estimate", &json!({})).unwrap();
    let builtin = model(&host, "nox-builtin");
    assert_eq!(estimate["models_bytes"], builtin["size_bytes"]);
    // An incomplete one goes as well.
    host.import(&json!({}), &file_name(2, 3), &parts[1])
        .unwrap();
    host.call("models.remove", &json!({"model": "large-q4"}))
        .unwrap();
    assert_eq!(host.model_ids(), ["nox-builtin"]);
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn parts_that_lie_in_a_folder_are_found_as_one_model() {
    let name = format!("nox-split-models-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    std::fs::create_dir_all(&folder.0).unwrap();
    let put = |name: &str, bytes: &[u8]| std::fs::write(folder.0.join(name), bytes).unwrap();
    for (part, bytes) in (1..).zip(tiny().parts(2)) {
        put(&format!("mine-{part:05}-of-00002.gguf"), &bytes);
    }
    // Of two different splits, and one whose name lies.
    put("mixed-00001-of-00002.gguf", &tiny().parts(2)[0]);
    put("mixed-00003-of-00003.gguf", &tiny().parts(3)[2]);
    put("lying-00002-of-00002.gguf", &tiny().parts(2)[0]);
    let host = Host::greeted(Setup {
        store: Rc::new(FileStore::open(&folder.0).unwrap()),
        ..Setup::default()
    });
    assert_eq!(host.model_ids(), ["nox-builtin", "mine"]);
    assert!(!answer(&host, "mine").is_empty());
    let status = host.call("status", &json!({})).unwrap();
    let warning = status["storage"]["warning"].as_str().unwrap();
    for part in [
        "mixed: its files are parts of different models",
        "lying-00002-of-00002",
    ] {
        assert!(warning.contains(part), "{warning}");
    }
    // What can't be used can be removed.
    for id in ["mixed", "lying-00002-of-00002"] {
        host.call("models.remove", &json!({"model": id})).unwrap();
    }
    let status = host.call("status", &json!({})).unwrap();
    assert_eq!(status["storage"]["warning"], Value::Null);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 3);
}

#[test]
fn a_model_of_the_fallback_answers_and_says_what_computes_it() {
    let host = Host::greeted(Setup::default());
    answer(&host, "nox-builtin");
    let own = host.call("status", &json!({})).unwrap();
    assert_eq!(own["model"]["decoder"], "own");
    let experts = TinyModel {
        has_experts: true,
        ..tiny()
    };
    host.import(&json!({"id": "experts"}), "a.gguf", &experts.bytes())
        .unwrap();
    let mut params = say("hello", 8);
    params["model"] = json!("experts");
    let first = host.chat(&params).unwrap();
    let lane = first.meta.lane.unwrap();
    assert!(lane.why.contains("candle-transformers"), "{lane:?}");
    let status = host.call("status", &json!({})).unwrap();
    assert_eq!(status["model"]["decoder"], "candle");
    assert_eq!(status["model"]["id"], "experts");
    assert!(status["model"]["n_past"].as_u64().unwrap() > 0);
    // Cancelled in the middle, and asked again.
    params["max_tokens"] = json!(500);
    params["stream"] = json!(true);
    let id = host.begin("handle_chat", &params);
    host.run_until(|frames| has_notification(frames, &id, "chat.delta", ""));
    host.cancel(&id);
    assert_eq!(host.end(&id).unwrap()["meta"]["finish_reason"], "cancelled");
    params["max_tokens"] = json!(8);
    params["stream"] = json!(false);
    let again = host.chat(&params).unwrap();
    assert_eq!(again.meta.usage.completion_tokens, 8);
    // In parts too.
    for (part, bytes) in (1..).zip(experts.parts(2)) {
        host.import(&json!({}), &file_name(part, 2), &bytes)
            .unwrap();
    }
    assert_eq!(answer(&host, "large-q4"), answer(&host, "experts"));
}
