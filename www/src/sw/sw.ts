/**
 * The service worker: keeps the page and the wasm build in use, so that both
 * start without the server. Models are none of its business; the runtime keeps
 * them in OPFS.
 *
 * What there is to keep stands in `precache.json`. A version of the site is kept
 * in a cache of its own, filled and checked file by file before it is used, so
 * that a page never gets half of one version and half of another. The switch
 * happens at the next load.
 */

declare const self: ServiceWorkerGlobalScope;

/** A release of the site, as `precache.json` lists it. */
interface Manifest {
  version: string;
  /** Path from the folder of this script, with a leading `/`. */
  files: Record<string, { sha256: string; size_bytes: number }>;
}

/** What a page may ask for, with a port for the answer. */
type PageMessage = { type: "keep-build"; build: string };

const MANIFEST = "precache.json";
const CACHE_PREFIX = "noxics-site-";
/** Which version is in use: one entry, whose body is the version. */
const POINTER_CACHE = "noxics-current";
const POINTER_URL = new URL("current-version", self.registration.scope).href;
const INDEX = "/index.html";

let update: Promise<void> | null = null;

self.addEventListener("install", (event) => {
  event.waitUntil(checkForUpdate().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(self.clients.claim());
});

self.addEventListener("message", (event) => {
  const message = event.data as PageMessage;
  if (message?.type !== "keep-build") return;
  const kept = keepBuild(message.build);
  event.waitUntil(
    kept.then(
      () => event.ports[0]?.postMessage({ isKept: true }),
      () => event.ports[0]?.postMessage({ isKept: false }),
    ),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const path = sitePath(request.url);
  if (path === null || request.method !== "GET" || request.headers.has("range")) return;
  if (request.mode === "navigate") {
    event.respondWith(navigate(request, path));
    // At a start without network this fails, and all stays as it is.
    event.waitUntil(checkForUpdate().catch(() => undefined));
  } else if (!path.startsWith("/models/")) {
    event.respondWith(keptOrFetched(request, path));
  }
});

/** The page itself, for its own address at once, for any other when the server does not answer. */
async function navigate(request: Request, path: string): Promise<Response> {
  if (path === "/" || path === INDEX) return keptOrFetched(request, INDEX);
  try {
    return await fetch(request);
  } catch (error) {
    const page = await find(INDEX).catch(() => undefined);
    if (page) return page;
    throw error;
  }
}

async function keptOrFetched(request: Request, path: string): Promise<Response> {
  // A storage that fails must not keep the page from a server that works.
  const kept = await find(path).catch(() => undefined);
  return kept ?? fetch(request);
}

/** The file at `path` of the version in use, else of an older one that an open page still needs. */
async function find(path: string): Promise<Response | undefined> {
  const version = await currentVersion();
  if (version === null) return undefined;
  const inUse = await match(cacheName(version), path);
  if (inUse) return inUse;
  for (const name of await caches.keys()) {
    const older = name.startsWith(CACHE_PREFIX) ? await match(name, path) : undefined;
    if (older) return older;
  }
  return undefined;
}

async function match(cache: string, path: string): Promise<Response | undefined> {
  // A server that compresses says so in `Vary`; what is kept is plain.
  return (await caches.open(cache)).match(siteUrl(path), { ignoreVary: true });
}

/** Looks for a newer version and keeps it, once at a time. */
function checkForUpdate(): Promise<void> {
  update ??= takeNewest().finally(() => {
    update = null;
  });
  return update;
}

async function takeNewest(): Promise<void> {
  const response = await fetchFresh(siteUrl(`/${MANIFEST}`));
  const manifest = parseManifest(await response.clone().json());
  const before = await currentVersion();
  if (manifest.version === before) return;
  const cache = await caches.open(cacheName(manifest.version));
  const builds = before === null ? [] : await keptBuilds(before);
  const paths = Object.keys(manifest.files).filter((path) => isKept(path, builds));
  await Promise.all(paths.map((path) => keep(cache, manifest, path, before)));
  await cache.put(siteUrl(`/${MANIFEST}`), response);
  await setCurrentVersion(manifest.version);
  await dropCachesBut(manifest.version, before);
  if (before === null) return;
  for (const client of await self.clients.matchAll({ includeUncontrolled: true, type: "window" })) {
    client.postMessage({ type: "update-ready" });
  }
}

/** Keeps the files of the wasm build that a page runs. */
async function keepBuild(build: string): Promise<void> {
  await update?.catch(() => undefined);
  const version = await currentVersion();
  if (version === null) throw new Error("no version is kept");
  const cache = await caches.open(cacheName(version));
  const response = await cache.match(siteUrl(`/${MANIFEST}`));
  const manifest = parseManifest(await response?.json());
  const paths = Object.keys(manifest.files).filter((path) => buildOf(path) === build);
  if (paths.length === 0) throw new Error(`there is no build ${build}`);
  await Promise.all(paths.map((path) => keep(cache, manifest, path, null)));
}

/** Puts one file into `cache`: from the version before where it is the same, else from the server. */
async function keep(cache: Cache, manifest: Manifest, path: string, before: string | null): Promise<void> {
  const url = siteUrl(path);
  if (await cache.match(url, { ignoreVary: true })) return;
  const sha256 = manifest.files[path]?.sha256;
  const old = before === null ? undefined : await match(cacheName(before), path);
  if (old && (await hash(old)) === sha256) return cache.put(url, old);
  const response = await fetchFresh(url);
  if ((await hash(response)) !== sha256) throw new Error(`${path} is not what ${MANIFEST} says`);
  await cache.put(url, response);
}

/** A response that may be kept: complete, ours, and the server's newest. */
async function fetchFresh(url: string): Promise<Response> {
  const response = await fetch(url, { cache: "no-cache", credentials: "same-origin" });
  if (response.status !== 200 || response.type !== "basic" || response.redirected) {
    throw new Error(`${url}: status ${response.status}, ${response.type}`);
  }
  return response;
}

async function hash(response: Response): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", await response.clone().arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function parseManifest(value: unknown): Manifest {
  const { version, files } = (value ?? {}) as Partial<Manifest>;
  if (typeof version !== "string" || !version || typeof files !== "object" || files === null) {
    throw new Error(`${MANIFEST} is no list of files`);
  }
  return { version, files };
}

/** Everything but models, builds that nobody uses, and this script, which the browser keeps itself. */
function isKept(path: string, builds: readonly string[]): boolean {
  if (path.startsWith("/models/") || path === "/sw.js") return false;
  const build = buildOf(path);
  return build === null || builds.includes(build);
}

/** The wasm build that a file belongs to. */
function buildOf(path: string): string | null {
  return /^\/runtime\/([^/]+)\//.exec(path)?.[1] ?? null;
}

async function keptBuilds(version: string): Promise<string[]> {
  const requests = await (await caches.open(cacheName(version))).keys();
  const builds = requests.map(({ url }) => buildOf(sitePath(url) ?? ""));
  return [...new Set(builds.filter((build) => build !== null))];
}

async function currentVersion(): Promise<string | null> {
  const pointer = await (await caches.open(POINTER_CACHE)).match(POINTER_URL);
  return pointer ? pointer.text() : null;
}

async function setCurrentVersion(version: string): Promise<void> {
  await (await caches.open(POINTER_CACHE)).put(POINTER_URL, new Response(version));
}

async function dropCachesBut(...versions: (string | null)[]): Promise<void> {
  const kept = versions.map((version) => cacheName(version ?? ""));
  const names = (await caches.keys()).filter((name) => name.startsWith(CACHE_PREFIX) && !kept.includes(name));
  await Promise.all(names.map((name) => caches.delete(name)));
}

function cacheName(version: string): string {
  return CACHE_PREFIX + version;
}

/** `/path` inside the site without query, or `null` for an address outside it. */
function sitePath(address: string): string | null {
  const { scope } = self.registration;
  if (!address.startsWith(scope)) return null;
  return `/${address.slice(scope.length).replace(/[?#].*$/s, "")}`;
}

function siteUrl(path: string): string {
  return new URL(`.${path}`, self.registration.scope).href;
}
