//! The memory that one input takes: counted, and refused beyond a cap.
//!
//! Refusing is what a device does that has no more. Code that can bear it goes on with
//! an error, code that cannot ends the process with "memory allocation failed"; and
//! since no input may ask for so much in the first place, [`within`] fails either way.
//! Counts are kept per thread, so that tests may run side by side; a target computes on
//! the thread that calls it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The most bytes that an input may make the product hold at one time.
#[derive(Debug, Clone, Copy)]
pub struct MemoryCap {
    /// Whatever the input.
    pub fixed_bytes: usize,
    /// For each byte of the input.
    pub per_input_byte: usize,
}

impl MemoryCap {
    pub(crate) fn for_input(self, n_bytes: usize) -> usize {
        self.fixed_bytes + n_bytes * self.per_input_byte
    }
}

struct Metered;

#[global_allocator]
static ALLOCATOR: Metered = Metered;

struct Meter {
    /// Negative where memory from before is given back.
    held_bytes: Cell<isize>,
    cap_bytes: Cell<isize>,
    /// What was held and asked for when the cap was first reached.
    refused: Cell<Option<(isize, usize)>>,
}

thread_local! {
    static METER: Meter = const {
        Meter {
            held_bytes: Cell::new(0),
            cap_bytes: Cell::new(isize::MAX),
            refused: Cell::new(None),
        }
    };
}

/// Runs `work`, during which this thread may come to hold `cap_bytes` more than it does.
///
/// # Panics
/// It asked for more.
pub(crate) fn within(cap_bytes: usize, work: impl FnOnce()) {
    METER.with(|meter| {
        meter.held_bytes.set(0);
        meter.refused.set(None);
        meter.cap_bytes.set(cap_bytes as isize);
    });
    work();
    METER.with(|meter| {
        meter.cap_bytes.set(isize::MAX);
        if let Some((held_bytes, n_bytes)) = meter.refused.get() {
            panic!(
                "{n_bytes} bytes were asked for when {held_bytes} were held; \
                 an input of this length may take {cap_bytes}"
            );
        }
    });
}

/// Whether `n_bytes` more may be held; if so, they are counted.
fn grant(n_bytes: usize) -> bool {
    METER.with(|meter| {
        let held_bytes = meter.held_bytes.get();
        // A layout is never larger than `isize::MAX`.
        let wanted = held_bytes.saturating_add(n_bytes as isize);
        let granted = wanted <= meter.cap_bytes.get();
        if granted {
            meter.held_bytes.set(wanted);
        } else if meter.refused.get().is_none() {
            meter.refused.set(Some((held_bytes, n_bytes)));
        }
        granted
    })
}

fn give_back(n_bytes: usize) {
    METER.with(|meter| {
        let held_bytes = meter.held_bytes.get() - n_bytes as isize;
        meter.held_bytes.set(held_bytes);
    });
}

// SAFETY: every call that is not refused goes to the system's allocator with the
// arguments as they came; a null pointer is how an allocator refuses. The counts are
// plain cells of the thread, which neither allocate nor unwind.
unsafe impl GlobalAlloc for Metered {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !grant(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !grant(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        give_back(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, n_bytes: usize) -> *mut u8 {
        // While it is copied, both are there.
        if !grant(n_bytes) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        let moved = unsafe { System.realloc(pointer, layout, n_bytes) };
        give_back(if moved.is_null() {
            n_bytes
        } else {
            layout.size()
        });
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_the_cap_passes_and_a_byte_more_does_not() {
        let reserve = |n_bytes: usize| {
            within(4096, || {
                let mut bytes = Vec::<u8>::new();
                let _ = bytes.try_reserve_exact(n_bytes);
            });
        };
        reserve(4096);
        let refused = std::panic::catch_unwind(|| reserve(4097)).unwrap_err();
        let message = refused.downcast_ref::<String>().unwrap();
        assert!(message.contains("4097 bytes were asked for"), "{message}");
    }

    #[test]
    fn what_was_given_back_may_be_taken_again() {
        within(4096, || {
            for _ in 0..10 {
                drop(Vec::<u8>::with_capacity(4000));
            }
        });
    }
}
