import { readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { FastifyInstance } from "fastify";
import { Problem } from "../problem.ts";

/** Scripts, styles and requests of this server only; nothing inline, no frames, no forms that leave the page. */
export const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; " +
  "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'";

const TYPES: Record<string, string> = {
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".md": "text/plain; charset=utf-8",
};

/** The names of these files have a hash of their content. */
const FOREVER = "public, max-age=31536000, immutable";

/** Where the build puts the page; a server that runs from its sources uses the built page too. */
const BUILT = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "../../../dist/serve/page/" : "../page/", import.meta.url),
);

/** GET / and its scripts and styles: the page. They are read once and need no token: the page asks for one. */
export function addPageRoutes(app: FastifyInstance, directory: string = BUILT): void {
  const hide = { schema: { hide: true } };
  const files = filesOf(directory);
  const index = files.get("");
  app.get("/", hide, async (_, reply) => {
    if (!index) {
      throw new Problem("not-found", "The page is not built.", { hint: "In a checkout: npm run build" });
    }
    return reply
      .header("content-security-policy", PAGE_POLICY)
      .header("permissions-policy", "camera=(), geolocation=(), microphone=()")
      .header("cross-origin-opener-policy", "same-origin")
      .header("cache-control", "no-cache")
      .type("text/html; charset=utf-8")
      .send(index);
  });
  const params = { type: "object", properties: { name: { type: "string", maxLength: 200 } }, required: ["name"] };
  app.get<{ Params: { name: string } }>("/page/:name", { schema: { hide: true, params } }, async (request, reply) => {
    const { name } = request.params;
    const file = files.get(name);
    if (!file) throw new Problem("not-found", `The page has no file ${JSON.stringify(name)}.`);
    const isHashed = name !== "licenses.md";
    return reply
      .header("cache-control", isHashed ? FOREVER : "no-cache")
      .type(TYPES[extname(name)] ?? "application/octet-stream")
      .send(file);
  });
}

/** The files by name, index.html under "". No path of a request is looked for on the disk. */
function filesOf(directory: string): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  try {
    files.set("", readFileSync(join(directory, "index.html")));
    for (const name of readdirSync(join(directory, "page"))) {
      files.set(name, readFileSync(join(directory, "page", name)));
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    files.clear();
  }
  return files;
}
