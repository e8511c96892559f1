// The system's cache of a file that a page has stored: a model that is loaded for the
// first time of a day is not in it.

import { execFile } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
/** Where Chromium has the file systems of pages, below its profile. Files lose their names. */
const STORED = 'Default/File System';
/** So much of a file may have stayed in the cache: a page or two are looked at again. */
const RESIDENT_MAX = 0.01;

/** Files of pages that have exactly this size, as a model of a known size has. */
export function storedFiles(profile, size_bytes) {
  const folder = path.join(profile, STORED);
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath ?? entry.path, entry.name))
    .filter((file) => statSync(file, { throwIfNoEntry: false })?.size === size_bytes);
}

/**
 * Empties the system's cache of stored files of this size, so that reading has to wait for
 * the storage. False where there is none, or where the system does not show that it worked.
 */
export async function dropStored(profile, size_bytes) {
  const files = storedFiles(profile, size_bytes);
  const dropped = await Promise.all(files.map((file) => dropFile(file, size_bytes)));
  return files.length > 0 && dropped.every(Boolean);
}

/** Needs no privileges. What is not written yet would stay, and so would a file in memory. */
async function dropFile(file, size_bytes) {
  try {
    await run('sync', [file]);
    await run('dd', [`if=${file}`, 'iflag=nocache', 'count=0', 'status=none']);
    const { stdout } = await run('fincore', ['--bytes', '--noheadings', '--output', 'RES', file]);
    return stdout.trim() !== '' && Number(stdout) <= RESIDENT_MAX * size_bytes;
  } catch {
    // Other systems have other programs.
    return false;
  }
}
