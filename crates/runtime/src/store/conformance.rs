//! What [`ModelStore`] and [`SnapshotStore`] promise, as tests for any implementation.

use nox_engine::{JoinedSource, ModelSource};

use crate::model_id::ModelId;
use crate::platform::{ModelStore, ModelWriter, SnapshotStore, StorageError};
use crate::warm::SnapshotName;

/// Checks an empty store.
///
/// # Panics
/// It breaks a promise; the message says which.
pub async fn check(store: &dyn ModelStore) {
    assert_eq!(
        ids(store).await,
        [""; 0],
        "the store must be empty to begin with"
    );
    a_published_file_is_there(store).await;
    an_unpublished_file_is_not(store).await;
    publishing_replaces(store).await;
    two_writers_do_not_share_a_file(store).await;
    removing_removes(store).await;
    parts_lie_beside_each_other(store).await;
}

fn id(text: &str) -> ModelId {
    ModelId::parse(text).expect("a valid id")
}

async fn ids(store: &dyn ModelStore) -> Vec<String> {
    let models = store.list().await.expect("listing works");
    let mut ids: Vec<String> = models
        .into_iter()
        .map(|model| model.id.to_string())
        .collect();
    ids.sort();
    ids
}

async fn written(store: &dyn ModelStore, name: &str, pieces: &[&[u8]]) -> Box<dyn ModelWriter> {
    let mut writer = store.create(&id(name)).await.expect("a file can be begun");
    for piece in pieces {
        writer.write(piece).await.expect("there is room");
    }
    writer
}

async fn content(store: &dyn ModelStore, name: &str) -> Vec<u8> {
    let source = store.open(&id(name)).await.expect("a published file opens");
    let n_bytes = usize::try_from(source.size_bytes()).expect("small");
    let mut bytes = vec![0; n_bytes];
    source
        .read_at(0, &mut bytes)
        .expect("a published file is readable");
    let beyond = source.read_at(1, &mut bytes.clone());
    assert!(beyond.is_err(), "reads beyond the end fail");
    bytes
}

async fn a_published_file_is_there(store: &dyn ModelStore) {
    let writer = written(store, "b.1", &[b"hello, ", b"world"]).await;
    let mut piece = [0; 5];
    assert_eq!(
        writer.source().size_bytes(),
        12,
        "what is written can be read back"
    );
    writer
        .source()
        .read_at(7, &mut piece)
        .expect("what is written can be read back");
    assert_eq!(&piece, b"world");
    writer.publish().await.expect("publishing works");
    assert_eq!(content(store, "b.1").await, b"hello, world");
    let models = store.list().await.expect("listing works");
    assert_eq!(models[0].size_bytes, 12);
    let usage = store.usage().await.expect("the room is known");
    assert!(usage.usage_bytes.is_none_or(|bytes| bytes >= 12));
}

async fn an_unpublished_file_is_not(store: &dyn ModelStore) {
    let writer = written(store, "c", &[b"half"]).await;
    assert_eq!(ids(store).await, ["b.1"]);
    let opened = store.open(&id("c")).await;
    assert!(
        matches!(opened, Err(StorageError::NotFound { .. })),
        "unpublished files stay hidden"
    );
    writer.discard().await;
    assert_eq!(ids(store).await, ["b.1"]);
    // The id is free again.
    written(store, "c", &[]).await.discard().await;
}

async fn publishing_replaces(store: &dyn ModelStore) {
    let writer = written(store, "b.1", &[b"new"]).await;
    assert_eq!(
        content(store, "b.1").await,
        b"hello, world",
        "until then the old file is there"
    );
    writer.publish().await.expect("publishing works");
    assert_eq!(content(store, "b.1").await, b"new");
    let discarded = written(store, "b.1", &[b"newer"]).await;
    discarded.discard().await;
    assert_eq!(
        content(store, "b.1").await,
        b"new",
        "discarding keeps the old file"
    );
}

async fn two_writers_do_not_share_a_file(store: &dyn ModelStore) {
    let first = written(store, "d", &[b"1"]).await;
    let second = store.create(&id("d")).await;
    assert!(
        matches!(second, Err(StorageError::Busy { .. })),
        "one writer at a time"
    );
    let other = written(store, "e", &[b"2"]).await;
    first.publish().await.expect("publishing works");
    other.discard().await;
    assert_eq!(ids(store).await, ["b.1", "d"]);
}

async fn removing_removes(store: &dyn ModelStore) {
    for name in ["b.1", "d"] {
        store
            .remove(&id(name))
            .await
            .expect("a published file can be removed");
        let again = store.remove(&id(name)).await;
        assert!(
            matches!(again, Err(StorageError::NotFound { .. })),
            "gone is gone"
        );
    }
    assert_eq!(ids(store).await, [""; 0]);
}

/// The files of a split model are read at the same time, and go one by one.
async fn parts_lie_beside_each_other(store: &dyn ModelStore) {
    let names = ["m-00001-of-00002", "m-00002-of-00002"];
    for name in names {
        let writer = written(store, name, &[name.as_bytes()]).await;
        writer.publish().await.expect("publishing works");
    }
    assert_eq!(ids(store).await, names);
    let mut sources = Vec::new();
    for name in names {
        let opened = store.open(&id(name)).await;
        sources.push(opened.expect("several files can be open at once"));
    }
    // A part that comes last is checked with those that are there.
    let writer = written(store, "m-00003-of-00003", &[b"more"]).await;
    sources.push(Box::new(b"x".to_vec()));
    let joined = JoinedSource::new(sources).expect("small");
    let mut bytes = vec![0; 33];
    joined.read_at(0, &mut bytes).expect("they are readable");
    assert_eq!(bytes, b"m-00001-of-00002m-00002-of-00002x");
    drop(joined);
    writer.discard().await;
    for name in names {
        let removed = store.remove(&id(name)).await;
        removed.expect("a file that was read can be removed");
    }
    assert_eq!(ids(store).await, [""; 0]);
}

/// A name for tests; different numbers give different ones.
///
/// # Panics
/// Never.
pub fn snapshot_name(number: u8) -> SnapshotName {
    let chat = "0190aaaa-0000-7000-8000-0123456789ab";
    let text = format!("m+{chat}+{:032x}+{number:032x}+64", 0);
    SnapshotName::parse(&text).expect("a valid name")
}

/// Checks an empty snapshot store.
///
/// # Panics
/// It breaks a promise; the message says which.
pub async fn check_snapshots(store: &dyn SnapshotStore) {
    let listed = store.list().await.expect("listing works");
    assert_eq!(listed, [], "the store must be empty to begin with");
    let [first, second, third] = [1, 2, 3].map(snapshot_name);
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    let written = [(&first, &bytes[..]), (&second, b"short"), (&third, b"")];
    for (name, bytes) in written {
        store.write(name, bytes).await.expect("there is room");
    }
    for (name, bytes) in written {
        let read = store.read(name, bytes.len()).await;
        assert_eq!(
            read.expect("reading works").as_deref(),
            Some(bytes),
            "what was written comes back"
        );
        let longer = store.read(name, bytes.len() + 1).await;
        assert_eq!(longer, Ok(None), "another size is another block");
    }
    let mut listed = store.list().await.expect("listing works");
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    let sizes: Vec<_> = listed.iter().map(|stored| stored.size_bytes).collect();
    assert_eq!(sizes, [100_000, 5, 0]);
    assert!(listed[0].modified_ms <= listed[2].modified_ms);
    store
        .write(&second, b"short")
        .await
        .expect("the same again");
    store.remove(&first).await.expect("removing works");
    store.remove(&first).await.expect("gone is no error");
    assert_eq!(store.read(&first, 100_000).await, Ok(None), "gone is gone");
    let again = store.read(&second, 5).await.expect("reading works");
    assert_eq!(again.as_deref(), Some(&b"short"[..]));
    for name in [&second, &third] {
        store.remove(name).await.expect("removing works");
    }
    assert_eq!(store.list().await, Ok(vec![]), "all are gone");
}
