/** A found piece of text, cut where the words that were found begin and end. */

import type { Snippet } from "@noxics/runtime";

export interface SnippetPiece {
  readonly text: string;
  readonly isMatch: boolean;
}

export function snippetPieces({ text, matches }: Snippet): SnippetPiece[] {
  const pieces: SnippetPiece[] = [];
  const add = (from: number, to: number, isMatch: boolean): void => {
    if (to > from) pieces.push({ text: text.slice(from, to), isMatch });
  };
  let done = 0;
  for (const [from, to] of matches) {
    add(done, from, false);
    add(Math.max(done, from), to, true);
    done = Math.max(done, to);
  }
  add(done, text.length, false);
  return pieces;
}
