import type { NoxClient } from "@noxics/runtime";
import { useNox, useSessions } from "@noxics/runtime/react";
import type { UseNox } from "@noxics/runtime/react";
import { useEffect, useRef, useState } from "react";

import { paramsFor } from "../chat-params";
import { isCommand } from "../completion";
import { keepBuild } from "../offline";
import { rememberChat, rememberedChat } from "../remembered";
import { exportChats, importChats, incompleteNotice, saveExported } from "../transfers";
import { useCommands } from "../use-commands";
import { useFileDrop } from "../use-file-drop";
import { useFocusHeir } from "../use-focus-heir";
import { useMedia } from "../use-media";
import { Banners } from "./banners";
import type { Notice } from "./banners";
import { Composer } from "./composer";
import type { ComposerHandle } from "./composer";
import { Announcement, Conversation } from "./conversation";
import { Drawer } from "./drawer";
import { EmptyState } from "./empty-state";
import { FileInput } from "./file-input";
import { Header } from "./header";
import { ModelsDialog } from "./models-dialog";
import { PersonaDialog } from "./persona-dialog";
import { SettingsDialog } from "./settings-dialog";
import { SidePanel } from "./side-panel";
import { StatusDialog } from "./status-dialog";
import { TransferStrip } from "./transfer-strip";

type DialogName = "models" | "status" | "settings" | "persona";

/** From this width on the chats have a column of their own. */
const WIDE = "(width >= 56.25rem)";

export function App({ nox }: { nox: NoxClient }) {
  const [options] = useState(() => {
    const session = rememberedChat();
    return { nox, params: paramsFor, ...(session !== null && { session }) };
  });
  const chat = useNox(options);
  const sessions = useSessions(chat);
  const commands = useCommands(chat);
  const composer = useRef<ComposerHandle>(null);
  const modelInput = useRef<HTMLInputElement>(null);
  const chatsInput = useRef<HTMLInputElement>(null);
  const [dialog, setDialog] = useState<DialogName | null>(null);
  const [isDrawerOpen, setIsDrawerOpen] = useState(false);
  const [notice, setNotice] = useState<Notice | null>(null);
  const isWide = useMedia(WIDE);
  const shell = useFocusHeir<HTMLDivElement>();
  useTab(chat);

  const show = (name: DialogName): void => {
    setIsDrawerOpen(false);
    setDialog(name);
  };
  const importFiles = (files: readonly File[]): void => {
    setDialog(null);
    setIsDrawerOpen(false);
    const [zip] = files.filter(isZip);
    if (zip) return void importChats(chat, zip).then(setNotice);
    if (chat.transfer) return;
    // Asked for in answer to the user's own act; models are worth keeping.
    navigator.storage?.persist?.().catch(() => undefined);
    void chat.importModel(files).then((model) => setNotice(model && incompleteNotice(model)));
  };
  const isDragging = useFileDrop(importFiles);

  const send = (text: string): void => {
    if (isCommand(text)) void runCommand(chat, text).then((failure) => failure && setNotice(failure));
    else chat.sendMessage(text);
    composer.current?.focus();
  };
  const newChat = (): void => {
    setIsDrawerOpen(false);
    chat.reset();
    composer.current?.focus();
  };
  const closeDialog = (): void => setDialog(null);
  const closeDrawer = (): void => setIsDrawerOpen(false);

  const panel = (
    <SidePanel
      chat={chat}
      sessions={sessions}
      onOpen={(id) => {
        setIsDrawerOpen(false);
        void chat.openSession(id);
        // On a touch screen the keyboard would cover what was opened.
        if (isWide) composer.current?.focus();
      }}
      onNewChat={newChat}
      onExport={(ids) => void exportChats(chat, ids).then((failure) => failure && setNotice(failure))}
      onImport={() => chatsInput.current?.click()}
      onPersona={() => show("persona")}
      onSettings={() => show("settings")}
      {...(!isWide && { onClose: closeDrawer })}
    />
  );

  return (
    <div ref={shell} className="shell">
      <a className="skip-link" href="#composer">
        Skip to the message field
      </a>
      {isWide && panel}
      <div className="app">
        <Header
          chat={chat}
          onChats={isWide ? null : () => setIsDrawerOpen(true)}
          onNewChat={newChat}
          onModels={() => show("models")}
          onStatus={() => show("status")}
        />
        <Banners chat={chat} notice={notice} onNoticeRead={() => setNotice(null)} />
        <main id="conversation" className="main" tabIndex={-1} aria-label="Conversation">
          {chat.messages.length > 0 ? (
            <Conversation chat={chat} />
          ) : (
            <EmptyState
              state={chat.state}
              assistantName={chat.assistantName}
              canImport={chat.transfer === null}
              onAsk={send}
              onImport={() => modelInput.current?.click()}
            />
          )}
          <Announcement chat={chat} />
        </main>
        <footer className="footer" data-focus-heir="composer">
          {chat.transfer && <TransferStrip chat={chat} transfer={chat.transfer} />}
          <Composer ref={composer} chat={chat} commands={commands} onSend={send} />
          <FileInput
            ref={modelInput}
            testId="import-input"
            accept=".gguf"
            label="GGUF file to import, or all files of a split model"
            isMany
            onFiles={importFiles}
          />
          <FileInput ref={chatsInput} testId="chats-input" accept=".zip" label="Zip of chats to import" onFiles={importFiles} />
        </footer>
      </div>
      {!isWide && isDrawerOpen && (
        <Drawer label="Chats" onClose={closeDrawer}>
          {panel}
        </Drawer>
      )}
      {dialog === "models" && (
        <ModelsDialog chat={chat} onImport={() => modelInput.current?.click()} onClose={closeDialog} />
      )}
      {dialog === "status" && <StatusDialog chat={chat} onClose={closeDialog} />}
      {dialog === "settings" && <SettingsDialog chat={chat} onClose={closeDialog} />}
      {dialog === "persona" && <PersonaDialog chat={chat} onClose={closeDialog} />}
      {isDragging && (
        <div className="drop-target" aria-hidden="true">
          <p>
            {chat.transfer
              ? "One model at a time: another is on its way"
              : "Drop a GGUF file, all files of a split model, or a zip of chats, to import it"}
          </p>
        </div>
      )}
    </div>
  );
}

/** What the tab itself shows and remembers of the chat, and the build that it keeps. */
function useTab({ session, state }: UseNox): void {
  const id = session?.id ?? null;
  useEffect(() => rememberChat(id), [id]);
  const title = session?.title ?? null;
  useEffect(() => {
    document.title = title === null ? "Nox" : `${title} · Nox`;
  }, [title]);
  const build = state.kind === "ready" ? state.hello.build.name : null;
  useEffect(() => {
    if (build !== null) void keepBuild(build);
  }, [build]);
}

/** Carries a command out, with what only a page can do; gives what has to be said of that. */
async function runCommand(chat: UseNox, line: string): Promise<Notice | null> {
  const effect = await chat.runCommand(line);
  if (effect?.kind === "file") return saveExported(effect.file);
  // Browsers let a page close only tabs that a page has opened; elsewhere a new chat has begun.
  if (effect?.kind === "exit") window.close();
  return null;
}

function isZip({ name, type }: File): boolean {
  return /\.zip$/i.test(name) || type === "application/zip";
}
