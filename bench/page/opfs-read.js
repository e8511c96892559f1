// How long a file in the origin private file system takes to read, whole, in a worker:
// what loading a model from there has to be compared with.

const CHUNK_BYTES = 4 << 20;

self.onmessage = async ({ data: { folders, name } }) => {
  try {
    let folder = await navigator.storage.getDirectory();
    for (const part of folders) folder = await folder.getDirectoryHandle(part);
    const file = await folder.getFileHandle(name);
    const handle = await file.createSyncAccessHandle();
    const buffer = new Uint8Array(CHUNK_BYTES);
    const started = performance.now();
    let bytes = 0;
    for (;;) {
      const n = handle.read(buffer, { at: bytes });
      if (n === 0) break;
      bytes += n;
    }
    const ms = performance.now() - started;
    handle.close();
    self.postMessage({ ms, bytes });
  } catch (error) {
    self.postMessage({ error: String(error) });
  }
};
