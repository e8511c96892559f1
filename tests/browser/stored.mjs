// Chats as tests put them in, look at them and harm them.

import { crc32 } from 'node:zlib';

/** Runs in the page of `openRaw`: the result of one call. */
export const call = (page, method, params = {}) =>
  page.evaluate(([name, value]) => globalThis.nox.call(name, value), [method, params]);

/** Runs in the page of `openRaw`: the terminal frame of one call. */
export const request = (page, method, params = {}) =>
  page.evaluate(([name, value]) => globalThis.nox.request(name, value), [method, params]);

export const chatsState = async (page) => (await call(page, 'status')).chats;

/** Waits for the notification that the database is in this state, or finds it so. */
export async function untilChats(page, state) {
  await page.evaluate(async (wanted) => {
    while ((await globalThis.nox.call('status', {})).chats.state !== wanted) {
      const seen = globalThis.nox.frames.length;
      await globalThis.nox.until(
        (frame) => frame.method === 'storage.changed' && globalThis.nox.frames.indexOf(frame) >= seen,
        `chats to be ${wanted}`,
      );
    }
  }, state);
}

/** A zip of stored entries: `[path, text]` each. */
function zip(entries) {
  const u16 = (...values) => Buffer.from(new Uint16Array(values).buffer);
  const u32 = (...values) => Buffer.from(new Uint32Array(values).buffer);
  const [files, directory] = [[], []];
  let offset = 0;
  for (const [name, text] of entries) {
    const [path, bytes] = [Buffer.from(name), Buffer.from(text)];
    // Version, flags, method, time, date; then what both headers tell of the bytes.
    const about = Buffer.concat([u16(20, 0, 0, 0, 0x21), u32(crc32(bytes), bytes.length, bytes.length), u16(path.length, 0)]);
    const file = Buffer.concat([u32(0x04034b50), about, path, bytes]);
    files.push(file);
    directory.push(Buffer.concat([u32(0x02014b50), u16(20), about, u16(0, 0, 0), u32(0, offset), path]));
    offset += file.length;
  }
  const listed = Buffer.concat(directory);
  const end = Buffer.concat([u32(0x06054b50), u16(0, 0, entries.length, entries.length), u32(listed.length, offset), u16(0)]);
  return Buffer.concat([...files, listed, end]);
}

let n_imported = 0;

/** A tree with one chat of one turn for each `[question, answer]`. */
export function treeOf(turns) {
  return turns.map(([question, answer]) => {
    n_imported += 1;
    const name = `session-20250102-${String(n_imported).padStart(6, '0')}`;
    const messages = [
      { role: 'system', content: 'You are Nox.' },
      { role: 'user', content: question },
      { role: 'assistant', content: answer },
    ];
    const meta = { model: 'm', sanitized: false, turn: 1, ts: '2025-01-02T03:04:05Z', file_name: `${name}.jsonl` };
    return [`sessions/2025-01-02/${name}.jsonl`, `${JSON.stringify({ messages, meta })}\n`];
  });
}

/** Imports a chat of one turn for each `[question, answer]`; gives the terminal frame. */
export function importChats(page, turns) {
  return page.evaluate(
    (base64) => {
      const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
      return globalThis.nox.request('sessions.import', { file: new File([bytes], 'chats.zip') });
    },
    zip(treeOf(turns)).toString('base64'),
  );
}

/** Every turn that is kept, as `[question, answer]`, sorted. */
export async function keptTurns(page) {
  const { sessions } = await call(page, 'sessions.list', { limit: 500 });
  const kept = [];
  for (const { id } of sessions) {
    const { turns } = await call(page, 'sessions.get', { session: id });
    for (const { messages } of turns) kept.push(messages.map(({ content }) => content));
  }
  return kept.sort();
}

/**
 * Runs `action(files)` in a worker of a page of `origin` that runs no runtime: `files`
 * maps paths under `noxics/chats` to open sync access handles. Gives what it returns.
 */
export async function withFiles(context, origin, action, argument) {
  const page = await context.newPage();
  await page.route('**/__files__', (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html>' }));
  await page.goto(`${origin}/__files__`);
  const source = `onmessage = async ({ data }) => {
    const files = {};
    const walk = async (folder, path) => {
      for await (const [name, entry] of folder.entries()) {
        if (entry.kind === 'directory') await walk(entry, path + name + '/');
        else files[path + name] = await entry.createSyncAccessHandle();
      }
    };
    try {
      const root = await navigator.storage.getDirectory();
      const folder = await (await root.getDirectoryHandle('noxics')).getDirectoryHandle('chats');
      // The last holder's handles may be on their way out.
      for (let attempt = 0; ; attempt += 1) {
        try { await walk(folder, ''); break; }
        catch (error) { if (attempt === 100) throw error; await new Promise((resolve) => setTimeout(resolve, 50)); }
      }
      postMessage({ result: await (${action})(files, data) });
    } catch (error) { postMessage({ error: String(error) }); }
    finally { for (const file of Object.values(files)) file.close(); }
  }`;
  const outcome = await page.evaluate(
    ([script, data]) =>
      new Promise((resolve) => {
        const worker = new Worker(URL.createObjectURL(new Blob([script], { type: 'text/javascript' })));
        worker.onmessage = (event) => {
          worker.terminate();
          resolve(event.data);
        };
        worker.postMessage(data);
      }),
    [source, argument ?? null],
  );
  await page.close();
  if (outcome.error) throw new Error(outcome.error);
  return outcome.result;
}

/** For `withFiles`: the SHA-256 of every file, by path. */
export async function hashes(files) {
  const found = {};
  for (const [path, file] of Object.entries(files)) {
    const bytes = new Uint8Array(file.getSize());
    file.read(bytes, { at: 0 });
    const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    found[path] = [...hash].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  }
  return found;
}

/**
 * For `withFiles`: writes bytes into the database's file at `at`, counted from the
 * database's own first byte; the pool's header lies 4096 bytes before it.
 */
export function overwriteDatabase(files, { at, bytes }) {
  const named = Object.values(files).find((file) => {
    const name = new Uint8Array(12);
    file.read(name, { at: 0 });
    return new TextDecoder().decode(name) === 'chats.sqlite' && file.getSize() > 100_000;
  });
  named.write(new Uint8Array(bytes), { at: 4096 + at });
  named.flush();
}
