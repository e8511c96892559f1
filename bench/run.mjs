// `cargo xtask bench`: the product's builds beside candle and wllama, in the same
// browser, on the same file. README.md says how to read what it prints.
//
// Environment: NOXICS_SITE (folder of the built site), NOXICS_BENCH_WASM (folder of
// the wasm builds), NOXICS_SERVE (the program that serves a folder, with its
// arguments), CHROMIUM. Defaults are where the tasks put things.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { launch, measure, version } from './src/browser.mjs';
import { loadNow, machineFacts, watchOthers } from './src/machine.mjs';
import { HELP, parseOptions } from './src/options.mjs';
import { keyOf, plan } from './src/plan.mjs';
import { makePrompt } from './src/prompt.mjs';
import { faultOf, render, speeds, summarise } from './src/report.mjs';
import { generateModel, layOut, modelName, serve, wllamaVersion } from './src/site.mjs';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const SITE = process.env.NOXICS_SITE ?? path.join(ROOT, 'dist/site');
const WASM = process.env.NOXICS_BENCH_WASM ?? path.join(ROOT, 'dist/wasm');
/** Context that every engine is given: room for the longest prompt and reply. */
const N_CTX = 2_048;
/** Enough calls for the browser's optimising compiler to have seen every kernel. */
const WARMUP = { promptTokens: 48, predictTokens: 12 };

// Server and browser end with this process, however it ends.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1));

try {
  process.exitCode = await main(parseOptions(process.argv.slice(2)));
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
}

async function main(settings) {
  if (settings.help) {
    console.log(HELP);
    return 0;
  }
  console.error('generating the models');
  const models = settings.quants.map((quant) => generateModel({ root: ROOT, quant }));
  const dir = layOut({ root: ROOT, site: SITE, wasm: WASM, models, engines: settings.engines });
  const server = await serve({ root: ROOT, dir });
  const browser = await launch();
  try {
    const peers = { wllama: wllamaVersion(), candle: candleVersion() };
    const chromium = await version(browser.context);
    const machine = { ...machineFacts({ chromium, root: ROOT }), peers, load_at_start: await loadNow() };
    const { samples, failures } = await takeSamples(browser.context, server.origin, settings);
    const rows = summarise(samples, settings);
    save({ machine, settings, models: models.map(({ quant, size_bytes }) => ({ quant, size_bytes })), rows, samples, failures });
    console.log(render({ machine, settings, rows, samples, failures }));
    return failures.length === 0 ? 0 : 1;
  } finally {
    await browser.close();
    server.stop();
  }
}

/** All measurements, one after the other. One that fails does not end the others. */
async function takeSamples(context, origin, settings) {
  const [samples, failures] = [[], []];
  const jobs = plan(settings);
  for (const [index, { round, quant, variant }] of jobs.entries()) {
    const key = keyOf(variant);
    const label = `${index + 1}/${jobs.length} ${quant} ${key}`;
    const before = await loadNow();
    const stop = watchOthers();
    try {
      const raw = await measure(context, origin, makeJob(settings, round, quant, variant));
      const during = stop();
      const fault = faultOf(raw, settings);
      if (fault) throw new Error(fault);
      const sample = { round, quant, key, ...raw, speeds: speeds(raw), before, during };
      samples.push(sample);
      const [prefill, decode] = [sample.speeds.prefill.toFixed(1), sample.speeds.decode.toFixed(1)];
      const disturbance = during.quiet === false ? ` (others: ${during.others_cores} cores)` : '';
      console.error(`${label}: prefill ${prefill}, decode ${decode} tokens/s${disturbance}`);
    } catch (error) {
      failures.push({ round, quant, key, error: error.message, before });
      console.error(`${label}: FAILED: ${error.message}`);
    }
  }
  return { samples, failures };
}

/** What a page needs to know. Each round has a prompt of its own, the same for all engines. */
function makeJob(settings, round, quant, variant) {
  const prompt = (count, first) => makePrompt({ count, first, seed: first + 1 });
  return {
    ...variant,
    modelUrl: `/bench/${modelName(quant)}`,
    modelId: `bench-${quant}`,
    nCtx: N_CTX,
    warmup: { prompt: prompt(WARMUP.promptTokens, 2 * round), predict: WARMUP.predictTokens },
    run: { prompt: prompt(settings.promptTokens, 2 * round + 1), predict: settings.predictTokens },
  };
}

/** As the lock file has it. */
function candleVersion() {
  const lock = readFileSync(path.join(ROOT, 'Cargo.lock'), 'utf8');
  return /name = "candle-transformers"\nversion = "([^"]+)"/.exec(lock)?.[1] ?? 'unknown';
}

/** A quick run does not replace real figures. */
function save(result) {
  const folder = path.join(ROOT, 'dist/bench');
  mkdirSync(folder, { recursive: true });
  const file = path.join(folder, result.settings.quick ? 'quick.json' : 'results.json');
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
  console.error(`written: ${path.relative(ROOT, file)}`);
}
