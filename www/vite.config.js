import { defineConfig } from "vite";

import packageJson from "./package.json" with { type: "json" };

// What a page of this kind needs and nothing else; servers may send it as a
// header too. The development server injects scripts and does not get it.
const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "worker-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

const CHARSET = '<meta charset="utf-8" />';
const contentSecurityPolicy = {
  name: "content-security-policy",
  apply: "build",
  transformIndexHtml: (html) =>
    html.replace(CHARSET, `${CHARSET}\n    <meta http-equiv="Content-Security-Policy" content="${POLICY}" />`),
};

export default defineConfig({
  // Relative addresses: the site works in any folder of a server.
  base: "./",
  plugins: [contentSecurityPolicy],
  define: { __PAGE_VERSION__: JSON.stringify(packageJson.version) },
  resolve: { conditions: ["@noxics/source", "module", "browser", "development|production"] },
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  server: {
    headers: {
      "Cross-Origin-Opener-Policy": "same-origin",
      "Cross-Origin-Embedder-Policy": "require-corp",
    },
  },
});
