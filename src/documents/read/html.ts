import type { Token, Tokenizer } from "parse5";
import { isSpace, isWide } from "../characters.ts";
import { tellGb18030, wholeBytes } from "./bytes.ts";
import { decodeText, markedEncoding, utf8OrNull, withoutNul } from "./encoding.ts";
import type { DocumentFormat } from "./format.ts";
import { ReadProblem } from "./limits.ts";

/** The visible text: a block element ends a line, a paragraph or heading has a blank line after it. */
export const html: DocumentFormat = {
  extensions: ["html", "htm", "xhtml"],
  async *read(source, context) {
    const bytes = await wholeBytes(source, context);
    const declared = declaredEncoding(bytes);
    let markup: string;
    if (declared === null) {
      const { text, encoding } = decodeText(bytes);
      if (encoding === "gb18030") tellGb18030(context, source.id);
      markup = text;
    } else {
      markup = decodeDeclared(bytes, declared);
      context.notice(`${source.id}: was read as ${declared}, which its <meta> names.`);
      if (declared === "gb18030") context.counts.gb18030++;
    }
    yield { id: source.id, text: htmlText(markup, await import("parse5")), fields: {} };
  },
};

const META_BYTES = 4096;

/** The encoding that a page names, for bytes that have no mark and are no UTF-8; GBK and GB 2312 are parts of GB18030. */
function declaredEncoding(bytes: Uint8Array): string | null {
  if (markedEncoding(bytes) !== null || utf8OrNull(bytes) !== null) return null;
  const head = Buffer.from(bytes.subarray(0, META_BYTES)).toString("latin1");
  const label = /<meta[^>]{0,500}charset\s*=\s*["']?\s*([\w-]{1,40})/i.exec(head)?.[1];
  if (label === undefined) return null;
  try {
    const { encoding } = new TextDecoder(label);
    if (encoding === "utf-8") return null;
    return encoding === "gbk" ? "gb18030" : encoding;
  } catch {
    return null;
  }
}

function decodeDeclared(bytes: Uint8Array, encoding: string): string {
  try {
    return withoutNul(new TextDecoder(encoding, { fatal: true }).decode(bytes));
  } catch (error) {
    if (error instanceof ReadProblem) throw error;
    throw new ReadProblem(`names the encoding ${encoding} in its <meta> and is not valid in it`);
  }
}

type Parse5 = Pick<typeof import("parse5"), "Tokenizer" | "TokenizerMode">;

/** Elements without visible text, and those whose content is no markup. */
const HIDDEN = new Set(
  "head title script style noscript template svg math iframe object select datalist textarea audio video canvas noembed noframes".split(
    " ",
  ),
);
const RAW = new Set(["script", "style", "iframe", "noembed", "noframes", "noscript"]);
const RCDATA = new Set(["title", "textarea"]);
/** A page may leave out the ends of these; what must end them is listed. */
const HEAD_ENDS = new Set(["body", "p", "div", "h1", "h2", "h3", "main", "article", "section", "table", "ul", "ol"]);
const PARAGRAPHS = new Set(
  "p h1 h2 h3 h4 h5 h6 table ul ol dl blockquote pre section article main header footer nav aside figure form hr".split(
    " ",
  ),
);
const BLOCKS = new Set(
  "div li tr dt dd br figcaption address caption center details summary legend fieldset option body".split(" "),
);
const CELLS = new Set(["td", "th"]);

/**
 * The visible text of HTML, by parse5's tokenizer: no tree is built, so that a page of any depth takes linear time and little memory. White
 * space is collapsed as a browser does; a line break between two Chinese characters is no space.
 */
export function htmlText(markup: string, { Tokenizer: Tokens, TokenizerMode }: Parse5): string {
  const out = new TextBuilder();
  /** The open hidden element and how often it is open in itself. */
  let hidden: { name: string; depth: number } | null = null;
  let preDepth = 0;
  let tokenizer: Tokenizer | null = null;
  const characters = ({ chars }: Token.CharacterToken) => {
    if (hidden === null) out.add(chars, preDepth > 0);
  };
  const boundary = (name: string) => {
    if (PARAGRAPHS.has(name)) out.endBlock(2);
    else if (BLOCKS.has(name)) out.endBlock(1);
    else if (CELLS.has(name)) out.endCell();
  };
  tokenizer = new Tokens(
    {},
    {
      onComment() {},
      onDoctype() {},
      onEof() {},
      onNullCharacter() {},
      onCharacter: characters,
      onWhitespaceCharacter: characters,
      onStartTag({ tagName: name, selfClosing }) {
        if (tokenizer !== null && RAW.has(name)) {
          tokenizer.state = name === "script" ? TokenizerMode.SCRIPT_DATA : TokenizerMode.RAWTEXT;
        } else if (tokenizer !== null && RCDATA.has(name)) tokenizer.state = TokenizerMode.RCDATA;
        if (hidden?.name === "head" && HEAD_ENDS.has(name)) hidden = null;
        if (hidden !== null) {
          if (hidden.name === name) hidden.depth++;
          return;
        }
        if (HIDDEN.has(name) && !(selfClosing && (name === "svg" || name === "math"))) hidden = { name, depth: 1 };
        else {
          if (name === "pre") preDepth++;
          if (!CELLS.has(name)) boundary(name);
        }
      },
      onEndTag({ tagName: name }) {
        if (hidden !== null) {
          if (hidden.name === name && --hidden.depth === 0) hidden = null;
          return;
        }
        if (name === "pre" && preDepth > 0) preDepth--;
        boundary(name);
      },
    },
  );
  tokenizer.write(markup, true);
  return out.text();
}

/** Text with collapsed white space and line ends between blocks. */
class TextBuilder {
  private readonly parts: string[] = [];
  private last = 0;
  /** White space that is written before the next text: none, a space, a line break in the source, or a TAB between cells. */
  private space: "" | " " | "\n" | "\t" = "";
  private lineEnds = 0;

  add(characters: string, isPre: boolean): void {
    if (isPre) {
      if (characters === "") return;
      this.flush(characters.charCodeAt(0));
      this.push(characters);
      return;
    }
    for (const [run] of characters.matchAll(/[ \t\r\n\f]+|[^ \t\r\n\f]+/g)) {
      if (!/^[ \t\r\n\f]/.test(run)) {
        this.flush(run.charCodeAt(0));
        this.push(run);
      } else if (this.space !== "\t") this.space = run.includes("\n") && this.space === "" ? "\n" : " ";
    }
  }

  endBlock(lineEnds: number): void {
    if (this.last !== 0) this.lineEnds = Math.max(this.lineEnds, lineEnds);
    this.space = "";
  }

  endCell(): void {
    if (this.last !== 0 && this.lineEnds === 0) this.space = "\t";
  }

  text(): string {
    return this.parts.join("").trimEnd();
  }

  private push(text: string): void {
    this.parts.push(text);
    this.last = text.charCodeAt(text.length - 1);
  }

  private flush(next: number): void {
    if (this.lineEnds > 0) this.parts.push("\n".repeat(this.lineEnds));
    else if (this.space === "\t") this.parts.push("\t");
    else if (this.space !== "" && this.last !== 0 && !isSpace(this.last)) {
      const isTight = this.space === "\n" && isWide(this.last) && isWide(next);
      if (!isTight) this.parts.push(" ");
    }
    this.lineEnds = 0;
    this.space = "";
  }
}

const NAMED: Readonly<Record<string, string>> = {
  ...{ amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", mdash: "—", ndash: "–", hellip: "…" },
  ...{
    ldquo: "“",
    rdquo: "”",
    lsquo: "‘",
    rsquo: "’",
    middot: "·",
    copy: "©",
    times: "×",
    emsp: "\u2003",
    ensp: "\u2002",
  },
};

/** Character references in text that is no HTML otherwise (Markdown): numbers and the usual names; others stay. */
export function decodeEntities(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-zA-Z]{2,10}));/g, (whole, decimal, hex, name) => {
    if (name !== undefined) return NAMED[name] ?? whole;
    const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal);
    const isCharacter = code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
    return isCharacter ? String.fromCodePoint(code) : whole;
  });
}
