import { memo } from "preact/compat";
import { Arcs } from "./arcs-layer.tsx";
import type { PageTriple, SentencePlace, TripleMention } from "./page-triple.ts";
import { isSameMention } from "./results.ts";
import type { Selection } from "./selection.ts";
import type { ExtractTexts } from "./texts.ts";

export interface SentenceRowProps {
  /** Its number in the document, from 1. */
  number: number;
  opensParagraph: boolean;
  sentence: SentencePlace;
  mentions: readonly TripleMention[];
  triples: readonly PageTriple[];
  /** The selection, where it is in this sentence. */
  selection: Selection;
  texts: ExtractTexts;
  onMention(sentence: SentencePlace, mention: TripleMention): void;
  onTriple(triple: PageTriple): void;
}

/** A sentence with its mentions, and its relations as arcs above them. */
export const SentenceRow = memo(function SentenceRow(props: SentenceRowProps) {
  const { number, sentence, mentions, triples, selection, texts, onMention, onTriple } = props;
  const sides = sidesOf(selection);
  const own = pieces(sentence, mentions);
  // One stop of the tab key for a sentence: the arrow keys move inside of it.
  const first = own.find((piece) => "mention" in piece);
  return (
    <li
      class={props.opensParagraph ? "sentence opens-paragraph" : "sentence"}
      data-chosen={selection?.kind === "pair" ? "" : undefined}
    >
      <span class="sentence-number number" aria-hidden="true">
        {number}
      </span>
      <div class="sentence-body">
        <Arcs
          layout={own.map(({ at }) => at).join()}
          triples={triples}
          selection={selection}
          texts={texts}
          onTriple={onTriple}
        >
          {own.map((piece) =>
            "mention" in piece ? (
              // A button's text could not be selected together with the text around it.
              // biome-ignore lint/a11y/useSemanticElements: see above
              <span
                key={piece.at}
                class={`mention${sides(piece.mention)}`}
                role="button"
                tabIndex={piece === first ? 0 : -1}
                data-item=""
                data-at={piece.at}
                aria-label={texts.mentionLabel(piece.text, piece.mention.type)}
                title={piece.mention.type ?? undefined}
                onClick={() => {
                  if (getSelection()?.isCollapsed !== false) onMention(sentence, piece.mention);
                }}
                onKeyDown={(event) => {
                  if (event.key !== "Enter" && event.key !== " ") return;
                  event.preventDefault();
                  onMention(sentence, piece.mention);
                }}
              >
                {piece.text}
              </span>
            ) : (
              <span key={piece.at} data-at={piece.at}>
                {piece.text}
              </span>
            ),
          )}
        </Arcs>
      </div>
    </li>
  );
}, isEqual);

/** Lists are made anew while results come; what counts is what is in them. */
function isEqual(a: SentenceRowProps, b: SentenceRowProps): boolean {
  const isSame = <T,>(one: readonly T[], other: readonly T[]) =>
    one.length === other.length && one.every((value, i) => value === other[i]);
  return (
    (["sentence", "number", "opensParagraph", "texts", "selection"] as const).every((key) => a[key] === b[key]) &&
    isSame(a.mentions, b.mentions) &&
    isSame(a.triples, b.triples)
  );
}

/** The class of a mention that is an end of the selection. */
function sidesOf(selection: Selection): (mention: TripleMention) => string {
  if (selection === null) return () => "";
  if (selection.kind === "mention") return (one) => (isSameMention(one, selection.mention) ? " is-head" : "");
  const { head, tail } = selection.pair;
  return (one) => (isSameMention(one, head) ? " is-head" : isSameMention(one, tail) ? " is-tail" : "");
}

type Piece = { at: number; text: string } | { at: number; text: string; mention: TripleMention };

/** The text of a sentence, cut at its mentions; one that lies on an earlier one is left out. `at` counts UTF-16 units of the document. */
function pieces({ text, start }: SentencePlace, mentions: readonly TripleMention[]): Piece[] {
  const found: Piece[] = [];
  let at = 0;
  for (const mention of mentions) {
    const [from, to] = [mention.startUtf16 - start, mention.endUtf16 - start];
    if (from < at || to > text.length) continue;
    if (from > at) found.push({ at: start + at, text: text.slice(at, from) });
    found.push({ at: start + from, text: text.slice(from, to), mention });
    at = to;
  }
  if (at < text.length) found.push({ at: start + at, text: text.slice(at) });
  return found;
}
