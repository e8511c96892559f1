/**
 * The little Markdown that chat models write, as data: paragraphs, headings,
 * lists, code, bold. What is not understood stays as it was written, so nothing
 * of a reply is ever lost, also while it is still coming in.
 */

/** A piece of running text. */
export interface Span {
  readonly kind: "text" | "strong" | "code";
  readonly text: string;
}

export type Block =
  | { readonly kind: "paragraph" | "heading"; readonly lines: readonly (readonly Span[])[] }
  | {
      readonly kind: "list";
      readonly isOrdered: boolean;
      readonly start: number;
      readonly items: readonly (readonly Span[])[];
    }
  | { readonly kind: "code"; readonly language: string; readonly text: string };

// Replies may come from archives of anybody's: nothing here takes more than linear time,
// and `s` has a dot match whatever a line may hold.
const FENCE = /^(`{3,}|~{3,})\s*([\w+#.-]*)$/;
const HEADING = /^#{1,6}\s+(\S.*)$/s;
const ITEM = /^\s*(?:[-*•]|(\d{1,9})[.)])\s+(.*)$/s;

export function parseMarkdown(text: string): Block[] {
  const blocks: Block[] = [];
  const lines = text.split(/\r\n?|\n/);
  let paragraph: string[] = [];
  const endParagraph = (): void => {
    if (paragraph.length > 0) blocks.push({ kind: "paragraph", lines: paragraph.map(parseSpans) });
    paragraph = [];
  };
  for (let idx = 0; idx < lines.length;) {
    const line = lines[idx] ?? "";
    const fence = FENCE.exec(line.trim());
    const heading = HEADING.exec(line);
    if (fence) {
      endParagraph();
      idx = takeCode(lines, idx, fence, blocks);
    } else if (ITEM.test(line)) {
      endParagraph();
      idx = takeList(lines, idx, blocks);
    } else {
      if (heading) {
        endParagraph();
        blocks.push({ kind: "heading", lines: [parseSpans(headingText(heading[1] ?? ""))] });
      } else if (line.trim() === "") {
        endParagraph();
      } else {
        paragraph.push(line);
      }
      idx += 1;
    }
  }
  endParagraph();
  return blocks;
}

/** Takes a code block that begins at `first`; one without an end reaches to the end. Gives the line after it. */
function takeCode(lines: readonly string[], first: number, fence: RegExpExecArray, blocks: Block[]): number {
  const [, mark = "```", language = ""] = fence;
  const isEnd = (line: string): boolean => line.trim().startsWith(mark) && FENCE.test(line.trim());
  let end = first + 1;
  while (end < lines.length && !isEnd(lines[end] ?? "")) end += 1;
  blocks.push({ kind: "code", language, text: lines.slice(first + 1, end).join("\n") });
  return end + 1;
}

/** Takes a list that begins at `first`; items are single lines. Gives the line after it. */
function takeList(lines: readonly string[], first: number, blocks: Block[]): number {
  const start = ITEM.exec(lines[first] ?? "")?.[1];
  const items: Span[][] = [];
  let end = first;
  for (; end < lines.length; end += 1) {
    const item = ITEM.exec(lines[end] ?? "");
    if (!item || (item[1] === undefined) !== (start === undefined)) break;
    items.push(parseSpans(item[2] ?? ""));
  }
  blocks.push({ kind: "list", isOrdered: start !== undefined, start: Number(start ?? 1), items });
  return end;
}

/** Without the `#` that may close a heading; the one of `C#` closes nothing. */
function headingText(text: string): string {
  const trimmed = text.trimEnd();
  let end = trimmed.length;
  while (trimmed[end - 1] === "#") end -= 1;
  return end > 0 && isBlank(trimmed[end - 1]) ? trimmed.slice(0, end).trimEnd() : trimmed;
}

function parseSpans(line: string): Span[] {
  const spans: Span[] = [];
  const strongEnd = strongEnds(line);
  let end = 0;
  const mark = /`|\*\*/g;
  for (let found = mark.exec(line); found; found = mark.exec(line)) {
    const isCode = found[0] === "`";
    const first = mark.lastIndex;
    const last = isCode ? line.indexOf("`", first) : isBlank(line[first]) ? -1 : strongEnd(first);
    if (last <= first) {
      mark.lastIndex = found.index + 1;
      continue;
    }
    if (found.index > end) spans.push({ kind: "text", text: line.slice(end, found.index) });
    spans.push({ kind: isCode ? "code" : "strong", text: line.slice(first, last) });
    end = mark.lastIndex = last + found[0].length;
  }
  if (end < line.length) spans.push({ kind: "text", text: line.slice(end) });
  return spans;
}

/** Finds where bold text that begins at `first` ends, or -1; asked from left to right, it looks at all but once. */
function strongEnds(line: string): (first: number) => number {
  let end = 0;
  return (first) => {
    if (end !== -1 && end <= first) end = line.indexOf("**", first + 1);
    while (end !== -1 && isBlank(line[end - 1])) end = line.indexOf("**", end + 1);
    return end;
  };
}

function isBlank(char: string | undefined): boolean {
  return char === undefined || /\s/.test(char);
}
