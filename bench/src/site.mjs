// The folder that the browser loads from, the models in it, and its server.

import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, linkSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const SERVER_LIMIT_MS = 20_000;

/**
 * Generates a model, which takes seconds, and gives its file. It is made anew each time,
 * so that it always fits its generator.
 */
export function generateModel({ root, shape, quant }) {
  const folder = path.join(root, 'dist/bench/models');
  mkdirSync(folder, { recursive: true });
  const output = path.join(folder, modelName(shape, quant));
  const args = ['run', '--quiet', '-p', 'nox-bench-model', '--', '--shape', shape, '--quant', quant, '--output', output];
  execFileSync(process.env.CARGO ?? 'cargo', args, { cwd: root, stdio: 'inherit' });
  return { shape, quant, file: output, size_bytes: statSync(output).size };
}

export const modelName = (shape, quant) => `bench-${shape}-${quant}.gguf`;

/** Lays out what the engines need: the product's site as it is, and a folder `bench`. */
export function layOut({ root, site, wasm, models, engines }) {
  const out = path.join(root, 'dist/bench-site');
  rmSync(out, { recursive: true, force: true });
  const bench = path.join(out, 'bench');
  copyTree(path.join(root, 'bench/page'), bench);
  if (engines.includes('ours')) {
    copyTree(path.join(site, 'runtime'), path.join(out, 'runtime'));
    copyTree(path.join(site, 'models'), path.join(out, 'models'));
  }
  if (engines.includes('candle')) copyTree(path.join(wasm, 'bench-candle'), path.join(bench, 'candle'));
  if (engines.includes('wllama')) copyTree(wllamaFolder(), path.join(bench, 'wllama'));
  if (engines.includes('fugood')) copyTree(fugoodFolder(), path.join(bench, 'fugood'));
  for (const { file } of models) place(file, path.join(bench, path.basename(file)));
  return out;
}

/** The exact versions that the lock file gave. */
export function peerVersions() {
  const version = (folder) => JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')).version;
  return { wllama: version(path.join(wllamaFolder(), '..')), 'llama.node wasm': version(fugoodFolder()) };
}

function fugoodFolder() {
  return path.dirname(createRequire(import.meta.url).resolve('@fugood/node-llama-wasm'));
}

function wllamaFolder() {
  return path.dirname(createRequire(import.meta.url).resolve('@wllama/wllama/esm/index.js'));
}

function copyTree(from, to) {
  if (!existsSync(from)) throw new Error(`${from} is missing; \`cargo xtask bench\` builds it`);
  mkdirSync(to, { recursive: true });
  for (const entry of readdirSync(from, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || entry.name.startsWith('.')) continue;
    const source = path.join(entry.parentPath ?? entry.path, entry.name);
    place(source, path.join(to, path.relative(from, source)));
  }
}

/** A hard link where the file system allows it: the models are large. */
function place(source, target) {
  mkdirSync(path.dirname(target), { recursive: true });
  try {
    linkSync(source, target);
  } catch {
    cpSync(source, target);
  }
}

/** Serves `dir` with the headers that threads need; `origin` says where. */
export async function serve({ root, dir }) {
  const command = process.env.NOXICS_SERVE ?? `${path.join(root, 'target/debug/xtask')} serve`;
  const [program, ...prefix] = command.split(' ');
  const child = spawn(program, [...prefix, '--dir', dir, '--port', '0'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  process.once('exit', () => child.kill());
  const origin = await new Promise((resolve, reject) => {
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
      const found = /http:\/\/127\.0\.0\.1:\d+/.exec(text);
      if (found) resolve(found[0]);
    });
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}: ${text}`)));
    const silent = () => reject(new Error(`the server gave no address within ${SERVER_LIMIT_MS / 1000} s: ${text}`));
    setTimeout(silent, SERVER_LIMIT_MS).unref();
  }).catch((error) => {
    child.kill();
    throw error;
  });
  return { origin, stop: () => child.kill() };
}
