/** Slash commands while they are typed: which ones a draft may become, and how one is used. */

import type { CommandInfo } from "@noxics/runtime";

/** Whether a draft is a command rather than a message. */
export function isCommand(draft: string): boolean {
  return draft.trimStart().startsWith("/");
}

/** The commands that a draft may become; none behind the name. */
export function completions(draft: string, commands: readonly CommandInfo[]): CommandInfo[] {
  const typed = draft.trimStart().toLowerCase();
  if (!typed.startsWith("/") || /\s/.test(typed)) return [];
  const fits = commands.filter((command) => namesOf(command).some((name) => name.startsWith(typed)));
  // A name that is there in full is what is meant, also where others go on from it.
  return [...fits.filter((command) => isNamed(command, typed)), ...fits.filter((command) => !isNamed(command, typed))];
}

/** The command that a draft begins with, once its name is complete. */
export function commandOf(draft: string, commands: readonly CommandInfo[]): CommandInfo | null {
  const typed = draft.trim().toLowerCase().split(/\s/, 1)[0] ?? "";
  return commands.find((command) => isNamed(command, typed)) ?? null;
}

/** What the draft becomes when a command is chosen. */
export function completed({ name, arguments: values }: CommandInfo): string {
  return values === "" ? name : `${name} `;
}

/** `/rename CHAT TITLE` */
export function usage({ name, arguments: values }: CommandInfo): string {
  return values === "" ? name : `${name} ${values}`;
}

function isNamed(command: CommandInfo, name: string): boolean {
  return namesOf(command).includes(name);
}

function namesOf({ name, aliases }: CommandInfo): string[] {
  return [name, ...aliases];
}
