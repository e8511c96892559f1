/** Chats under the days on which they last changed, in pieces of which few are drawn at a time. */

/** Chats of one day, in the order in which they came. */
export interface DayGroup<T> {
  /** For people: `Today`, `Yesterday`, `Thursday 19 November`. */
  readonly label: string;
  /** Whether the day began in the piece before. */
  readonly isContinued: boolean;
  readonly items: readonly T[];
}

/** A piece of the list: groups that are drawn together. */
export interface Piece<T> {
  readonly groups: readonly DayGroup<T>[];
  /** How many chats are in it. */
  readonly nItems: number;
}

const SAME_YEAR = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long" });
/** Of a date that no calendar has, e.g. from a damaged archive. */
const UNDATED = "Earlier";
const OTHER_YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", year: "numeric" });

/** Neighbours of the same day are put together, `pieceItems` chats make a piece; the order stays. */
export function piecesByDay<T extends { readonly updated_ms: number }>(
  items: readonly T[],
  now: Date,
  pieceItems: number,
): Piece<T>[] {
  const pieces: Piece<T>[] = [];
  let before = "";
  for (let start = 0; start < items.length; start += pieceItems) {
    const groups: (DayGroup<T> & { items: T[] })[] = [];
    const piece = items.slice(start, start + pieceItems);
    for (const item of piece) {
      const date = new Date(item.updated_ms);
      const day = dayKey(date);
      const last = groups.at(-1);
      if (last && day === before) last.items.push(item);
      else groups.push({ label: dayLabel(date, now), isContinued: day === before, items: [item] });
      before = day;
    }
    pieces.push({ groups, nItems: piece.length });
  }
  return pieces;
}

function dayLabel(date: Date, now: Date): string {
  if (Number.isNaN(date.getTime())) return UNDATED;
  const yesterday = new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1);
  if (dayKey(date) === dayKey(now)) return "Today";
  if (dayKey(date) === dayKey(yesterday)) return "Yesterday";
  return (date.getFullYear() === now.getFullYear() ? SAME_YEAR : OTHER_YEAR).format(date);
}

/** `2026-11-22`, by the clock on the wall. */
function dayKey(date: Date): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
