import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// KEELSON_URL names the server that `npm run dev` passes API calls on to.
const server = process.env.KEELSON_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react()],
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false }, reportCompressedSize: false, chunkSizeWarningLimit: 600 },
  server: { proxy: { "^(/w/[^/]+)?/(api/|get-artifact)": server } },
  test: { environment: "happy-dom", setupFiles: ["src/test/setup.ts"], css: false, testTimeout: 20000 },
});
