/** What the page remembers between visits; nothing, where the browser forbids it. */

const MODEL_KEY = "nox.model";

/** Id of the model that was chosen last. */
export function rememberedModel(): string | null {
  try {
    return localStorage.getItem(MODEL_KEY);
  } catch {
    return null;
  }
}

export function rememberModel(id: string): void {
  try {
    localStorage.setItem(MODEL_KEY, id);
  } catch {
    // The choice holds for this visit.
  }
}
