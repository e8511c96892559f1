// What `--write-results` leaves in `bench/results`.

import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { plot } from './plot.mjs';
import { render } from './report.mjs';

/** Files by name, as text. */
export function resultFiles(result) {
  const { settings, rows, machine } = result;
  const { shapes, quants, prompts } = settings;
  const longest = prompts.at(-1);
  const picture = (heading, value) => plot({ heading, rows, shapes, quants, value });
  return {
    'README.md': page(result),
    'decode.svg': picture(`Decode, tokens per second (${machine.cpu})`, (row) => row.decode[prompts[0]].tokens_per_second),
    'prefill.svg': picture(
      `Prefill of ${prompts.find((length) => length >= 16) ?? longest} tokens, tokens per second (${machine.cpu})`,
      (row) => row.prefill[prompts.find((length) => length >= 16) ?? longest].tokens_per_second,
    ),
    'results.json': `${JSON.stringify({ machine, settings, models: result.models, rows, failures: result.failures, left_out: result.left_out }, null, 1)}\n`,
  };
}

const page = (result) => `# What the benchmark has measured

Written by \`cargo xtask bench --write-results\`; [how it measures](../README.md).

![Decode](decode.svg)

![Prefill](prefill.svg)

${render(result)}
`;

export function writeResults(folder, result) {
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(resultFiles(result))) writeFileSync(path.join(folder, name), text);
}
