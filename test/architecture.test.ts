import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { allFolders, filesOf, folderImports, mermaidOf, parseMermaid, type Room } from "./rooms.ts";
import { filesUnder, ROOT, readSource, type Source } from "./source-tree.ts";

// The pictures and the table of imports in docs/architecture.md are drawn from the code:
//   UPDATE_DOCS=1 npx vitest run test/architecture.test.ts
const DOCUMENT = "docs/architecture.md";

const ROOMS: Record<string, (sources: readonly Source[]) => Room> = {
  "all folders": allFolders,
  compute: (sources) => filesOf(sources, ["src/compute"]),
  "models and adapters": (sources) => filesOf(sources, ["src/models", "src/adapters"]),
  runs: (sources) => filesOf(sources, ["src/runs"]),
};

const PICTURE = /(<!-- room: ([\w ]+) -->\n+```mermaid\n)([\s\S]*?)(\n```)/g;
const TABLE_MARK = "<!-- table: imports -->";
const NEW_FOLDER = "(say what is in it)";

interface FolderRow {
  folder: string;
  content: string;
  imports: string;
}

/** The rows under the mark of the table: folder, what is in it, what it imports. */
function tableOf(document: string): { start: number; end: number; rows: FolderRow[] } {
  const mark = document.indexOf(TABLE_MARK);
  const [, lead, body] = /^(.*\n\n(?:\|.*\n){2})((?:\|.*\n)*)/.exec(document.slice(mark)) ?? ["", "", ""];
  const start = mark + lead.length;
  const rows = body.split("\n").slice(0, -1);
  return {
    start,
    end: start + body.length,
    rows: rows.map((line) => {
      const [, folder, content, imports] = line.split("|").map((cell) => cell.trim());
      return { folder: folder.replaceAll("`", ""), content, imports };
    }),
  };
}

/** The rows that the code asks for; what a folder is for is kept from the document. */
function expectedRows(sources: readonly Source[], rows: readonly FolderRow[]): FolderRow[] {
  const { nodes, edges } = folderImports(sources);
  const order = [...rows.map(({ folder }) => folder).filter((folder) => nodes.includes(folder)), ...nodes];
  return [...new Set(order)].map((folder) => {
    const targets = edges.filter(([from, to]) => from === folder && to !== "base").map(([, to]) => to);
    return {
      folder,
      content: rows.find((row) => row.folder === folder)?.content ?? NEW_FOLDER,
      imports: targets.join(", ") || "–",
    };
  });
}

/** The document with the pictures and the last column of the table drawn anew. */
function redrawn(document: string, sources: readonly Source[]): string {
  const { start, end, rows } = tableOf(document);
  const lines = expectedRows(sources, rows).map(
    ({ folder, content, imports }) => `| \`${folder}\` | ${content} | ${imports} |\n`,
  );
  const withTable = document.slice(0, start) + lines.join("") + document.slice(end);
  return withTable.replace(PICTURE, (whole, before: string, name: string, _old: string, after: string) =>
    name in ROOMS ? `${before}${mermaidOf(ROOMS[name](sources))}${after}` : whole,
  );
}

const sources = filesUnder("src")
  .filter((file) => file.endsWith(".ts"))
  .map(readSource);

if (process.env.UPDATE_DOCS === "1") {
  writeFileSync(resolve(ROOT, DOCUMENT), redrawn(readSource(DOCUMENT).text, sources));
}
const document = readSource(DOCUMENT).text;
const pictures = new Map(Array.from(document.matchAll(PICTURE), (match) => [match[2], match[3]]));
const ADVICE = "UPDATE_DOCS=1 npx vitest run test/architecture.test.ts draws it anew";

describe("docs/architecture.md", () => {
  it("has a picture of every room", () => {
    expect([...pictures.keys()].sort()).toEqual(Object.keys(ROOMS).sort());
  });

  it.each(Object.keys(ROOMS))("pictures the imports of %s as they are", (name) => {
    expect(parseMermaid(pictures.get(name) ?? ""), ADVICE).toEqual(ROOMS[name](sources));
  });

  it("lists every folder of src with what is in it and what it imports", () => {
    const { rows } = tableOf(document);
    expect(rows, ADVICE).toEqual(expectedRows(sources, rows));
    expect(rows.filter(({ content }) => content === "" || content === NEW_FOLDER)).toEqual([]);
  });

  it("names only files and folders that exist", () => {
    const named = Array.from(
      document.matchAll(/`((?:src|native|test|recipes|docs|bench)\/[\w./-]*)`/g),
      (match) => match[1],
    );
    const files = ["src", "native", "test", "recipes", "docs", "bench"].flatMap(filesUnder);
    const exists = (name: string) =>
      files.some((file) => file === name || file.startsWith(`${name.replace(/\/$/, "")}/`));
    expect(named.length).toBeGreaterThan(20);
    expect([...new Set(named)].filter((name) => !name.includes("NAME") && !exists(name))).toEqual([]);
  });
});

describe("the pictures", () => {
  const source = (file: string, text: string): Source => ({ file, text });
  const tree = [
    source("src/cli/x.ts", `import "../runs/a.ts";`),
    source(
      "src/runs/a.ts",
      `import "./b.ts";\nimport "./deep/c.ts";\nimport "../models/m.ts";\nimport "../base/e.ts";`,
    ),
    source("src/runs/b.ts", `import "../models/m.ts";\nimport "../formats/f.ts";`),
    source("src/runs/a.test.ts", `import "./a.ts";\nimport "../compute/k.ts";`),
    source("src/runs/deep/c.ts", `import type { D } from "./d.ts";`),
    source("src/runs/deep/d.ts", `export type D = 1;`),
    source("src/models/m.ts", `import "../formats/f.ts";`),
    source("src/formats/f.ts", ""),
    source("src/base/e.ts", ""),
    source("src/compute/k.ts", ""),
  ];

  it("have one node for each file and for each folder in a room, and no tests", () => {
    expect(filesOf(tree, ["src/runs", "src/models"])).toEqual({
      nodes: ["src/models/m.ts", "src/runs/a.ts", "src/runs/b.ts", "src/runs/deep/"],
      edges: [
        ["src/runs/a.ts", "src/models/m.ts"],
        ["src/runs/a.ts", "src/runs/b.ts"],
        ["src/runs/a.ts", "src/runs/deep/"],
        ["src/runs/b.ts", "src/models/m.ts"],
      ],
    });
  });

  it("of all folders leave out base, the command line and arrows that follow from others", () => {
    expect(folderImports(tree).edges).toContainEqual(["runs", "formats"]);
    expect(allFolders(tree)).toEqual({
      nodes: ["compute", "formats", "models", "runs"],
      edges: [
        ["models", "formats"],
        ["runs", "models"],
      ],
    });
  });

  it("are read back as they were drawn", () => {
    for (const room of [filesOf(tree, ["src/runs", "src/models"]), allFolders(tree), allFolders(sources)]) {
      expect(parseMermaid(mermaidOf(room))).toEqual(room);
    }
    expect(() => parseMermaid("flowchart TD\n  a -.-> b")).toThrow('has the line "  a -.-> b"');
    expect(() => parseMermaid(`flowchart TD\n  a["a"]\n  a --> b`)).toThrow('an arrow at "b"');
  });

  it("and the table are drawn anew without losing a word of the text", () => {
    const before = `# T\n${TABLE_MARK}\n\n| f | c | i |\n|---|---|---|\n| \`runs\` | running | old |\n| \`gone\` | no more | – |\n\nend\n<!-- room: runs -->\n\n\`\`\`mermaid\nold\n\`\`\`\n`;
    const after = redrawn(before, tree);
    expect(after).toContain("| `runs` | running | formats, models |\n| `base` | (say what is in it) | – |\n");
    expect(after).not.toContain("gone");
    expect(after).toContain("\n\nend\n<!-- room: runs -->\n\n```mermaid\nflowchart TD\n");
    expect(after).toContain("runs_a_ts --> runs_b_ts");
    expect(redrawn(after, tree)).toBe(after);
  });
});
