//! Turns against scripted backends: one on this device, one that leaves it.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod cancelling;
mod instruments;
mod prompts;
mod replies;
mod scores;
mod scripted;
mod splits;
mod structured;
