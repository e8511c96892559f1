//! What the tabs of one origin tell each other about the database: who has it, and
//! who wants it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use futures::future::select;
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{BroadcastChannel, MessageEvent};

use crate::platform::sleep_ms;

/// Said by the one who wants the database, to the one who has it.
const WANTED: &str = "wanted";
/// Asks whether anybody has it.
const WHO_HOLDS: &str = "who holds?";
/// The answer of the one who has it.
const HELD: &str = "held";

/// One who has just got the database may not have been there when it was asked.
const ASK_INTERVAL_MS: f64 = 100.0;

/// A channel to the other tabs; nobody hears itself.
pub(crate) struct Tabs {
    channel: BroadcastChannel,
    heard: Rc<Heard>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
}

#[derive(Default)]
struct Heard {
    /// This is the one who has the database.
    holds: Cell<bool>,
    wanted: Signal,
    held: Signal,
}

impl Tabs {
    /// # Errors
    /// This browser has no channel between tabs.
    pub(crate) fn new(name: &str) -> Result<Self, JsValue> {
        let channel = BroadcastChannel::new(name)?;
        let heard = Rc::new(Heard::default());
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new({
            let (heard, answers) = (Rc::clone(&heard), channel.clone());
            move |event: MessageEvent| match event.data().as_string().as_deref() {
                Some(WANTED) if heard.holds.get() => heard.wanted.raise(),
                Some(WHO_HOLDS) if heard.holds.get() => say(&answers, HELD),
                Some(HELD) => heard.held.raise(),
                _ => {}
            }
        });
        channel.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        Ok(Self {
            channel,
            heard,
            _on_message: on_message,
        })
    }

    /// Whether this is the one who has the database. What was wanted before is settled.
    pub(crate) fn set_holds(&self, holds: bool) {
        self.heard.holds.set(holds);
        self.heard.wanted.lower();
    }

    /// Tells whoever has the database that it is wanted.
    pub(crate) fn want(&self) {
        say(&self.channel, WANTED);
    }

    /// Completes when another wants the database that is held here.
    pub(crate) async fn wanted(&self) {
        self.heard.wanted.raised().await;
    }

    /// Completes when another says that it has the database. One whose worker is
    /// ending says nothing any more.
    pub(crate) async fn held_elsewhere(&self) {
        self.heard.held.lower();
        while !self.heard.held.is_raised() {
            say(&self.channel, WHO_HOLDS);
            let answer = std::pin::pin!(self.heard.held.raised());
            select(answer, std::pin::pin!(sleep_ms(ASK_INTERVAL_MS))).await;
        }
    }
}

impl Drop for Tabs {
    fn drop(&mut self) {
        self.channel.close();
    }
}

fn say(channel: &BroadcastChannel, text: &str) {
    // A channel that is open takes any text.
    let _ = channel.post_message(&text.into());
}

/// Something that is so from some time on; one task at a time waits for it.
#[derive(Default)]
struct Signal {
    is_raised: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Signal {
    fn raise(&self) {
        self.is_raised.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    fn lower(&self) {
        self.is_raised.set(false);
    }

    fn is_raised(&self) -> bool {
        self.is_raised.get()
    }

    async fn raised(&self) {
        poll_fn(|context| {
            if self.is_raised() {
                return Poll::Ready(());
            }
            self.waiting.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}
