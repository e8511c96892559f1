import type { SessionInfo, Snippet } from "@noxics/runtime";
import type { UseNox, UseSessions } from "@noxics/runtime/react";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import type { ReactNode } from "react";

import { sentence } from "../advice";
import { titleOf } from "../session-title";
import { ConfirmDialog } from "./confirm-dialog";
import { ErrorBoundary } from "./error-boundary";
import { CloseIcon, NewChatIcon } from "./icons";
import { SessionDays } from "./session-days";
import { SessionRow } from "./session-row";
import type { RowActions, RowMode } from "./session-row";

interface SidePanelProps {
  chat: UseNox;
  sessions: UseSessions;
  onOpen: (id: string) => void;
  onNewChat: () => void;
  /** Saves a zip of these chats, or of all of them. */
  onExport: (sessions?: readonly string[]) => void;
  onImport: () => void;
  onPersona: () => void;
  onSettings: () => void;
  /** Present in a drawer. */
  onClose?: () => void;
}

/** The kept chats: search, list, and what can be done with them. */
export function SidePanel({ chat, sessions, onClose, ...props }: SidePanelProps) {
  const isOpen = chat.chats?.state === "open";
  return (
    <nav id="chats" className="panel" aria-label="Chats" tabIndex={-1} data-focus-heir="chats">
      <div className="panel-head">
        <h2>Chats</h2>
        <button
          type="button"
          className="icon-button"
          data-testid="panel-new-chat"
          aria-label="Begin a new chat"
          title="New chat"
          onClick={props.onNewChat}
        >
          <NewChatIcon />
        </button>
        {onClose && (
          <button type="button" className="icon-button" aria-label="Close" title="Close" onClick={onClose}>
            <CloseIcon />
          </button>
        )}
      </div>
      {isOpen ? <Chats chat={chat} sessions={sessions} {...props} /> : <NoChats chat={chat} />}
      <div className="panel-foot">
        <button type="button" className="small-button" disabled={!isOpen} onClick={props.onImport}>
          Import
        </button>
        <button
          type="button"
          className="small-button"
          data-testid="export-all"
          disabled={!isOpen}
          onClick={() => props.onExport()}
        >
          Export all
        </button>
        <button type="button" className="small-button" data-testid="persona-open" onClick={props.onPersona}>
          Persona
        </button>
        <button type="button" className="small-button" data-testid="settings-open" onClick={props.onSettings}>
          Settings
        </button>
      </div>
    </nav>
  );
}

/** What stands where the list would be. */
function NoChats({ chat }: { chat: UseNox }) {
  const { chats } = chat;
  return (
    <div className="panel-empty">
      {chats?.state === "busy" ? (
        <>
          <p>Another tab has the chats.</p>
          <button type="button" className="button" onClick={() => void chat.takeOver()}>
            Use here
          </button>
        </>
      ) : (
        <p>{chats?.state === "failed" ? (chats.warning ?? "The chats cannot be read.") : "Opening the chats…"}</p>
      )}
    </div>
  );
}

function Chats({ chat, sessions, onOpen, onExport }: Omit<SidePanelProps, "onClose">) {
  const { isArchive, hits, query, error } = sessions;
  const [doomed, setDoomed] = useState<SessionInfo | null>(null);
  const [shown, setShown] = useState<{ id: string; mode: RowMode } | null>(null);
  // The same object for all rows and every drawing, so that settled rows are left alone.
  const latest = useRef({ onOpen, onExport, sessions });
  useLayoutEffect(() => {
    latest.current = { onOpen, onExport, sessions };
  });
  const list = useRef<HTMLDivElement>(null);
  // With its row the focus would be lost.
  const focusList = (): void => list.current?.focus();
  const actions = useMemo<RowActions>(
    () => ({
      open: ({ id }) => {
        setShown(null);
        latest.current.onOpen(id);
      },
      setMode: (id, mode) => setShown(mode === "plain" ? null : { id, mode }),
      rename: (id, title) => void latest.current.sessions.rename(id, title),
      archive: ({ id, archived }) => {
        setShown(null);
        void latest.current.sessions.archive(id, !archived).then(focusList);
      },
      export: ({ id }) => {
        setShown(null);
        latest.current.onExport([id]);
      },
      remove: setDoomed,
    }),
    [],
  );
  const currentId = chat.session?.id;
  const row = useCallback(
    (session: SessionInfo, snippet: Snippet | null = null): ReactNode => (
      <SessionRow
        key={session.id}
        session={session}
        snippet={snippet}
        isCurrent={session.id === currentId}
        mode={shown?.id === session.id ? shown.mode : "plain"}
        actions={actions}
      />
    ),
    [currentId, shown, actions],
  );
  const plainRow = useCallback((session: SessionInfo) => row(session), [row]);
  return (
    <>
      <SearchField sessions={sessions} />
      <div className="panel-switch" role="group" aria-label="Which chats">
        {[false, true].map((archive) => (
          <button
            key={String(archive)}
            type="button"
            className="small-button"
            aria-pressed={isArchive === archive}
            onClick={() => void sessions.showArchive(archive)}
          >
            {archive ? "Archived" : "All chats"}
          </button>
        ))}
      </div>
      {error && (
        <p className="panel-error" role="alert">
          {sentence(error.message)}{" "}
          <button type="button" className="link-button" onClick={() => void sessions.refresh()}>
            Try again
          </button>
        </p>
      )}
      <div ref={list} className="panel-list" data-testid="session-list" tabIndex={-1}>
        <ErrorBoundary
          of={hits ?? sessions.sessions}
          otherwise={<p className="panel-empty">The list cannot be shown.</p>}
        >
          {query !== "" ? (
            hits && <ul className="sessions">{hits.map(({ session, snippet }) => row(session, snippet))}</ul>
          ) : (
            <SessionDays sessions={sessions.sessions} row={plainRow} />
          )}
        </ErrorBoundary>
        <EmptyLine sessions={sessions} />
        <More sessions={sessions} />
      </div>
      <p className="visually-hidden" role="status">
        {hits && (hits.length === 1 ? "1 chat found" : `${hits.length} chats found`)}
      </p>
      {doomed && (
        <ConfirmDialog
          title="Delete this chat?"
          action="Delete"
          onConfirm={() => void sessions.remove(doomed.id).then(focusList)}
          onClose={() => setDoomed(null)}
        >
          <p>
            “{titleOf(doomed)}” goes with {doomed.turns === 1 ? "its one turn" : `all its ${doomed.turns} turns`}, for
            good. Archiving it instead only takes it out of the list.
          </p>
        </ConfirmDialog>
      )}
    </>
  );
}

/** Typing pauses this long before it is searched. */
const PAUSE_MS = 150;

function SearchField({ sessions }: { sessions: UseSessions }) {
  const { query, search } = sessions;
  const [text, setText] = useState(query);
  useEffect(() => {
    const timer = setTimeout(() => void search(text), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [text, search]);
  return (
    <input
      className="search"
      data-testid="session-search"
      type="search"
      aria-label="Search chats"
      placeholder="Search chats"
      autoComplete="off"
      value={text}
      onChange={({ currentTarget }) => setText(currentTarget.value)}
    />
  );
}

function EmptyLine({ sessions }: { sessions: UseSessions }) {
  const { query, hits, total, isArchive } = sessions;
  const text =
    query !== ""
      ? hits?.length === 0 && "Nothing was found."
      : total === 0 && (isArchive ? "Nothing is archived." : "What you talk about will be listed here.");
  return text && <p className="panel-empty">{text}</p>;
}

const isIn = ({ isIntersecting }: IntersectionObserverEntry): boolean => isIntersecting;

/** Has more read before one has scrolled to the end. */
function More({ sessions }: { sessions: UseSessions }) {
  const { hasMore, loadMore, sessions: read, hits, error } = sessions;
  const sentinel = useRef<HTMLDivElement>(null);
  // Looked at anew with whatever was read: it may still be in sight then.
  useEffect(() => {
    const element = sentinel.current;
    if (!element || error) return undefined;
    const observer = new IntersectionObserver((entries) => entries.some(isIn) && void loadMore(), {
      root: element.closest(".panel-list"),
      rootMargin: "600px",
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [hasMore, loadMore, read, hits, error]);
  return hasMore && <div ref={sentinel} className="panel-more" aria-hidden="true" />;
}
