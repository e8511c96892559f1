//! Turns that are kept: a real database in a file, and backends that play scripts.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

#[path = "../common/mod.rs"]
mod common;

mod crashes;
mod history;
mod instruments;
mod keeping;
mod keys;
mod precedence;
mod routes;
mod scripted;
