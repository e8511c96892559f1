/** Files that the runtime made, whichever way their bytes travelled. */

import { NoxError } from "./errors.js";
import type { ExportedFile } from "./generated/protocol.js";

/**
 * The file, to be saved or read.
 *
 * @throws NoxError `internal` when the frame brought no bytes, or not all of them.
 */
export function fileOf(exported: ExportedFile): File {
  const bytes = bytesOf(exported);
  if (bytes?.byteLength !== exported.size_bytes) {
    throw new NoxError("internal", `${exported.file_name} did not arrive whole.`);
  }
  return new File([bytes], exported.file_name, { type: exported.media_type });
}

/** Object frames carry bytes beside the fields, JSON text carries base64. */
function bytesOf(exported: ExportedFile & { file?: unknown }): Uint8Array<ArrayBuffer> | null {
  const { file, data_base64: base64 } = exported;
  if (file instanceof Uint8Array) return file as Uint8Array<ArrayBuffer>;
  if (base64 === undefined) return null;
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}
