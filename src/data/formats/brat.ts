import { messageOf, UserError } from "../../base/errors.ts";
import { readTextFile } from "../../base/files.ts";
import { quoted } from "../example.ts";
import { badRow, emptyRow, type LabelledFormat, type LabelledRow, type Mention } from "./labelled.ts";
import { spanOfName, utf16Offsets } from "./places.ts";

const MAX_BYTES = 64_000_000;

/**
 * brat's standoff annotation (Stenetorp et al. 2012): NAME.ann with T and R lines for NAME.txt. Each text of a T line is checked against its
 * place. Names in several pieces are a problem; events, attributes and notes are left out and counted.
 */
export const brat: LabelledFormat = {
  title: "brat .ann with its .txt",
  expected: "T1<TAB>TYPE start end<TAB>text, and R1<TAB>LABEL Arg1:T1 Arg2:T2",
  extensions: ["ann"],
  isDocument: true,
  async *read(file) {
    const textFile = file.replace(/\.ann$/, ".txt");
    if (textFile === file) throw new UserError(`${file}: ends otherwise, expected a file NAME.ann with NAME.txt.`);
    let text: string;
    let notes: string;
    try {
      [text, notes] = [
        await readTextFile(textFile, "the text of the annotations", MAX_BYTES),
        await readTextFile(file, "annotations", MAX_BYTES),
      ];
    } catch (error) {
      // One broken document of a folder costs one line.
      yield badRow(1, messageOf(error));
      return;
    }
    yield readDocument(text, notes);
  },
};

const KINDS: Readonly<Record<string, string>> = {
  E: "events",
  A: "attributes",
  M: "attributes",
  N: "normalizations",
  "#": "notes",
  "*": "equivalences",
};

function readDocument(text: string, notes: string): LabelledRow {
  const out = emptyRow(1);
  const toUtf16 = utf16Offsets(text);
  const mentions: Mention[] = [];
  const indexOf = new Map<string, number>();
  const dropped: Record<string, number> = {};
  const links: { line: number; label: string; from: string; to: string }[] = [];
  for (const [i, line] of notes.split(/\r?\n/).entries()) {
    const [id, body = "", name = ""] = line.split("\t");
    const bad = (problem: string) => out.problems.push(`line ${i + 1}: ${problem}`);
    if (line.trim() === "") continue;
    if (id.startsWith("T")) {
      const place = /^(\S+) (\d{1,9}) (\d{1,9})$/.exec(body);
      const [start, end] = [Number(place?.[2]), Number(place?.[3])];
      const span = place === null ? null : spanOfName(text, toUtf16, start, end, name);
      if (place === null) bad(`got ${quoted(body)}, expected a type and one place: TYPE start end`);
      else if (span === null || span.start >= span.end)
        bad(`got ${quoted(name)} at ${start} to ${end}, which the text does not have there`);
      else {
        indexOf.set(id, mentions.length);
        mentions.push({ ...span, type: place[1] });
      }
    } else if (id.startsWith("R")) {
      const [, label, from, to] = /^(\S+) \S+:(T\d+) \S+:(T\d+)\s*$/.exec(body) ?? [];
      if (label === undefined) bad(`got ${quoted(body)}, expected a label and two names: LABEL Arg1:T1 Arg2:T2`);
      else links.push({ line: i + 1, label, from, to });
    } else {
      const kind = KINDS[id[0]] ?? "unknown lines";
      dropped[kind] = (dropped[kind] ?? 0) + 1;
    }
  }
  const relations: { head: number; tail: number; label: string }[] = [];
  for (const { line, label, from, to } of links) {
    const [head, tail] = [indexOf.get(from), indexOf.get(to)];
    if (head === undefined || tail === undefined) {
      out.problems.push(`line ${line}: got ${quoted(`${from} ${to}`)}, expected names that the file has`);
    } else relations.push({ head, tail, label });
  }
  out.dropped = dropped;
  out.texts.push({ text, mentions, relations });
  return out;
}
