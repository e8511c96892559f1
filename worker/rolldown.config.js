// The two scripts that run inside workers, each one file without imports.
const script = (name) => ({
  input: `src/loader/${name}.ts`,
  output: { file: `dist/runtime/${name}.js`, format: "esm", minify: true },
  tsconfig: "tsconfig.loader.json",
});

export default [script("worker"), script("pool")];
