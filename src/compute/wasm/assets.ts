/** Copies the files of this folder that TypeScript does not compile to dist: `node dist/compute/wasm/assets.js`, run by `npm run build`. */
import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../native/levels.ts";

const ASSETS = /\.(wasm|js|json)$/;

const [from, to] = ["src", "dist"].map((folder) => join(packageRoot, folder, "compute", "wasm"));
mkdirSync(to, { recursive: true });
for (const name of readdirSync(from)) if (ASSETS.test(name)) copyFileSync(join(from, name), join(to, name));
