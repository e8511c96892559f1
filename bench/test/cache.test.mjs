import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { dropStored, storedFiles } from '../src/cache.mjs';

const SIZE_BYTES = 4 << 20;
// Beside what is built, as the folder for temporary files may be in memory.
const dist = fileURLToPath(new URL('../../dist/', import.meta.url));
mkdirSync(dist, { recursive: true });
const profile = mkdtempSync(path.join(dist, 'bench-test-'));
const folder = path.join(profile, 'Default/File System/000/t/00');
const model = path.join(folder, '00000001');
mkdirSync(folder, { recursive: true });
writeFileSync(model, Buffer.alloc(SIZE_BYTES, 1));
writeFileSync(path.join(folder, '00000002'), 'another');
writeFileSync(path.join(profile, 'Default/cache'), Buffer.alloc(SIZE_BYTES, 1));
after(() => rmSync(profile, { recursive: true }));

const resident = () => Number(execFileSync('fincore', ['--bytes', '--noheadings', '--output', 'RES', model]));
const canTell = () => {
  try {
    return resident() > 0;
  } catch {
    return false;
  }
};

test('a stored file is found by its size', () => {
  assert.deepEqual(storedFiles(profile, SIZE_BYTES), [model]);
  assert.deepEqual(storedFiles(profile, SIZE_BYTES + 1), []);
  assert.deepEqual(storedFiles(path.join(profile, 'none'), SIZE_BYTES), []);
});

test('what is not there, or cannot be emptied, is not said to be', async () => {
  assert.equal(await dropStored(profile, SIZE_BYTES + 1), false);
  const path_before = process.env.PATH;
  process.env.PATH = '';
  try {
    assert.equal(await dropStored(profile, SIZE_BYTES), false);
  } finally {
    process.env.PATH = path_before;
  }
});

test('the cache is emptied of a stored file', { skip: !canTell() && 'the system does not tell' }, async () => {
  readFileSync(model);
  assert.equal(resident(), SIZE_BYTES);
  // Some file systems keep what they have; then it must not be said to be gone.
  assert.equal(await dropStored(profile, SIZE_BYTES), resident() === 0);
});
