//! `models.*` and `storage.estimate`: importing, removing, loading, and what fails.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;

use common::faults::FaultyStore;
use common::gguf::TinyModel;
use common::{BUILTIN_URL, Host, Pieces, Setup, check_error, has_notification, say};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use nox_engine::{CpuLane, Lane as _};
use nox_protocol::{ErrorKind, Id};
use nox_runtime::ThreadTuner;
use nox_runtime::store::MemoryStore;
use serde_json::json;

fn tiny() -> Vec<u8> {
    TinyModel {
        name: "Second",
        seed: 7,
        ..TinyModel::default()
    }
    .bytes()
}

#[test]
fn an_imported_model_is_listed_and_answers() {
    let host = Host::greeted(Setup::default());
    let id = host.begin_import(&json!({}), "My Model-Q4.gguf", Pieces::new(&tiny()));
    let result = host.end(&id).unwrap();
    let model = &result["model"];
    assert_eq!(
        (&model["id"], &model["name"]),
        (&json!("my-model-q4"), &json!("Second"))
    );
    assert_eq!(
        (&model["architecture"], &model["quantization"]),
        (&json!("llama"), &json!("F32"))
    );
    assert_eq!(
        (&model["license"], &model["context_length"]),
        (&json!("mit"), &json!(2048))
    );
    assert_eq!(model["size_bytes"], json!(tiny().len()));
    assert_eq!(result["sha256"].as_str().unwrap().len(), 64);
    let progress = host.notifications(&id, "progress");
    assert_eq!(progress[0]["phase"], "copying");
    assert_eq!(progress[0]["total"], json!(tiny().len()));
    assert!(
        progress
            .iter()
            .any(|progress| progress["phase"] == "verifying")
    );
    assert_eq!(host.model_ids(), ["nox-builtin", "my-model-q4"]);
    let mut params = say("hello", 5);
    params["model"] = json!("my-model-q4");
    assert_eq!(
        host.chat(&params).unwrap().meta.target.target_model,
        "my-model-q4"
    );
    // What is in memory is what `nox` stands for.
    assert_eq!(
        host.chat(&say("hello", 5))
            .unwrap()
            .meta
            .target
            .target_model,
        "my-model-q4"
    );
    let list = host.call("models.list", &json!({})).unwrap();
    assert_eq!(
        (&list["models"][0]["loaded"], &list["models"][1]["loaded"]),
        (&json!(false), &json!(true))
    );
}

#[test]
fn a_model_can_be_imported_from_an_address() {
    let host = Host::greeted(Setup::default());
    let url = "http://here/files/other.gguf?v=1";
    host.platform
        .files
        .borrow_mut()
        .insert(url.to_owned(), Rc::new(tiny()));
    let result = host.call("models.import", &json!({"url": url})).unwrap();
    assert_eq!(result["model"]["id"], "other");
    let missing = json!({"url": "http://here/missing.gguf"});
    let error = check_error(
        host.call("models.import", &missing),
        ErrorKind::Network,
        "404",
    );
    assert_eq!(error.data.detail["status"], 404);
    check_error(
        host.call("models.import", &json!({})),
        ErrorKind::InvalidRequest,
        "either a file",
    );
    check_error(
        host.import(&json!({"url": url}), "a.gguf", &tiny()),
        ErrorKind::InvalidRequest,
        "not both",
    );
}

#[test]
fn ids_are_checked_and_taken_once() {
    let host = Host::greeted(Setup::default());
    for id in ["../x", "A", "", "a/b"] {
        let params = json!({"id": id});
        check_error(
            host.import(&params, "a.gguf", &tiny()),
            ErrorKind::InvalidRequest,
            "model id",
        );
    }
    check_error(
        host.import(&json!({}), "模.gguf", &tiny()),
        ErrorKind::InvalidRequest,
        "no id",
    );
    for id in ["nox", "nox-builtin"] {
        let params = json!({"id": id, "replace": true});
        check_error(
            host.import(&params, "a.gguf", &tiny()),
            ErrorKind::InvalidRequest,
            "built-in",
        );
    }
    host.import(&json!({"id": "a"}), "x.gguf", &tiny()).unwrap();
    check_error(
        host.import(&json!({}), "a.gguf", &tiny()),
        ErrorKind::InvalidRequest,
        "already",
    );
    let other = TinyModel {
        name: "Third",
        ..TinyModel::default()
    }
    .bytes();
    let result = host
        .import(&json!({"replace": true}), "a.gguf", &other)
        .unwrap();
    assert_eq!(result["model"]["name"], "Third");
    assert_eq!(host.model_ids(), ["nox-builtin", "a"]);
}

#[test]
fn two_imports_of_one_id_do_not_meet() {
    let host = Host::greeted(Setup::default());
    let first = host.begin_import(&json!({}), "a.gguf", Pieces::new(&tiny()));
    host.run_until(|frames| has_notification(frames, &first, "progress", "copying"));
    check_error(
        host.import(&json!({}), "a.gguf", &tiny()),
        ErrorKind::Busy,
        "imported already",
    );
    host.end(&first).unwrap();
}

#[test]
fn bad_files_are_refused_and_leave_nothing_behind() {
    let sound = tiny();
    let host = Host::greeted(Setup::default());
    let changed = |offset: usize, bytes: &[u8]| {
        let mut file = sound.clone();
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
        file
    };
    let variant = |change: fn(&mut TinyModel)| {
        let mut model = TinyModel::default();
        change(&mut model);
        model.bytes()
    };
    let many = u64::MAX.to_le_bytes();
    for (name, bytes, kind) in [
        ("empty", Vec::new(), ErrorKind::CorruptModel),
        (
            "text",
            b"hello, I am no model at all".to_vec(),
            ErrorKind::CorruptModel,
        ),
        ("magic", changed(0, b"GGML"), ErrorKind::CorruptModel),
        (
            "version",
            changed(4, &[9, 0, 0, 0]),
            ErrorKind::UnsupportedModel,
        ),
        ("tensors", changed(8, &many), ErrorKind::CorruptModel),
        ("keys", changed(16, &many), ErrorKind::CorruptModel),
        ("key length", changed(24, &many), ErrorKind::CorruptModel),
        (
            "architecture",
            variant(|m| m.architecture = "mamba"),
            ErrorKind::UnsupportedModel,
        ),
        (
            "quantisation",
            variant(|m| m.output_type = 999),
            ErrorKind::UnsupportedModel,
        ),
        (
            "tokenizer",
            variant(|m| m.has_tokenizer = false),
            ErrorKind::UnsupportedModel,
        ),
        (
            "template",
            variant(|m| m.template = None),
            ErrorKind::UnsupportedModel,
        ),
        (
            "syntax",
            variant(|m| m.template = Some("{% for %}")),
            ErrorKind::CorruptModel,
        ),
        (
            "throws",
            variant(|m| m.template = Some("{{ raise_exception('never') }}")),
            ErrorKind::UnsupportedModel,
        ),
        (
            "loops",
            variant(|m| {
                m.template = Some(
                    "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
                );
            }),
            ErrorKind::CorruptModel,
        ),
    ] {
        let outcome = host.import(&json!({"id": "bad"}), "bad.gguf", &bytes);
        check_error(
            outcome.map_err(|error| {
                println!("{name}: {error}");
                error
            }),
            kind,
            "",
        );
        assert_eq!(host.model_ids(), ["nox-builtin"], "{name}");
    }
    // Cut short anywhere: in the header, in the directory, in the weights.
    for n_bytes in (1..sound.len()).step_by(sound.len() / 23) {
        let outcome = host.import(&json!({"id": "bad"}), "bad.gguf", &sound[..n_bytes]);
        check_error(outcome, ErrorKind::CorruptModel, "");
    }
    assert_eq!(host.model_ids(), ["nox-builtin"]);
    host.import(&json!({"id": "bad"}), "bad.gguf", &sound)
        .unwrap();
}

#[test]
fn an_import_that_breaks_off_leaves_nothing_behind() {
    let host = Host::greeted(Setup::default());
    let mut broken = Pieces::new(&tiny());
    broken.fails_at = Some(30_000);
    let id = host.begin_import(&json!({}), "a.gguf", broken);
    check_error(host.end(&id), ErrorKind::Network, "the line is dead");
    let id = host.begin_import(&json!({}), "a.gguf", Pieces::new(&tiny()));
    host.run_until(|frames| has_notification(frames, &id, "progress", "copying"));
    host.cancel(&id);
    check_error(host.end(&id), ErrorKind::Cancelled, "cancelled");
    assert_eq!(host.model_ids(), ["nox-builtin"]);
    host.import(&json!({}), "a.gguf", &tiny()).unwrap();
}

/// The file is copied, and its check begins.
fn begin_check(host: &Host) -> nox_protocol::Id {
    let id = host.begin_import(&json!({}), "a.gguf", Pieces::new(&tiny()));
    host.run_until(|frames| has_notification(frames, &id, "progress", "verifying"));
    id
}

#[test]
fn a_check_can_be_cancelled_between_any_two_of_its_steps() {
    let host = Host::greeted(Setup::default());
    let mut n_steps = 0;
    loop {
        let id = begin_check(&host);
        for _ in 0..n_steps {
            host.step();
        }
        host.cancel(&id);
        match host.end(&id) {
            Err(error) => assert_eq!(error.data.kind, ErrorKind::Cancelled, "{error:?}"),
            Ok(_) => break,
        }
        assert_eq!(host.model_ids(), ["nox-builtin"], "after {n_steps} steps");
        n_steps += 1;
    }
    // The header, the tokenizer, the template, and a conversation.
    assert!(n_steps >= 4, "only {n_steps} steps");
    assert_eq!(host.model_ids(), ["nox-builtin", "a"]);
}

#[test]
fn other_calls_are_answered_while_a_file_is_checked() {
    let host = Host::greeted(Setup::default());
    let import = begin_check(&host);
    let status = host.begin("status", &json!({}));
    host.end(&status).unwrap();
    assert!(
        host.frames()
            .iter()
            .all(|frame| json!(frame)["id"] != json!(import)),
        "the import had ended before"
    );
    host.end(&import).unwrap();
}

#[test]
fn what_is_wrong_with_a_chosen_file_is_said_in_plain_words_first() {
    let host = Host::greeted(Setup::default());
    let sound = tiny();
    let without_template = TinyModel {
        template: None,
        ..TinyModel::default()
    };
    let unknown = TinyModel {
        architecture: "mamba",
        ..TinyModel::default()
    };
    for (bytes, plain, detail) in [
        (&b""[..], "This file is empty.", "not a GGUF file"),
        (b"hi", "This file is not a model", "GGUF"),
        (b"<!DOCTYPE html>", "This is a web page", "\"<!DO\""),
        (b"version https://git-lfs", "This is a pointer", "GGUF"),
        (
            b"PK\x03\x04 and more",
            "This is an archive",
            "\"PK\\x03\\x04\"",
        ),
        (b"\x10\0\0\0\0\0\0\0{}", "This file is not a model", ".gguf"),
        (
            &sound[..2000],
            "This model file is damaged or not complete",
            "offset",
        ),
        (
            &without_template.bytes(),
            "This model is not made for chat",
            "tokenizer.chat_template",
        ),
        (
            &unknown.bytes(),
            "This kind of model is not supported",
            "mamba",
        ),
    ] {
        let error = host.import(&json!({}), "a.gguf", bytes).unwrap_err();
        assert!(error.message.starts_with(plain), "{}", error.message);
        assert!(error.message.contains(detail), "{}", error.message);
    }
}

#[test]
fn a_full_store_refuses_before_copying_and_while_copying() {
    let builtin = TinyModel::default().bytes();
    let quota_bytes = (builtin.len() + 1000) as u64;
    let host = Host::greeted(Setup {
        store: Rc::new(MemoryStore::new().with_quota_bytes(quota_bytes)),
        ..Setup::default()
    });
    let error = check_error(
        host.import(&json!({}), "a.gguf", &tiny()),
        ErrorKind::QuotaExceeded,
        "storage is full",
    );
    assert_eq!(error.data.detail["needed_bytes"], json!(tiny().len()));
    assert_eq!(error.data.detail["quota_bytes"], json!(quota_bytes));
    assert_eq!(host.model_ids(), ["nox-builtin"]);
    // Of a stream whose size is not known it turns out on the way.
    let mut bytes = Pieces::new(&tiny());
    bytes.hides_size = true;
    let import = host.begin_import(&json!({}), "a.gguf", bytes);
    let error = check_error(
        host.end(&import),
        ErrorKind::QuotaExceeded,
        "storage is full",
    );
    let needed_bytes = error.data.detail["needed_bytes"].as_u64().unwrap();
    assert!((1001..tiny().len() as u64).contains(&needed_bytes));
    assert_eq!(host.model_ids(), ["nox-builtin"]);
    let estimate = host.call("storage.estimate", &json!({})).unwrap();
    assert_eq!(estimate["models_bytes"], json!(builtin.len()));
    assert_eq!(estimate["quota_bytes"], json!(quota_bytes));
}

#[test]
fn whatever_operation_of_an_import_fails_nothing_is_left_of_it() {
    for for_ever in [false, true] {
        let store = Rc::new(FaultyStore::default());
        let plan = Rc::clone(&store.plan);
        let host = Host::greeted(Setup {
            store,
            ..Setup::default()
        });
        host.import(&json!({}), "kept.gguf", &tiny()).unwrap();
        let mut n_failed = 0;
        for fails_at in 0.. {
            plan.arm(fails_at, for_ever);
            let outcome = host.import(&json!({"id": "new"}), "new.gguf", &tiny());
            let n_injected = plan.n_injected.get();
            plan.disarm();
            let ids = host.model_ids();
            if n_injected == 0 {
                outcome.unwrap();
                assert_eq!(ids, ["nox-builtin", "kept", "new"]);
                break;
            }
            n_failed += 1;
            let is_published = ids.contains(&"new".to_owned());
            assert_eq!(
                outcome.is_ok(),
                is_published,
                "operation {fails_at}: {outcome:?}"
            );
            assert!(ids.contains(&"kept".to_owned()), "operation {fails_at}");
            if is_published {
                host.call("models.remove", &json!({"model": "new"}))
                    .unwrap();
            } else {
                check_error(outcome, ErrorKind::StorageFailed, "injected");
            }
        }
        assert!(n_failed > 5, "{n_failed}");
        // What was there before is still sound.
        let mut params = say("hello", 3);
        params["model"] = json!("kept");
        host.chat(&params).unwrap();
    }
}

#[test]
fn a_read_that_fails_while_loading_is_a_storage_error_and_the_next_try_works() {
    let store = Rc::new(FaultyStore::default());
    let plan = Rc::clone(&store.plan);
    let host = Host::greeted(Setup {
        store,
        ..Setup::default()
    });
    let mut n_failed = 0;
    for fails_at in 0.. {
        plan.disarm();
        plan.reads_fail_at.set(Some(fails_at));
        let outcome = host.chat(&say("hello", 3));
        plan.disarm();
        match outcome {
            Ok(_) => break,
            Err(error) => {
                check_error::<()>(Err(error), ErrorKind::StorageFailed, "injected");
                n_failed += 1;
            }
        }
    }
    assert!(n_failed > 3, "{n_failed}");
    assert!(host.chat(&say("hello", 3)).is_ok());
}

#[test]
fn models_are_removed_and_the_builtin_one_is_not() {
    let host = Host::greeted(Setup::default());
    host.import(&json!({}), "a.gguf", &tiny()).unwrap();
    for model in ["nox", "nox-builtin"] {
        let params = json!({"model": model});
        check_error(
            host.call("models.remove", &params),
            ErrorKind::InvalidRequest,
            "built-in",
        );
    }
    check_error(
        host.call("models.remove", &json!({"model": "b"})),
        ErrorKind::UnknownModel,
        "no model \"b\"",
    );
    let params = json!({"model": "a"});
    host.call("models.load", &params).unwrap();
    let removed = host.call("models.remove", &params).unwrap();
    assert_eq!(
        removed,
        json!({"removed": "a", "freed_bytes": tiny().len()})
    );
    assert_eq!(
        host.call("status", &json!({})).unwrap()["model"],
        json!(null)
    );
    assert_eq!(host.model_ids(), ["nox-builtin"]);
}

#[test]
fn a_model_in_use_is_neither_removed_nor_replaced() {
    let host = Host::greeted(Setup::default());
    host.import(&json!({}), "a.gguf", &tiny()).unwrap();
    let mut params = say("hello", -1);
    params["model"] = json!("a");
    params["stream"] = json!(true);
    let chat = host.begin("handle_chat", &params);
    host.run_until(|frames| has_notification(frames, &chat, "chat.delta", ""));
    check_error(
        host.call("models.remove", &json!({"model": "a"})),
        ErrorKind::Busy,
        "in use",
    );
    let replace = json!({"replace": true});
    check_error(
        host.import(&replace, "a.gguf", &tiny()),
        ErrorKind::Busy,
        "in use",
    );
    host.cancel(&chat);
    assert!(!host.end_chat(&chat).unwrap().message.content.is_empty());
    host.import(&replace, "a.gguf", &tiny()).unwrap();
    host.call("models.remove", &json!({"model": "a"})).unwrap();
}

#[test]
fn loading_and_unloading_tell_what_they_did() {
    let host = Host::greeted(Setup::default());
    let params = json!({"model": "nox", "n_ctx": 600});
    let id = host.begin("models.load", &params);
    let loaded = host.end(&id).unwrap();
    assert_eq!(
        (&loaded["model"]["id"], &loaded["n_ctx"]),
        (&json!("nox-builtin"), &json!(600))
    );
    assert!(loaded["load_ms"].as_f64().unwrap() > 0.0);
    assert!(loaded["memory"]["total_bytes"].as_u64() > loaded["memory"]["weights_bytes"].as_u64());
    assert!(
        host.notifications(&id, "progress")
            .iter()
            .any(|p| p["phase"] == "loading")
    );
    let again = host.call("models.load", &params).unwrap();
    assert_eq!(again["load_ms"], json!(0.0));
    let unload = json!({"model": "nox"});
    assert_eq!(
        host.call("models.unload", &unload).unwrap(),
        json!({"unloaded": true})
    );
    assert_eq!(
        host.call("models.unload", &unload).unwrap(),
        json!({"unloaded": false})
    );
}

#[test]
fn loading_can_be_cancelled() {
    let host = Host::greeted(Setup::default());
    let id = host.begin("models.load", &json!({"model": "nox"}));
    host.run_until(|frames| has_notification(frames, &id, "progress", "loading"));
    host.cancel(&id);
    check_error(host.end(&id), ErrorKind::Cancelled, "cancelled");
    assert_eq!(
        host.call("status", &json!({})).unwrap()["model"],
        json!(null)
    );
    host.chat(&say("hello", 3)).unwrap();
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_figures_and_a_shorter_context_tried_first() {
    let load = |memory_limit_bytes: u64, n_ctx: Option<u64>| {
        let host = Host::greeted(Setup {
            memory_limit_bytes,
            ..Setup::default()
        });
        let mut params = json!({"model": "nox"});
        if let Some(n_ctx) = n_ctx {
            params["n_ctx"] = json!(n_ctx);
        }
        host.call("models.load", &params)
    };
    let whole = load(1 << 30, None).unwrap();
    assert_eq!(whole["n_ctx"], 2048);
    let total = whole["memory"]["total_bytes"].as_u64().unwrap();
    let shrunk = load(total - 1, None).unwrap();
    assert_eq!(shrunk["n_ctx"], 1024);
    let error = check_error(load(100_000, None), ErrorKind::OutOfMemory, "100000");
    assert!(error.data.detail["needed_bytes"].as_u64() > Some(100_000));
    check_error(
        load(total - 1, Some(2048)),
        ErrorKind::OutOfMemory,
        "2048 tokens",
    );
}

/// A vocabulary is built in order to check the file, before anything is loaded.
#[test]
fn a_file_whose_vocabulary_does_not_fit_is_not_imported() {
    let host = Host::greeted(Setup {
        builtin: None,
        memory_limit_bytes: 1000,
        ..Setup::default()
    });
    let imported = host.import(&json!({}), "a.gguf", &tiny());
    let error = check_error(imported, ErrorKind::OutOfMemory, "1000");
    assert!(error.data.detail["needed_bytes"].as_u64() > Some(1000));
    assert_eq!(host.model_ids(), [] as [&str; 0]);
}

#[test]
fn without_its_file_the_builtin_model_is_not_installed_and_the_rest_works() {
    let host = Host::greeted(Setup {
        builtin: None,
        ..Setup::default()
    });
    assert_eq!(host.model_ids(), [] as [&str; 0]);
    for model in ["nox", "nox-builtin"] {
        let mut params = say("hello", 3);
        params["model"] = json!(model);
        check_error(host.chat(&params), ErrorKind::ModelNotInstalled, "404");
    }
    let status = host.call("status", &json!({})).unwrap();
    let warning = status["storage"]["warning"].as_str().unwrap();
    assert!(warning.contains("could not be installed"), "{warning}");
    host.import(&json!({}), "a.gguf", &tiny()).unwrap();
    assert_eq!(
        host.chat(&say("hello", 3))
            .unwrap()
            .meta
            .target
            .target_model,
        "a"
    );
}

#[test]
fn the_builtin_model_is_fetched_once_and_again_when_it_has_changed() {
    let store = MemoryStore::new();
    let setup = |builtin: Option<Vec<u8>>, sha256: Option<&str>| Setup {
        store: Rc::new(store.clone()),
        builtin,
        builtin_sha256: sha256.map(str::to_owned),
        ..Setup::default()
    };
    let first = Host::greeted(setup(Some(TinyModel::default().bytes()), None));
    first.chat(&say("hello", 3)).unwrap();
    // With the server gone it is still there.
    let offline = Host::greeted(setup(None, None));
    assert!(offline.call("status", &json!({})).unwrap()["storage"]["warning"].is_null());
    offline.chat(&say("hello", 3)).unwrap();
    // A new release brings another file.
    let imported = offline.import(&json!({}), "b.gguf", &tiny()).unwrap();
    let sha256 = imported["sha256"].as_str().unwrap();
    let updated = Host::greeted(setup(Some(tiny()), Some(sha256)));
    let list = updated.call("models.list", &json!({})).unwrap();
    assert_eq!(
        (&list["models"][0]["id"], &list["models"][0]["name"]),
        (&json!("nox-builtin"), &json!("Second"))
    );
    // A wrong file does not replace the right one.
    let wrong = "0".repeat(64);
    let broken = Host::greeted(setup(Some(tiny()), Some(&wrong)));
    let status = broken.call("status", &json!({})).unwrap();
    assert!(
        status["storage"]["warning"]
            .as_str()
            .unwrap()
            .contains("SHA-256")
    );
    broken.chat(&say("hello", 3)).unwrap();
}

#[test]
fn an_update_that_cannot_be_fetched_leaves_the_model_of_before_in_use() {
    let store = MemoryStore::new();
    let setup = |builtin: Option<Vec<u8>>, sha256: Option<String>| Setup {
        store: Rc::new(store.clone()),
        builtin,
        builtin_sha256: sha256,
        ..Setup::default()
    };
    let old = TinyModel::default().bytes();
    let first = Host::greeted(setup(Some(old), None));
    let said = first.chat(&say("hello", 3)).unwrap().message.content;
    // A new release, and no network; then a file that is cut short on its way.
    for served in [None, Some(tiny()[..3000].to_vec())] {
        let updated = Host::greeted(setup(served, Some("0".repeat(64))));
        assert_eq!(updated.model_ids(), ["nox-builtin"]);
        let status = updated.call("status", &json!({})).unwrap();
        let warning = status["storage"]["warning"].as_str().unwrap();
        assert!(warning.contains("could not be updated"), "{warning}");
        assert!(warning.contains("stays in use"), "{warning}");
        let reply = updated.chat(&say("hello", 3)).unwrap();
        assert_eq!(reply.message.content, said);
    }
}

#[test]
fn calls_wait_for_the_builtin_model_but_status_does_not() {
    let host = Host::new(Setup::default());
    let hello = host.begin("hello", &common::hello_params());
    host.step();
    let chat = host.begin("handle_chat", &say("hello", 3));
    let status = host.begin("status", &json!({}));
    host.end(&status).unwrap();
    host.end(&hello).unwrap();
    host.end_chat(&chat).unwrap();
    assert!(host.platform.files.borrow().contains_key(BUILTIN_URL));
}

#[test]
fn a_damaged_stored_file_is_not_listed_but_named() {
    let store = MemoryStore::new();
    let host = Host::greeted(Setup {
        store: Rc::new(store.clone()),
        ..Setup::default()
    });
    futures::executor::block_on(async {
        use nox_runtime::{ModelId, ModelStore};
        let mut writer = store
            .create(&ModelId::parse("rotten").unwrap())
            .await
            .unwrap();
        writer.write(&tiny()[..5000]).await.unwrap();
        writer.publish().await.unwrap();
    });
    assert_eq!(host.model_ids(), ["nox-builtin"]);
    let status = host.call("status", &json!({})).unwrap();
    let warning = status["storage"]["warning"].as_str().unwrap();
    assert!(warning.contains("rotten"), "{warning}");
    let mut params = say("hello", 3);
    params["model"] = json!("rotten");
    check_error(host.chat(&params), ErrorKind::CorruptModel, "");
    host.call("models.remove", &json!({"model": "rotten"}))
        .unwrap();
    assert!(host.call("status", &json!({})).unwrap()["storage"]["warning"].is_null());
}

/// The folder of fixtures, or `None` where there is none.
fn fixtures(folder: &str) -> Option<Vec<PathBuf>> {
    let root = std::env::var_os("NOXICS_FIXTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures"),
        PathBuf::from,
    );
    let Ok(entries) = std::fs::read_dir(root.join(folder)) else {
        println!("skipped: {} is not there", root.join(folder).display());
        return None;
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    Some(
        paths
            .filter(|path| path.extension().is_some_and(|end| end == "gguf"))
            .collect(),
    )
}

#[test]
fn models_of_other_makers_are_imported_and_answer_or_are_refused_by_kind() {
    let Some(paths) = fixtures("logits") else {
        return;
    };
    let host = Host::greeted(Setup::default());
    let mut n_answered = 0;
    for path in &paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        let imported = host.import(
            &json!({"replace": true}),
            name,
            &std::fs::read(path).unwrap(),
        );
        let model = match imported {
            Ok(imported) => imported["model"]["id"].clone(),
            Err(error) => {
                assert!(
                    !name.starts_with("llama") && !name.starts_with("qwen2"),
                    "{error}"
                );
                assert_eq!(
                    error.data.kind,
                    ErrorKind::UnsupportedModel,
                    "{name}: {error}"
                );
                continue;
            }
        };
        let mut params = say("hello", 16);
        params["model"] = model;
        let plain = host.chat(&params).unwrap();
        params["stream"] = json!(true);
        let id = host.begin("handle_chat", &params);
        let streamed = host.end_chat(&id).unwrap();
        assert_eq!(streamed.message, plain.message, "{name}");
        assert_eq!(host.streamed_text(&id), plain.message.content, "{name}");
        n_answered += 1;
    }
    assert!(n_answered >= 7, "{n_answered} of {}", paths.len());
}

#[test]
fn files_with_a_vocabulary_alone_are_no_models() {
    let Some(paths) = fixtures("vocab") else {
        return;
    };
    let host = Host::greeted(Setup::default());
    for path in paths {
        let bytes = std::fs::read(&path).unwrap();
        let error = host
            .import(&json!({"id": "vocab"}), "v.gguf", &bytes)
            .unwrap_err();
        let kinds = [ErrorKind::CorruptModel, ErrorKind::UnsupportedModel];
        assert!(
            kinds.contains(&error.data.kind),
            "{}: {error:?}",
            path.display()
        );
    }
    assert_eq!(host.model_ids(), ["nox-builtin"]);
}

#[test]
fn the_self_test_finds_faults_of_the_storage_and_leaves_nothing_behind() {
    let store = Rc::new(FaultyStore::default());
    let plan = Rc::clone(&store.plan);
    let host = Host::greeted(Setup {
        store,
        ..Setup::default()
    });
    let passed = host.call("self_test", &json!({})).unwrap();
    assert_eq!(passed["passed"], true, "{passed}");
    plan.arm(1, true);
    let failed = host.call("self_test", &json!({})).unwrap();
    plan.disarm();
    assert_eq!(failed["passed"], false);
    let checks = failed["checks"].as_array().unwrap();
    let detail = checks.iter().find_map(|check| check["detail"].as_str());
    assert!(detail.unwrap().contains("injected"), "{failed}");
    assert_eq!(host.model_ids(), ["nox-builtin"]);
}

#[test]
fn ids_of_calls_may_be_text() {
    let host = Host::greeted(Setup::default());
    host.send_frame(&json!({"jsonrpc": "2.0", "id": "first", "method": "status"}));
    host.end(&Id::Text("first".to_owned())).unwrap();
}

#[test]
fn a_model_keeps_its_kind_of_cache_and_its_context_unless_told_otherwise() {
    let host = Host::greeted(Setup::default());
    let one_head = TinyModel {
        n_head: 1,
        ..TinyModel::default()
    };
    host.import(&json!({}), "q8.gguf", &one_head.bytes())
        .unwrap();
    let load = |params: serde_json::Value| {
        let loaded = host.call("models.load", &params).unwrap();
        let status = host.call("status", &json!({})).unwrap();
        assert_eq!(loaded["kv_type"], status["model"]["kv_type"]);
        assert_eq!(loaded["n_ctx"], status["model"]["n_ctx"]);
        (loaded["kv_type"].clone(), loaded["n_ctx"].clone())
    };
    let model = |n_ctx: Option<u64>, kv_type: Option<&str>| {
        let mut params = json!({"model": "q8"});
        if let Some(n_ctx) = n_ctx {
            params["n_ctx"] = json!(n_ctx);
        }
        if let Some(kv_type) = kv_type {
            params["kv_type"] = json!(kv_type);
        }
        load(params)
    };
    assert_eq!(model(None, None), (json!("f16"), json!(2048)));
    assert_eq!(model(None, Some("q8")), (json!("q8"), json!(2048)));
    assert_eq!(model(Some(512), None), (json!("q8"), json!(512)));
    assert_eq!(model(None, Some("f16")), (json!("f16"), json!(512)));
    assert_eq!(model(None, Some("q8")), (json!("q8"), json!(512)));
    // A chat leaves it as it is.
    let mut params = say("hello", 3);
    params["model"] = json!("q8");
    host.chat(&params).unwrap();
    assert_eq!(model(None, None), (json!("q8"), json!(512)));
    // Another model has its own, and could not have this one.
    let other = load(json!({"model": "nox-builtin"}));
    assert_eq!(other, (json!("f16"), json!(2048)));
}

#[test]
fn what_has_no_blocks_of_keys_and_values_says_so() {
    let host = Host::greeted(Setup::default());
    let experts = TinyModel {
        has_experts: true,
        n_head: 1,
        ..TinyModel::default()
    };
    host.import(&json!({}), "experts.gguf", &experts.bytes())
        .unwrap();
    for (model, reason) in [
        ("experts", "candle-transformers"),
        ("nox-builtin", "16 elements"),
    ] {
        let params = json!({"model": model, "kv_type": "q8"});
        let refused = check_error(
            host.call("models.load", &params),
            ErrorKind::InvalidRequest,
            reason,
        );
        assert!(!refused.message.contains("f32"), "{}", refused.message);
        host.call("models.load", &json!({"model": model, "kv_type": "f16"}))
            .unwrap();
    }
}

#[test]
fn of_two_imports_of_one_id_the_second_is_refused_at_once() {
    let host = Host::greeted(Setup::default());
    let bytes = Rc::new(tiny());
    let address = |name: &str| {
        let url = format!("http://here/{name}.gguf");
        let mut files = host.platform.files.borrow_mut();
        files.insert(url.clone(), Rc::clone(&bytes));
        json!({"url": url, "id": "new"})
    };
    // The answer to this one comes when the other has ended.
    host.platform.next_fetch_ms.set(300.0);
    let late = host.begin("models.import", &address("late"));
    host.step();
    let quick = host.begin("models.import", &address("quick"));
    check_error(host.end(&quick), ErrorKind::Busy, "new");
    check_error(
        host.call("models.remove", &json!({"model": "new"})),
        ErrorKind::UnknownModel,
        "new",
    );
    assert_eq!(host.end(&late).unwrap()["model"]["id"], "new");
    // One that is cancelled, or fails, leaves the id to others.
    host.platform.next_fetch_ms.set(1e9);
    let cancelled = host.begin("models.import", &json!({"url": BUILTIN_URL, "id": "next"}));
    host.step();
    host.cancel(&cancelled);
    check_error(host.end(&cancelled), ErrorKind::Cancelled, "cancelled");
    let missing = json!({"url": "http://here/nothing.gguf", "id": "next"});
    check_error(host.call("models.import", &missing), ErrorKind::Network, "");
    host.import(&json!({"id": "next"}), "a.gguf", &tiny())
        .unwrap();
}

#[test]
fn a_model_that_is_being_loaded_stays() {
    let host = Host::greeted(Setup::default());
    host.import(&json!({}), "new.gguf", &tiny()).unwrap();
    let begin_loading = || {
        host.call("models.unload", &json!({"model": "new"}))
            .unwrap();
        let id = host.begin("models.load", &json!({"model": "new"}));
        host.run_until(|frames| has_notification(frames, &id, "progress", "loading"));
        assert!(!host.has_ended(&id));
        id
    };
    let load = begin_loading();
    check_error(
        host.call("models.remove", &json!({"model": "new"})),
        ErrorKind::Busy,
        "new",
    );
    host.end(&load).unwrap();
    // The end of a replacement meets the beginning, the middle and the end of loading.
    let replace = json!({"id": "new", "replace": true});
    let (mut n_refused, mut n_steps) = (0, 0);
    loop {
        host.call("models.unload", &json!({"model": "new"}))
            .unwrap();
        let import = host.begin_import(&replace, "new.gguf", Pieces::new(&tiny()));
        host.run_until(|frames| has_notification(frames, &import, "progress", "verifying"));
        for _ in 0..n_steps {
            host.step();
        }
        if host.has_ended(&import) {
            break;
        }
        let load = host.begin("models.load", &json!({"model": "new"}));
        if let Err(error) = host.end(&import) {
            assert_eq!(error.data.kind, ErrorKind::Busy, "{error:?}");
            n_refused += 1;
        }
        host.end(&load).unwrap();
        n_steps += 1;
    }
    assert!(n_refused > 0, "in none of {n_steps} cases");
}

/// Changes its mind once: the first measurement was disturbed.
struct SecondThoughts {
    lane: Rc<CpuLane>,
    n_settled: Cell<usize>,
}

impl ThreadTuner for SecondThoughts {
    fn why(&self) -> String {
        format!("measured {} times", self.n_settled.get())
    }

    fn settle(&self) -> LocalBoxFuture<'_, ()> {
        self.n_settled.set(self.n_settled.get() + 1);
        self.lane.use_threads(3 - self.n_settled.get().min(2));
        std::future::ready(()).boxed_local()
    }
}

#[test]
fn threads_are_measured_when_a_model_is_about_to_be_used() {
    let lane = Rc::new(CpuLane::with_threads(2).unwrap());
    while lane.n_threads() < 2 {
        std::thread::yield_now();
    }
    let threads = Rc::new(SecondThoughts {
        lane: Rc::clone(&lane),
        n_settled: Cell::new(0),
    });
    let host = Host::greeted(Setup {
        lane,
        threads: Rc::clone(&threads) as _,
        ..Setup::default()
    });
    let status = || host.call("status", &json!({})).unwrap();
    assert_eq!(
        status()["threads_why"],
        "measured 0 times",
        "not at the start"
    );
    let params = json!({"model": "nox-builtin"});
    host.call("models.load", &params).unwrap();
    let loaded = status();
    assert_eq!(loaded["threads_why"], "measured 1 times");
    assert_eq!(
        (&loaded["threads"], &loaded["model"]["lane"]["threads"]),
        (&json!(2), &json!(2))
    );
    let reply = host.chat(&say("hello", 3)).unwrap();
    assert_eq!(threads.n_settled.get(), 2);
    assert_eq!(
        reply.meta.lane.unwrap().threads,
        1,
        "what the reply was computed with"
    );
    assert_eq!(status()["model"]["lane"]["threads"], 1);
}
