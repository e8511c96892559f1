//! The run itself: corpus → tokenizer → batches → steps → file. Resumes from its checkpoint
//! with the same bits as a run that was never stopped.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::bpe::Bpe;
use crate::corpus::{self, Corpus};
use crate::gemm::Compute;
use crate::model::{Arena, Batch, Config, Model};
use crate::optim::{AdamW, Schedule};

/// Everything that decides the bits of the result.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of the text and of the first weights.
    pub seed: u64,
    /// Tokens, specials included.
    pub n_vocab: usize,
    /// Conversations from which the tokenizer learns its merges.
    pub n_bpe: u64,
    /// Most tokens in one step.
    pub batch_tokens: usize,
    /// Learning rate over the run.
    pub schedule: Schedule,
    /// See [`Config`].
    pub n_embd: usize,
    /// See [`Config`].
    pub n_layer: usize,
    /// See [`Config`].
    pub n_head: usize,
    /// See [`Config`].
    pub n_head_kv: usize,
    /// See [`Config`].
    pub n_ff: usize,
}

impl Plan {
    /// The plan of the published file. The rate is the highest that stayed smooth in trials.
    pub const PUBLISHED: Self = Self {
        seed: 20_261_122,
        n_vocab: 2048,
        n_bpe: 12_000,
        batch_tokens: 768,
        schedule: Schedule {
            peak_lr: 1.5e-3,
            n_warmup: 150,
            decay_from: 22_000,
            n_steps: 32_000,
            floor: 0.02,
        },
        n_embd: 256,
        n_layer: 4,
        n_head: 8,
        n_head_kv: 4,
        n_ff: 640,
    };

    /// Shape of the network for a vocabulary of `n_vocab`.
    pub fn config(&self, n_vocab: usize) -> Config {
        Config {
            n_vocab,
            n_embd: self.n_embd,
            n_layer: self.n_layer,
            n_head: self.n_head,
            n_head_kv: self.n_head_kv,
            n_ff: self.n_ff,
            n_ctx: 1024,
            rms_eps: 1e-5,
            rope_base: 10_000.0,
        }
    }
}

/// Conversations from here on are never trained on.
const HELD_OUT: u64 = 1 << 40;
/// Longest conversation in tokens; a longer one is skipped.
const MAX_TOKENS: usize = 900;
const CHECKPOINT_EVERY: Duration = Duration::from_secs(150);

/// Packs conversations into batches, in order.
struct Packer<'a> {
    corpus: &'a Corpus,
    bpe: &'a Bpe,
    next: u64,
}

impl Packer<'_> {
    /// As many of the next conversations as fit into `n_tokens`.
    fn batch(&mut self, n_tokens: usize) -> Batch {
        let mut batch = Batch {
            starts: vec![0],
            ..Batch::default()
        };
        loop {
            let (ids, learnt) = self.bpe.conversation(&self.corpus.conversation(self.next));
            if ids.len() <= MAX_TOKENS {
                let start = batch.tokens.len();
                if start + ids.len() > n_tokens && start > 0 {
                    return batch;
                }
                for i in 1..ids.len() {
                    if learnt[i] {
                        batch.targets.push((start + i - 1, ids[i]));
                    }
                }
                batch.tokens.extend_from_slice(&ids);
                batch.starts.push(batch.tokens.len());
            }
            self.next += 1;
        }
    }
}

/// The tokenizer of a plan.
pub fn tokenizer(plan: &Plan, corpus: &Corpus) -> Bpe {
    let texts: Vec<String> = (0..plan.n_bpe)
        .flat_map(|i| corpus.conversation(i))
        .flat_map(|m| [m.content, format!("{}\n", m.role)])
        .collect();
    Bpe::train(texts.iter().map(String::as_str), plan.n_vocab)
}

/// Trains by `plan` and returns the model, its tokenizer and the number of conversations seen.
/// The checkpoint lies in `work`.
///
/// # Errors
/// When the checkpoint cannot be written, or the loss is no longer a number.
pub fn train(plan: &Plan, compute: &Compute, work: &Path) -> Result<(Model, Bpe, u64)> {
    fs::create_dir_all(work)?;
    let corpus = Corpus::new(plan.seed);
    let bpe = tokenizer(plan, &corpus);
    let mut model = Model::init(plan.config(bpe.n_vocab()), plan.seed);
    let decays = model.layout.matrices(plan.n_embd);
    let mut adam = AdamW::new(model.params.len());
    let mut packer = Packer {
        corpus: &corpus,
        bpe: &bpe,
        next: 0,
    };
    let mut test = Packer {
        corpus: &corpus,
        bpe: &bpe,
        next: HELD_OUT,
    };
    let tests: Vec<Batch> = (0..4).map(|_| test.batch(plan.batch_tokens)).collect();
    let checkpoint = work.join("checkpoint.bin");
    let mut step = 0;
    if let Some(found) = Checkpoint::load(&checkpoint, plan, model.params.len())? {
        (step, packer.next) = (found.step, found.next);
        (model.params, adam.m, adam.v) = (found.params, found.m, found.v);
        println!("resumed at step {step}");
    }
    println!(
        "{} parameters, {} tokens in the vocabulary",
        model.params.len(),
        bpe.n_vocab()
    );

    let mut grads = vec![0.0; model.params.len()];
    let mut arena = Arena::default();
    let (started, first_step) = (Instant::now(), step);
    let (mut saved, mut told) = (Instant::now(), Instant::now());
    let (mut n_tokens, mut sum_loss, mut n_loss) = (0, 0.0, 0);
    let n_steps = plan.schedule.n_steps;
    while step < n_steps {
        let batch = packer.batch(plan.batch_tokens);
        grads.fill(0.0);
        let loss = model.loss(compute, &mut arena, &batch, Some(&mut grads));
        ensure!(loss.is_finite(), "loss is {loss} at step {step}");
        let lr = plan.schedule.lr(step);
        let norm = adam.step(compute, &mut model.params, &grads, &decays, step, lr);
        step += 1;
        (n_tokens, sum_loss, n_loss) = (n_tokens + batch.tokens.len(), sum_loss + loss, n_loss + 1);
        if step == n_steps || told.elapsed() > Duration::from_secs(20) {
            let per_second = n_tokens as f64 / told.elapsed().as_secs_f64();
            let per_step = started.elapsed().as_secs_f64() / (step - first_step) as f64;
            let held: f32 = tests
                .iter()
                .map(|b| model.loss(compute, &mut arena, b, None))
                .sum();
            println!(
                "step {step}/{n_steps}  loss {:.4}  held-out {:.4}  norm {norm:.2}  lr {lr:.5}  {per_second:.0} tokens/s  {:.0} s left",
                sum_loss / n_loss as f32,
                held / tests.len() as f32,
                per_step * (n_steps - step) as f64,
            );
            (told, n_tokens, sum_loss, n_loss) = (Instant::now(), 0, 0.0, 0);
        }
        if step == n_steps || saved.elapsed() > CHECKPOINT_EVERY {
            Checkpoint::save(&checkpoint, plan, step, packer.next, &model.params, &adam)?;
            saved = Instant::now();
        }
    }
    println!(
        "{} conversations, {:.0} s in this run",
        packer.next,
        started.elapsed().as_secs_f64()
    );
    let n_seen = packer.next;
    Ok((model, bpe, n_seen))
}

/// State between two steps.
struct Checkpoint {
    step: u64,
    next: u64,
    params: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
}

impl Checkpoint {
    /// A header that differs for another plan or another corpus. When the rate starts to fall
    /// and when the run ends are left out: both may still be moved while it is under way.
    fn header(plan: &Plan) -> Vec<u8> {
        use sha2::{Digest, Sha256};
        let schedule = Schedule {
            decay_from: 0,
            n_steps: 0,
            ..plan.schedule
        };
        let plan = Plan { schedule, ..*plan };
        let mut hash = Sha256::new();
        hash.update(format!("{plan:?}"));
        for text in corpus::sources() {
            hash.update(text);
        }
        hash.finalize().to_vec()
    }

    fn save(
        path: &Path,
        plan: &Plan,
        step: u64,
        next: u64,
        params: &[f32],
        adam: &AdamW,
    ) -> Result<()> {
        let part = path.with_extension("part");
        let mut file = std::io::BufWriter::new(fs::File::create(&part)?);
        file.write_all(&Self::header(plan))?;
        file.write_all(&step.to_le_bytes())?;
        file.write_all(&next.to_le_bytes())?;
        for x in params.iter().chain(&adam.m).chain(&adam.v) {
            file.write_all(&x.to_le_bytes())?;
        }
        file.into_inner()
            .context("flushing the checkpoint")?
            .sync_all()?;
        Ok(fs::rename(part, path)?)
    }

    /// `None` where there is no checkpoint, or one of another plan.
    fn load(path: &Path, plan: &Plan, n_params: usize) -> Result<Option<Self>> {
        let Ok(data) = fs::read(path) else {
            return Ok(None);
        };
        let header = Self::header(plan);
        if !data.starts_with(&header) || data.len() != header.len() + 16 + 12 * n_params {
            println!("the checkpoint belongs to another plan; starting afresh");
            return Ok(None);
        }
        let data = &data[header.len()..];
        let word =
            |at: usize| u64::from_le_bytes(data[at..at + 8].try_into().expect("eight bytes"));
        let mut floats = data[16..]
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")));
        let mut next = || floats.by_ref().take(n_params).collect::<Vec<f32>>();
        Ok(Some(Self {
            step: word(0),
            next: word(8),
            params: next(),
            m: next(),
            v: next(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_run_ends_with_the_same_bits() {
        let mut plan = Plan {
            n_vocab: 300,
            n_bpe: 50,
            batch_tokens: 300,
            ..Plan::PUBLISHED
        };
        (
            plan.n_embd,
            plan.n_layer,
            plan.n_head,
            plan.n_head_kv,
            plan.n_ff,
        ) = (32, 1, 2, 1, 32);
        plan.schedule = Schedule {
            n_warmup: 2,
            decay_from: 4,
            n_steps: 6,
            ..plan.schedule
        };
        let dir = std::env::temp_dir().join(format!("nox-recipe-{}", std::process::id()));
        let compute = Compute::new(1);
        let (whole, ..) = train(&plan, &compute, &dir.join("whole")).unwrap();

        let corpus = Corpus::new(plan.seed);
        let bpe = tokenizer(&plan, &corpus);
        let mut model = Model::init(plan.config(bpe.n_vocab()), plan.seed);
        let mut adam = AdamW::new(model.params.len());
        let mut packer = Packer {
            corpus: &corpus,
            bpe: &bpe,
            next: 0,
        };
        let decays = model.layout.matrices(plan.n_embd);
        for step in 0..3 {
            let mut grads = vec![0.0; model.params.len()];
            let batch = packer.batch(plan.batch_tokens);
            model.loss(&compute, &mut Arena::default(), &batch, Some(&mut grads));
            adam.step(
                &compute,
                &mut model.params,
                &grads,
                &decays,
                step,
                plan.schedule.lr(step),
            );
        }
        let half = dir.join("half");
        fs::create_dir_all(&half).unwrap();
        let path = half.join("checkpoint.bin");
        Checkpoint::save(&path, &plan, 3, packer.next, &model.params, &adam).unwrap();
        let (resumed, ..) = train(&plan, &Compute::new(2), &half).unwrap();
        fs::remove_dir_all(dir).unwrap();
        let bits = |m: &Model| m.params.iter().map(|p| p.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&whole), bits(&resumed));
    }
}
