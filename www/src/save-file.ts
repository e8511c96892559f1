/** Hands a file to the browser's downloads. */

/** The address has to outlive the click; browsers read it a moment later. */
const KEEP_ADDRESS_MS = 60_000;

export function saveFile(file: File): void {
  const address = URL.createObjectURL(file);
  const link = document.createElement("a");
  link.href = address;
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), KEEP_ADDRESS_MS);
}
