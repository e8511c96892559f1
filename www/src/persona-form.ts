/** The persona editor's fields: what is set for a scale, what is in force, what changes. */

import type { PersonaInfo, PersonaResult } from "@noxics/runtime";

/** A field that can be set, by its name on the wire. */
export type PersonaField =
  | "central_name"
  | "variant_name"
  | "model_target"
  | "parameter_label"
  | "tagline"
  | "strengths"
  | "limits";

interface FieldInfo {
  readonly name: PersonaField;
  readonly label: string;
  readonly help?: string;
  /** One item a line. */
  readonly isList?: true;
}

export const PERSONA_FIELDS: readonly FieldInfo[] = [
  { name: "central_name", label: "Name", help: "What the assistant calls itself." },
  { name: "tagline", label: "Tagline", help: "One sentence about it." },
  { name: "strengths", label: "Strengths", help: "What it is good at, one a line.", isList: true },
  { name: "limits", label: "Limits", help: "What it is not good at, one a line.", isList: true },
  { name: "variant_name", label: "Variant" },
  { name: "model_target", label: "Made for the model" },
  { name: "parameter_label", label: "Size of that model" },
];

/** A scale, or `null` for what holds for all of them. */
export type PersonaScope = string | null;

/** What is typed, by field; empty means that nothing is set. */
export type PersonaDraft = Readonly<Record<PersonaField, string>>;

/** What the user has set for a scope, as text. */
export function draftOf({ overrides }: PersonaResult, scope: PersonaScope): PersonaDraft {
  const set = (scope === null ? overrides.global : overrides.scales?.[scope]) ?? {};
  return mapFields((name) => asText(set[name]));
}

/** What holds in a scope without anything set there: the product's own, or what is set for all scales. */
export function valuesBelow({ builtin, overrides }: PersonaResult, scope: PersonaScope): PersonaDraft {
  return mapFields((name) => asText((scope === null ? undefined : overrides.global?.[name]) ?? builtin[name]));
}

/** The fields that differ, as `persona.set` takes them: `null` takes one back. */
export function changedFields(before: PersonaDraft, after: PersonaDraft): Record<string, string | string[] | null> {
  const changes: Record<string, string | string[] | null> = {};
  for (const { name, isList } of PERSONA_FIELDS) {
    const text = after[name].trim();
    if (text === before[name].trim()) continue;
    changes[name] = text === "" ? null : isList ? lines(text) : text;
  }
  return changes;
}

/** The line that says who this is, with what is typed; worded as the runtime words it. */
export function summaryOf(scale: string, below: PersonaDraft, draft: PersonaDraft): string {
  const { central_name, parameter_label, variant_name, tagline } = mapFields(
    (name) => draft[name].trim() || below[name],
  );
  return `${central_name} is the ${scale}-tier · ${parameter_label} profile that powers ${variant_name}. ${tagline}`;
}

/** The field that an error speaks of, e.g. `scales.nox.tagline may have at most…`. */
export function fieldInError(message: string): PersonaField | null {
  const named = PERSONA_FIELDS.find(({ name }) => new RegExp(`(^|[.\\s"'])${name}\\b`).test(message));
  return named?.name ?? null;
}

function mapFields(text: (name: PersonaField) => string): PersonaDraft {
  return Object.fromEntries(PERSONA_FIELDS.map(({ name }) => [name, text(name)])) as Record<PersonaField, string>;
}

function asText(value: PersonaInfo[PersonaField] | undefined): string {
  return typeof value === "string" ? value : (value ?? []).join("\n");
}

function lines(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
}
