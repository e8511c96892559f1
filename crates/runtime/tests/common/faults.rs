//! Storage that fails on request.
//!
//! The fault model: any single operation of the store (listing, opening, beginning
//! a file, a write, publishing) may fail with an error of the platform, once or from
//! then on; a read from an open file may fail from the Nth read on. Faults do not
//! corrupt what was stored before. A listing may also take its time.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::LocalBoxFuture;
use nox_engine::ModelSource;
use nox_protocol::StorageKind;
use nox_runtime::store::MemoryStore;
use nox_runtime::{ModelId, ModelStore, ModelWriter, StorageError, StoreUsage, StoredModel};

/// When to fail: operations are counted from 0.
#[derive(Debug, Default)]
pub struct Plan {
    n_operations: Cell<u64>,
    pub fails_at: Cell<Option<u64>>,
    /// Whether every later operation fails too.
    pub for_ever: Cell<bool>,
    pub n_injected: Cell<u64>,
    n_reads: Cell<u64>,
    pub reads_fail_at: Cell<Option<u64>>,
    /// What the next listing waits for.
    pub list_waits_for: RefCell<Option<oneshot::Receiver<()>>>,
}

impl Plan {
    pub fn arm(&self, fails_at: u64, for_ever: bool) {
        self.n_operations.set(0);
        self.n_injected.set(0);
        self.fails_at.set(Some(fails_at));
        self.for_ever.set(for_ever);
    }

    pub fn disarm(&self) {
        self.fails_at.set(None);
        self.reads_fail_at.set(None);
        self.n_reads.set(0);
    }

    fn check(&self, action: &'static str) -> Result<(), StorageError> {
        let number = self.n_operations.replace(self.n_operations.get() + 1);
        let fails = self.fails_at.get().is_some_and(|fails_at| {
            number == fails_at || (self.for_ever.get() && number > fails_at)
        });
        if !fails {
            return Ok(());
        }
        self.n_injected.set(self.n_injected.get() + 1);
        Err(StorageError::Failed {
            action,
            reason: "injected".to_owned(),
        })
    }

    fn check_read(&self) -> io::Result<()> {
        let number = self.n_reads.replace(self.n_reads.get() + 1);
        match self.reads_fail_at.get() {
            Some(fails_at) if number >= fails_at => Err(io::Error::other("injected")),
            _ => Ok(()),
        }
    }
}

/// A store in memory with faults by plan.
#[derive(Default)]
pub struct FaultyStore {
    pub inner: MemoryStore,
    pub plan: Rc<Plan>,
}

impl ModelStore for FaultyStore {
    fn kind(&self) -> StorageKind {
        StorageKind::Memory
    }

    fn warning(&self) -> Option<String> {
        None
    }

    fn list(&self) -> LocalBoxFuture<'_, Result<Vec<StoredModel>, StorageError>> {
        async move {
            self.plan.check("list")?;
            let gate = self.plan.list_waits_for.take();
            if let Some(gate) = gate {
                gate.await.expect("who holds it back lets it go");
            }
            self.inner.list().await
        }
        .boxed_local()
    }

    fn open<'a>(
        &'a self,
        id: &'a ModelId,
    ) -> LocalBoxFuture<'a, Result<Box<dyn ModelSource>, StorageError>> {
        async move {
            self.plan.check("open")?;
            let source = FaultySource {
                inner: self.inner.open(id).await?,
                plan: Rc::clone(&self.plan),
            };
            Ok(Box::new(source) as Box<dyn ModelSource>)
        }
        .boxed_local()
    }

    fn create<'a>(
        &'a self,
        id: &'a ModelId,
    ) -> LocalBoxFuture<'a, Result<Box<dyn ModelWriter>, StorageError>> {
        async move {
            self.plan.check("create")?;
            let writer = FaultyWriter {
                inner: self.inner.create(id).await?,
                plan: Rc::clone(&self.plan),
            };
            Ok(Box::new(writer) as Box<dyn ModelWriter>)
        }
        .boxed_local()
    }

    fn remove<'a>(&'a self, id: &'a ModelId) -> LocalBoxFuture<'a, Result<(), StorageError>> {
        async move {
            self.plan.check("remove")?;
            self.inner.remove(id).await
        }
        .boxed_local()
    }

    fn usage(&self) -> LocalBoxFuture<'_, Result<StoreUsage, StorageError>> {
        async move {
            self.plan.check("usage")?;
            self.inner.usage().await
        }
        .boxed_local()
    }
}

struct FaultySource {
    inner: Box<dyn ModelSource>,
    plan: Rc<Plan>,
}

impl ModelSource for FaultySource {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.plan.check_read()?;
        self.inner.read_at(offset, buf)
    }
}

struct FaultyWriter {
    inner: Box<dyn ModelWriter>,
    plan: Rc<Plan>,
}

impl ModelWriter for FaultyWriter {
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> LocalBoxFuture<'a, Result<(), StorageError>> {
        async move {
            self.plan.check("write")?;
            self.inner.write(bytes).await
        }
        .boxed_local()
    }

    fn source(&self) -> &dyn ModelSource {
        self.inner.source()
    }

    fn publish(self: Box<Self>) -> LocalBoxFuture<'static, Result<(), StorageError>> {
        async move {
            match self.plan.check("publish") {
                Ok(()) => self.inner.publish().await,
                Err(error) => {
                    self.inner.discard().await;
                    Err(error)
                }
            }
        }
        .boxed_local()
    }

    fn discard(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        self.inner.discard()
    }
}
