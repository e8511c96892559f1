// The service worker: one classic script at the root of the site.
export default {
  input: "src/sw/sw.ts",
  output: { file: "dist/sw.js", format: "iife", minify: true },
  tsconfig: "tsconfig.sw.json",
};
