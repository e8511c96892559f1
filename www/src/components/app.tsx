import type { ModelInfo, NoxClient } from "@noxics/runtime";
import { useNox } from "@noxics/runtime/react";
import type { ChatParams } from "@noxics/runtime/react";
import { useEffect, useRef, useState } from "react";

import { keepBuild } from "../offline";
import { rememberedModel, rememberModel } from "../remembered";
import { useFileDrop } from "../use-file-drop";
import { Banners } from "./banners";
import { Composer } from "./composer";
import type { ComposerHandle } from "./composer";
import { Conversation } from "./conversation";
import { EmptyState } from "./empty-state";
import { Header } from "./header";
import { ModelsDialog } from "./models-dialog";
import { StatusDialog } from "./status-dialog";
import { TransferStrip } from "./transfer-strip";

/**
 * The built-in model knows a few things by heart; chance would only spoil them.
 * It is also the one that answers before the list of models has arrived.
 */
function paramsFor(model: ModelInfo | null): ChatParams {
  return !model || model.builtin ? { temperature: 0 } : {};
}

export function App({ nox }: { nox: NoxClient }) {
  const [options] = useState(() => {
    const model = rememberedModel();
    return { nox, params: paramsFor, ...(model && { model }) };
  });
  const chat = useNox(options);
  const composer = useRef<ComposerHandle>(null);
  const fileInput = useRef<HTMLInputElement>(null);
  const [dialog, setDialog] = useState<"models" | "status" | null>(null);

  const importFile = (file: File): void => {
    setDialog(null);
    if (chat.transfer) return;
    // Asked for in answer to the user's own act; models are worth keeping.
    navigator.storage?.persist?.().catch(() => undefined);
    void chat.importModel(file);
  };
  const isDragging = useFileDrop(importFile);

  const { model, state } = chat;
  useEffect(() => rememberModel(model), [model]);
  const build = state.kind === "ready" ? state.hello.build.name : null;
  useEffect(() => {
    if (build !== null) void keepBuild(build);
  }, [build]);

  const send = (text: string): void => {
    chat.sendMessage(text);
    composer.current?.focus();
  };
  const closeDialog = (): void => setDialog(null);

  return (
    <div className="app">
      <a className="skip-link" href="#composer">
        Skip to the message field
      </a>
      <Header
        chat={chat}
        onNewChat={() => {
          chat.reset();
          composer.current?.focus();
        }}
        onModels={() => setDialog("models")}
        onStatus={() => setDialog("status")}
      />
      <Banners chat={chat} />
      <main className="main" aria-label="Conversation">
        {chat.messages.length === 0 ? (
          <EmptyState
            state={chat.state}
            canImport={chat.transfer === null}
            onAsk={send}
            onImport={() => fileInput.current?.click()}
          />
        ) : (
          <Conversation chat={chat} />
        )}
      </main>
      <footer className="footer">
        {chat.transfer && <TransferStrip chat={chat} transfer={chat.transfer} />}
        <Composer ref={composer} chat={chat} onSend={send} />
        <input
          ref={fileInput}
          data-testid="import-input"
          className="visually-hidden"
          type="file"
          accept=".gguf"
          tabIndex={-1}
          aria-label="GGUF file to import"
          onChange={({ currentTarget }) => {
            const file = currentTarget.files?.[0];
            // The same file may be chosen again, e.g. after it failed.
            currentTarget.value = "";
            if (file) importFile(file);
          }}
        />
      </footer>
      {dialog === "models" && (
        <ModelsDialog chat={chat} onImport={() => fileInput.current?.click()} onClose={closeDialog} />
      )}
      {dialog === "status" && <StatusDialog chat={chat} onClose={closeDialog} />}
      {isDragging && (
        <div className="drop-target" aria-hidden="true">
          <p>{chat.transfer ? "One file at a time: another is on its way" : "Drop a GGUF file to import it"}</p>
        </div>
      )}
    </div>
  );
}
