//! A thread pool for many short, even pieces of work.
//!
//! A decode step is some hundred products of 20 to 200 µs each, so handing one
//! out must cost little: work is split statically, one contiguous part per thread,
//! the calling thread has the first part, and idle threads spin for longer than the
//! calling thread is usually busy alone before they sleep. The pool knows nothing of
//! what it runs.
//!
//! Parts consist of a few pieces, which threads claim one by one: first their own
//! part's, then what is left of others'. On a quiet machine each thread thus reads
//! the same memory in every token; on a busy one the caller does not wait for a
//! thread that the system has not let run, but does its work.
//!
//! Threads come from a [`Spawner`]: `std::thread` natively, nested workers on the
//! web. They join when they are ready, and a job is split among those that have
//! joined: a thread that comes late, or never, costs speed and nothing else.
//! Without shared memory (WebAssembly without `atomics`) the pool has the calling
//! thread only, and never asks for more.
//!
//! A panic of the work comes back to the caller. Where a thread ends without
//! unwinding (a panic that aborts, or a trap in WebAssembly) its part is never
//! finished; whoever witnesses that sets the pool's [death
//! flag](PoolThread::death_flag), and the caller panics rather than wait.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most threads a pool may have.
pub const MAX_THREADS: usize = 64;

/// How often a thread looks for news before it sleeps: some 150 µs. To be woken costs
/// 5 to 100 µs, the more in a virtual machine, and what a token needs of one thread alone
/// between two jobs takes up to 50 µs: who sleeps then comes too late every time.
/// WebAssembly has no pause instruction, so a look takes far less time there.
const N_SPINS: usize = if cfg!(target_arch = "wasm32") {
    200_000
} else {
    8_000
};

/// Pieces of a part: few enough that claiming them costs nothing beside the work.
const N_PIECES: usize = 4;

/// Borders of pieces are multiples of this where there are items enough, as kernels
/// compute so many neighbouring groups of rows together.
const PIECE_ALIGN: usize = 2;

/// How often a sleeping caller looks at the death flag: a script that sets it has no
/// way to wake the caller.
const DEATH_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// A part of the work: the items from `start` up to `end`.
type Body<'a> = dyn Fn(Range<usize>) + Sync + 'a;

/// Starts the pool's threads.
pub trait Spawner {
    /// Starts a thread that calls [`PoolThread::run`], or a worker that calls
    /// [`worker_main`] with the thread's [ticket](PoolThread::into_ticket). It need
    /// not have started on return.
    ///
    /// # Errors
    /// The platform has no more threads.
    fn spawn(&self, thread: PoolThread) -> io::Result<()>;
}

/// Threads of the operating system.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug, Clone, Copy, Default)]
pub struct OsThreads;

#[cfg(not(target_arch = "wasm32"))]
impl Spawner for OsThreads {
    fn spawn(&self, thread: PoolThread) -> io::Result<()> {
        std::thread::Builder::new()
            .name("nox-engine".to_owned())
            .spawn(|| thread.run())
            .map(drop)
    }
}

/// How many threads a native pool has unless told otherwise: one per physical
/// core, as two threads on one core slow each other down.
#[cfg(not(target_arch = "wasm32"))]
pub fn default_threads() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    num_cpus::get_physical().clamp(1, allowed).min(MAX_THREADS)
}

/// Threads that wait together for work.
///
/// The pool may move between threads, but one thread at a time uses it.
pub struct ThreadPool {
    shared: Arc<Shared>,
    not_sync: PhantomData<Cell<()>>,
}

impl ThreadPool {
    /// A pool of the calling thread alone.
    pub fn single() -> Self {
        Self {
            shared: Arc::new(Shared::default()),
            not_sync: PhantomData,
        }
    }

    /// A pool of the calling thread and `n_threads - 1` others, at most [`MAX_THREADS`].
    ///
    /// # Errors
    /// The spawner fails.
    pub fn new(n_threads: usize, spawner: &dyn Spawner) -> io::Result<Self> {
        let pool = Self::single();
        if !cfg!(all(target_arch = "wasm32", not(target_feature = "atomics"))) {
            for _ in 1..n_threads.min(MAX_THREADS) {
                spawner.spawn(PoolThread {
                    shared: Arc::clone(&pool.shared),
                })?;
            }
        }
        Ok(pool)
    }

    /// The threads that take part now, the calling one among them.
    pub fn n_threads(&self) -> usize {
        let n_joined = 1 + self.shared.n_joined.load(Ordering::SeqCst);
        n_joined.min(self.shared.limit.load(Ordering::SeqCst))
    }

    /// From now on at most `n_threads` take part, the calling one among them; the
    /// others sleep until they are let in again.
    pub fn use_threads(&self, n_threads: usize) {
        let shared = &*self.shared;
        shared.limit.store(n_threads.max(1), Ordering::SeqCst);
        drop(lock(&shared.wake.0));
        shared.let_in.notify_all();
    }

    /// Runs `body` over `0..n_items`, each item in exactly one call, and returns
    /// when all calls have.
    ///
    /// # Panics
    /// With the first panic of `body`, on whatever thread it was; and when a thread
    /// has died.
    pub fn run(&self, n_items: usize, body: &Body<'_>) {
        let n_parts = self.n_threads().min(n_items);
        if n_parts <= 1 {
            if n_items > 0 {
                body(0..n_items);
            }
            return;
        }
        let shared = &*self.shared;
        shared.assert_alive();
        let number = shared.publish(n_items, n_parts, body);
        shared.run_pieces(number, n_parts, 0);
        // The others borrow `body`: whatever happened here, they must finish first.
        shared.wait_until_done();
        if let Some(payload) = lock(&shared.panic).take() {
            resume_unwind(payload);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::SeqCst);
        self.shared.announce(0);
        drop(lock(&self.shared.wake.0));
        self.shared.let_in.notify_all();
    }
}

/// What a new thread runs.
pub struct PoolThread {
    shared: Arc<Shared>,
}

/// Threads that have been asked for and have not started, by ticket.
static TICKETS: Mutex<Vec<(usize, PoolThread)>> = Mutex::new(Vec::new());

impl PoolThread {
    /// Works for the pool until the pool is dropped.
    pub fn run(self) {
        let guard = AbortOnUnwind;
        self.shared.work();
        std::mem::forget(guard);
    }

    /// The address of the pool's death flag, for whoever runs this thread where it can
    /// end without unwinding. It is valid until [`Self::run`] has returned, and so for
    /// ever if it never does.
    ///
    /// Anything but zero, stored atomically, makes the caller of [`ThreadPool::run`]
    /// panic within a fraction of a second, now or at its next job. Other threads may
    /// still be using what that caller lent them, so the flag is for programs that a
    /// panic ends.
    pub fn death_flag(&self) -> *mut i32 {
        self.shared.is_dead.as_ptr()
    }

    /// A number that stands for this thread, to be sent to where it starts.
    pub fn into_ticket(self) -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let ticket = NEXT.fetch_add(1, Ordering::Relaxed);
        lock(&TICKETS).push((ticket, self));
        ticket
    }
}

/// The body's panics are caught, so a thread that unwinds has a defect of the pool
/// itself; the caller would wait for it with its data lent out.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// What a nested worker calls: works for the pool that gave out `ticket`, and
/// returns when that pool is dropped. An unknown or used ticket returns at once.
pub fn worker_main(ticket: usize) {
    let thread = {
        let mut tickets = lock(&TICKETS);
        let position = tickets.iter().position(|(given, _)| *given == ticket);
        position.map(|idx| tickets.swap_remove(idx).1)
    };
    if let Some(thread) = thread {
        thread.run();
    }
}

/// The `idx`th of `n_pieces` even pieces, [`N_PIECES`] of them a part.
fn piece(n_items: usize, n_pieces: usize, idx: usize) -> Range<usize> {
    let border = |idx: usize| {
        let exact = n_items * idx / n_pieces;
        if idx < n_pieces && n_items >= n_pieces * PIECE_ALIGN {
            exact / PIECE_ALIGN * PIECE_ALIGN
        } else {
            exact
        }
    };
    border(idx)..border(idx + 1)
}

/// A panic cannot leave the data behind these locks half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The job that is being worked on.
#[derive(Clone, Copy)]
struct Task {
    n_items: usize,
    /// Valid until `n_pending` is zero.
    body: *const Body<'static>,
}

/// How many pieces of a part are claimed: the job's number in the upper bits, the
/// count in the lower 16. In a cache line of its own, as each has its own thread.
#[derive(Default)]
#[repr(align(64))]
struct Claims(AtomicU64);

impl Claims {
    fn open(&self, number: u64) {
        self.0.store(number << 16, Ordering::SeqCst);
    }

    /// The next piece, or `None` when all are claimed or the job is over.
    fn claim(&self, number: u64) -> Option<usize> {
        let mut seen = self.0.load(Ordering::SeqCst);
        loop {
            let n_claimed = (seen & 0xffff) as usize;
            if seen >> 16 != number || n_claimed == N_PIECES {
                return None;
            }
            let swapped =
                self.0
                    .compare_exchange_weak(seen, seen + 1, Ordering::SeqCst, Ordering::SeqCst);
            match swapped {
                Ok(_) => return Some(n_claimed),
                Err(now) => seen = now,
            }
        }
    }
}

/// In a cache line of its own: who waits for one word does not slow down who writes
/// another.
#[derive(Default)]
#[repr(align(64))]
struct Apart<T>(T);

impl<T> Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

struct Shared {
    /// A job's number in the upper bits, its number of parts in the lower 16. One
    /// word, so that a thread without a part never looks at `task`.
    job: Apart<AtomicU64>,
    task: UnsafeCell<Option<Task>>,
    /// For each part of the job.
    claims: [Claims; MAX_THREADS],
    n_joined: AtomicUsize,
    /// Threads with this number or a higher one sleep on `let_in`.
    limit: AtomicUsize,
    let_in: Condvar,
    /// Pieces that are not reported as finished.
    n_pending: Apart<AtomicUsize>,
    n_asleep: AtomicUsize,
    wake: (Mutex<()>, Condvar),
    caller_sleeps: AtomicBool,
    done: (Mutex<()>, Condvar),
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Not zero once a thread has ended with its part unfinished.
    is_dead: AtomicI32,
    is_closed: AtomicBool,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            job: Apart::default(),
            task: UnsafeCell::default(),
            claims: std::array::from_fn(|_| Claims::default()),
            n_joined: AtomicUsize::default(),
            limit: AtomicUsize::new(MAX_THREADS),
            let_in: Condvar::default(),
            n_pending: Apart::default(),
            n_asleep: AtomicUsize::default(),
            wake: Default::default(),
            caller_sleeps: AtomicBool::default(),
            done: Default::default(),
            panic: Mutex::default(),
            is_dead: AtomicI32::default(),
            is_closed: AtomicBool::default(),
        }
    }
}

// SAFETY: `task` is written by the caller before a job's claims are opened, and read
// only by a thread that has claimed a piece and not reported it; the caller awaits the
// reports of all pieces before it writes again. Everything else is atomic or locked.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer in `task` is followed only while it is valid.
unsafe impl Send for Shared {}

impl Shared {
    /// Returns the job's number.
    fn publish(&self, n_items: usize, n_parts: usize, body: &Body<'_>) -> u64 {
        // SAFETY: only the lifetime changes; `run` awaits all pieces before `body` ends.
        let body = unsafe { std::mem::transmute::<*const Body<'_>, *const Body<'static>>(body) };
        // SAFETY: no piece is claimed and unreported, so no thread reads the cell.
        unsafe { *self.task.get() = Some(Task { n_items, body }) };
        self.n_pending.store(n_parts * N_PIECES, Ordering::SeqCst);
        let number = self.next_number();
        for claims in &self.claims[..n_parts] {
            claims.open(number);
        }
        self.announce(n_parts);
        number
    }

    /// The number of the next job; only the caller announces jobs.
    fn next_number(&self) -> u64 {
        ((self.job.load(Ordering::SeqCst) >> 16) + 1) & (u64::MAX >> 16)
    }

    /// Sequentially consistent, as is the counterpart in `next_job`: either the
    /// thread sees the job before it sleeps, or we see that it sleeps.
    fn announce(&self, n_parts: usize) {
        let job = self.next_number() << 16 | n_parts as u64;
        self.job.store(job, Ordering::SeqCst);
        if self.n_asleep.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.wake.0));
            self.wake.1.notify_all();
        }
    }

    fn wait_until_done(&self) {
        for _ in 0..N_SPINS {
            if self.n_pending.load(Ordering::SeqCst) == 0 {
                return;
            }
            std::hint::spin_loop();
        }
        let mut guard = lock(&self.done.0);
        self.caller_sleeps.store(true, Ordering::SeqCst);
        while self.n_pending.load(Ordering::SeqCst) > 0 {
            self.assert_alive();
            let woken = self.done.1.wait_timeout(guard, DEATH_CHECK_INTERVAL);
            guard = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.caller_sleeps.store(false, Ordering::SeqCst);
    }

    /// # Panics
    /// A thread has died.
    fn assert_alive(&self) {
        if self.is_dead.load(Ordering::SeqCst) == 0 {
            return;
        }
        // A thread that could still speak left its text here.
        let text = lock(&self.panic)
            .take()
            .and_then(|text| text.downcast::<String>().ok());
        match text {
            Some(text) => panic!("a thread of the pool has died: {text}"),
            None => panic!("a thread of the pool has died in a trap"),
        }
    }

    /// Claims and runs pieces of a job, those of the part `own` first, and reports them.
    fn run_pieces(&self, number: u64, n_parts: usize, own: usize) {
        let mut n_run = 0;
        for offset in 0..n_parts {
            let part = (own + offset) % n_parts;
            while let Some(idx) = self.claims[part].claim(number) {
                self.run_piece(n_parts * N_PIECES, part * N_PIECES + idx);
                n_run += 1;
            }
        }
        // Who ran none has nothing to do with this job, which may be over.
        if n_run > 0 {
            self.report(n_run);
        }
    }

    fn report(&self, n_run: usize) {
        let was_last = self.n_pending.fetch_sub(n_run, Ordering::SeqCst) == n_run;
        if was_last && self.caller_sleeps.load(Ordering::SeqCst) {
            drop(lock(&self.done.0));
            self.done.1.notify_one();
        }
    }

    /// Runs a piece that has been claimed.
    fn run_piece(&self, n_pieces: usize, idx: usize) {
        // SAFETY: the claimed piece is not reported, so the caller has written the task
        // and waits for us before it touches it again.
        let task = unsafe { *self.task.get() };
        if let Some(Task { n_items, body }) = task {
            let items = piece(n_items, n_pieces, idx);
            if !items.is_empty() {
                // SAFETY: the caller keeps the body alive until this piece is reported.
                let body = unsafe { &*body };
                let result = catch_unwind(AssertUnwindSafe(|| body(items)));
                if let Err(payload) = result {
                    lock(&self.panic).get_or_insert(payload);
                }
            }
        }
    }

    /// A pool thread's life.
    fn work(&self) {
        #[cfg(panic = "abort")]
        let _watch = abort::watch(self);
        // Read before joining, so that the first job after joining is not missed.
        let mut seen = self.job.load(Ordering::SeqCst);
        let own = 1 + self.n_joined.fetch_add(1, Ordering::SeqCst);
        while !self.is_closed.load(Ordering::SeqCst) {
            if own >= self.limit.load(Ordering::SeqCst) {
                self.wait_to_be_let_in(own);
                // `seen` stays: the job that is running now is not missed.
                continue;
            }
            seen = self.next_job(seen);
            let n_parts = (seen & 0xffff) as usize;
            if own < n_parts {
                self.run_pieces(seen >> 16, n_parts, own);
            }
        }
    }

    fn wait_to_be_let_in(&self, own: usize) {
        let is_out = |_: &mut ()| {
            own >= self.limit.load(Ordering::SeqCst) && !self.is_closed.load(Ordering::SeqCst)
        };
        let waited = self.let_in.wait_while(lock(&self.wake.0), is_out);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn next_job(&self, seen: u64) -> u64 {
        for _ in 0..N_SPINS {
            let job = self.job.load(Ordering::SeqCst);
            if job != seen {
                return job;
            }
            std::hint::spin_loop();
        }
        let mut guard = lock(&self.wake.0);
        self.n_asleep.fetch_add(1, Ordering::SeqCst);
        let job = loop {
            let job = self.job.load(Ordering::SeqCst);
            if job != seen {
                break job;
            }
            guard = self
                .wake
                .1
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        };
        self.n_asleep.fetch_sub(1, Ordering::SeqCst);
        job
    }
}

/// Where a panic ends the thread without unwinding, the panic hook still runs: it
/// notes what was said, and wakes the caller.
#[cfg(panic = "abort")]
mod abort {
    use super::{Shared, lock};
    use std::cell::Cell;
    use std::sync::Once;
    use std::sync::atomic::Ordering;

    thread_local! {
        static POOL: Cell<Option<*const Shared>> = const { Cell::new(None) };
    }

    /// For as long as it lives, a panic of this thread is the death of the pool.
    pub(super) struct Watch;

    impl Drop for Watch {
        fn drop(&mut self) {
            POOL.set(None);
        }
    }

    pub(super) fn watch(shared: &Shared) -> Watch {
        static HOOK: Once = Once::new();
        POOL.set(Some(shared));
        HOOK.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                if let Some(shared) = POOL.get() {
                    // SAFETY: the watch is on the stack of `work`, which borrows the pool.
                    unsafe { &*shared }.die(info.to_string());
                }
                previous(info);
            }));
        });
        Watch
    }

    impl Shared {
        fn die(&self, text: String) {
            lock(&self.panic).get_or_insert(Box::new(text));
            self.is_dead.store(1, Ordering::SeqCst);
            drop(lock(&self.done.0));
            self.done.1.notify_one();
        }
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    /// Runs a test on a thread of its own: a pool that never comes back is a failure,
    /// not a test without an end.
    #[track_caller]
    fn in_time(test: impl FnOnce() + Send + 'static) {
        let (send, ended) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let _dropped_at_the_end: std::sync::mpsc::Sender<()> = send;
            test();
        });
        let limit = std::time::Duration::from_secs(60);
        assert_ne!(
            ended.recv_timeout(limit),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout),
            "the pool has kept a test waiting for {limit:?}"
        );
        if let Err(payload) = thread.join() {
            std::panic::resume_unwind(payload);
        }
    }

    fn wait_for(pool: &ThreadPool, n_threads: usize) {
        while pool.n_threads() < n_threads {
            std::thread::yield_now();
        }
    }

    fn sum_of(pool: &ThreadPool, n_items: usize) -> (usize, usize) {
        let (n_calls, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
        pool.run(n_items, &|range| {
            n_calls.fetch_add(1, Ordering::Relaxed);
            sum.fetch_add(range.sum(), Ordering::Relaxed);
        });
        (n_calls.into_inner(), sum.into_inner())
    }

    /// A job that ends only when `n_threads` are at work on it together.
    fn meet(pool: &ThreadPool, n_threads: usize) {
        let n_arrived = AtomicUsize::new(0);
        pool.run(n_threads, &|range| {
            n_arrived.fetch_add(range.len(), Ordering::SeqCst);
            while n_arrived.load(Ordering::SeqCst) < n_threads {
                std::thread::yield_now();
            }
        });
    }

    #[test]
    fn every_item_is_run_once_whatever_the_number_of_threads() {
        in_time(|| {
            for n_threads in 1..5 {
                let pool = ThreadPool::new(n_threads, &OsThreads).unwrap();
                for n_items in (0..20).chain([1000]).cycle().take(2_000) {
                    let (n_calls, sum) = sum_of(&pool, n_items);
                    assert_eq!(sum, n_items * n_items.saturating_sub(1) / 2);
                    assert!(n_calls <= (n_threads * N_PIECES).min(n_items.max(1)));
                }
                wait_for(&pool, n_threads);
                meet(&pool, n_threads);
                assert_eq!(sum_of(&pool, 100).1, 4950);
            }
        });
    }

    #[test]
    fn threads_leave_and_come_back() {
        in_time(|| {
            let pool = ThreadPool::new(4, &OsThreads).unwrap();
            wait_for(&pool, 4);
            for n_threads in [2, 4, 1, 3, 4] {
                pool.use_threads(n_threads);
                assert_eq!(pool.n_threads(), n_threads);
                meet(&pool, n_threads);
                assert_eq!(sum_of(&pool, 100).1, 4950);
            }
            pool.use_threads(100);
            assert_eq!(pool.n_threads(), 4);
        });
    }

    #[test]
    fn borders_between_pieces_fit_kernels_where_there_are_items_enough() {
        for n_items in [8 * PIECE_ALIGN, 1000, 1536, 49_152] {
            let ends: Vec<usize> = (0..8).map(|idx| piece(n_items, 8, idx).end).collect();
            assert_eq!(ends[7], n_items);
            assert!(ends[..7].iter().all(|end| end.is_multiple_of(PIECE_ALIGN)));
        }
    }

    #[test]
    fn a_thread_that_is_not_let_run_does_not_keep_the_caller_waiting() {
        in_time(|| {
            let pool = ThreadPool::new(2, &OsThreads).unwrap();
            wait_for(&pool, 2);
            // As if the system had taken the thread's core: it holds no piece, only its turn.
            let guard = loop {
                let guard = lock(&pool.shared.wake.0);
                if pool.shared.n_asleep.load(Ordering::SeqCst) == 1 {
                    break guard;
                }
                drop(guard);
                std::thread::yield_now();
            };
            pool.shared.n_asleep.store(0, Ordering::SeqCst);
            let own = std::thread::current().id();
            for _ in 0..10 {
                pool.run(100, &|_| assert_eq!(std::thread::current().id(), own));
            }
            pool.shared.n_asleep.store(1, Ordering::SeqCst);
            drop(guard);
            meet(&pool, 2);
        });
    }

    #[test]
    fn sleeping_threads_wake_for_the_next_job() {
        in_time(|| {
            let pool = ThreadPool::new(3, &OsThreads).unwrap();
            wait_for(&pool, 3);
            for _ in 0..20 {
                std::thread::sleep(std::time::Duration::from_millis(2));
                meet(&pool, 3);
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        in_time(|| {
            let pool = ThreadPool::new(3, &OsThreads).unwrap();
            wait_for(&pool, 3);
            for culprit in [0, 5, 8] {
                let run = || {
                    pool.run(9, &|range| {
                        assert!(!range.contains(&culprit), "item {culprit}");
                    });
                };
                let payload = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
                let message = payload.downcast_ref::<String>().unwrap();
                assert_eq!(message, &format!("item {culprit}"));
                assert_eq!(sum_of(&pool, 9).1, 36);
                meet(&pool, 3);
            }
        });
    }

    /// Threads that leave word where their death is to be noted.
    #[derive(Default)]
    struct Witnessed {
        death_flag: Cell<usize>,
    }

    impl Spawner for Witnessed {
        fn spawn(&self, thread: PoolThread) -> io::Result<()> {
            self.death_flag.set(thread.death_flag() as usize);
            OsThreads.spawn(thread)
        }
    }

    impl Witnessed {
        /// The flag as a witness outside of this code has it: an address.
        fn flag(&self) -> &AtomicI32 {
            // SAFETY: no thread of these tests returns before the flag's last use.
            unsafe { AtomicI32::from_ptr(self.death_flag.get() as *mut i32) }
        }
    }

    /// Leaves the rest of a job to another thread.
    fn wait_until(flag: &AtomicBool) {
        while !flag.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    }

    fn message_of(run: impl FnOnce()) -> &'static str {
        let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("it panics");
        payload.downcast_ref::<&str>().expect("a fixed text")
    }

    #[test]
    fn a_thread_that_ends_without_unwinding_does_not_keep_the_caller_waiting() {
        in_time(|| {
            let witness = Witnessed::default();
            let pool = ThreadPool::new(2, &witness).unwrap();
            wait_for(&pool, 2);
            let flag = witness.flag();
            let is_taken = AtomicBool::new(false);
            let job = || {
                pool.run(2, &|range| {
                    if range.start == 1 {
                        is_taken.store(true, Ordering::SeqCst);
                        // As in a trap: nothing of this stack runs again.
                        flag.store(1, Ordering::SeqCst);
                        loop {
                            std::thread::park();
                        }
                    }
                    wait_until(&is_taken);
                });
            };
            assert_eq!(message_of(job), "a thread of the pool has died in a trap");
            // Nor at the next job, which the dead thread does not even take.
            let next = || {
                sum_of(&pool, 2);
            };
            assert_eq!(message_of(next), "a thread of the pool has died in a trap");
        });
    }

    #[test]
    fn a_caller_that_already_sleeps_learns_of_a_death() {
        in_time(|| {
            let witness = Witnessed::default();
            let pool = ThreadPool::new(2, &witness).unwrap();
            wait_for(&pool, 2);
            let shared = Arc::clone(&pool.shared);
            let flag = witness.flag();
            let is_taken = AtomicBool::new(false);
            let job = || {
                pool.run(2, &|range| {
                    if range.start == 1 {
                        is_taken.store(true, Ordering::SeqCst);
                        while !shared.caller_sleeps.load(Ordering::SeqCst) {
                            std::thread::yield_now();
                        }
                        // Taken once more when the caller has given it up to sleep.
                        drop(lock(&shared.done.0));
                        flag.store(1, Ordering::SeqCst);
                        loop {
                            std::thread::park();
                        }
                    }
                    wait_until(&is_taken);
                });
            };
            assert_eq!(message_of(job), "a thread of the pool has died in a trap");
        });
    }

    #[test]
    fn tickets_start_a_thread_once() {
        in_time(|| {
            struct ByTicket;
            impl Spawner for ByTicket {
                fn spawn(&self, thread: PoolThread) -> io::Result<()> {
                    let ticket = thread.into_ticket();
                    std::thread::spawn(move || {
                        worker_main(ticket);
                        worker_main(ticket);
                    });
                    Ok(())
                }
            }
            let pool = ThreadPool::new(2, &ByTicket).unwrap();
            wait_for(&pool, 2);
            meet(&pool, 2);
            worker_main(usize::MAX);
        });
    }
}
