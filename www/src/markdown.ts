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

const FENCE = /^\s*(`{3,}|~{3,})\s*([\w+#.-]*)\s*$/;
const HEADING = /^#{1,6}\s+(.+?)\s*#*$/;
const ITEM = /^\s*(?:[-*•]|(\d{1,9})[.)])\s+(.*)$/;
const SPAN = /`([^`\n]+)`|\*\*(?=\S)(.+?\S|\S)\*\*/g;

export function parseMarkdown(text: string): Block[] {
  const blocks: Block[] = [];
  const lines = text.split("\n");
  let paragraph: string[] = [];
  const endParagraph = (): void => {
    if (paragraph.length > 0) blocks.push({ kind: "paragraph", lines: paragraph.map(parseSpans) });
    paragraph = [];
  };
  for (let idx = 0; idx < lines.length;) {
    const line = lines[idx] ?? "";
    const fence = FENCE.exec(line);
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
        blocks.push({ kind: "heading", lines: [parseSpans(heading[1] ?? "")] });
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
  const isEnd = (line: string): boolean => line.trim().startsWith(mark) && FENCE.test(line);
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

function parseSpans(line: string): Span[] {
  const spans: Span[] = [];
  let end = 0;
  for (const match of line.matchAll(SPAN)) {
    if (match.index > end) spans.push({ kind: "text", text: line.slice(end, match.index) });
    const [whole, code, strong] = match;
    spans.push(code !== undefined ? { kind: "code", text: code } : { kind: "strong", text: strong ?? "" });
    end = match.index + whole.length;
  }
  if (end < line.length) spans.push({ kind: "text", text: line.slice(end) });
  return spans;
}
