import { NoxError } from "@noxics/runtime";
import type { UseNox } from "@noxics/runtime/react";
import { useEffect, useState } from "react";

/** Whether the browser may throw away what is stored, and the wish that it does not. */
export function StorageSection({ chat }: { chat: UseNox }) {
  const [isPersisted, setIsPersisted] = useState<boolean | null>(null);
  const [answer, setAnswer] = useState("");
  const { nox } = chat;
  useEffect(() => {
    let isGone = false;
    nox.storage.estimate().then(
      ({ persisted }) => isGone || setIsPersisted(persisted),
      () => undefined,
    );
    return () => {
      isGone = true;
    };
  }, [nox]);
  const ask = async (): Promise<void> => {
    try {
      const { persisted } = await nox.storage.persist();
      setIsPersisted(persisted);
      setAnswer(answerFor(persisted));
    } catch (error) {
      setAnswer(NoxError.from(error).message);
    }
  };
  return (
    <section className="form-section" aria-labelledby="storage-title" data-focus-heir="storage-title">
      <h3 id="storage-title" tabIndex={-1}>Storage</h3>
      <p>
        {isPersisted
          ? "The browser keeps your chats and models until you remove them."
          : "When the disk is full, the browser may remove what a site has stored, chats and models too."}
      </p>
      {!isPersisted && (
        <button type="button" className="button" data-testid="persist" onClick={() => void ask()}>
          Ask the browser to keep my data
        </button>
      )}
      <p role="status">{answer}</p>
    </section>
  );
}

function answerFor(persisted: boolean | null): string {
  if (persisted === null) return "This browser makes no such promise.";
  return persisted
    ? "It has promised to."
    : "It has not promised to, for now. Browsers do so for sites that are installed or often used.";
}
