import assert from 'node:assert/strict';
import { test } from 'node:test';
import { remarks, renderStore } from '../src/store-report.mjs';

const report = (change = {}, timing = {}) => ({
  n_sessions: 10_000,
  n_messages: 200_000,
  text_bytes: 1_000_000,
  times_the_text: 1.5,
  import_ms: 2_000,
  timings: [
    { what: 'list the first page', found: '50 of 10', median_ms: 1, worst_ms: 2, ...timing },
    { what: 'store a turn', found: '1 turn', median_ms: 500, worst_ms: 900 },
  ],
  ...change,
});

test('limits are for listing, opening and searching', () => {
  assert.deepEqual(remarks(report(), report()), ['every limit is kept, on a quiet machine']);
  assert.deepEqual(remarks(report({}, { median_ms: 51 }), report({}, { median_ms: 99 })), [
    'native: list the first page takes 51.0 ms, limit 50',
  ]);
  assert.deepEqual(remarks(report(), report({}, { median_ms: 101 })), [
    'chromium: list the first page takes 101.0 ms, limit 100',
  ]);
});

test('a database that is too large, other work and a busy machine are told', () => {
  assert.match(remarks(report(), report({ times_the_text: 2.1 }))[0], /chromium: the database is more than 2 times/);
  assert.match(remarks(report(), report({}, { found: '49 of 10' }))[0], /NOT THE SAME WORK: list the first page/);
  const busy = report({ during: { quiet: false, others_cores: 1.2 } });
  assert.match(remarks(busy, report())[0], /native: NOT QUIET: others kept 1.2 cores busy/);
});

test('a smaller database is not measured by the limits', () => {
  const small = report({ n_sessions: 100, times_the_text: 3 }, { median_ms: 500 });
  assert.deepEqual(remarks(small, small), ['the limits are for 10000 chats']);
});

test('a row has both medians, both worst runs and what was found', () => {
  const machine = { cpu: 'a processor', cores: 2, chromium: 'Chromium/1' };
  const table = renderStore({ machine, native: report(), chromium: report({}, { median_ms: 3, worst_ms: 4 }) });
  assert.match(table, /^list the first page +1\.00 +2\.00 +3\.00 +4\.00 {2}50 of 10$/m);
});
