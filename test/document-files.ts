import { crc32, deflateRawSync } from "node:zlib";
import { parquetWriteBuffer } from "hyparquet-writer";

// Small real files of the formats that are binary, made by code: what is in them is what the test wrote.

/** A zip archive; `declared` replaces the uncompressed sizes that its directory names. */
export function zipFile(files: Readonly<Record<string, string | Buffer>>, declared?: number): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const [name, content] of Object.entries(files)) {
    const raw = Buffer.from(content);
    const data = deflateRawSync(raw);
    const nameBytes = Buffer.from(name);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(0x0800, 2);
    common.writeUInt16LE(8, 4);
    common.writeUInt32LE(crc32(raw), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(declared ?? raw.length, 18);
    common.writeUInt16LE(nameBytes.length, 22);
    const local = Buffer.concat([Buffer.from("PK\u0003\u0004"), common, nameBytes, data]);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(at, 10);
    directory.push(Buffer.concat([Buffer.from("PK\u0001\u0002"), Buffer.from([20, 0]), common, rest, nameBytes]));
    parts.push(local);
    at += local.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(directory.length, 4);
  end.writeUInt16LE(directory.length, 6);
  end.writeUInt32LE(central.length, 8);
  end.writeUInt32LE(at, 12);
  return Buffer.concat([...parts, central, Buffer.from("PK\u0005\u0006"), end]);
}

const XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>';
const OFFICE = "http://schemas.openxmlformats.org";

/** A DOCX with one paragraph a text; a list of texts is a row of a table. */
export function docxFile(paragraphs: readonly (string | readonly string[])[]): Buffer {
  const paragraph = (text: string) => `<w:p><w:r><w:t xml:space="preserve">${escaped(text)}</w:t></w:r></w:p>`;
  const row = (cells: readonly string[]) =>
    `<w:tbl><w:tr>${cells.map((cell) => `<w:tc>${paragraph(cell)}</w:tc>`).join("")}</w:tr></w:tbl>`;
  const body = paragraphs.map((one) => (typeof one === "string" ? paragraph(one) : row(one))).join("");
  const types = `${OFFICE}/package/2006/content-types`;
  const main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml";
  const relation = `${OFFICE}/officeDocument/2006/relationships/officeDocument`;
  return zipFile({
    "[Content_Types].xml": `${XML}<Types xmlns="${types}"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/word/document.xml" ContentType="${main}"/></Types>`,
    "_rels/.rels": `${XML}<Relationships xmlns="${OFFICE}/package/2006/relationships"><Relationship Id="rId1" Type="${relation}" Target="word/document.xml"/></Relationships>`,
    "word/document.xml": `${XML}<w:document xmlns:w="${OFFICE}/wordprocessingml/2006/main"><w:body>${body}</w:body></w:document>`,
  });
}

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** A line of a PDF: its text, the left end and the baseline in points, its size. */
export interface PdfLine {
  text: string;
  x: number;
  y: number;
  size?: number;
}

/** Pages with lines one below the other from the left margin, 20 points apart. */
export const pdfPages = (pages: readonly (readonly string[])[]): PdfLine[][] =>
  pages.map((lines) => lines.map((text, i) => ({ text, x: 60, y: 760 - 20 * i })));

/**
 * A PDF whose font has no glyphs: each character of the text is a code of two bytes, and a ToUnicode map names its character, as programs that
 * embed a part of a font write it. `toUnicode: false` leaves the map out, `encoding` replaces
 * Identity-H, and `codesOf` then gives the codes of a text in hexadecimal digits.
 */
export function pdfFile(
  pages: readonly (readonly PdfLine[])[],
  options: { toUnicode?: boolean; encoding?: string; codesOf?: (text: string) => string } = {},
): Buffer {
  const { toUnicode = true, encoding = "Identity-H", codesOf } = options;
  const characters = [...new Set(pages.flat().flatMap(({ text }) => Array.from(text)))];
  const codeOf = new Map(characters.map((character, i) => [character, hex(i + 1)]));
  const objects: string[] = [];
  const add = (body: string) => objects.push(body);
  const stream = (text: string) => `<< /Length ${Buffer.byteLength(text)} >>\nstream\n${text}\nendstream`;
  const kids = pages.map((_, i) => `${7 + 2 * i} 0 R`).join(" ");
  add("<< /Type /Catalog /Pages 2 0 R >>");
  add(`<< /Type /Pages /Kids [${kids}] /Count ${pages.length} >>`);
  const map = toUnicode ? "/ToUnicode 6 0 R " : "";
  add(`<< /Type /Font /Subtype /Type0 /BaseFont /Test /Encoding /${encoding} /DescendantFonts [4 0 R] ${map}>>`);
  const ordering = encoding === "Identity-H" ? "Identity" : "GB1";
  add(
    `<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Test /CIDSystemInfo << /Registry (Adobe) /Ordering (${ordering}) /Supplement 0 >> /FontDescriptor 5 0 R /DW 1000 >>`,
  );
  add(
    "<< /Type /FontDescriptor /FontName /Test /Flags 4 /FontBBox [0 0 1000 1000] /ItalicAngle 0 /Ascent 800 /Descent -200 /CapHeight 700 /StemV 80 >>",
  );
  const mapped = characters.map((one) => `<${codeOf.get(one)}> <${utf16Hex(one)}>`);
  add(
    stream(
      [
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /Test def /CMapType 2 def",
        "1 begincodespacerange <0000> <FFFF> endcodespacerange",
        ...chunks(mapped, 100).map((some) => `${some.length} beginbfchar\n${some.join("\n")}\nendbfchar`),
        "endcmap end end",
      ].join("\n"),
    ),
  );
  for (const [i, lines] of pages.entries()) {
    const shown = lines.map(({ text, x, y, size = 12 }) => {
      const codes = codesOf?.(text) ?? Array.from(text, (character) => codeOf.get(character)).join("");
      return `BT /F1 ${size} Tf 1 0 0 1 ${x} ${y} Tm <${codes}> Tj ET`;
    });
    add(
      `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> /Contents ${8 + 2 * i} 0 R >>`,
    );
    add(stream(shown.join("\n")));
  }
  let text = "%PDF-1.4\n";
  const offsets = objects.map((body, i) => {
    const offset = text.length;
    text += `${i + 1} 0 obj\n${body}\nendobj\n`;
    return offset;
  });
  const start = text.length;
  const rows = offsets.map((offset) => `${String(offset).padStart(10, "0")} 00000 n \n`).join("");
  text += `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${rows}`;
  text += `trailer\n<< /Size ${objects.length + 1} /Root 1 0 R >>\nstartxref\n${start}\n%%EOF\n`;
  return Buffer.from(text, "latin1");
}

const hex = (code: number) => code.toString(16).padStart(4, "0");
const utf16Hex = (text: string) => Array.from({ length: text.length }, (_, i) => hex(text.charCodeAt(i))).join("");

function chunks<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

/** A Parquet file with the columns of the rows; `rowGroupSize` rows a group. */
export function parquetFile(rows: readonly Record<string, unknown>[], rowGroupSize = 2): Buffer {
  const columnData = Object.keys(rows[0]).map((name) => ({ name, data: rows.map((row) => row[name]) }));
  return Buffer.from(parquetWriteBuffer({ columnData, rowGroupSize }));
}

/** Chinese text in GBK by the decoder of the platform, which has no encoder. */
export function gbkBytes(text: string): Buffer {
  gbk ??= gbkTable();
  return Buffer.concat(Array.from(text, (character) => gbk?.get(character) ?? Buffer.from(character, "latin1")));
}

let gbk: Map<string, Buffer> | null = null;

function gbkTable(): Map<string, Buffer> {
  const table = new Map<string, Buffer>();
  const decoder = new TextDecoder("gb18030");
  for (let lead = 0x81; lead < 0xff; lead++) {
    for (let trail = 0x40; trail < 0xff; trail++) {
      const bytes = Buffer.from([lead, trail]);
      const text = decoder.decode(bytes);
      if (Array.from(text).length === 1 && text !== "\ufffd" && !table.has(text)) table.set(text, bytes);
    }
  }
  return table;
}
