//! Warm starts: what is brought back changes no reply, what can't be used does no
//! harm, and what belongs to a chat goes with it.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use common::gguf::TinyModel;
use common::{Folder, Host, Pieces, Setup, in_file};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::LocalBoxFuture;
use nox_protocol::{ErrorKind, FinishReason, HandleChatResult, StorageKind};
use nox_runtime::store::{FileChats, FileSnapshots, MemorySnapshots, MemoryStore};
use nox_runtime::{
    ChatDatabase, ModelId, ModelStore, OpenError, Platform, SnapshotName, SnapshotStore,
    StorageError, StoredSnapshot,
};
use nox_store::{SessionId, Store};
use serde_json::{Value, json};

const SYSTEM: &str = "You are a clerk of few words. Answer politely, never guess, and \
    say so when you do not know something. The office is open from nine to five.";

/// A runtime with its chats and its snapshots in a folder.
fn host_in(folder: &Folder) -> Host {
    let store = FileSnapshots::open(folder.snapshots()).unwrap();
    host_with(folder, Rc::new(store))
}

fn host_with(folder: &Folder, snapshots: Rc<dyn SnapshotStore>) -> Host {
    Host::greeted(Setup {
        snapshots: Some(snapshots),
        ..in_file(&folder.chats())
    })
}

/// A runtime that keeps nothing warm.
fn cold_host() -> (Host, Folder) {
    let folder = Folder::new();
    (Host::greeted(in_file(&folder.chats())), folder)
}

fn ask(host: &Host, text: &str, session: &Value) -> HandleChatResult {
    let mut params = json!({
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": text},
        ],
        "temperature": 0,
        "max_tokens": 40,
    });
    if *session != json!("new") {
        params["session"] = session.clone();
    }
    let result = host.chat(&params).unwrap();
    settle(host);
    result
}

/// Lets everything in the background come to its end.
fn settle(host: &Host) {
    for _ in 0..400 {
        host.step();
    }
}

fn session_of(result: &HandleChatResult) -> Value {
    json!(result.meta.session.as_ref().unwrap().id)
}

fn files(folder: &Folder) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.snapshots()).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn copied(of: &Folder) -> Folder {
    let folder = Folder::new();
    fs::create_dir_all(folder.snapshots()).unwrap();
    for file in files(of) {
        fs::copy(&file, folder.snapshots().join(file.file_name().unwrap())).unwrap();
    }
    for suffix in ["", "-wal", "-journal"] {
        let from = format!("{}{suffix}", of.chats().display());
        if Path::new(&from).exists() {
            fs::copy(&from, format!("{}{suffix}", folder.chats().display())).unwrap();
        }
    }
    folder
}

#[test]
fn a_reload_goes_on_where_the_chat_was() {
    let folder = Folder::new();
    let (cold, _cold_folder) = cold_host();
    let questions = ["Who are you?", "When do you close?", "And on Sundays?"];
    let (mut session, mut cold_session) = (json!("new"), json!("new"));
    for (turn, question) in questions.into_iter().enumerate() {
        // Each turn by a runtime of its own.
        let result = ask(&host_in(&folder), question, &session);
        let expected = ask(&cold, question, &cold_session);
        assert_eq!(result.message, expected.message, "turn {turn}");
        let (usage, cold_usage) = (result.meta.usage, expected.meta.usage);
        assert_eq!(usage.prompt_tokens, cold_usage.prompt_tokens);
        assert_eq!(cold_usage.restored_tokens, 0);
        if turn > 0 {
            // All but the new question, the last few tokens, and the few that are
            // computed as a check.
            let n_left = usage.prompt_tokens - usage.restored_tokens;
            assert!(n_left < 100, "{usage:?}");
            assert_eq!(usage.cached_tokens, usage.restored_tokens);
        }
        (session, cold_session) = (session_of(&result), session_of(&expected));
    }
}

#[test]
fn another_chat_with_the_same_beginning_starts_warm() {
    let folder = Folder::new();
    ask(&host_in(&folder), "Who are you?", &json!("new"));
    let n_files = files(&folder).len();
    let other = ask(&host_in(&folder), "Is it raining?", &json!("new"));
    assert!(
        other.meta.usage.restored_tokens > 100,
        "{:?}",
        other.meta.usage
    );
    let (cold, _cold_folder) = cold_host();
    assert_eq!(
        other.message,
        ask(&cold, "Is it raining?", &json!("new")).message
    );
    // What they share is there once.
    assert!(files(&folder).len() < 2 * n_files);
}

#[test]
fn one_runtime_brings_back_what_another_chat_pushed_out() {
    let folder = Folder::new();
    let host = host_in(&folder);
    let first = ask(&host, "Who are you?", &json!("new"));
    let other = json!({"messages": [{"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"}], "temperature": 0, "max_tokens": 3, "session": null});
    host.chat(&other).unwrap();
    let second = ask(&host, "When do you close?", &session_of(&first));
    assert!(
        second.meta.usage.restored_tokens > 100,
        "{:?}",
        second.meta.usage
    );
    // Nothing is read that is still in memory.
    let third = ask(&host, "And on Sundays?", &session_of(&first));
    assert!(third.meta.usage.cached_tokens > 100);
    assert_eq!(third.meta.usage.restored_tokens, 0);
}

#[test]
fn cancelled_turns_leave_what_a_fresh_run_would_compute() {
    let folder = Folder::new();
    let host = host_in(&folder);
    let mut messages = vec![
        json!({"role": "system", "content": SYSTEM}),
        json!({"role": "user", "content": "Tell me everything."}),
    ];
    let params = json!({"messages": messages, "temperature": 0, "stream": true});
    let call = host.begin("handle_chat", &params);
    let n_deltas = || host.notifications(&call, "chat.delta").len();
    while host.streamed_text(&call).len() <= 20 {
        let n_seen = n_deltas();
        host.run_until(|_| n_deltas() > n_seen);
        // Or the reply may be over before the next delta is due.
        host.skip_ms(20.0);
    }
    host.cancel(&call);
    let cut = host.end_chat(&call).unwrap();
    assert_eq!(cut.meta.finish_reason, FinishReason::Cancelled);
    settle(&host);
    drop(host);
    let warm = ask(&host_in(&folder), "Go on.", &session_of(&cut));
    assert!(
        warm.meta.usage.restored_tokens > 100,
        "{:?}",
        warm.meta.usage
    );
    // The same conversation, sent whole to a runtime that knows nothing of it.
    messages.push(json!({"role": "assistant", "content": cut.message.content}));
    messages.push(json!({"role": "user", "content": "Go on."}));
    let (cold, _cold_folder) = cold_host();
    let whole = json!({"messages": messages, "temperature": 0, "max_tokens": 40, "session": null});
    assert_eq!(warm.message, cold.chat(&whole).unwrap().message);
}

#[test]
fn the_builtin_model_remembers_a_name_after_reloads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/builtin/nox-builtin.gguf");
    let file = fs::read(path).unwrap();
    let conversation = |folder: &Folder, is_warm: bool| {
        let mut session = json!("new");
        let mut said = Vec::new();
        let mut n_restored = 0;
        for question in [
            "Hello, my name is Mirela. Who are you?",
            "What is 2 + 3?",
            "What is my name?",
        ] {
            let store = FileSnapshots::open(folder.snapshots()).unwrap();
            let host = Host::greeted(Setup {
                builtin: Some(file.clone()),
                snapshots: is_warm.then(|| Rc::new(store) as _),
                ..in_file(&folder.chats())
            });
            let mut params = json!({"messages": [{"role": "user", "content": question}],
                "temperature": 0, "max_tokens": 100});
            if session != "new" {
                params["session"] = session.clone();
            }
            let result = host.chat(&params).unwrap();
            settle(&host);
            n_restored += result.meta.usage.restored_tokens;
            session = session_of(&result);
            said.push(result.message);
        }
        (said, n_restored)
    };
    let (warm, n_restored) = conversation(&Folder::new(), true);
    let (cold, n_from_nowhere) = conversation(&Folder::new(), false);
    assert_eq!(warm, cold);
    assert!(warm[2].content.contains("Mirela"), "{warm:?}");
    assert!(n_restored > 100, "{n_restored}");
    assert_eq!(n_from_nowhere, 0);
}

#[test]
fn what_is_not_kept_leaves_nothing() {
    let folder = Folder::new();
    let host = host_in(&folder);
    let result = ask(&host, "Who are you?", &Value::Null);
    assert_eq!(result.meta.session, None);
    assert_eq!(files(&folder), [""; 0].map(PathBuf::from));
    let off = json!({"settings": {"keep_chats": false}});
    host.call("config.set", &off).unwrap();
    ask(&host, "Who are you?", &json!("new"));
    assert_eq!(files(&folder).len(), 0);
    // Not in a chat that is kept later, either.
    let on = json!({"settings": {"keep_chats": true}});
    host.call("config.set", &on).unwrap();
    let kept = ask(&host, "Hello", &json!("new"));
    host.call("sessions.delete", &json!({"session": session_of(&kept)}))
        .unwrap();
    settle(&host);
    assert_eq!(files(&folder).len(), 0);
}

#[test]
fn chats_that_live_in_memory_leave_nothing_in_files() {
    let folder = Folder::new();
    let store = FileSnapshots::open(folder.snapshots()).unwrap();
    let host = Host::greeted(Setup {
        snapshots: Some(Rc::new(store)),
        ..Setup::default()
    });
    let result = ask(&host, "Who are you?", &json!("new"));
    assert!(result.meta.session.is_some());
    assert_eq!(files(&folder).len(), 0);
    // In memory both live equally long.
    let snapshots = Rc::new(MemorySnapshots::new());
    let host = Host::greeted(Setup {
        snapshots: Some(Rc::clone(&snapshots) as _),
        ..Setup::default()
    });
    ask(&host, "Who are you?", &json!("new"));
    assert!(!listed(&*snapshots).is_empty());
}

fn listed(store: &dyn SnapshotStore) -> Vec<StoredSnapshot> {
    store.list().now_or_never().unwrap().unwrap()
}

#[test]
fn a_chat_that_is_deleted_takes_its_blocks_with_it() {
    let folder = Folder::new();
    let host = host_in(&folder);
    let first = session_of(&ask(&host, "Who are you?", &json!("new")));
    let n_first = files(&folder).len();
    let second = session_of(&ask(&host, "Is it raining?", &json!("new")));
    assert!(files(&folder).len() > n_first);
    host.call("sessions.delete", &json!({"session": first}))
        .unwrap();
    settle(&host);
    let left = files(&folder);
    assert!(!left.is_empty());
    let is_of =
        |file: &PathBuf, chat: &Value| file.to_string_lossy().contains(chat.as_str().unwrap());
    assert!(left.iter().all(|file| is_of(file, &second)));
    // Those of the second's next turn as well.
    ask(&host, "And now?", &second);
    host.call("sessions.delete", &json!({"session": second}))
        .unwrap();
    settle(&host);
    assert_eq!(files(&folder).len(), 0);
}

/// The process ends after the chat was deleted and before its blocks were.
#[test]
fn blocks_of_chats_that_are_gone_are_removed_at_the_next_start() {
    let folder = Folder::new();
    let host = host_in(&folder);
    let chat = session_of(&ask(&host, "Who are you?", &json!("new")));
    let kept = copied(&folder);
    host.call("sessions.delete", &json!({"session": chat}))
        .unwrap();
    settle(&host);
    drop(host);
    fs::create_dir_all(folder.snapshots()).unwrap();
    for file in files(&kept) {
        fs::copy(&file, folder.snapshots().join(file.file_name().unwrap())).unwrap();
    }
    assert!(!files(&folder).is_empty());
    settle(&host_in(&folder));
    assert_eq!(files(&folder).len(), 0);
}

#[test]
fn a_model_that_is_removed_or_replaced_takes_its_blocks_with_it() {
    let folder = Folder::new();
    let host = host_in(&folder);
    let chat = |model: &str| {
        let params = json!({"model": model, "temperature": 0, "max_tokens": 3,
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "hi"}]});
        host.chat(&params).unwrap();
        settle(&host);
    };
    let other = TinyModel {
        seed: 2,
        ..TinyModel::default()
    };
    host.import(&json!({"id": "other"}), "other.gguf", &other.bytes())
        .unwrap();
    let is_of = |file: &PathBuf, model: &str| {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(&format!("{model}+"))
    };
    let count = |model| {
        files(&folder)
            .iter()
            .filter(|file| is_of(file, model))
            .count()
    };
    chat("nox-builtin");
    chat("other");
    assert!(count("nox-builtin") > 0 && count("other") > 0);
    let replace = json!({"id": "other", "replace": true});
    host.import(&replace, "other.gguf", &other.bytes()).unwrap();
    assert_eq!(count("other"), 0);
    chat("other");
    assert!(count("other") > 0);
    host.call("models.remove", &json!({"model": "other"}))
        .unwrap();
    assert_eq!(count("other"), 0);
    assert!(count("nox-builtin") > 0);
}

/// A chat with a model, that leaves blocks of it.
fn ask_model(host: &Host, model: &str) -> HandleChatResult {
    let params = json!({"model": model, "temperature": 0, "max_tokens": 3,
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "hi"}]});
    host.chat(&params).unwrap()
}

fn import_other(host: &Host) {
    let other = TinyModel {
        seed: 2,
        ..TinyModel::default()
    };
    host.import(&json!({"id": "other"}), "other.gguf", &other.bytes())
        .unwrap();
}

fn count_of(folder: &Folder, model: &str) -> usize {
    let beginning = format!("{model}+");
    let names = files(folder).into_iter().map(|file| {
        let name = file.file_name().unwrap();
        name.to_string_lossy().into_owned()
    });
    names.filter(|name| name.starts_with(&beginning)).count()
}

#[test]
fn what_another_tab_wrote_counts_and_goes_with_the_model_too() {
    let folder = Folder::new();
    let host = host_in(&folder);
    import_other(&host);
    // From here on the blocks are known.
    host.call("storage.estimate", &json!({})).unwrap();
    let elsewhere = Folder::new();
    let other_tab = host_in(&elsewhere);
    import_other(&other_tab);
    ask_model(&other_tab, "other");
    settle(&other_tab);
    for file in files(&elsewhere) {
        fs::copy(&file, folder.snapshots().join(file.file_name().unwrap())).unwrap();
    }
    assert!(count_of(&folder, "other") > 0);
    let estimate = host.call("storage.estimate", &json!({})).unwrap();
    let sizes = files(&folder).into_iter();
    let total: u64 = sizes.map(|file| file.metadata().unwrap().len()).sum();
    assert_eq!(estimate["snapshots_bytes"], json!(total));
    for file in files(&folder) {
        fs::remove_file(file).unwrap();
    }
    host.call("storage.estimate", &json!({})).unwrap();
    for file in files(&elsewhere) {
        fs::copy(&file, folder.snapshots().join(file.file_name().unwrap())).unwrap();
    }
    host.call("models.remove", &json!({"model": "other"}))
        .unwrap();
    assert_eq!(count_of(&folder, "other"), 0);
}

#[test]
fn a_block_that_is_being_written_goes_with_its_model() {
    for method in ["remove", "replace"] {
        let store = Rc::new(Wrapped::new(Slow::default()));
        let host = Host::greeted(Setup {
            snapshots: Some(Rc::clone(&store) as _),
            ..Setup::default()
        });
        import_other(&host);
        let (gate, waits_for) = oneshot::channel();
        *store.hooks.write_waits_for.borrow_mut() = Some(waits_for);
        ask_model(&host, "other");
        host.run_until(|_| store.hooks.write_waits_for.borrow().is_none());
        if method == "remove" {
            host.call("models.remove", &json!({"model": "other"}))
                .unwrap();
        } else {
            let replace = json!({"id": "other", "replace": true});
            let bytes = TinyModel::default().bytes();
            host.import(&replace, "other.gguf", &bytes).unwrap();
        }
        gate.send(()).unwrap();
        settle(&host);
        assert_eq!(listed(&store.inner), [], "{method}");
    }
}

#[test]
fn a_block_that_is_being_written_goes_when_nothing_is_to_be_kept() {
    let store = Rc::new(Wrapped::new(Slow::default()));
    let host = Host::greeted(Setup {
        snapshots: Some(Rc::clone(&store) as _),
        ..Setup::default()
    });
    let (gate, waits_for) = oneshot::channel();
    *store.hooks.write_waits_for.borrow_mut() = Some(waits_for);
    ask(&host, "Who are you?", &json!("new"));
    host.run_until(|_| store.hooks.write_waits_for.borrow().is_none());
    let nothing = json!({"settings": {"warm_start_mib": 0}});
    host.call("config.set", &nothing).unwrap();
    settle(&host);
    gate.send(()).unwrap();
    settle(&host);
    assert_eq!(listed(&store.inner), []);
}

/// The process ends after the model's file was removed and before its blocks were.
#[test]
fn blocks_of_models_that_are_gone_are_removed_at_the_next_start() {
    let folder = Folder::new();
    let host = host_in(&folder);
    import_other(&host);
    ask_model(&host, "other");
    settle(&host);
    ask_model(&host, "nox-builtin");
    settle(&host);
    drop(host);
    assert!(count_of(&folder, "other") > 0);
    // Its store of models has the built-in one alone.
    settle(&host_in(&folder));
    assert_eq!(count_of(&folder, "other"), 0);
    assert!(count_of(&folder, "nox-builtin") > 0);
}

#[test]
fn a_model_that_another_tab_has_removed_counts_as_removed() {
    let folder = Folder::new();
    let store = MemoryStore::new();
    let snapshots = FileSnapshots::open(folder.snapshots()).unwrap();
    let host = Host::greeted(Setup {
        store: Rc::new(store.clone()),
        snapshots: Some(Rc::new(snapshots)),
        ..in_file(&folder.chats())
    });
    import_other(&host);
    ask_model(&host, "other");
    settle(&host);
    assert!(count_of(&folder, "other") > 0);
    let id = ModelId::parse("other").unwrap();
    store.remove(&id).now_or_never().unwrap().unwrap();
    let removed = host.call("models.remove", &json!({"model": "other"}));
    let expected = json!({"removed": "other", "freed_bytes": 0});
    assert_eq!(removed.unwrap(), expected);
    assert_eq!(count_of(&folder, "other"), 0);
    assert_eq!(host.model_ids(), ["nox-builtin"]);
}

/// Its settings are not the user's, and it can't tell which chats there are.
#[test]
fn a_tab_without_the_chats_leaves_blocks_alone() {
    let folder = Folder::new();
    let host = host_in(&folder);
    ask(&host, "Who are you?", &json!("new"));
    let before = files(&folder);
    assert!(!before.is_empty());
    let second = |path: &Path| {
        let store = FileSnapshots::open(folder.snapshots()).unwrap();
        Host::greeted(Setup {
            snapshots: Some(Rc::new(store)),
            snapshot_budget_bytes: 1,
            ..in_file(path)
        })
    };
    let busy = second(&folder.chats());
    let refused = busy.call("config.set", &json!({"settings": {}}));
    assert_eq!(refused.unwrap_err().data.kind, ErrorKind::StorageBusy);
    busy.call("command", &json!({"line": "/help"})).unwrap();
    settle(&busy);
    assert_eq!(files(&folder), before);
    // No place for a database: chats live in memory, where those are not that wrote.
    let nowhere = second(&before[0].join("chats.sqlite"));
    let status = nowhere.call("status", &json!({})).unwrap();
    assert_eq!(status["chats"]["kind"], "memory");
    nowhere
        .call("config.set", &json!({"settings": {}}))
        .unwrap();
    settle(&nowhere);
    assert_eq!(files(&folder), before);
}

#[test]
fn only_a_change_makes_the_runtime_look_through_the_blocks() {
    let store = Rc::new(Wrapped::new(Faulty::new(u64::MAX, false)));
    let host = Host::greeted(Setup {
        snapshots: Some(Rc::clone(&store) as _),
        ..Setup::default()
    });
    let chat = session_of(&ask(&host, "Who are you?", &json!("new")));
    let n_operations = |method, params: &Value| {
        let before = store.hooks.n_operations.get();
        let _ = host.call(method, params);
        settle(&host);
        store.hooks.n_operations.get() - before
    };
    for line in ["/help", "/sessions", "/config", "/persona", "/nothing"] {
        assert_eq!(n_operations("command", &json!({"line": line})), 0, "{line}");
    }
    let unknown = json!({"session": "nowhere"});
    assert_eq!(n_operations("sessions.delete", &unknown), 0);
    let title = json!({"line": "/title A title", "session": chat});
    assert!(n_operations("command", &title) > 0);
    let model = json!({"line": "/model nox"});
    assert!(n_operations("command", &model) > 0);
}

#[test]
fn the_user_sets_the_room_and_clears_it() {
    let folder = Folder::new();
    let host = host_in(&folder);
    ask(&host, "Who are you?", &json!("new"));
    assert!(!files(&folder).is_empty());
    let estimate = host.call("storage.estimate", &json!({})).unwrap();
    let total: u64 = files(&folder)
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert_eq!(estimate["snapshots_bytes"], json!(total));
    let set = |mib: Value| {
        let settings = json!({"settings": {"warm_start_mib": mib}});
        let set = host.call("config.set", &settings);
        settle(&host);
        set
    };
    set(json!(0)).unwrap();
    assert_eq!(files(&folder).len(), 0);
    let result = ask(&host, "Is it raining?", &json!("new"));
    assert_eq!(result.meta.usage.restored_tokens, 0);
    assert_eq!(files(&folder).len(), 0);
    set(Value::Null).unwrap();
    ask(&host, "Is it snowing?", &json!("new"));
    assert!(!files(&folder).is_empty());
    assert!(set(json!(-1)).is_err());
    assert!(set(json!(65_537)).is_err());
}

#[test]
fn beyond_the_budget_the_ends_of_old_chats_go_first() {
    let folder = Folder::new();
    // A whole block of this model takes 64 × (4 + 64) bytes and a little.
    let store = FileSnapshots::open(folder.snapshots()).unwrap();
    let budget_bytes = 64 * 1024;
    let host = Host::greeted(Setup {
        snapshots: Some(Rc::new(store)),
        snapshot_budget_bytes: budget_bytes,
        ..in_file(&folder.chats())
    });
    let mut last = Value::Null;
    for n in 0..12 {
        let text = format!("Question {n}: {}", "and so on ".repeat(12));
        last = session_of(&ask(&host, &text, &json!("new")));
        let total: u64 = files(&folder)
            .iter()
            .map(|file| file.metadata().unwrap().len())
            .sum();
        assert!(total <= budget_bytes, "{total} bytes after {n}");
    }
    drop(host);
    // The shared beginning has outlived the chat that wrote it, and the last chat is whole.
    let next = ask(&host_in(&folder), "Thanks.", &last);
    assert!(
        next.meta.usage.restored_tokens > 300,
        "{:?}",
        next.meta.usage
    );
}

#[test]
fn damaged_and_foreign_files_are_removed_and_change_nothing() {
    let folder = Folder::new();
    let session = session_of(&ask(&host_in(&folder), "Who are you?", &json!("new")));
    let n_files = files(&folder).len();
    let expected = ask(&host_in(&copied(&folder)), "When do you close?", &session).message;
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 6] = [
        ("cut", |file| {
            let bytes = fs::read(file).unwrap();
            fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("emptied", |file| fs::write(file, "").unwrap()),
        ("a bit turned", |file| {
            let mut bytes = fs::read(file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(file, bytes).unwrap();
        }),
        ("zeros", |file| {
            let n_bytes = fs::read(file).unwrap().len();
            fs::write(file, vec![0; n_bytes]).unwrap();
        }),
        ("an older version", |file| {
            let mut bytes = fs::read(file).unwrap();
            bytes[8] = 0;
            fs::write(file, bytes).unwrap();
        }),
        ("gone", |file| fs::remove_file(file).unwrap()),
    ];
    for (what, harm) in harms {
        for number in 0..n_files {
            let copy = copied(&folder);
            let file = files(&copy)[number].clone();
            harm(&file);
            let before = fs::read(&file).ok();
            let result = ask(&host_in(&copy), "When do you close?", &session);
            assert_eq!(result.message, expected, "{what}: {file:?}");
            // It was replaced by a good one, or it is gone.
            let after = fs::read(&file).ok();
            assert!(after.is_none() || after != before, "{what}: {file:?}");
        }
    }
}

/// The files are copied as they are after each turn of the event loop, which is what a
/// process finds that begins when this one ends there.
#[test]
fn the_process_may_end_at_any_moment() {
    let folder = Folder::new();
    let host = host_in(&folder);
    let params = json!({
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Hi"}],
        "temperature": 0, "max_tokens": 4,
    });
    let call = host.begin("handle_chat", &params);
    host.run_until(|_| host.has_ended(&call));
    let session = session_of(&host.end_chat(&call).unwrap());
    let (mut n_before, mut n_quiet) = (usize::MAX, 0);
    let mut expected = None;
    while n_quiet < 50 {
        let n_files = files(&folder).len();
        n_quiet += 1;
        if n_files != n_before {
            (n_before, n_quiet) = (n_files, 0);
            let copy = copied(&folder);
            // What the next write would have left half done.
            let part = copy.snapshots().join("half.kv.part");
            fs::write(&part, "half").unwrap();
            let result = ask(&host_in(&copy), "Go on.", &session);
            let expected = expected.get_or_insert_with(|| result.message.clone());
            assert_eq!(result.message, *expected, "{n_files} files");
            assert_eq!(result.meta.usage.restored_tokens > 0, n_files > 0);
            assert!(!part.exists());
        }
        host.step();
    }
    assert!(n_before > 3, "{n_before} files");
}

/// A host whose models and blocks share room for the built-in model, another one and
/// 1,000 bytes, with blocks that take more than that.
fn host_without_room() -> (Host, Rc<MemorySnapshots>) {
    let snapshots = Rc::new(MemorySnapshots::new());
    let n_bytes = TinyModel::default().bytes().len() as u64;
    let store = MemoryStore::new().with_quota_bytes(2 * n_bytes + 1000);
    let host = Host::greeted(Setup {
        store: Rc::new(store.with_snapshots(Rc::clone(&snapshots))),
        snapshots: Some(Rc::clone(&snapshots) as _),
        ..Setup::default()
    });
    ask(&host, "Who are you?", &json!("new"));
    let blocks = listed(&*snapshots);
    assert!(blocks.iter().map(|block| block.size_bytes).sum::<u64>() > 1000);
    (host, snapshots)
}

#[test]
fn blocks_make_room_for_a_model() {
    let (host, snapshots) = host_without_room();
    let model = TinyModel::default().bytes();
    host.import(&json!({}), "other.gguf", &model).unwrap();
    assert_eq!(listed(&*snapshots), []);
    // What has no room without them, either, is refused with what is true then.
    ask(&host, "Who are you?", &json!("new"));
    let refused = host.import(&json!({}), "third.gguf", &model).unwrap_err();
    assert_eq!(refused.data.kind, ErrorKind::QuotaExceeded);
    assert_eq!(refused.data.detail["usage_bytes"], json!(2 * model.len()));
}

#[test]
fn blocks_make_room_for_the_next_attempt_of_a_model_of_unknown_size() {
    let (host, snapshots) = host_without_room();
    let model = TinyModel::default().bytes();
    let import = || {
        let mut bytes = Pieces::new(&model);
        bytes.hides_size = true;
        host.end(&host.begin_import(&json!({}), "other.gguf", bytes))
    };
    let refused = import().unwrap_err();
    assert_eq!(refused.data.kind, ErrorKind::QuotaExceeded);
    assert_eq!(listed(&*snapshots), []);
    import().unwrap();
}

/// A database that may not grow any more than a little from the moment on when it is
/// opened.
struct Cramped(FileChats);

impl ChatDatabase for Cramped {
    fn kind(&self) -> StorageKind {
        self.0.kind()
    }

    fn open(&self, host: Box<dyn nox_store::Host>) -> LocalBoxFuture<'_, Result<Store, OpenError>> {
        async {
            let mut store = self.0.open(host).await?;
            store.set_max_bytes(store.size_bytes()? + 64 * 1024)?;
            Ok(store)
        }
        .boxed_local()
    }

    fn take_over(
        &self,
        host: Box<dyn nox_store::Host>,
    ) -> LocalBoxFuture<'_, Result<Store, OpenError>> {
        self.0.take_over(host)
    }

    fn put_aside(&self) -> LocalBoxFuture<'_, Result<String, OpenError>> {
        self.0.put_aside()
    }

    fn release(&self) -> LocalBoxFuture<'_, ()> {
        self.0.release()
    }

    fn wanted(&self) -> LocalBoxFuture<'_, ()> {
        self.0.wanted()
    }

    fn freed(&self) -> LocalBoxFuture<'_, ()> {
        self.0.freed()
    }
}

/// A store in memory, with something around its operations.
struct Wrapped<H> {
    inner: MemorySnapshots,
    hooks: H,
}

impl<H> Wrapped<H> {
    fn new(hooks: H) -> Self {
        let inner = MemorySnapshots::new();
        Self { inner, hooks }
    }
}

trait Hooks {
    const KIND: StorageKind = StorageKind::Memory;

    /// What the write that begins waits for.
    fn gate(&self) -> Option<oneshot::Receiver<()>> {
        None
    }

    /// A block was removed.
    fn removed(&self, _left: &MemorySnapshots) {}

    /// What is told of an operation that came to `outcome`.
    fn told<T>(&self, outcome: Result<T, StorageError>) -> Result<T, StorageError> {
        outcome
    }
}

impl<H: Hooks> SnapshotStore for Wrapped<H> {
    fn kind(&self) -> StorageKind {
        H::KIND
    }

    fn list(&self) -> LocalBoxFuture<'_, Result<Vec<StoredSnapshot>, StorageError>> {
        let outcome = self.inner.list();
        outcome.map(|listed| self.hooks.told(listed)).boxed_local()
    }

    fn read<'a>(
        &'a self,
        name: &'a SnapshotName,
        size_bytes: usize,
    ) -> LocalBoxFuture<'a, Result<Option<Vec<u8>>, StorageError>> {
        let outcome = self.inner.read(name, size_bytes);
        outcome.map(|read| self.hooks.told(read)).boxed_local()
    }

    fn write<'a>(
        &'a self,
        name: &'a SnapshotName,
        bytes: &'a [u8],
    ) -> LocalBoxFuture<'a, Result<(), StorageError>> {
        async move {
            if let Some(gate) = self.hooks.gate() {
                gate.await.unwrap();
            }
            self.hooks.told(self.inner.write(name, bytes).await)
        }
        .boxed_local()
    }

    fn remove<'a>(
        &'a self,
        name: &'a SnapshotName,
    ) -> LocalBoxFuture<'a, Result<(), StorageError>> {
        async move {
            let outcome = self.inner.remove(name).await;
            self.hooks.removed(&self.inner);
            self.hooks.told(outcome)
        }
        .boxed_local()
    }
}

/// Blocks that share the disk with a database: what is left of them when all are gone
/// is room there, which is a chat that goes with them.
struct Sharing {
    chats: PathBuf,
    filler: RefCell<Option<SessionId>>,
}

impl Hooks for Sharing {
    const KIND: StorageKind = StorageKind::Files;

    fn removed(&self, left: &MemorySnapshots) {
        if listed(left).is_empty()
            && let Some(filler) = self.filler.take()
        {
            let mut store = common::chats::open(&self.chats);
            store.delete(&filler).unwrap();
        }
    }
}

#[test]
fn blocks_make_room_for_what_is_said() {
    // In the first case the question finds no room, in the second the reply.
    for (question, max_tokens) in [("and so on ".repeat(100), 1), ("Hi".to_owned(), 150)] {
        let folder = Folder::new();
        let path = folder.chats();
        let mut store = common::chats::open(&path);
        let filler = common::chats::say(&mut store, "default", None, "hi", &"x".repeat(400_000));
        drop(store);
        let snapshots = Rc::new(Wrapped::new(Sharing {
            chats: path.clone(),
            filler: RefCell::new(Some(filler)),
        }));
        let host = Host::greeted(Setup {
            snapshots: Some(Rc::clone(&snapshots) as _),
            chats: Box::new(move |platform| {
                let platform: Rc<dyn Platform> = Rc::clone(platform) as _;
                Rc::new(Cramped(FileChats::new(path, platform)))
            }),
            ..Setup::default()
        });
        let mut n_turns = 0;
        while snapshots.hooks.filler.borrow().is_some() {
            let params = json!({"messages": [{"role": "user", "content": question}],
                "temperature": 0, "max_tokens": max_tokens});
            let result = host.chat(&params).unwrap();
            assert!(result.meta.session.is_some());
            settle(&host);
            n_turns += 1;
            assert!(n_turns < 500, "it was never full");
        }
        assert!(n_turns > 1, "there was no room to begin with");
    }
}

/// A store of which a write takes its time.
#[derive(Default)]
struct Slow {
    /// What the next write waits for.
    write_waits_for: RefCell<Option<oneshot::Receiver<()>>>,
}

impl Hooks for Slow {
    fn gate(&self) -> Option<oneshot::Receiver<()>> {
        self.write_waits_for.take()
    }
}

/// A store of which the Nth operation fails, and every later one if so wished.
struct Faulty {
    n_operations: Cell<u64>,
    fails_at: u64,
    for_ever: bool,
    n_injected: Cell<u64>,
}

impl Faulty {
    fn new(fails_at: u64, for_ever: bool) -> Self {
        Self {
            n_operations: Cell::new(0),
            fails_at,
            for_ever,
            n_injected: Cell::new(0),
        }
    }
}

impl Hooks for Faulty {
    fn told<T>(&self, outcome: Result<T, StorageError>) -> Result<T, StorageError> {
        let number = self.n_operations.replace(self.n_operations.get() + 1);
        if number == self.fails_at || (self.for_ever && number > self.fails_at) {
            self.n_injected.set(self.n_injected.get() + 1);
            return Err(StorageError::Failed {
                action: "work",
                reason: "injected".to_owned(),
            });
        }
        outcome
    }
}

#[test]
fn no_failure_of_the_store_is_the_users() {
    let conversation = |fails_at: u64, for_ever: bool| {
        let store = Rc::new(Wrapped::new(Faulty::new(fails_at, for_ever)));
        let host = Host::greeted(Setup {
            snapshots: Some(Rc::clone(&store) as _),
            ..Setup::default()
        });
        let first = ask(&host, "Who are you?", &json!("new"));
        let elsewhere = json!({"messages": [{"role": "user", "content": "hi"}],
            "temperature": 0, "max_tokens": 1, "session": null});
        host.chat(&elsewhere).unwrap();
        let second = ask(&host, "When do you close?", &session_of(&first));
        let session = json!({"session": session_of(&first)});
        host.call("sessions.delete", &session).unwrap();
        settle(&host);
        // What could not be removed then is removed when the chats change again.
        let third = session_of(&ask(&host, "Thanks", &json!("new")));
        host.call("sessions.delete", &json!({"session": third}))
            .unwrap();
        settle(&host);
        host.call("config.set", &json!({"settings": {}})).unwrap();
        settle(&host);
        assert!(for_ever || listed(&store.inner).is_empty(), "{fails_at}");
        (first.message, second.message, store.hooks.n_injected.get())
    };
    let (first, second, _) = conversation(u64::MAX, false);
    for for_ever in [false, true] {
        let mut fails_at = 0;
        loop {
            let (found_first, found_second, n_injected) = conversation(fails_at, for_ever);
            assert_eq!((&found_first, &found_second), (&first, &second));
            if n_injected == 0 {
                break;
            }
            fails_at += 1;
        }
        assert!(fails_at > 10, "{fails_at} operations");
    }
}
