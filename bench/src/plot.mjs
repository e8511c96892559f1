// Bars as SVG, readable on light and on dark pages: a panel for each model, a bar for
// each engine.

import { SHAPES } from './plan.mjs';

const PANEL = { width: 330, gap: 24, title: 26, bar: 13, step: 18, label: 128, value: 46 };
const MARGIN = 16;
const HEADING = 30;
/** What is drawn apart: the product, its peers, and programs that are no web pages. */
const KINDS = { ours: 'own', native: 'own', 'candle-native': 'far', 'llama.cpp': 'far' };

const STYLE = `
  text { font: 11px system-ui, sans-serif; fill: #24292f; }
  .heading { font-size: 14px; font-weight: 600; }
  .title { font-weight: 600; }
  .own { fill: #1a7f5a; } .peer { fill: #8c959f; } .far { fill: #b48a3c; }
  .axis { stroke: #8c959f; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .own { fill: #3fb98a; } .peer { fill: #6e7681; } .far { fill: #c9a35a; }
  }`;

/**
 * One picture: `value` takes a row's figure, rows without one are left out. Panels of
 * one shape stand beside each other.
 */
export function plot({ heading, rows, shapes, quants, value }) {
  const panels = shapes.map((shape) =>
    quants.map((quant) => ({
      title: `${SHAPES[shape].title}, ${quant.toUpperCase()}`,
      bars: rows
        .filter((row) => row.shape === shape && row.quant === quant && value(row) !== null && value(row) !== undefined)
        .map((row) => ({ label: `${row.name} ×${row.threads}`, value: value(row), kind: KINDS[row.engine] ?? 'peer' })),
    })),
  );
  const heights = panels.map((line) => PANEL.title + Math.max(1, ...line.map(({ bars }) => bars.length)) * PANEL.step + PANEL.gap);
  const width = 2 * MARGIN + quants.length * PANEL.width + (quants.length - 1) * PANEL.gap;
  const height = 2 * MARGIN + HEADING + heights.reduce((sum, size) => sum + size, 0);
  let top = MARGIN + HEADING;
  const drawn = panels.flatMap((line, idx) => {
    const at = top;
    top += heights[idx];
    return line.map((panel, column) => drawPanel(panel, MARGIN + column * (PANEL.width + PANEL.gap), at));
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escape(heading)}</title><style>${STYLE}</style>`,
    `<text class="heading" x="${MARGIN}" y="${MARGIN + 14}">${escape(heading)}</text>`,
    ...drawn,
    '</svg>',
    '',
  ].join('\n');
}

/** Bars begin at zero, and the longest fills its panel. */
function drawPanel({ title, bars }, left, top) {
  const room = PANEL.width - PANEL.label - PANEL.value;
  const most = Math.max(...bars.map((bar) => bar.value), Number.MIN_VALUE);
  const x = left + PANEL.label;
  const lines = bars.map((bar, idx) => {
    const y = top + PANEL.title + idx * PANEL.step;
    const length = ((bar.value / most) * room).toFixed(1);
    const middle = y + PANEL.bar - 3;
    return [
      `<text x="${x - 6}" y="${middle}" text-anchor="end">${escape(bar.label)}</text>`,
      `<rect class="${bar.kind}" x="${x}" y="${y}" width="${length}" height="${PANEL.bar}" rx="2"/>`,
      `<text x="${(x + Number(length) + 5).toFixed(1)}" y="${middle}">${bar.value < 100 ? bar.value.toFixed(1) : bar.value.toFixed(0)}</text>`,
    ].join('');
  });
  const bottom = top + PANEL.title + Math.max(1, bars.length) * PANEL.step - 2;
  return [
    `<text class="title" x="${left}" y="${top + 14}">${escape(title)}</text>`,
    ...(bars.length === 0 ? [`<text x="${x}" y="${top + PANEL.title + 10}">not measured</text>`] : lines),
    `<line class="axis" x1="${x}" y1="${top + PANEL.title - 3}" x2="${x}" y2="${bottom}"/>`,
  ].join('\n');
}

const escape = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
