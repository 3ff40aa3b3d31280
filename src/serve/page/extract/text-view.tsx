import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { PageDocument, PageTriple, SentencePlace, TripleMention } from "./page-triple.ts";
import { Pager } from "./pager.tsx";
import { sentencesOf } from "./parts.ts";
import { type Selection, selectMention, selectTriple } from "./selection.ts";
import { SentenceRow } from "./sentence-row.tsx";
import type { ExtractTexts } from "./texts.ts";
import { useMarkedText } from "./use-marked-text.ts";

interface TextViewProps {
  document: PageDocument;
  /** Of this document, after the filters. */
  triples: readonly PageTriple[];
  selection: Selection;
  texts: ExtractTexts;
  maxCharacters: number;
  onSelect(selection: Selection): void;
  onAddMention(sentence: SentencePlace, mention: TripleMention): void;
  onRemoveMention(mention: TripleMention): void;
}

const PAGE_SENTENCES = 50;
const NO_MENTIONS: readonly TripleMention[] = [];
const NO_TRIPLES: readonly PageTriple[] = [];

/** A document sentence by sentence, with mentions and arcs; a long one in pages. */
export function TextView(props: TextViewProps) {
  const { document: own, triples, selection, texts, onSelect } = props;
  const [page, setPage] = useState(0);
  const [isOnlyRelated, setOnlyRelated] = useState(false);
  const list = useRef<HTMLOListElement>(null);
  const sentences = useMemo(() => sentencesOf(own.text, props.maxCharacters), [own.text, props.maxCharacters]);
  const mentions = useMemo(
    () => bySentence(sentences, own.mentions, ({ startUtf16 }) => startUtf16),
    [sentences, own.mentions],
  );
  const related = useMemo(
    () => bySentence(sentences, triples, ({ head, headSpan }) => head.startUtf16 - headSpan[0]),
    [sentences, triples],
  );
  const rows = useMemo(
    () =>
      sentences
        .map((sentence, i) => ({
          sentence,
          number: i + 1,
          opens: opensParagraph(own.text, sentences[i - 1], sentence),
        }))
        .filter(({ number }) => !isOnlyRelated || related.has(number - 1)),
    [own.text, sentences, related, isOnlyRelated],
  );
  const pages = Math.max(1, Math.ceil(rows.length / PAGE_SENTENCES));
  const current = Math.min(page, pages - 1);

  const start = selection?.kind === "pair" ? selection.pair.sentence.start : null;
  // A relation that is chosen elsewhere (in the table, in the graph, by a key) is brought into sight.
  useEffect(() => {
    if (start === null) return;
    const at = rows.findIndex(({ sentence }) => sentence.start === start);
    if (at >= 0) setPage(Math.floor(at / PAGE_SENTENCES));
    requestAnimationFrame(() => list.current?.querySelector("[data-chosen]")?.scrollIntoView({ block: "nearest" }));
  }, [start]);
  const onPage = (next: number) => {
    setPage(next);
    list.current?.closest("main")?.scrollIntoView();
  };
  const marked = useMarkedText(list, sentences);
  const waiting = selection?.kind === "mention" ? selection : null;
  const last = useRef({ selection, props });
  last.current = { selection, props };
  const handlers = useMemo(
    () => ({
      onMention: (sentence: SentencePlace, mention: TripleMention) => {
        const { selection, props } = last.current;
        props.onSelect(selectMention(selection, props.document.id, sentence, mention));
      },
      onTriple: (triple: PageTriple) => last.current.props.onSelect(selectTriple(triple)),
    }),
    [],
  );
  return (
    <div class="text">
      {sentences.length > PAGE_SENTENCES && (
        <div class="text-head">
          <label class="check">
            <input
              type="checkbox"
              checked={isOnlyRelated}
              onChange={(event) => setOnlyRelated(event.currentTarget.checked)}
            />
            <span>{texts.onlyRelated}</span>
          </label>
          <Pager page={current} pages={pages} texts={texts} onPage={onPage} />
        </div>
      )}
      <ol class="sentences" ref={list} onKeyDown={moveFocus}>
        {rows.slice(current * PAGE_SENTENCES, (current + 1) * PAGE_SENTENCES).map(({ sentence, number, opens }) => (
          <SentenceRow
            key={sentence.start}
            number={number}
            opensParagraph={opens}
            sentence={sentence}
            mentions={mentions.get(number - 1) ?? NO_MENTIONS}
            triples={related.get(number - 1) ?? NO_TRIPLES}
            selection={isIn(selection, sentence) ? selection : null}
            texts={texts}
            {...handlers}
          />
        ))}
      </ol>
      {pages > 1 && <Pager page={current} pages={pages} texts={texts} onPage={onPage} />}
      {marked !== null && (
        <div class="text-bar">
          <span>{texts.selectedText(marked.mention.text)}</span>
          <button
            type="button"
            class="primary"
            onMouseDown={(event) => event.preventDefault()}
            onClick={() => {
              getSelection()?.removeAllRanges();
              props.onAddMention(marked.sentence, marked.mention);
            }}
          >
            {texts.addMention}
          </button>
        </div>
      )}
      {marked === null && waiting !== null && (
        <div class="text-bar">
          <span>{texts.asHead(waiting.mention.text)}</span>
          <button type="button" onClick={() => props.onRemoveMention(waiting.mention)}>
            {texts.removeMention}
          </button>
          <button type="button" onClick={() => onSelect(null)}>
            {texts.cancel}
          </button>
        </div>
      )}
    </div>
  );
}

const isIn = (selection: Selection, { start }: SentencePlace) =>
  selection !== null &&
  (selection.kind === "pair" ? selection.pair.sentence.start : selection.sentence.start) === start;

/** Whether a line ends between a sentence and the one before it. */
const opensParagraph = (text: string, before: SentencePlace | undefined, { start }: SentencePlace) =>
  before !== undefined && text.slice(before.start + before.text.length, start).includes("\n");

/** What is in each sentence, by its index. `things` are in the order of the text. */
function bySentence<T>(
  sentences: readonly SentencePlace[],
  things: readonly T[],
  placeOf: (thing: T) => number,
): Map<number, T[]> {
  const found = new Map<number, T[]>();
  for (const thing of things) {
    const place = placeOf(thing);
    let [low, high] = [0, sentences.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sentences[middle].start <= place) low = middle + 1;
      else high = middle;
    }
    if (low > 0) found.set(low - 1, [...(found.get(low - 1) ?? []), thing]);
  }
  return found;
}

/** Arrow keys move between mentions and relations: left and right in a sentence, up and down between sentences. */
function moveFocus(event: KeyboardEvent & { currentTarget: HTMLElement }): void {
  const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 }[event.key];
  const item = (event.target as Element).closest<HTMLElement>("[data-item]");
  if (move === undefined || item === null) return;
  const row = item.closest("li") as HTMLElement;
  const itemsOf = (one: Element) => [...one.querySelectorAll<HTMLElement>("[data-item]")];
  const isAlong = event.key === "ArrowLeft" || event.key === "ArrowRight";
  const own = itemsOf(row);
  const rows = [...event.currentTarget.children].map(itemsOf).filter((items) => items.length > 0);
  const at = rows.findIndex(([first]) => first === own[0]);
  const next = isAlong ? own[own.indexOf(item) + move] : rows[at + move]?.[0];
  if (!next) return;
  event.preventDefault();
  next.focus();
}
