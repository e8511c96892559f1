/** Chats and models on their way out of and into the browser, with what is to be said of it. */

import { NoxError, fileOf } from "@noxics/runtime";
import type { ExportedFile, ModelInfo, SessionsImportResult } from "@noxics/runtime";
import type { UseNox } from "@noxics/runtime/react";

import { sentence } from "./advice";
import type { Notice } from "./components/banners";
import { missingFiles, partsText } from "./model-names";
import { saveFile } from "./save-file";

/** Saves a zip of some chats, or of all; `null` when nothing has to be said. */
export async function exportChats(chat: UseNox, sessions?: readonly string[]): Promise<Notice | null> {
  try {
    saveFile((await chat.nox.sessions.export(sessions)).file);
    return null;
  } catch (error) {
    return failed("The chats were not exported", error);
  }
}

/** Saves a file that the runtime made; `null` when nothing has to be said. */
export function saveExported(exported: ExportedFile): Notice | null {
  try {
    saveFile(fileOf(exported));
    return null;
  } catch (error) {
    return failed("The file was not saved", error);
  }
}

/** Takes the chats of a zip in. */
export async function importChats(chat: UseNox, zip: File): Promise<Notice> {
  try {
    const result = await chat.nox.sessions.import(zip);
    chat.sessionsChanged();
    return importNotice(zip.name, result);
  } catch (error) {
    return failed(`${zip.name} was not imported`, error);
  }
}

/** What came in, and what did not. */
export function importNotice(name: string, result: SessionsImportResult): Notice {
  const { n_sessions, n_turns, n_unchanged, problems, n_problems } = result;
  const came = `${count(n_sessions, "chat")} with ${count(n_turns, "turn")} came in.`;
  const known = n_unchanged > 0 ? ` ${count(n_unchanged, "chat")} were here already.` : "";
  const left = n_problems - problems.length;
  return {
    title: `${name} was imported`,
    text: came + known,
    details: [
      ...problems.map(({ path, detail }) => `${path}: ${detail}`),
      ...(left > 0 ? [`and ${left} more`] : []),
    ],
  };
}

/** What a split model still lacks; `null` when it is complete. */
export function incompleteNotice(model: ModelInfo): Notice | null {
  const parts = partsText(model);
  if (parts === null) return null;
  return {
    title: `${model.name} is not complete`,
    text: `It is split, and ${parts} are here. Import the others too; their names end like these.`,
    details: missingFiles(model),
  };
}

function failed(title: string, error: unknown): Notice {
  return { title, text: sentence(NoxError.from(error).message), details: [] };
}

function count(n: number, what: string): string {
  return n === 1 ? `1 ${what}` : `${n} ${what}s`;
}
