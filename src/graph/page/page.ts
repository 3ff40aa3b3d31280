import { createHash } from "node:crypto";
import { client } from "./client.ts";
import type { PageData } from "./data.ts";
import { graphView } from "./graph-view.ts";
import { layout } from "./layout.ts";
import { PAGE_STYLE } from "./style.ts";
import { textView } from "./text-view.ts";
import { WORDS } from "./words.ts";

/**
 * One self-contained page: no network, opens from a disk. The data is JSON that the page's program writes into the document as text, never as
 * markup. The content policy allows this one program and no request.
 */
export function pageHtml(data: PageData): string {
  const program = programText();
  const hash = createHash("sha256").update(program).digest("base64");
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'`;
  return [
    "<!doctype html>",
    '<html lang="zh-CN">',
    '<head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width,initial-scale=1">',
    `<meta http-equiv="Content-Security-Policy" content="${policy}">`,
    `<title>${WORDS.zh.title}</title>`,
    `<style>${PAGE_STYLE}</style></head>`,
    "<body><main></main>",
    `<script type="application/json" id="data">${inScript(JSON.stringify(data))}</script>`,
    `<script>${program}</script>`,
    "</body></html>",
    "",
  ].join("\n");
}

/** The functions of the page as text, with what they need as parameters. */
function programText(): string {
  const parts = [
    `words:${inScript(JSON.stringify(WORDS))}`,
    ...Object.entries({ layout, graphView, textView }).map(([name, part]) => `${name}:${part}`),
  ];
  return `(${client})(JSON.parse(document.getElementById("data").textContent),{${parts.join(",")}});`;
}

/** JSON that ends no script element and opens no comment in it. */
function inScript(json: string): string {
  return json.replace(
    /[<>\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
