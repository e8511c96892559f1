/**
 * The page's side of the service worker: registers it, tells it which build is
 * in use, and knows whether the page would start without its server.
 */

/** What is known of the kept copy. */
export interface OfflineState {
  /** Whether this browser, or this way of serving the page, lets a copy be kept at all. */
  readonly isPossible: boolean;
  /** Page and build are kept. */
  readonly isReady: boolean;
  /** A newer version is kept and shows at the next load. */
  readonly hasUpdate: boolean;
}

let state: OfflineState = { isPossible: "serviceWorker" in navigator, isReady: false, hasUpdate: false };
const listeners = new Set<() => void>();

export function subscribeOffline(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function offlineState(): OfflineState {
  return state;
}

function setState(change: Partial<OfflineState>): void {
  state = { ...state, ...change };
  // Seen by tests and by whoever looks at the page from outside.
  document.documentElement.dataset["offline"] = state.isReady ? "ready" : "pending";
  for (const listener of listeners) listener();
}

/** Registers the service worker once the page has loaded; without one, the page works online only. */
export function registerServiceWorker(): void {
  if (!import.meta.env.PROD || !("serviceWorker" in navigator)) return;
  const { serviceWorker } = navigator;
  serviceWorker.addEventListener("message", (event: MessageEvent<{ type?: unknown } | null>) => {
    if (event.data?.type === "update-ready") setState({ hasUpdate: true });
  });
  const register = (): void => {
    serviceWorker.register("sw.js", { updateViaCache: "none" }).catch((error: unknown) => {
      console.warn("The page will not start without its server:", error);
      setState({ isPossible: false });
    });
  };
  if (document.readyState === "complete") register();
  else addEventListener("load", register, { once: true });
}

/** Has the files of `build` kept. */
export async function keepBuild(build: string): Promise<void> {
  if (!import.meta.env.PROD || !("serviceWorker" in navigator)) return;
  const { active } = await navigator.serviceWorker.ready;
  if (!active) return;
  const channel = new MessageChannel();
  channel.port1.onmessage = ({ data }: MessageEvent<{ isKept: boolean }>) => {
    setState({ isReady: data.isKept });
    channel.port1.close();
  };
  active.postMessage({ type: "keep-build", build }, [channel.port2]);
}
