// All that is not Rust on the page: `Nox` of crates/client/examples/page.rs is put
// where a test finds it.

import init, { Nox } from './wasm/page.js';

await init({ module_or_path: new URL('./wasm/page_bg.wasm', import.meta.url) });
globalThis.Nox = Nox;
