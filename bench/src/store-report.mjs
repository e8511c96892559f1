// The table of the database's benchmark.

/** What each column may take, in milliseconds. */
const LIMITS_MS = { native: 50, chromium: 100 };
/** The database may take so many times the text. */
const TIMES_THE_TEXT_MAX = 2;
/** What the limits are for, and with how many chats. */
const LIMITED = /^(list|open|search)/;
const LIMITED_FROM = 10_000;

const ms = (number) => number.toFixed(2).padStart(9);
const seconds = (number) => `${(number / 1000).toFixed(0)} s`;

/** The table, then what is beyond its limit. */
export function renderStore({ machine, native, chromium }) {
  const lines = [
    `${native.n_sessions} chats, ${native.n_messages} messages, ${(native.text_bytes / 1e6).toFixed(1)} MB of text`,
    `${machine.cpu}, ${machine.cores} cores; ${machine.chromium}`,
    `imported in ${seconds(native.import_ms)} natively, ${seconds(chromium.import_ms)} in Chromium`,
    `the database: ${native.times_the_text.toFixed(2)} times the text natively, ${chromium.times_the_text.toFixed(2)} in Chromium`,
    '',
    `${'ms'.padEnd(30)}${'native'.padStart(9)}${'worst'.padStart(9)}${'Chromium'.padStart(10)}${'worst'.padStart(9)}  found`,
    ...rows(native, chromium),
    '',
    ...remarks(native, chromium),
  ];
  return lines.join('\n');
}

function rows(native, chromium) {
  return native.timings.map((timing, idx) => {
    const other = chromium.timings[idx];
    const figures = `${ms(timing.median_ms)}${ms(timing.worst_ms)} ${ms(other.median_ms)}${ms(other.worst_ms)}`;
    return `${timing.what.padEnd(30)}${figures}  ${timing.found}`;
  });
}

/** What a reader has to know: differences, limits, a disturbed machine. */
export function remarks(native, chromium) {
  const found = [];
  for (const [idx, timing] of native.timings.entries()) {
    const other = chromium.timings[idx];
    if (timing.what !== other.what || timing.found !== other.found) {
      found.push(`NOT THE SAME WORK: ${timing.what}: ${timing.found} / ${other.found}`);
    }
  }
  const are_limited = native.n_sessions >= LIMITED_FROM;
  if (!are_limited) found.push(`the limits are for ${LIMITED_FROM} chats`);
  for (const [where, report] of Object.entries({ native, chromium })) {
    if (are_limited) found.push(...beyondLimits(where, report));
    if (report.during?.quiet === false) found.push(`${where}: NOT QUIET: others kept ${report.during.others_cores} cores busy`);
  }
  return found.length > 0 ? found : ['every limit is kept, on a quiet machine'];
}

function beyondLimits(where, report) {
  const limit = LIMITS_MS[where];
  const slow = report.timings.filter(({ what, median_ms }) => LIMITED.test(what) && median_ms > limit);
  const found = slow.map(({ what, median_ms }) => `${where}: ${what} takes ${median_ms.toFixed(1)} ms, limit ${limit}`);
  if (report.times_the_text > TIMES_THE_TEXT_MAX) {
    found.push(`${where}: the database is more than ${TIMES_THE_TEXT_MAX} times the text`);
  }
  return found;
}
