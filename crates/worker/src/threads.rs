//! Threads of the engine's pool: nested workers on the same memory.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use js_sys::{Object, Reflect};
use nox_engine::pool::{MAX_THREADS, PoolThread, Spawner, ThreadPool};
use nox_protocol::method;
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Event, MessageEvent, Worker, WorkerOptions, WorkerType};

use crate::death::say_last_word;
use crate::js;
use crate::options::StartOptions;
use crate::platform::sleep_ms;

/// A nested worker compiles nothing; longer than this it takes only when it hangs.
const START_LIMIT_MS: f64 = 10_000.0;
const POLL_INTERVAL_MS: f64 = 5.0;

/// A pool with its story.
pub(crate) struct StartedPool {
    pub(crate) pool: ThreadPool,
    /// Why there are fewer threads than were asked for.
    pub(crate) shortage: Option<String>,
}

/// Starts the pool and waits until its threads have joined, or are known not to.
pub(crate) async fn start_pool(options: &StartOptions) -> StartedPool {
    let wanted = options.threads.unwrap_or(1).clamp(1, MAX_THREADS);
    let alone = |shortage: Option<String>| StartedPool {
        pool: ThreadPool::single(),
        shortage,
    };
    if wanted == 1 || !cfg!(target_feature = "atomics") {
        return alone(None);
    }
    let Some(pool_url) = &options.pool_url else {
        return alone(Some("no script for threads is given".to_owned()));
    };
    let spawner = match WebThreads::new(options, pool_url) {
        Ok(spawner) => spawner,
        Err(error) => return alone(Some(js::message(&error))),
    };
    let pool = match ThreadPool::new(wanted, &spawner) {
        Ok(pool) => pool,
        Err(error) => return alone(Some(error.to_string())),
    };
    let mut waited_ms = 0.0;
    while pool.n_threads() < wanted
        && waited_ms < START_LIMIT_MS
        && spawner.failure.borrow().is_none()
    {
        sleep_ms(POLL_INTERVAL_MS).await;
        waited_ms += POLL_INTERVAL_MS;
    }
    let n_threads = pool.n_threads();
    let shortage = (n_threads < wanted).then(|| {
        let failure = spawner.failure.borrow();
        let reason = failure
            .as_deref()
            .unwrap_or("the others did not start in time");
        format!("{n_threads} of {wanted} threads run: {reason}")
    });
    StartedPool { pool, shortage }
}

/// Starts nested workers.
struct WebThreads {
    pool_url: String,
    module_url: String,
    /// The first thing that went wrong.
    failure: Rc<RefCell<Option<String>>>,
}

impl WebThreads {
    fn new(options: &StartOptions, pool_url: &str) -> Result<Self, JsValue> {
        let module_url = match &options.module_url {
            Some(url) => url.clone(),
            None => {
                let path = format!("{}/nox_worker.js", options.build.name);
                web_sys::Url::new_with_base(&path, pool_url)?.href()
            }
        };
        Ok(Self {
            pool_url: pool_url.to_owned(),
            module_url,
            failure: Rc::default(),
        })
    }

    fn start(&self, thread: PoolThread) -> Result<(), JsValue> {
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        let worker = Worker::new_with_options(&self.pool_url, &options)?;
        self.listen(&worker)?;
        let death_flag = thread.death_flag() as usize;
        let message = Object::new();
        for (key, value) in [
            ("url", JsValue::from(self.module_url.as_str())),
            ("module", wasm_bindgen::module()),
            ("memory", wasm_bindgen::memory()),
            ("ticket", JsValue::from(thread.into_ticket())),
            ("deathFlag", JsValue::from(death_flag)),
        ] {
            Reflect::set(&message, &key.into(), &value)?;
        }
        worker.post_message(&message)?;
        // The browser ends nested workers with this one; until then they run.
        std::mem::forget(worker);
        Ok(())
    }

    /// Notes failures to start, and passes on the last word of a thread that dies while
    /// this worker is not waiting for it.
    fn listen(&self, worker: &Worker) -> Result<(), JsValue> {
        let failure = Rc::clone(&self.failure);
        let on_error = Closure::<dyn FnMut(Event)>::new(move |event: Event| {
            // Else it would come up again as this worker's own error.
            event.prevent_default();
            // A script that can't be fetched gives an event without a message.
            let reason = Reflect::get(&event, &"message".into()).unwrap_or_default();
            let reason = reason.as_string().filter(|text| !text.is_empty());
            let reason = reason.unwrap_or_else(|| "a thread's script failed".to_owned());
            failure.borrow_mut().get_or_insert(reason);
        });
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new(|event: MessageEvent| {
            let field = |value: &JsValue, name: &str| Reflect::get(value, &name.into());
            let data = event.data();
            if field(&data, "method").is_ok_and(|name| name == method::DIED) {
                let message = field(&data, "params").and_then(|params| field(&params, "message"));
                let message = message.ok().and_then(|message| message.as_string());
                say_last_word(&message.unwrap_or_default());
                js::scope().close();
            }
        });
        worker.add_event_listener_with_callback("error", on_error.as_ref().unchecked_ref())?;
        worker.add_event_listener_with_callback("message", on_message.as_ref().unchecked_ref())?;
        on_error.forget();
        on_message.forget();
        Ok(())
    }
}

impl Spawner for WebThreads {
    fn spawn(&self, thread: PoolThread) -> io::Result<()> {
        self.start(thread)
            .map_err(|error| io::Error::other(js::message(&error)))
    }
}
