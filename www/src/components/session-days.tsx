import type { SessionInfo } from "@noxics/runtime";
import { memo, useEffect, useMemo, useRef, useState } from "react";
import type { ReactNode } from "react";

import { piecesByDay } from "../day-groups";
import type { Piece } from "../day-groups";

interface SessionDaysProps {
  sessions: readonly SessionInfo[];
  /** Draws a chat; another function has all of them drawn anew. */
  row: (session: SessionInfo) => ReactNode;
}

const PIECE_SESSIONS = 50;
/** So far from what is in sight a piece is still drawn. */
const NEAR = "1000px";
/** Of a chat, in a piece that was never drawn. */
const ROW_PX = 40;

/**
 * The chats under their days. Only the pieces near what is in sight are drawn, the
 * others are room of the same height: of ten thousand chats some hundred are elements.
 */
export const SessionDays = memo(function SessionDays({ sessions, row }: SessionDaysProps) {
  const pieces = useMemo(() => piecesByDay(sessions, new Date(), PIECE_SESSIONS), [sessions]);
  return pieces.map((piece, idx) => <PieceView key={idx} piece={piece} row={row} isFirst={idx === 0} />);
});

interface PieceViewProps {
  piece: Piece<SessionInfo>;
  row: (session: SessionInfo) => ReactNode;
  isFirst: boolean;
}

function PieceView({ piece, row, isFirst }: PieceViewProps) {
  const element = useRef<HTMLDivElement>(null);
  const [isNear, setIsNear] = useState(isFirst);
  const [heightPx, setHeightPx] = useState(piece.nItems * ROW_PX);
  useEffect(() => {
    const { current } = element;
    if (!current) return undefined;
    const observer = new IntersectionObserver(
      (entries) => {
        const entry = entries.at(-1);
        // What has the focus stays, however far it was scrolled away.
        if (!entry || (!entry.isIntersecting && current.contains(document.activeElement))) return;
        if (!entry.isIntersecting && entry.boundingClientRect.height > 0) setHeightPx(entry.boundingClientRect.height);
        setIsNear(entry.isIntersecting);
      },
      { root: current.closest(".panel-list"), rootMargin: NEAR },
    );
    observer.observe(current);
    return () => observer.disconnect();
  }, []);
  return (
    <div ref={element} style={isNear ? undefined : { height: heightPx }}>
      {isNear &&
        piece.groups.map(({ label, isContinued, items }) => (
          <section key={label} aria-label={label}>
            {!isContinued && <h3 aria-hidden="true">{label}</h3>}
            <ul className="sessions">{items.map(row)}</ul>
          </section>
        ))}
    </div>
  );
}
