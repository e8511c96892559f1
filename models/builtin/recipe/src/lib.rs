//! The recipe of Nox's small built-in model: it generates its own text, trains a tokenizer and
//! a Llama-shaped network on it, writes a GGUF file and evaluates that file. The same seed
//! gives the same file, bit for bit, on any machine and for any number of threads.

pub mod bpe;
pub mod corpus;
pub mod engine;
pub mod eval;
pub mod gemm;
pub mod gguf;
pub mod math;
pub mod model;
pub mod optim;
pub mod rng;
pub mod train;
