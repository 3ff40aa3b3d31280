import { folderOf, isTest, type Source, shippedImports } from "./source-tree.ts";

/** A picture of imports: nodes are files or folders, an arrow goes from what imports to what is imported. */
export interface Room {
  nodes: readonly string[];
  edges: readonly (readonly [from: string, to: string])[];
}

/** Folders of src that are left out of the picture of all folders: everything imports base, and nothing imports the others. */
const NOT_PICTURED = ["", "base", "cli", "bench"];

const isPicturedFolder = (folder: string) => !NOT_PICTURED.includes(folder);

/** Every folder of src, by name, with every import between two folders. */
export function folderImports(sources: readonly Source[]): Room {
  const folders = sources.filter(({ file }) => !isTest(file)).map(({ file }) => folderOf(file));
  const edges = shippedImports(sources).map(({ file, target }) => [folderOf(file), folderOf(target)] as const);
  return roomOf(
    folders.filter((name) => name !== ""),
    edges.filter(([from, to]) => from !== "" && to !== ""),
  );
}

/** The folders of src without {@link NOT_PICTURED}; an arrow that follows from two others is left out, so the picture shows the layers. */
export function allFolders(sources: readonly Source[]): Room {
  const { nodes, edges } = folderImports(sources);
  const pictured = edges.filter((edge) => edge.every(isPicturedFolder));
  return { nodes: nodes.filter(isPicturedFolder), edges: withoutShortcuts(pictured) };
}

/** The shipped files directly in some folders, one node for each folder in them, and the imports between those. */
export function filesOf(sources: readonly Source[], folders: readonly string[]): Room {
  const nodeOf = (file: string): string | null => {
    const folder = folders.find((name) => file.startsWith(`${name}/`));
    if (folder === undefined) return null;
    const [first, ...rest] = file.slice(folder.length + 1).split("/");
    return rest.length > 0 ? `${folder}/${first}/` : file;
  };
  const shipped = sources.filter(({ file }) => !isTest(file));
  const edges = shippedImports(sources).map(({ file, target }) => [nodeOf(file), nodeOf(target)] as const);
  return roomOf(
    shipped.flatMap(({ file }) => nodeOf(file) ?? []),
    edges.filter((edge): edge is readonly [string, string] => edge[0] !== null && edge[1] !== null),
  );
}

function roomOf(nodes: readonly string[], edges: readonly (readonly [string, string])[]): Room {
  const distinct = new Map(edges.filter(([from, to]) => from !== to).map((edge) => [edge.join(" "), edge]));
  return {
    nodes: [...new Set(nodes)].sort(),
    edges: [...distinct.keys()].sort().map((key) => distinct.get(key) as readonly [string, string]),
  };
}

/** The transitive reduction: unique, because the folders of src have no circles (test/imports.test.ts). */
function withoutShortcuts(edges: Room["edges"]): Room["edges"] {
  const next = new Map<string, string[]>();
  for (const [from, to] of edges) next.set(from, [...(next.get(from) ?? []), to]);
  const reaches = (from: string, to: string): boolean =>
    (next.get(from) ?? []).some((middle) => middle === to || reaches(middle, to));
  return edges.filter(([from, to]) => !(next.get(from) ?? []).some((other) => other !== to && reaches(other, to)));
}

const idOf = (node: string) =>
  node
    .replace(/^src\//, "")
    .replace(/\W+/g, "_")
    .replace(/_$/, "");

/** A node as the picture shows it: a file without its folder, `reference/` for a folder. */
const labelOf = (node: string) => node.replace(/^src\/[^/]+\//, "");

/** The room as a mermaid flowchart; the files of one folder are in one box. */
export function mermaidOf({ nodes, edges }: Room): string {
  const boxes = new Map<string, string[]>();
  for (const node of nodes) boxes.set(folderOf(node), [...(boxes.get(folderOf(node)) ?? []), node]);
  const lines = [...boxes].flatMap(([box, inside]) => {
    const drawn = inside.map((node) => `  ${idOf(node)}["${labelOf(node)}"]`);
    return box === "" ? drawn : [`  subgraph src_${box}["src/${box}"]`, ...drawn.map((line) => `  ${line}`), "  end"];
  });
  return ["flowchart TD", ...lines, ...edges.map(([from, to]) => `  ${idOf(from)} --> ${idOf(to)}`)].join("\n");
}

/** Reads the nodes (by label and box) and the arrows of a mermaid flowchart, as {@link mermaidOf} writes them; throws for any other line. */
export function parseMermaid(text: string): Room {
  const nodes = new Map<string, string>();
  const edges: [string, string][] = [];
  let box = "";
  for (const line of text.trim().split("\n").slice(1)) {
    const begin = /^\s*subgraph \w+\["(src\/\w+)"\]$/.exec(line);
    const node = /^\s*(\w+)\["([^"]+)"\]$/.exec(line);
    const edge = /^\s*(\w+) --> (\w+)$/.exec(line);
    if (begin) box = `${begin[1]}/`;
    else if (line.trim() === "end") box = "";
    else if (node) nodes.set(node[1], `${box}${node[2]}`);
    else if (edge) edges.push([edge[1], edge[2]]);
    else throw new Error(`a picture has the line ${JSON.stringify(line)}, expected a node, a box or an arrow.`);
  }
  const named = (id: string): string => {
    const node = nodes.get(id);
    if (node === undefined) throw new Error(`a picture has an arrow at "${id}", expected one of its nodes.`);
    return node;
  };
  return roomOf(
    [...nodes.values()],
    edges.map(([from, to]) => [named(from), named(to)] as const),
  );
}
