// Prompts whose length in tokens is known: see `generator/src/vocab.rs`, whose
// order of ids this file relies on.

const LETTERS = 26;
const PAIRS = LETTERS * LETTERS;
const FIRST_PAIR = 1 + 256 + LETTERS;
const FIRST_WORD = FIRST_PAIR + PAIRS;

/**
 * A prompt of `count` tokens as text and as ids. Prompts of different `first` (0 to
 * 675) differ from their first token on, so no engine finds a prefix in its cache.
 */
export function makePrompt({ count, first, seed }) {
  const words = makeTurn({ count: count - 1, seed });
  const ids = [FIRST_PAIR + (first % PAIRS), ...words.ids];
  return { text: ids.map(tokenText).join(''), ids };
}

/** `count` words more of a conversation: each begins with its space. */
export function makeTurn({ count, seed }) {
  const random = generator(seed);
  const ids = Array.from({ length: count }, () => FIRST_WORD + Math.floor(random() * LETTERS * PAIRS));
  return { text: ids.map(tokenText).join(''), ids };
}

/** What a token adds to the text. */
export function tokenText(id) {
  if (id === 0) return '';
  if (id < 1 + 256) return String.fromCharCode(id - 1);
  if (id < FIRST_PAIR) return ` ${letter(id - 1 - 256)}`;
  if (id < FIRST_WORD) return pair(id - FIRST_PAIR);
  const word = id - FIRST_WORD;
  if (word < LETTERS * PAIRS) return ` ${letter(word / PAIRS)}${pair(word % PAIRS)}`;
  const piece = word - LETTERS * PAIRS;
  return pair(piece / PAIRS) + pair(piece % PAIRS);
}

const letter = (index) => String.fromCharCode('a'.charCodeAt(0) + Math.floor(index));
const pair = (index) => letter(Math.floor(index) / LETTERS) + letter(Math.floor(index) % LETTERS);

// mulberry32, public domain (Tommy Ettinger).
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}
