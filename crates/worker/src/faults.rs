//! Ways to die, for tests of what becomes of a dead runtime.
//!
//! A test imports the module that the worker's script has started, in that worker,
//! and calls one of these; the builds that are shipped have none of them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use nox_engine::{CpuLane, Lane};
use wasm_bindgen::prelude::wasm_bindgen;

thread_local! {
    /// The lane of the running runtime.
    static LANE: RefCell<Option<Rc<CpuLane>>> = const { RefCell::new(None) };
}

/// Notes where the pool's faults are to strike.
pub(crate) fn note_lane(lane: &Rc<CpuLane>) {
    LANE.set(Some(Rc::clone(lane)));
}

/// A defect as Rust notices it.
#[wasm_bindgen]
pub fn panic_now() {
    panic!("a test asked for a panic");
}

/// A defect as only WebAssembly notices it: no Rust code runs afterwards.
#[wasm_bindgen]
pub fn trap_now() {
    core::arch::wasm32::unreachable();
}

/// As [`panic_now`], on the pool's second thread, with the first waiting for it.
#[wasm_bindgen]
pub fn panic_in_pool() {
    on_second_thread(|| panic!("a test asked for a panic in the pool"));
}

/// As [`trap_now`], on the pool's second thread, with the first waiting for it.
#[wasm_bindgen]
pub fn trap_in_pool() {
    on_second_thread(|| core::arch::wasm32::unreachable());
}

fn on_second_thread(fault: fn()) {
    let lane = LANE.with_borrow(Clone::clone);
    let lane = lane.expect("the runtime has been started");
    let n_threads = lane.n_threads();
    assert!(n_threads > 1, "there is no second thread");
    let has_begun = AtomicBool::new(false);
    // An item for each thread, whatever that costs; the first keeps this one busy until
    // another has taken the second.
    lane.for_each(n_threads, usize::MAX, &|items| {
        if items.start == 1 {
            has_begun.store(true, Ordering::SeqCst);
            fault();
        } else if items.start == 0 {
            while !has_begun.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
        }
    });
}
