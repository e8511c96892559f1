//! Web Locks: one holder among all tabs and workers of the origin. The browser frees
//! a lock when its holder's worker ends, however that ends.

use std::cell::RefCell;
use std::rc::Rc;

use futures::channel::oneshot;
use futures::future::{Either, select};
use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::AbortController;

use crate::js;
use crate::platform::sleep_ms;

/// A lock that is held until this is dropped.
pub(crate) struct WebLock {
    release: Function,
}

impl Drop for WebLock {
    fn drop(&mut self) {
        // Resolving a promise doesn't throw.
        let _ = self.release.call0(&JsValue::UNDEFINED);
    }
}

/// Whether others may hold the lock at the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    /// Nobody else.
    Exclusive,
    /// Others that ask for the same.
    Shared,
}

/// A place in the queue for a lock. Dropping it gives the place up.
pub(crate) struct LockRequest {
    granted: oneshot::Receiver<Result<WebLock, JsValue>>,
    controller: AbortController,
}

impl LockRequest {
    /// Stands in line for the lock `name`.
    ///
    /// # Errors
    /// This browser has no locks.
    pub(crate) fn new(name: &str, mode: Mode) -> Result<Self, JsValue> {
        let navigator = js::scope().navigator();
        let locks = Reflect::get(&navigator, &"locks".into())?;
        let request = js::method(&locks, "request")
            .ok_or_else(|| js_sys::Error::new("this browser has no locks between tabs"))?;
        let controller = AbortController::new()?;
        let options = Object::new();
        let mode = match mode {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
        };
        Reflect::set(&options, &"mode".into(), &mode.into())?;
        Reflect::set(&options, &"signal".into(), &controller.signal())?;

        let (sender, granted) = oneshot::channel();
        let sender = Rc::new(RefCell::new(Some(sender)));
        let refused = Rc::clone(&sender);
        let hold = Closure::<dyn FnMut() -> JsValue>::new(move || hold(sender.take()));
        let callback: &Function = hold.as_ref().unchecked_ref();
        let ended: Promise = request
            .call3(&locks, &name.into(), &options, callback)?
            .unchecked_into();
        spawn_local(async move {
            // Ends when the lock is freed, or was never had.
            let ended = JsFuture::from(ended).await;
            drop(hold);
            if let (Err(error), Some(sender)) = (ended, refused.take()) {
                // Whoever gave up does not ask why.
                let _ = sender.send(Err(error));
            }
        });
        Ok(Self {
            granted,
            controller,
        })
    }

    /// Waits for as long as it takes.
    ///
    /// # Errors
    /// What the browser says.
    pub(crate) async fn granted(mut self) -> Result<WebLock, JsValue> {
        (&mut self.granted).await.unwrap_or(Err(JsValue::UNDEFINED))
    }

    /// Waits so long; `None` if that was not enough.
    ///
    /// # Errors
    /// What the browser says.
    pub(crate) async fn granted_within(mut self, ms: f64) -> Result<Option<WebLock>, JsValue> {
        let timeout = std::pin::pin!(sleep_ms(ms));
        match select(&mut self.granted, timeout).await {
            Either::Left((granted, _)) => granted.unwrap_or(Err(JsValue::UNDEFINED)).map(Some),
            Either::Right(_) => Ok(None),
        }
    }
}

impl Drop for LockRequest {
    /// After the lock was granted this means nothing to the browser.
    fn drop(&mut self) {
        self.controller.abort();
    }
}

/// What the browser calls when the lock is ours: it is, until the promise is resolved.
fn hold(sender: Option<oneshot::Sender<Result<WebLock, JsValue>>>) -> JsValue {
    let mut release = None;
    let held = Promise::new(&mut |resolve, _| release = Some(resolve));
    if let (Some(sender), Some(release)) = (sender, release) {
        // Where nobody waits any more the lock is dropped here, and free again.
        let _ = sender.send(Ok(WebLock { release }));
        return held.into();
    }
    JsValue::UNDEFINED
}
