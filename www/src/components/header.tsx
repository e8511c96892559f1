import type { ModelInfo } from "@noxics/runtime";
import type { UseNox } from "@noxics/runtime/react";

import { formatBytes } from "../format";
import { distinctName, partsText } from "../model-names";
import { ChatsIcon, ModelsIcon, Moon, NewChatIcon, StatusIcon } from "./icons";

interface HeaderProps {
  chat: UseNox;
  /** Present where the chats are in a drawer. */
  onChats: (() => void) | null;
  onNewChat: () => void;
  onModels: () => void;
  onStatus: () => void;
}

export function Header({ chat, onChats, onNewChat, onModels, onStatus }: HeaderProps) {
  return (
    <header className="header">
      <div className="header-row">
        {onChats && (
          <button
            type="button"
            className="icon-button"
            data-testid="chats-open"
            aria-label="Chats"
            title="Chats"
            onClick={onChats}
          >
            <ChatsIcon />
          </button>
        )}
        <h1 className="brand">
          <Moon />
          <span className="brand-name">Nox</span>
        </h1>
        <ModelSelect chat={chat} />
        <div className="header-buttons">
          <button
            type="button"
            className="icon-button"
            data-testid="models-open"
            aria-label="Models"
            title="Models"
            onClick={onModels}
          >
            <ModelsIcon />
          </button>
          <button
            type="button"
            className="icon-button"
            data-testid="status-open"
            aria-label="Status"
            title="Status"
            onClick={onStatus}
          >
            <StatusIcon />
          </button>
          <button
            type="button"
            className="icon-button"
            data-testid="new-chat"
            aria-label="New chat"
            title="New chat"
            onClick={onNewChat}
          >
            <NewChatIcon />
          </button>
        </div>
      </div>
      {chat.isReady && !chat.isKept && (
        <p className="header-note" data-testid="not-kept">
          What is said now is not kept.
        </p>
      )}
    </header>
  );
}

function ModelSelect({ chat }: { chat: UseNox }) {
  const { models, aliases, model, isGenerating, transfer } = chat;
  return (
    <select
      className="model-select"
      data-testid="model-select"
      aria-label="Model"
      value={model}
      disabled={models.length === 0 || isGenerating || transfer !== null}
      onChange={({ currentTarget }) => void chat.selectModel(currentTarget.value)}
    >
      {models.length === 0 && <option value={model}>{waitingLabel(chat)}</option>}
      {models.map((info) => (
        <option key={info.id} value={info.id} disabled={partsText(info) !== null}>
          {describeModel(info, models)}
        </option>
      ))}
      {aliases.length > 0 && (
        <optgroup label="Your aliases">
          {aliases.map((alias) => (
            <option key={alias}>{alias}</option>
          ))}
        </optgroup>
      )}
    </select>
  );
}

function waitingLabel({ state }: UseNox): string {
  return state.kind === "starting" || state.kind === "restarting" ? "Starting…" : "No model yet";
}

/** Name, quantisation, size; or how much of it is here. */
function describeModel(model: ModelInfo, models: readonly ModelInfo[]): string {
  const size = partsText(model) ?? formatBytes(model.size_bytes);
  return `${distinctName(model, models)} · ${model.quantization} · ${size}`;
}
