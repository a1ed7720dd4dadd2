import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

// `npm run dev` shows the console from its sources, over a server that listens here.
const server = "http://127.0.0.1:8080";

/** Puts the licence of each typeface beside the fonts; the ones of the code are in `licenses.md`. */
const fontLicenses: Plugin = {
  name: "font-licenses",
  apply: "build",
  generateBundle() {
    for (const font of ["inter", "jetbrains-mono"]) {
      const source = readFileSync(`node_modules/@fontsource-variable/${font}/LICENSE`, "utf-8");
      this.emitFile({ type: "asset", fileName: `assets/${font}-license.txt`, source });
    }
  },
};

export default defineConfig({
  plugins: [fontLicenses],
  build: {
    outDir: "../../server/sessions_server/http/console",
    emptyOutDir: true,
    target: "es2023",
    // The content security policy allows files only, no data: URLs.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    license: { fileName: "licenses.md" },
  },
  server: { proxy: { "/sessions.v1.": server, "/v1": server } },
});
