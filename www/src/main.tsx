import { BUILD_NAMES, NoxClient } from "@noxics/runtime";
import type { BuildName, NoxOptions } from "@noxics/runtime";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./components/app";
import { registerServiceWorker } from "./offline";
import "./styles.css";

/** `?build=simd|relaxed|threads` and `?threads=N` of the page's address go to the worker. */
function optionsFromAddress(): Pick<NoxOptions, "build" | "threads"> {
  const query = new URLSearchParams(location.search);
  const build = BUILD_NAMES.find((name): name is BuildName => name === query.get("build"));
  const threads = Number(query.get("threads"));
  return { ...(build && { build }), ...(Number.isInteger(threads) && threads > 0 && { threads }) };
}

// Before anything is drawn: the runtime takes longer to come than the page.
const nox = new NoxClient({
  host: { name: "noxics-page", version: __PAGE_VERSION__ },
  manifestUrl: "precache.json",
  ...optionsFromAddress(),
});

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <App nox={nox} />
  </StrictMode>,
);
registerServiceWorker();
