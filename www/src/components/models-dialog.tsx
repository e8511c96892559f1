import type { ModelInfo } from "@noxics/runtime";
import type { UseNox } from "@noxics/runtime/react";
import { useState } from "react";

import { SUPPORTED_FILES } from "../advice";
import { formatBytes, formatParameters } from "../format";
import { distinctName, missingFiles, partsText } from "../model-names";
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
      <ul id="models" className="models" tabIndex={-1} aria-label="Models" data-focus-heir="models">
        {chat.models.map((model) => (
          <ModelRow key={model.id} model={model} chat={chat} />
        ))}
      </ul>
      <div className="dialog-actions">
        <p>
          {SUPPORTED_FILES} A file is copied into this browser’s storage and goes nowhere else.
        </p>
        <button
          type="button"
          className="button primary"
          disabled={chat.transfer !== null || !chat.isReady}
          onClick={onImport}
        >
          Import GGUF files
        </button>
      </div>
    </Dialog>
  );
}

function ModelRow({ model, chat }: { model: ModelInfo; chat: UseNox }) {
  const [isSure, setIsSure] = useState(false);
  const name = distinctName(model, chat.models);
  const parts = partsText(model);
  const facts = [
    parts,
    model.architecture,
    `${formatParameters(model.parameters)} parameters`,
    model.quantization,
    formatBytes(model.size_bytes),
    model.context_length > 0 && `context ${model.context_length}`,
    model.license,
  ].filter(Boolean);
  return (
    <li className="model-row" data-testid="model-row">
      <div>
        <div className="model-name">
          <strong>{name}</strong>
          {model.builtin && <span className="tag">built in</span>}
          {model.id === chat.model && <span className="tag">answers now</span>}
        </div>
        <p>{facts.join(" · ")}</p>
        {parts !== null && <p>Not complete. Import these too: {missingFiles(model).join(", ")}</p>}
      </div>
      {!model.builtin && (
        <button
          type="button"
          className="button danger"
          data-testid="model-remove"
          disabled={chat.isGenerating || chat.transfer !== null}
          onClick={() => (isSure ? void chat.removeModel(model.id) : setIsSure(true))}
          onBlur={() => setIsSure(false)}
          aria-label={isSure ? `Really remove ${name}` : `Remove ${name}`}
        >
          {isSure ? "Really remove?" : "Remove"}
        </button>
      )}
    </li>
  );
}
