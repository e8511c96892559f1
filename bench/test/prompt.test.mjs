import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makePrompt, makeTurn, tokenText } from '../src/prompt.mjs';

test('a prompt has a word for each token', () => {
  const { text, ids } = makePrompt({ count: 40, first: 3, seed: 1 });
  assert.equal(ids.length, 40);
  assert.match(text, /^[a-z]{2}( [a-z]{3}){39}$/);
});

test('prompts of different rounds differ from the first token on', () => {
  const first = [0, 1, 2, 3].map((round) => makePrompt({ count: 4, first: round, seed: round }).ids[0]);
  assert.equal(new Set(first).size, 4);
});

test('ids follow from the letters', () => {
  const cases = [
    [0, ''],
    [1 + 0x41, 'A'],
    [257, ' a'],
    [282, ' z'],
    [283, 'aa'],
    [283 + 10 * 26, 'ka'],
    [958, 'zz'],
    [959, ' aaa'],
    [959 + 676 + 26 + 1, ' bbb'],
    [18_534, ' zzz'],
    [18_535, 'aaaa'],
    [18_535 + 676 + 1, 'abab'],
  ];
  for (const [id, text] of cases) assert.equal(tokenText(id), text, String(id));
});

test('a turn goes on in the middle of a text', () => {
  const { text, ids } = makeTurn({ count: 5, seed: 1 });
  assert.equal(ids.length, 5);
  assert.match(text, /^( [a-z]{3}){5}$/);
});
