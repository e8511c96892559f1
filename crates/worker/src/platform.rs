//! Time, tasks, randomness and the network of a web worker.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::LocalBoxFuture;
use js_sys::{Date, Promise, Uint8Array};
use nox_core::Clock;
use nox_protocol::MemoryUsage;
use nox_runtime::{ByteStream, Platform, StreamError};
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{MessageChannel, MessagePort, Performance};

use crate::js;
use crate::streams::fetch;

/// The platform of a dedicated worker.
pub(crate) struct WebPlatform {
    performance: Option<Performance>,
    yielder: Yielder,
}

impl WebPlatform {
    /// # Errors
    /// The browser has no message channels.
    pub(crate) fn new() -> Result<Self, JsValue> {
        Ok(Self {
            performance: js::scope().performance(),
            yielder: Yielder::new()?,
        })
    }
}

impl Clock for WebPlatform {
    fn now_ms(&self) -> f64 {
        self.performance
            .as_ref()
            .map_or_else(Date::now, Performance::now)
    }

    fn local_unix_seconds(&self) -> i64 {
        let now = Date::new_0();
        let local_ms = now.get_time() - now.get_timezone_offset() * 60_000.0;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "saturates in some million years"
        )]
        let seconds = (local_ms / 1000.0) as i64;
        seconds
    }
}

impl Platform for WebPlatform {
    fn spawn(&self, future: LocalBoxFuture<'static, ()>) {
        spawn_local(future);
    }

    fn yield_now(&self) -> LocalBoxFuture<'_, ()> {
        self.yielder.turn().boxed_local()
    }

    fn sleep_ms(&self, ms: f64) -> LocalBoxFuture<'_, ()> {
        sleep_ms(ms).boxed_local()
    }

    fn random_u64(&self) -> u64 {
        // The bytes are made outside of this module's memory, which may be shared:
        // browsers fill no shared memory.
        let bytes = Uint8Array::new_with_length(8);
        let filled = js::scope()
            .crypto()
            .and_then(|crypto| crypto.get_random_values_with_array_buffer_view(&bytes));
        let mut number = [0; 8];
        bytes.copy_to(&mut number);
        match filled {
            Ok(_) => u64::from_le_bytes(number),
            // Every browser has it; what is asked for here is not secret.
            Err(_) => js_sys::Math::random().to_bits(),
        }
    }

    fn memory_usage(&self) -> MemoryUsage {
        const PAGE_BYTES: u64 = 64 << 10;
        let size_bytes = core::arch::wasm32::memory_size(0) as u64 * PAGE_BYTES;
        MemoryUsage {
            resident_bytes: Some(size_bytes),
            // It only grows.
            peak_bytes: Some(size_bytes),
        }
    }

    fn unix_ms(&self) -> i64 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "saturates in some million years"
        )]
        let ms = Date::now() as i64;
        ms
    }

    fn fetch<'a>(
        &'a self,
        url: &'a str,
    ) -> LocalBoxFuture<'a, Result<Box<dyn ByteStream>, StreamError>> {
        fetch(url).boxed_local()
    }
}

/// Completes after about so many milliseconds.
pub(crate) async fn sleep_ms(ms: f64) {
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    let ms = ms as i32;
    let promise = Promise::new(&mut |resolve, _| {
        let set = js::scope().set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, ms);
        if set.is_err() {
            // Rather no pause than one without end.
            let _ = resolve.call0(&JsValue::UNDEFINED);
        }
    });
    // The promise is never rejected.
    let _ = JsFuture::from(promise).await;
}

/// Turns of the event loop, by a message to ourselves: timers would be clamped to
/// 4 ms, and promises give no turn at all.
struct Yielder {
    post: MessagePort,
    waiting: Rc<RefCell<VecDeque<oneshot::Sender<()>>>>,
    _receive: MessagePort,
    _on_message: Closure<dyn FnMut()>,
}

impl Yielder {
    fn new() -> Result<Self, JsValue> {
        let channel = MessageChannel::new()?;
        let waiting: Rc<RefCell<VecDeque<oneshot::Sender<()>>>> = Rc::default();
        let woken = Rc::clone(&waiting);
        let on_message = Closure::<dyn FnMut()>::new(move || {
            let first = woken.borrow_mut().pop_front();
            if let Some(sender) = first {
                // Whoever was cancelled meanwhile does not wait any more.
                let _ = sender.send(());
            }
        });
        channel
            .port1()
            .set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        Ok(Self {
            post: channel.port2(),
            waiting,
            _receive: channel.port1(),
            _on_message: on_message,
        })
    }

    async fn turn(&self) {
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().push_back(sender);
        if self.post.post_message(&JsValue::NULL).is_ok() {
            // The sender lives as long as this platform.
            let _ = receiver.await;
        }
    }
}
