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
    ["a heading keeps a sign of its own", "# On C#\n###### ###\n#tag", ["h On C#", "h ###", "p #tag"]],
    ["lines may end as on other systems", "# a\r\n- b\r- c\r\n\r\nd", ["h a", "ul b | c", "p d"]],
    ["separators inside a line stay in it", "- a\u2028b", ["ul a\u2028b"]],
    ["a bullet without a space is text", "-5 degrees\n1.5 litres", ["p -5 degrees / 1.5 litres"]],
    ["nothing", "", []],
  ];
  for (const [name, text, expected] of cases) test(name, () => assert.deepEqual(brief(text), expected));
});

describe("running text", () => {
  const cases: [string, string, string][] = [
    ["bold and code", "say **yes** to `a * b`", "p say *yes* to `a * b`"],
    ["bold of one letter", "**x**", "p *x*"],
    ["bold twice", "**x** and **y z**", "p *x* and *y z*"],
    ["bold does not end behind a blank", "**a ** b**, ** c**", "p *a ** b*, ** c**"],
    ["marks without an end stay", "2 ** 3 and `open", "p 2 ** 3 and `open"],
    ["no bold inside code", "`**a**`", "p `**a**`"],
    ["markup stays text", "<img src=x onerror=alert(1)> &amp;", "p <img src=x onerror=alert(1)> &amp;"],
  ];
  for (const [name, text, expected] of cases) test(name, () => assert.deepEqual(brief(text), [expected]));
});

describe("a hostile line is read in time that grows with its length", () => {
  const SIZE = 200_000;
  const ofSize = (piece: string): string => piece.repeat(Math.ceil(SIZE / piece.length));
  const lines: [string, string][] = [
    ["a heading of blanks", `# a${ofSize(" ")}b`],
    ["a heading of signs", `# a${ofSize("#")}b`],
    ["a heading of blanks and signs", `# a${ofSize(" #")}b`],
    ["a heading with a separator", `# ${ofSize(" ")}\u2028`],
    ["a fence of blanks", `\`\`\`${ofSize(" ")}!`],
    ["a fence of ticks", `${ofSize("`")}!`],
    ["blanks", `${ofSize(" ")}x`],
    ["an item of blanks", `- ${ofSize(" ")}a\u2028b`],
    ["bold that begins", ofSize("**a ")],
    ["bold that ends", ofSize("a** ")],
    ["stars", ofSize("*")],
    ["stars and blanks", ofSize("** *")],
    ["ticks", ofSize("` **a``")],
  ];
  for (const [name, line] of lines) {
    test(name, () => {
      const start = performance.now();
      parseMarkdown(line);
      assert.ok(performance.now() - start < 2_000);
    });
  }
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
