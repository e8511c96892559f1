import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { parseMarkdown } from "../src/markdown.js";
import type { Block, Span } from "../src/markdown.js";

/** Blocks in short: `p`, `h`, `ul`, `ol3`, `code:sh`, with their text; `*strong*`, `` `code` ``. */
function brief(text: string): string[] {
  const spans = (list: readonly Span[]): string =>
    list.map(({ kind, text }) => (kind === "strong" ? `*${text}*` : kind === "code" ? `\`${text}\`` : text)).join("");
  return parseMarkdown(text).map((block: Block) => {
    switch (block.kind) {
      case "code":
        return `code:${block.language} ${block.text}`;
      case "list":
        return `${block.isOrdered ? `ol${block.start}` : "ul"} ${block.items.map(spans).join(" | ")}`;
      case "heading":
      case "paragraph":
        return `${block.kind[0]} ${block.lines.map(spans).join(" / ")}`;
    }
  });
}

describe("blocks", () => {
  const cases: [string, string, string[]][] = [
    ["empty lines part paragraphs, others are kept as line breaks", "a\nb\n\nc", ["p a / b", "p c"]],
    ["lists of both kinds", "x:\n- a\n* b\n\n3. c\n4) d", ["p x:", "ul a | b", "ol3 c | d"]],
    ["a list follows another kind of list", "- a\n1. b", ["ul a", "ol1 b"]],
    [
      "a code block keeps its text as it is",
      "```sh\n- no list\n\n**no bold**\n```\nend",
      ["code:sh - no list\n\n**no bold**", "p end"],
    ],
    ["a code block without an end reaches to the end", "```\na\nb", ["code: a\nb"]],
    ["a heading", "## What runs where ##\ntext", ["h What runs where", "p text"]],
    ["a bullet without a space is text", "-5 degrees\n1.5 litres", ["p -5 degrees / 1.5 litres"]],
    ["nothing", "", []],
  ];
  for (const [name, text, expected] of cases) test(name, () => assert.deepEqual(brief(text), expected));
});

describe("running text", () => {
  const cases: [string, string, string][] = [
    ["bold and code", "say **yes** to `a * b`", "p say *yes* to `a * b`"],
    ["bold of one letter", "**x**", "p *x*"],
    ["marks without an end stay", "2 ** 3 and `open", "p 2 ** 3 and `open"],
    ["no bold inside code", "`**a**`", "p `**a**`"],
    ["markup stays text", "<img src=x onerror=alert(1)> &amp;", "p <img src=x onerror=alert(1)> &amp;"],
  ];
  for (const [name, text, expected] of cases) test(name, () => assert.deepEqual(brief(text), [expected]));
});

test("a reply that is still coming in never loses a letter", () => {
  const reply = "Hello **there**:\n\n- one\n- `two`\n\n```sh\nls\n```\n";
  const letters = (text: string): string => text.replace(/[^a-z]/gi, "");
  for (let end = 0; end <= reply.length; end += 1) {
    const part = reply.slice(0, end);
    assert.equal(
      letters(
        brief(part)
          .map((block) => block.replace(/^(code:|p |ul )/, ""))
          .join(""),
      ),
      letters(part),
    );
  }
});
