// From raw samples to speeds, ratios and tables.

import { SHAPES, chosenVariants, keyOf } from './plan.mjs';
import { tokenText } from './prompt.mjs';

/** Beyond this an engine's own clock is not believed; short runs may be this much off. */
const CLOCK_TOLERANCE = 0.1;
const CLOCK_TOLERANCE_MS = 25;
/** The engines that the product's rows are compared with, by the row with as many threads. */
const PEER_OF = { ours: 'wllama', native: 'llama.cpp, native' };

/**
 * Tokens per second of one run. The prompt's evaluation ends with the first token of
 * the reply, so that a reply of n tokens takes n - 1 passes of decoding.
 */
export function speeds({ prompt_tokens, prefill_ms, completion_tokens, decode_ms }) {
  return {
    prefill: (prompt_tokens / prefill_ms) * 1000,
    decode: ((completion_tokens - 1) / decode_ms) * 1000,
  };
}

/** What is wrong with a sample; `null` when it measured what was asked for. */
export function faultOf(sample, job) {
  if (sample.runs.length !== job.runs.length) return `${sample.runs.length} runs instead of ${job.runs.length}`;
  for (const [idx, run] of sample.runs.entries()) {
    const fault = faultOfRun(run, job.runs[idx].prompt.ids.length, job.runs[idx].predict);
    if (fault) return `prompt of ${job.runs[idx].prompt.ids.length}: ${fault}`;
  }
  return job.engine === 'ours' ? faultOfTurns(sample, job) : null;
}

/** The product tells how long a conversation is, whatever it had kept of it. */
function faultOfTurns({ second_turn, after_reload }, { runs, turns }) {
  let asked = runs.at(-1).prompt.ids.length;
  for (const [idx, [name, turn]] of Object.entries({ second_turn, after_reload }).entries()) {
    asked += turns[idx].ids.length;
    const found = turn.prompt_tokens + turn.cached_tokens;
    if (found !== asked) return `${name}: a conversation of ${found} tokens instead of ${asked}`;
  }
  return null;
}

function faultOfRun({ prompt_tokens, prefill_ms, completion_tokens, decode_ms, wall_ms }, prompt, predict) {
  if (prompt_tokens !== prompt) return `evaluated ${prompt_tokens} prompt tokens instead of ${prompt}`;
  if (completion_tokens !== predict) return `made ${completion_tokens} tokens instead of ${predict}`;
  if (!(prefill_ms > 0 && decode_ms > 0)) return `reported ${prefill_ms} ms and ${decode_ms} ms`;
  const reported = prefill_ms + decode_ms;
  if (Math.abs(wall_ms - reported) > Math.max(CLOCK_TOLERANCE * wall_ms, CLOCK_TOLERANCE_MS)) {
    return `took ${wall_ms.toFixed(0)} ms and reported ${reported.toFixed(0)} ms`;
  }
  return null;
}

export function median(numbers) {
  const known = numbers.filter((number) => number !== null && number !== undefined);
  if (known.length === 0) return null;
  const sorted = [...known].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Half of what lies between the extremes, in per cent of the median. */
export function spreadPercent(numbers) {
  return numbers.length < 2 ? null : ((Math.max(...numbers) - Math.min(...numbers)) / 2 / median(numbers)) * 100;
}

/**
 * One row per shape, quantisation and variant: medians over the rounds. A ratio is the
 * median of the ratios within a round, so that what slowed a whole round down does not
 * count.
 */
export function summarise(samples, settings) {
  const rows = [];
  for (const shape of settings.shapes) {
    for (const quant of settings.quants) {
      const group = samples.filter((sample) => sample.shape === shape && sample.quant === quant);
      for (const variant of chosenVariants(settings)) rows.push({ shape, quant, ...summariseVariant(group, variant, settings) });
    }
  }
  return rows;
}

function summariseVariant(group, variant, settings) {
  const ofKey = (key) => group.filter((sample) => sample.key === key);
  const own = ofKey(keyOf(variant));
  const peer = ofKey(`${PEER_OF[variant.engine]} x${variant.threads}`);
  const isOurs = variant.engine in PEER_OF;
  const speedsBy = (phase) =>
    Object.fromEntries(settings.prompts.map((length) => [length, speedSummary(own, peer, length, phase, isOurs)]));
  return {
    name: variant.name,
    engine: variant.engine,
    threads: variant.threads,
    samples: own.length,
    disturbed: own.filter(({ during }) => during.quiet === false).length,
    prefill: speedsBy('prefill'),
    decode: speedsBy('decode'),
    load_ms: median(own.map(({ load_ms }) => load_ms)),
    first_token_ms: median(own.map(({ first_token_ms }) => first_token_ms)),
    storage_first_token_ms: median(own.map(({ from_storage }) => from_storage?.first_token_ms)),
    times_reading: median(own.map(({ from_storage }) => from_storage && from_storage.first_token_ms / from_storage.read_ms)),
    second_turn_ms: median(own.map(({ second_turn }) => second_turn?.prefill_ms)),
    second_turn_tokens: median(own.map(({ second_turn }) => second_turn?.prompt_tokens)),
    after_reload_ms: median(own.map(({ after_reload }) => after_reload && after_reload.reload_ms + after_reload.prefill_ms)),
    after_reload_tokens: median(own.map(({ after_reload }) => after_reload?.prompt_tokens)),
    peak_bytes: median(own.map(({ peak_bytes }) => peak_bytes)),
    same_text_percent: sameText(own, group),
  };
}

/** The runs of one prompt's length: median, spread, ratio to the peer in the same round. */
function speedSummary(own, peer, length, phase, isOurs) {
  const speedOf = (sample) => {
    const run = sample?.runs.find(({ asked_prompt_tokens }) => asked_prompt_tokens === length);
    return run ? speeds(run)[phase] : null;
  };
  const numbers = own.map(speedOf).filter((number) => number !== null);
  const ratios = own.flatMap((sample) => {
    const [mine, theirs] = [speedOf(sample), speedOf(peer.find(({ round }) => round === sample.round))];
    return mine !== null && theirs !== null ? [mine / theirs] : [];
  });
  return {
    tokens_per_second: median(numbers),
    spread_percent: spreadPercent(numbers),
    ...(isOurs && { vs_peer: median(ratios) }),
  };
}

/** How much of its longest prompt's reply a variant has in common with candle's, at the front. */
function sameText(own, group) {
  const shares = own.flatMap((sample) => {
    const reference = group.find(({ round, key }) => round === sample.round && key === 'candle x1');
    const pairs = sample.runs.map((run) => [
      run,
      reference?.runs.find(({ asked_prompt_tokens }) => asked_prompt_tokens === run.asked_prompt_tokens),
    ]);
    const pair = pairs.findLast(([run, other]) => hasText(run) && other && hasText(other));
    if (!pair) return [];
    const [text, expected] = pair.map(textOf);
    let same = 0;
    while (same < expected.length && text[same] === expected[same]) same += 1;
    return [(same / expected.length) * 100];
  });
  return median(shares);
}

const hasText = ({ text, ids }) => text !== undefined || ids !== undefined;
/** A reply without the space at its front, which hosts may trim. */
const textOf = ({ text, ids }) => (text ?? ids.map(tokenText).join('')).trimStart();

const number = (digits) => (value) => (value === null || value === undefined ? '–' : value.toFixed(digits));
const milliseconds = (value) => (value === null ? '–' : value < 10_000 ? `${value.toFixed(0)} ms` : `${(value / 1000).toFixed(1)} s`);
const withTokens = (ms, tokens) => (ms === null ? '–' : `${milliseconds(ms)} (${number(0)(tokens)})`);
const speedCell = ({ tokens_per_second, spread_percent }) =>
  `${number(1)(tokens_per_second)}${spread_percent === null ? '' : ` ±${spread_percent.toFixed(0)} %`}`;

/** The table's columns for the prompts that were measured. */
function columns({ prompts }) {
  const [least, most] = [prompts[0], prompts.at(-1)];
  // A prompt of a token or two is there for the depth alone.
  const prefills = prompts.filter((length) => length >= 16);
  const depths = least === most ? [least] : [least, most];
  const ratio = (cell) => (row) => (cell(row)?.vs_peer === undefined ? '' : number(2)(cell(row).vs_peer));
  return [
    ['', ({ name }) => name],
    ['threads', ({ threads }) => String(threads)],
    ...prefills.map((length) => [`prefill ${length}`, (row) => speedCell(row.prefill[length])]),
    ...prefills.slice(-1).map((length) => ['÷ peer', ratio((row) => row.prefill[length])]),
    ...depths.flatMap((length) => [
      [`decode at ${length === 1 ? 0 : length}`, (row) => speedCell(row.decode[length])],
      ['÷ peer', ratio((row) => row.decode[length])],
    ]),
    ['load, cached', (row) => milliseconds(row.first_token_ms)],
    ['load, from storage', (row) => milliseconds(row.storage_first_token_ms)],
    ['÷ reading', (row) => number(1)(row.times_reading)],
    ['second turn', (row) => withTokens(row.second_turn_ms, row.second_turn_tokens)],
    ['after a reload', (row) => withTokens(row.after_reload_ms, row.after_reload_tokens)],
    ['peak memory', (row) => (row.peak_bytes === null ? '–' : `${(row.peak_bytes / 2 ** 20).toFixed(0)} MiB`)],
    ['same text', (row) => (row.same_text_percent === null ? '–' : `${row.same_text_percent.toFixed(0)} %`)],
  ];
}

/** The whole result as Markdown, which reads well in a terminal, too. */
export function render({ machine, settings, models, rows, samples, failures, left_out = [] }) {
  const lines = [...describeMachine(machine), ''];
  const table = columns(settings);
  for (const { shape, quant, size_bytes } of models) {
    lines.push(`### ${SHAPES[shape].title}, ${quant.toUpperCase()} (${(size_bytes / 1e6).toFixed(0)} MB)`, '');
    const cells = rows
      .filter((row) => row.shape === shape && row.quant === quant)
      .map((row) => table.map(([, cell]) => cell(row)));
    lines.push(...markdownTable(table.map(([title]) => title), cells), '');
    for (const { key, error } of failures.filter((failure) => failure.shape === shape && failure.quant === quant)) {
      lines.push(`- ${key} failed: ${error}`);
    }
    for (const { key, tokens, seconds } of left_out.filter((left) => left.shape === shape && left.quant === quant)) {
      lines.push(`- ${key}: a prompt of ${tokens} would take about ${Math.ceil(seconds / 60)} minutes and was left out`);
    }
    if (lines.at(-1) !== '') lines.push('');
  }
  const { rounds, predictTokens } = settings;
  lines.push(
    `Tokens per second; median of ${rounds} round${rounds === 1 ? '' : 's'}, ± half the range; replies of ${predictTokens} tokens. ` +
      '÷ peer: wllama in the browser and llama.cpp natively, with as many threads. In brackets: the tokens that were evaluated.',
  );
  return [...lines, ...verdict({ samples, settings, machine })].join('\n');
}

function markdownTable(titles, rows) {
  const widths = titles.map((title, idx) => Math.max(3, title.length, ...rows.map((row) => row[idx].length)));
  const line = (cells) => `| ${cells.map((cell, idx) => (idx === 0 ? cell.padEnd(widths[idx]) : cell.padStart(widths[idx]))).join(' | ')} |`;
  const rule = `| ${widths.map((width, idx) => (idx === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`;
  return [line(titles), rule, ...rows.map(line)];
}

function describeMachine({ cpu, cores, cpu_features, memory_bytes, os, chromium, date, commit, peers }) {
  const memory = `${Math.round(memory_bytes / 2 ** 30)} GiB`;
  const features = cpu_features.length ? ` (${cpu_features.join(', ')})` : '';
  const versions = Object.entries(peers).map(([name, version]) => `${name} ${version}`);
  return [
    `${cpu}${features}, ${cores} cores, ${memory}, ${os}`,
    [chromium, ...versions].filter(Boolean).join(', '),
    `${date}, commit ${commit ?? 'unknown'}`,
  ];
}

/** Whether the figures can be relied on. */
function verdict({ samples, settings, machine }) {
  const lines = [];
  if (samples.some(({ from_storage }) => from_storage === null)) {
    lines.push("The system's cache could not always be emptied of a model: loads from storage are missing.");
  }
  if (settings.quick) lines.push('A quick run: it shows that everything runs, not how fast.');
  const threads = Math.max(...settings.threads);
  if (machine.cores < threads) lines.push(`${threads} threads on ${machine.cores} core(s) measure nothing of use.`);
  const disturbed = samples.filter(({ during }) => during.quiet === false).length;
  if (samples.length === 0) {
    lines.push('Nothing was measured.');
  } else if (samples.some(({ during }) => during.quiet === null)) {
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
