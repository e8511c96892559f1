import { memo } from "react";

import { parseMarkdown } from "../markdown";
import type { Block, Span } from "../markdown";

/** A reply's text. Everything becomes text nodes; no markup of the model's is ever taken as such. */
export const Markdown = memo(function Markdown({ text }: { text: string }) {
  return parseMarkdown(text).map((block, idx) => <BlockView key={idx} block={block} />);
});

function BlockView({ block }: { block: Block }) {
  switch (block.kind) {
    case "code":
      return (
        <pre tabIndex={0} aria-label={block.language ? `Code, ${block.language}` : "Code"}>
          <code>{block.text}</code>
        </pre>
      );
    case "list": {
      const items = block.items.map((item, idx) => (
        <li key={idx}>
          <Spans spans={item} />
        </li>
      ));
      return block.isOrdered ? <ol start={block.start}>{items}</ol> : <ul>{items}</ul>;
    }
    case "heading":
    case "paragraph":
      return (
        <p className={block.kind}>
          {block.lines.map((line, idx) => (
            <span key={idx}>
              {idx > 0 && <br />}
              <Spans spans={line} />
            </span>
          ))}
        </p>
      );
  }
}

function Spans({ spans }: { spans: readonly Span[] }) {
  return spans.map(({ kind, text }, idx) =>
    kind === "text" ? text : kind === "code" ? <code key={idx}>{text}</code> : <strong key={idx}>{text}</strong>,
  );
}
