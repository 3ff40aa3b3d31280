/** The parts of an OpenAPI document that the page shows. */
interface ApiDocument {
  info: { title: string; version: string; description?: string };
  paths: Record<string, Record<string, Operation>>;
}
interface Operation {
  summary?: string;
  description?: string;
  requestBody?: { content: Record<string, MediaType> };
  responses?: Record<string, { description?: string }>;
}
interface MediaType {
  schema?: JsonSchema;
  example?: unknown;
  examples?: Record<string, { value: unknown }>;
}
interface JsonSchema {
  type?: string | string[];
  description?: string;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  items?: JsonSchema;
  enum?: unknown[];
}

export const DOCS_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";

const escaped = (text: string) => text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

/** A page of an OpenAPI document, without scripts and without the network. */
export function docsPage(document: ApiDocument, codes: readonly string[]): string {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => section(path, method, operation)),
  );
  const { title, version, description = "" } = document.info;
  const problems = codes.map((code) => `<li id="${code}"><code>${code}</code></li>`).join("");
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${escaped(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>${STYLE}</style></head><body>
<h1>${escaped(title)} ${escaped(version)}</h1><p>${escaped(description)}</p>
<p>For programs: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>
${operations.join("\n")}
<h2>Codes of problems</h2><ul>${problems}</ul></body></html>`;
}

function section(
  path: string,
  method: string,
  { summary = "", description, requestBody, responses = {} }: Operation,
): string {
  const bodies = Object.entries(requestBody?.content ?? {}).map(([type, { schema = {}, example, examples = {} }]) => {
    const rows = Object.entries(schema.properties ?? {}).map(
      ([name, one]) =>
        `<tr><td><code>${escaped(name)}</code>${schema.required?.includes(name) ? " *" : ""}</td>` +
        `<td>${escaped(typeOf(one))}</td><td>${escaped(one.description ?? "")}</td></tr>`,
    );
    const given = example === undefined ? Object.values(examples).map(({ value }) => value) : [example];
    const shown = given.map((one) => `<pre>${escaped(JSON.stringify(one, null, 2))}</pre>`);
    return `<h3>${escaped(type)}</h3><table>${rows.join("")}</table>${shown.join("")}`;
  });
  return `<section><h2><code>${method.toUpperCase()} ${escaped(path)}</code></h2><p><b>${escaped(summary)}</b></p>
${description ? `<p>${escaped(description)}</p>` : ""}${bodies.join("")}<p>Answers: ${Object.keys(responses).join(", ")}</p></section>`;
}

function typeOf({ type, enum: choices, items }: JsonSchema): string {
  if (choices) return choices.map((choice) => JSON.stringify(choice)).join(" | ");
  if (type === "array" && items) return `list of ${typeOf(items)}`;
  return [type ?? "any"].flat().join(" | ");
}

const STYLE = `:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
section{border-top:1px solid #8884;margin-top:2rem}h2{font-size:1.1rem}h3{font-size:1rem;font-weight:600}
table{border-collapse:collapse;width:100%}td{border-bottom:1px solid #8883;padding:.25rem .75rem .25rem 0;vertical-align:top}
pre{background:#8881;padding:.75rem;overflow-x:auto}code,pre{font:.9em ui-monospace,monospace}`;
