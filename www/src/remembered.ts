/** What the page remembers between visits; nothing, where the browser forbids it. */

const MODEL_KEY = "nox.model";

let canRemember = true;

/** Id of the model that was chosen last. */
export function rememberedModel(): string | null {
  try {
    return localStorage.getItem(MODEL_KEY);
  } catch {
    return null;
  }
}

/** The choice holds for this visit in any case. */
export function rememberModel(id: string): void {
  try {
    localStorage.setItem(MODEL_KEY, id);
    canRemember = true;
  } catch {
    canRemember = false;
  }
}

/** Whether the last choice was taken down. */
export function isRemembering(): boolean {
  return canRemember;
}
