// What the product keeps of a chat, for a page that is opened later.

const POLL_MS = 100;
const PATIENCE_MS = 60_000;
/** Blocks are written one after the other: when for so long none came, all are there. */
const SETTLED_POLLS = 10;

/** Waits until what was computed for the chat has been written. */
export async function untilWritten(engine) {
  let [before, polls] = [0, 0];
  await until(engine, 'nothing was kept for a warm start', (bytes) => {
    polls = bytes > 0 && bytes === before ? polls + 1 : 0;
    before = bytes;
    return polls === SETTLED_POLLS;
  });
}

/** Deletes all chats with what was kept of them: the next job begins with none of it. */
export async function deleteChats(engine) {
  const { sessions } = await engine.call('sessions.list', { user: '*', limit: 500 });
  for (const { id } of sessions) await engine.call('sessions.delete', { session: id });
  await until(engine, 'a chat that was deleted left something behind', (bytes) => bytes === 0);
}

async function until(engine, otherwise, isAsWanted) {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const { snapshots_bytes } = await engine.call('storage.estimate', {});
    if (isAsWanted(snapshots_bytes)) return;
    if (performance.now() > deadline) throw new Error(`${otherwise}: ${snapshots_bytes} bytes`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
