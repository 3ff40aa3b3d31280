import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { createRandom } from "../../src/base/random.ts";
import { docxFile, gbkBytes, parquetFile, pdfFile, pdfPages } from "../document-files.ts";

/** A folder of documents of every kind, and what is in them by construction. */
export interface MixedFiles {
  /** The text of each document by its id, as docs/documents.md says that it is read. */
  texts: Map<string, string>;
  /** Names of the dictionary. */
  names: string[];
}

const NAMES = 500;
/** Beginnings of names: rare and astral characters, full-width letters, traditional characters. */
const PLAIN = ["远山", "近水", "東風", "西岭", "南湖", "北辰", "鑫森淼焱", "ＡＢ"];
const RARE = ["𠮷野", "𨰻鑫", "㐂乐", "😀笑", "龘龖"];
const PATTERNS = ["#收购了*", "#与*合作", "#被*收购", "*和#都在本市", "#持有*的股份"];
const EMOJI = ["😀", "👩‍🚀", "🇨🇳", "𝒳", ""];

/** Writes `count` files, as many of each of the twelve kinds, and a dictionary. The same count gives the same bytes. */
export function writeMixedFiles(folder: string, dictionary: string, count: number): MixedFiles {
  const random = createRandom(20);
  const isRare = (i: number) => i % 5 === 4;
  const names = Array.from({ length: NAMES }, (_, i) => {
    const beginnings = isRare(i) ? RARE : PLAIN;
    return `${beginnings[Math.floor(i / 5) % beginnings.length]}第${i}${i % 3 === 0 ? "集团" : "公司"}`;
  });
  const rows = names.map((name, i) => `${name},${i % 2 === 0 ? "公司" : "机构"},Q${i},${name.replace("第", "")}`);
  writeFileSync(dictionary, `name,type,id,aliases\n${rows.join("\n")}\n`);
  /** Names that every encoding has. */
  const plain = names.filter((_, i) => !isRare(i));
  const sentence = (some: readonly string[], number: number) => {
    const [a, b] = [some[random.below(some.length)], some[random.below(some.length)]];
    return `${number}日${PATTERNS[number % PATTERNS.length].replace("#", a).replace("*", b)}。`;
  };
  const sentences = (number: number, some: readonly string[] = names) =>
    Array.from({ length: 3 }, (_, k) => sentence(some, 3 * number + k));
  const texts = new Map<string, string>();
  const put = (name: string, content: string | Buffer, documents: Record<string, string>) => {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
    for (const [suffix, text] of Object.entries(documents)) texts.set(`${name}${suffix}`, text);
  };
  const kinds: ((name: string, number: number) => void)[] = [
    (name, n) => {
      const text = `${EMOJI[n % EMOJI.length]}${sentences(n).join("")}\n`;
      put(`${name}.txt`, text, { "": text });
    },
    (name, n) => {
      const text = sentences(n).join("\r\n");
      put(`${name}.utf16.txt`, Buffer.from(`\ufeff${text}`, "utf16le"), { "": text });
    },
    (name, n) => {
      const text = sentences(n, plain).join("\n");
      put(`${name}.gb.txt`, gbkBytes(text), { "": text });
    },
    (name, n) => {
      const some = sentences(n);
      const body = some.map((one, k) =>
        k === 1 ? `<div><b>${one.slice(0, 4)}</b>${one.slice(4)}</div>` : `<p>${one}</p>`,
      );
      const page = `<!doctype html><html><head><title>x</title><style>p{}</style></head><body>${body.join("\n  ")}<script>远山</script></body></html>`;
      put(`${name}.html`, page, { "": `${some[0]}\n\n${some[1]}\n\n${some[2]}` });
    },
    (name, n) => {
      const some = sentences(n);
      const text = `# 标题\n\n${some[0]}\n\n- ${some[1]}\n\n\`\`\`\n${some[2]}\n\`\`\`\n\n${some[2]}\n`;
      put(`${name}.md`, text, { "": `标题\n\n${some[0]}\n\n${some[1]}\n\n${some[2]}` });
    },
    (name, n) => {
      const some = sentences(n);
      put(`${name}.docx`, docxFile(some), { "": some.join("\n\n") });
    },
    (name, n) => {
      const some = sentences(n);
      put(`${name}.pdf`, pdfFile(pdfPages(some.map((one) => [one]))), { "": some.join("\n\n") });
    },
    (name, n) => {
      const some = sentences(n);
      const lines = some.map((one, k) => `${k},"${one}${k === 1 ? '""引号""\n换行' : ""}"`);
      put(`${name}.csv`, `id,text\r\n${lines.join("\r\n")}\r\n`, {
        "#2": some[0],
        "#3": `${some[1]}"引号"\n换行`,
        "#5": some[2],
      });
    },
    (name, n) => {
      const some = sentences(n);
      const documents = Object.fromEntries(some.map((one, k) => [`#${k + 1}`, one]));
      put(`${name}.parquet`, parquetFile(some.map((text, id) => ({ id, text }))), documents);
    },
    (name, n) => {
      const some = sentences(n);
      const lines = some.map((text) => JSON.stringify({ text, tags: ["甲"] }));
      const documents = Object.fromEntries(some.map((one, k) => [`#${k + 1}`, one]));
      put(`${name}.jsonl.gz`, gzipSync(lines.join("\n")), documents);
    },
    (name, n) => {
      const some = sentences(n);
      put(`${name}.json`, JSON.stringify(some.map((content) => ({ content }))), {
        ...Object.fromEntries(some.map((one, k) => [`#${k + 1}`, one])),
      });
    },
    (name, n) => {
      const text = `${sentences(n).join("")}${EMOJI[n % EMOJI.length]}`;
      put(`${name}.txt.gz`, gzipSync(text), { "": text });
    },
  ];
  for (let i = 0; i < count; i++) {
    kinds[i % kinds.length](`${i % 7 === 0 ? "深/" : ""}文件-${String(i).padStart(3, "0")}`, i);
  }
  return { texts, names };
}
