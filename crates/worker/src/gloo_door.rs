//! The gloo-worker door, for Rust pages with `nox-client`: the same runtime, one
//! connection per bridge.

use std::cell::RefCell;
use std::collections::HashMap;

use gloo_worker::{HandlerId, Registrable, Worker, WorkerScope};
use nox_client::GlooCodec;
use nox_protocol::{Request, RuntimeFrame};
use nox_runtime::{Connection, Runtime};

thread_local! {
    /// gloo-worker creates its actor by itself, so this is where it finds the runtime.
    static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
}

/// Opens the door, for as long as the worker lives.
pub(crate) fn open(runtime: Runtime) {
    RUNTIME.with(|slot| slot.replace(Some(runtime)));
    NoxActor::registrar().encoding::<GlooCodec>().register();
}

/// The worker's half of the actor; the page's half stands in `nox-client`.
struct NoxActor {
    connections: HashMap<HandlerId, Connection>,
}

impl Worker for NoxActor {
    type Message = ();
    type Input = Request;
    type Output = RuntimeFrame;

    fn create(_: &WorkerScope<Self>) -> Self {
        Self {
            connections: HashMap::new(),
        }
    }

    fn update(&mut self, _: &WorkerScope<Self>, (): ()) {}

    fn connected(&mut self, scope: &WorkerScope<Self>, id: HandlerId) {
        let scope = scope.clone();
        let runtime = RUNTIME.with_borrow(Clone::clone);
        if let Some(runtime) = runtime {
            let connection = runtime.connect(move |frame| scope.respond(id, frame));
            self.connections.insert(id, connection);
        }
    }

    fn received(&mut self, _: &WorkerScope<Self>, request: Request, id: HandlerId) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        match serde_json::to_value(request) {
            Ok(frame) => connection.receive(&frame, None),
            Err(error) => connection.receive_unreadable(error.to_string()),
        }
    }

    fn disconnected(&mut self, _: &WorkerScope<Self>, id: HandlerId) {
        self.connections.remove(&id);
    }
}
