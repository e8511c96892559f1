import type { ModelInfo } from "@noxics/runtime";
import type { UseNox } from "@noxics/runtime/react";
import { useState } from "react";

import { formatBytes, formatParameters } from "../format";
import { Dialog } from "./dialog";

interface ModelsDialogProps {
  chat: UseNox;
  onImport: () => void;
  onClose: () => void;
}

/** The models on this device. */
export function ModelsDialog({ chat, onImport, onClose }: ModelsDialogProps) {
  return (
    <Dialog title="Models on this device" testId="models-dialog" onClose={onClose}>
      <ul className="models">
        {chat.models.map((model) => (
          <ModelRow key={model.id} model={model} chat={chat} />
        ))}
      </ul>
      <div className="dialog-actions">
        <p>
          GGUF files of the Llama and Qwen2 families run here. A file is copied into this browser’s storage and goes
          nowhere else.
        </p>
        <button
          type="button"
          className="button primary"
          disabled={chat.transfer !== null || !chat.isReady}
          onClick={onImport}
        >
          Import a GGUF file
        </button>
      </div>
    </Dialog>
  );
}

function ModelRow({ model, chat }: { model: ModelInfo; chat: UseNox }) {
  const [isSure, setIsSure] = useState(false);
  const facts = [
    model.architecture,
    `${formatParameters(model.parameters)} parameters`,
    model.quantization,
    formatBytes(model.size_bytes),
    `context ${model.context_length}`,
    model.license,
  ].filter(Boolean);
  return (
    <li className="model-row" data-testid="model-row">
      <div>
        <strong>{model.name}</strong>
        {model.builtin && <span className="tag">built in</span>}
        {model.id === chat.model && <span className="tag">answers now</span>}
        <p>{facts.join(" · ")}</p>
      </div>
      {!model.builtin && (
        <button
          type="button"
          className="button danger"
          data-testid="model-remove"
          disabled={chat.isGenerating || chat.transfer !== null}
          onClick={() => (isSure ? void chat.removeModel(model.id) : setIsSure(true))}
          onBlur={() => setIsSure(false)}
          aria-label={isSure ? `Really remove ${model.name}` : `Remove ${model.name}`}
        >
          {isSure ? "Really remove?" : "Remove"}
        </button>
      )}
    </li>
  );
}
