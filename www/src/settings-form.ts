/** The settings as a form: texts and switches, and what of them changed. */

import type { Settings } from "@noxics/runtime";

/** What stands in the fields. Empty texts mean that nothing is set. */
export interface SettingsDraft {
  readonly model: string;
  readonly temperature: string;
  readonly max_tokens: string;
  readonly system_prompt: string;
  readonly history_turns: string;
  readonly strip_reasoning: boolean;
  readonly sanitize: boolean;
  readonly self_score: boolean;
  readonly instrument: string;
  readonly keep_chats: boolean;
  readonly warm_start_mib: string;
}

export type SettingName = keyof SettingsDraft;

/** Settings to change, as `config.set` takes them: `null` takes one back. */
export type SettingsChange = { [K in keyof Settings]: Settings[K] | null };

/** What holds where nothing is set. */
const SWITCHES = { strip_reasoning: true, sanitize: false, self_score: false, keep_chats: true } as const;
const NUMBERS = ["temperature", "max_tokens", "history_turns", "warm_start_mib"] as const;
const TEXTS = ["model", "system_prompt", "instrument"] as const;

/** What a system prompt may hold. */
export const PLACEHOLDERS: readonly (readonly [name: string, meaning: string])[] = [
  ["NOX_NAME", "the assistant’s name"],
  ["NOX_VARIANT", "the variant, as it is written"],
  ["NOX_VARIANT_DISPLAY", "the variant, as people read it"],
  ["NOX_SCALE", "the scale"],
  ["NOX_SCALE_LABEL", "the scale with the model’s size"],
  ["NOX_MODEL_TARGET", "the model that the persona is made for"],
  ["NOX_PERSONA_TAGLINE", "the tagline"],
  ["NOX_PERSONA_SUMMARY", "one line about the persona"],
  ["NOX_PERSONA_STRENGTHS", "the strengths as a list"],
  ["NOX_PERSONA_LIMITS", "the limits as a list"],
];

export function settingsDraft(settings: Settings): SettingsDraft {
  const text = (value: string | number | undefined): string => (value === undefined ? "" : String(value));
  return {
    model: text(settings.model),
    temperature: text(settings.temperature),
    max_tokens: text(settings.max_tokens),
    system_prompt: text(settings.system_prompt),
    history_turns: text(settings.history_turns),
    instrument: text(settings.instrument),
    warm_start_mib: text(settings.warm_start_mib),
    strip_reasoning: settings.strip_reasoning ?? SWITCHES.strip_reasoning,
    sanitize: settings.sanitize ?? SWITCHES.sanitize,
    self_score: settings.self_score ?? SWITCHES.self_score,
    keep_chats: settings.keep_chats ?? SWITCHES.keep_chats,
  };
}

/** What has to be sent to get from one state of the form to another. */
export function settingsChange(before: SettingsDraft, after: SettingsDraft): SettingsChange {
  const change: Record<string, string | number | boolean | null> = {};
  const isChanged = (name: SettingName): boolean => before[name] !== after[name];
  for (const name of NUMBERS.filter(isChanged)) {
    const text = after[name].trim();
    const number = Number(text);
    // What is no number is left to the runtime to refuse.
    change[name] = text === "" ? null : Number.isFinite(number) ? number : text;
  }
  for (const name of TEXTS.filter(isChanged)) change[name] = after[name].trim() === "" ? null : after[name];
  // What is as it would be anyway is not set.
  for (const name of (Object.keys(SWITCHES) as (keyof typeof SWITCHES)[]).filter(isChanged)) {
    change[name] = after[name] === SWITCHES[name] ? null : after[name];
  }
  return change as SettingsChange;
}

/** The setting that an error speaks of, e.g. `settings.temperature must be…`. */
export function settingInError(message: string): SettingName | null {
  const names: readonly SettingName[] = [...NUMBERS, ...TEXTS, ...(Object.keys(SWITCHES) as (keyof typeof SWITCHES)[])];
  return names.find((name) => new RegExp(`(^|[.\\s"'])${name}\\b`).test(message)) ?? null;
}
