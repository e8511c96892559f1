/**
 * Which model answers: those on the device, the one that is chosen, and files and
 * models on their way. A part of the chat store, whose snapshot it draws in.
 */

import type { NoxClient } from "./client.js";
import { NoxError } from "./errors.js";
import type { ModelInfo, Progress } from "./generated/protocol.js";

/** A file on its way into storage, or a model on its way into memory. */
export interface Transfer {
  readonly kind: "import" | "load";
  /** The file's name, or the model's. */
  readonly name: string;
  readonly progress: Progress | null;
}

/** What of the chat's snapshot is about models. */
export interface ModelsSnapshot {
  /** The models on this device; empty until the runtime is ready. */
  readonly models: readonly ModelInfo[];
  /** The model that answers next: its id, or an alias of the user's own. */
  readonly model: string;
  /** Aliases of the user's own routing configuration; empty with the product's. */
  readonly aliases: readonly string[];
  readonly transfer: Transfer | null;
  /** Share of the transfer that is done, 0 to 1; `null` without one, or when its size is not known. */
  readonly downloadProgress: number | null;
}

/** What the chat store lends. */
export interface ModelsOwner {
  nox(): NoxClient;
  snapshot(): ModelsSnapshot;
  update(change: Partial<ModelsSnapshot & { error: null }>): void;
  fail(during: "import" | "load" | "remove", error: NoxError): void;
  /** Has the choice outlive the page; `null` forgets it. */
  remember(model: string | null): Promise<void>;
}

/** The alias that always names a model that is there. */
export const DEFAULT_MODEL = "nox";

/** Whether all files of a model are on this device, so that it can be loaded. */
function isComplete({ parts }: ModelInfo): boolean {
  return !parts || parts.missing.length === 0;
}

/** The model that has the part which a file is by its name; `null` where it is to be taken in. */
function withPart(name: string, models: readonly ModelInfo[]): ModelInfo | null {
  const [, stem = "", part, count] = /^(.+)-(\d{5})-of-(\d{5})(?:\.gguf)?$/.exec(name.toLowerCase()) ?? [];
  // As the runtime makes an id of a name.
  const id = stem
    .replace(/[^a-z0-9._]+/g, "-")
    .replace(/^[._-]+/, "")
    .replace(/[.-]+$/, "");
  const isOf = ({ id: known, parts }: ModelInfo): boolean =>
    known === id && parts?.count === Number(count) && !parts.missing.includes(Number(part));
  return models.find(isOf) ?? null;
}

export class ModelChoice {
  readonly #owner: ModelsOwner;
  #abort: AbortController | null = null;

  constructor(owner: ModelsOwner) {
    this.#owner = owner;
  }

  async select(id: string): Promise<void> {
    const { model: before, models, aliases, transfer } = this.#owner.snapshot();
    if (id === before || transfer) return;
    this.#owner.update({ model: id });
    const name = models.find((model) => model.id === id)?.name ?? id;
    const load = (): Promise<unknown> =>
      this.#during("load", name, (options) => this.#owner.nox().models.load(id, options));
    // What stands behind an alias is chosen for each message.
    if (aliases.includes(id) || (await load())) await this.#owner.remember(id);
    else this.#owner.update({ model: before });
    await this.refresh();
  }

  /**
   * Takes one file after the other, until one fails. Parts of a split model that are here
   * already are passed over. The model that the last file to come belongs to, if any came.
   */
  async import(files: readonly File[]): Promise<ModelInfo | null> {
    if (this.#owner.snapshot().transfer) return null;
    const nox = this.#owner.nox();
    let model: ModelInfo | null = null;
    let hasFailed = false;
    for (const file of files) {
      const known = withPart(file.name, this.#owner.snapshot().models);
      if (known) {
        model ??= known;
        continue;
      }
      const result = await this.#during("import", file.name, (options) => nox.models.import(file, options));
      hasFailed = !result;
      if (!result) break;
      model = result.model;
    }
    await this.refresh();
    if (model && !hasFailed && isComplete(model)) await this.select(model.id);
    return model;
  }

  cancel(): void {
    this.#abort?.abort();
  }

  async remove(id: string): Promise<void> {
    try {
      await this.#owner.nox().models.remove(id);
      if (this.#owner.snapshot().model === id) {
        this.#owner.update({ model: this.#default() });
        await this.#owner.remember(null);
      }
    } catch (error) {
      this.#owner.fail("remove", NoxError.from(error));
    }
    await this.refresh();
  }

  async refresh(): Promise<void> {
    try {
      this.take(await this.#owner.nox().models.list());
    } catch {
      // What was known before is still the best guess; a dead runtime tells so itself.
    }
  }

  /** Takes what there is; a choice that is gone gives way to the default. */
  take(models: readonly ModelInfo[]): void {
    this.#owner.update({ models });
    const { model, aliases } = this.#owner.snapshot();
    const isKnown = models.some(({ id }) => id === model) || aliases.includes(model);
    if (models.length > 0 && !isKnown) this.#owner.update({ model: this.#default() });
  }

  #default(): string {
    return this.#owner.snapshot().models.find(({ builtin }) => builtin)?.id ?? DEFAULT_MODEL;
  }

  /** Runs one transfer with its progress; `null` when it failed or was cancelled. */
  async #during<T>(
    kind: Transfer["kind"],
    name: string,
    run: (options: { signal: AbortSignal; onProgress: (progress: Progress) => void }) => Promise<T>,
  ): Promise<T | null> {
    const abort = new AbortController();
    this.#abort = abort;
    this.#owner.update({ error: null });
    this.#show({ kind, name, progress: null });
    try {
      const onProgress = (progress: Progress): void => this.#show({ kind, name, progress });
      return await run({ signal: abort.signal, onProgress });
    } catch (reason) {
      const error = NoxError.from(reason);
      if (error.kind !== "cancelled") this.#owner.fail(kind, error);
      return null;
    } finally {
      this.#abort = null;
      this.#show(null);
    }
  }

  #show(transfer: Transfer | null): void {
    const { done = 0, total = 0 } = transfer?.progress ?? {};
    this.#owner.update({ transfer, downloadProgress: total > 0 ? Math.min(1, done / total) : null });
  }
}
