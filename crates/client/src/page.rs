//! The page's half of the actor. Both halves have the same messages; the worker's
//! half stands in `nox-worker`.

use gloo_worker::{HandlerId, Worker, WorkerScope};
use nox_protocol::{Request, RuntimeFrame};

/// Names the messages. On a page no actor is ever created.
pub(crate) struct PageActor;

impl Worker for PageActor {
    type Message = ();
    type Input = Request;
    type Output = RuntimeFrame;

    fn create(_: &WorkerScope<Self>) -> Self {
        Self
    }

    fn update(&mut self, _: &WorkerScope<Self>, (): ()) {}

    fn received(&mut self, _: &WorkerScope<Self>, _: Request, _: HandlerId) {}
}
