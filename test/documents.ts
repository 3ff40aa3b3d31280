import { posix } from "node:path";
import { filesUnder, readSource, type Source } from "./source-tree.ts";

/** Every document of the project. */
export function documents(): Source[] {
  const top = ["README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md"];
  const inFolders = ["docs", "bench", "demo", "models"].flatMap(filesUnder).filter((file) => file.endsWith(".md"));
  return [...top, ...inFolders].map(readSource);
}

/** A fenced block of a document. */
export interface Block {
  /** Line of the opening fence, from 1. */
  line: number;
  language: string;
  text: string;
  /** The comment in the line above: `needs: data` of `<!-- needs: data -->`; "" without one. */
  mark: string;
}

export function blocksOf(document: string): Block[] {
  const blocks: Block[] = [];
  const lines = document.split("\n");
  for (let i = 0; i < lines.length; i++) {
    const fence = /^```(\S*)/.exec(lines[i]);
    if (!fence) continue;
    const start = i;
    do i++;
    while (i < lines.length && !lines[i].startsWith("```"));
    const mark = /^<!-- (.*) -->$/.exec(lines[start - 1] ?? "")?.[1] ?? "";
    blocks.push({ line: start + 1, language: fence[1], text: lines.slice(start + 1, i).join("\n"), mark });
  }
  return blocks;
}

const SHELL = ["", "sh", "bash", "shell", "console"];
export const isShell = ({ language }: Block): boolean => SHELL.includes(language);

/** The commands of a block in words, without comments (behind `#` or two spaces), variables (`CRE_CPU=avx2`) and `npx`; `&&` and `\` are understood. */
export function commandsOf(text: string): string[][] {
  const joined = text.replaceAll(/\\\n\s*/g, "");
  const lines = joined.split("\n").map((line) => line.replace(/^\$ /, "").replace(/\s+#.*$|^#.*$|\s{2,}\S.*$/, ""));
  return lines
    .flatMap((line) => line.split(/\s*(?:&&|;|\|)\s+/))
    .map((command) => command.match(/(?:[^\s"]|"[^"]*")+/g) ?? [])
    .map((words) => words.slice(words.findIndex((word) => !/^[A-Z_]+=/.test(word) && word !== "npx")))
    .filter((words) => words.length > 0);
}

/** The words behind `cre` or `node dist/cli.js`; null for another command. */
export function creWords(command: readonly string[]): string[] | null {
  if (command[0] === "cre") return command.slice(1);
  return command[0] === "node" && command[1] === "dist/cli.js" ? command.slice(2) : null;
}

const withoutBlocks = (document: string) => document.replaceAll(/^```[\s\S]*?^```$/gm, "");

/** The commands in code spans that begin with `cre`, `npm` or `node`. */
export function inlineCommands(document: string): string[][] {
  const spans = Array.from(withoutBlocks(document).matchAll(/`((?:npx )?cre [^`]+)`/g), (match) => match[1]);
  return spans.flatMap((span) => commandsOf(span.replaceAll("\n", " ")));
}

/** The anchors of a document's headings, as GitHub makes them. */
export function anchorsOf(document: string): string[] {
  const headings = Array.from(withoutBlocks(document).matchAll(/^#{1,6} (.+)$/gm), (match) => match[1]);
  return headings.map((heading) =>
    heading
      .replaceAll(/\[([^\]]*)\](\([^)]*\))?/g, "$1")
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{M}\p{N}\p{Pc}\- ]/gu, "")
      .replaceAll(" ", "-"),
  );
}

/** Links of a document that lead nowhere: missing files, missing anchors. `exists` answers for a path from the root. */
export function brokenLinks(
  { file, text }: Source,
  exists: (path: string) => boolean,
  read: (path: string) => string,
): string[] {
  const plain = withoutBlocks(text).replaceAll(/`[^`\n]*`/g, "");
  const inline = Array.from(plain.matchAll(/\]\(([^)\s]+)\)/g), (match) => match[1]);
  const references = Array.from(plain.matchAll(/^\[[^\]]+\]: (\S+)$/gm), (match) => match[1]);
  return [...inline, ...references]
    .filter((link) => !/^[a-z]+:/.test(link))
    .flatMap((link) => {
      const [path, anchor] = link.split("#");
      const target = path === "" ? file : posix.join(posix.dirname(file), path);
      if (!exists(target)) return [`${file}: ${link} leads to ${target}, which does not exist`];
      if (anchor === undefined || anchorsOf(read(target)).includes(decodeURIComponent(anchor))) return [];
      return [`${file}: ${link} leads to a heading that ${target} does not have`];
    });
}

/** A quoted message as a pattern: `…` is anything up to 200 characters. */
export function messagePattern(quoted: string): RegExp {
  const pieces = quoted
    .trim()
    .split(/\s*…\s*/)
    .filter(Boolean);
  return new RegExp(pieces.map((piece) => piece.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("[\\s\\S]{0,200}?"));
}
