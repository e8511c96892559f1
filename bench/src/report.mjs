// From raw samples to speeds, ratios and a table.

import { chosenVariants, keyOf } from './plan.mjs';
import { tokenText } from './prompt.mjs';

/** Beyond this an engine's own clock is not believed. */
const CLOCK_TOLERANCE = 0.1;

/**
 * Tokens per second of one sample. The prompt's evaluation ends with the first
 * token of the reply, so that a reply of n tokens takes n - 1 passes of decoding.
 */
export function speeds({ prompt_tokens, prefill_ms, completion_tokens, decode_ms }) {
  return {
    prefill: (prompt_tokens / prefill_ms) * 1000,
    decode: ((completion_tokens - 1) / decode_ms) * 1000,
  };
}

/** What is wrong with a sample; `null` when it measured what was asked for. */
export function faultOf(sample, { promptTokens, predictTokens }) {
  const { prompt_tokens, prefill_ms, completion_tokens, decode_ms, wall_ms } = sample;
  if (prompt_tokens !== promptTokens) return `evaluated ${prompt_tokens} prompt tokens instead of ${promptTokens}`;
  if (completion_tokens !== predictTokens) return `made ${completion_tokens} tokens instead of ${predictTokens}`;
  if (!(prefill_ms > 0 && decode_ms > 0)) return `reported ${prefill_ms} ms and ${decode_ms} ms`;
  const reported = prefill_ms + decode_ms;
  if (Math.abs(wall_ms - reported) > CLOCK_TOLERANCE * wall_ms) {
    return `took ${wall_ms.toFixed(0)} ms and reported ${reported.toFixed(0)} ms`;
  }
  return null;
}

export function median(numbers) {
  if (numbers.length === 0) return null;
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Half of what lies between the extremes, in per cent of the median. */
export function spreadPercent(numbers) {
  return numbers.length < 2 ? null : ((Math.max(...numbers) - Math.min(...numbers)) / 2 / median(numbers)) * 100;
}

/**
 * One row per quantisation and variant: median speeds, their spread, ratios to the
 * peers. A ratio is the median over the rounds of the ratio within a round, so that
 * what slowed a whole round down does not count.
 */
export function summarise(samples, settings) {
  const rows = [];
  for (const quant of settings.quants) {
    const ofVariant = (key) => samples.filter((sample) => sample.quant === quant && sample.key === key);
    for (const variant of chosenVariants(settings)) {
      const own = ofVariant(keyOf(variant));
      rows.push({
        quant,
        name: variant.name,
        threads: variant.threads,
        samples: own.length,
        disturbed: own.filter(({ during }) => during.quiet === false).length,
        ...speedSummary(own, 'prefill'),
        ...speedSummary(own, 'decode'),
        ...(variant.engine === 'ours' && {
          // candle computes with one thread whatever there is.
          vs_candle: ratios(own, ofVariant('candle x1')),
          vs_wllama: ratios(own, ofVariant(`wllama x${variant.threads}`)),
        }),
        same_text_percent: sameText(own, samples, quant),
      });
    }
  }
  return rows;
}

function speedSummary(samples, phase) {
  const numbers = samples.map((sample) => sample.speeds[phase]);
  return {
    [`${phase}_tokens_per_second`]: median(numbers),
    [`${phase}_spread_percent`]: spreadPercent(numbers),
  };
}

function ratios(own, peers) {
  const perRound = (phase) =>
    own.flatMap((sample) => {
      const peer = peers.find(({ round }) => round === sample.round);
      return peer ? [sample.speeds[phase] / peer.speeds[phase]] : [];
    });
  return { prefill: median(perRound('prefill')), decode: median(perRound('decode')) };
}

/** How much of its reply a variant has in common with candle's, at the front, over all rounds. */
function sameText(own, samples, quant) {
  const shares = own.flatMap((sample) => {
    const reference = samples.find(
      (other) => other.quant === quant && other.round === sample.round && other.key === 'candle x1',
    );
    if (!reference) return [];
    const [text, expected] = [textOf(sample), textOf(reference)];
    let same = 0;
    while (same < expected.length && text[same] === expected[same]) same += 1;
    return [(same / expected.length) * 100];
  });
  return median(shares);
}

/** A reply without the space at its front, which hosts may trim. */
const textOf = ({ text, ids }) => (text ?? ids.map(tokenText).join('')).trimStart();

const COLUMNS = [
  ['', 18, 'left', ({ name }) => name],
  ['threads', 8, 'right', ({ threads }) => String(threads)],
  ['prefill', 10, 'right', (row) => speedCell(row.prefill_tokens_per_second)],
  ['', 7, 'left', (row) => spreadCell(row.prefill_spread_percent)],
  ['÷ candle', 10, 'right', (row) => ratioCell(row.vs_candle?.prefill)],
  ['÷ wllama', 10, 'right', (row) => ratioCell(row.vs_wllama?.prefill)],
  ['decode', 10, 'right', (row) => speedCell(row.decode_tokens_per_second)],
  ['', 7, 'left', (row) => spreadCell(row.decode_spread_percent)],
  ['÷ candle', 10, 'right', (row) => ratioCell(row.vs_candle?.decode)],
  ['÷ wllama', 10, 'right', (row) => ratioCell(row.vs_wllama?.decode)],
  ['same text', 11, 'right', (row) => percentCell(row.same_text_percent)],
];

const number = (digits) => (value) => (value === null || value === undefined ? '–' : value.toFixed(digits));
const speedCell = number(1);
const ratioCell = (value) => (value === undefined ? '' : number(2)(value));
const spreadCell = (value) => (value === null ? '' : ` ±${value.toFixed(0)} %`);
const percentCell = (value) => (value === null ? '–' : `${value.toFixed(0)} %`);

/** The whole result for a person. */
export function render({ machine, settings, rows, samples, failures }) {
  const lines = [...describeMachine(machine), ''];
  for (const quant of settings.quants) {
    const { rounds, promptTokens, predictTokens } = settings;
    lines.push(
      `Llama 135M ${quant.toUpperCase()}, tokens per second: prefill of ${promptTokens}, ` +
        `decode of ${predictTokens}; median of ${rounds} round${rounds === 1 ? '' : 's'}, ± half the range`,
    );
    lines.push(tableLine(COLUMNS.map(([title]) => title)));
    for (const row of rows.filter((row) => row.quant === quant)) {
      lines.push(tableLine(COLUMNS.map(([, , , cell]) => cell(row))));
    }
    lines.push('');
  }
  lines.push('÷ candle: its single thread, always. ÷ wllama: with as many threads.');
  return [...lines, ...verdict({ samples, failures, settings, machine })].join('\n');
}

function tableLine(cells) {
  const padded = cells.map((cell, index) => {
    const [, width, side] = COLUMNS[index];
    return side === 'left' ? cell.padEnd(width) : cell.padStart(width);
  });
  return padded.join('').trimEnd();
}

function describeMachine({ cpu, cores, cpu_features, memory_bytes, os, chromium, date, commit, peers }) {
  const memory = `${Math.round(memory_bytes / 2 ** 30)} GiB`;
  const features = cpu_features.length ? ` (${cpu_features.join(', ')})` : '';
  return [
    `${cpu}${features}, ${cores} cores, ${memory}, ${os}`,
    `${chromium}, wllama ${peers.wllama}, candle ${peers.candle}; ${date}, commit ${commit ?? 'unknown'}`,
  ];
}

/** Whether the figures can be relied on. */
function verdict({ samples, failures, settings, machine }) {
  const lines = failures.map(({ key, quant, round, error }) => `FAILED ${key} ${quant}, round ${round + 1}: ${error}`);
  if (settings.quick) lines.push('A quick run: it shows that everything runs, not how fast.');
  const threads = Math.max(...settings.threads);
  if (machine.cores < threads) lines.push(`${threads} threads on ${machine.cores} core(s) measure nothing of use.`);
  const disturbed = samples.filter(({ during }) => during.quiet === false).length;
  if (samples.some(({ during }) => during.quiet === null)) {
    lines.push('Whether the machine was quiet is not known: this system does not tell.');
  } else if (disturbed > 0) {
    const worst = Math.max(...samples.map(({ during }) => during.others_cores + during.steal_cores));
    lines.push(
      `THE MACHINE WAS NOT QUIET: other work ran during ${disturbed} of ${samples.length} measurements, ` +
        `up to ${worst.toFixed(2)} cores' worth. Speeds are too low; ratios are rough.`,
    );
  } else {
    lines.push('The machine was quiet throughout.');
  }
  return lines;
}
