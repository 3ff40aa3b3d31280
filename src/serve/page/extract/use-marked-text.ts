import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";
import { codePoints, type SentencePlace, type TripleMention } from "./page-triple.ts";

/** A text that a user has selected, as a mention. */
export interface MarkedText {
  sentence: SentencePlace;
  mention: TripleMention;
}

const MOST_CHARACTERS = 200;

/** The mention that units [start, end) of a document would be; null where they are not in one sentence, or only white space. */
export function markedText(sentences: readonly SentencePlace[], start: number, end: number): MarkedText | null {
  const sentence = sentences.find((one) => start >= one.start && end <= one.start + one.text.length);
  if (sentence === undefined || end - start > MOST_CHARACTERS) return null;
  const raw = sentence.text.slice(start - sentence.start, end - sentence.start);
  const text = raw.trim();
  if (text === "") return null;
  const startUtf16 = start + raw.indexOf(text);
  const from = sentence.startPoints + codePoints(sentence.text.slice(0, startUtf16 - sentence.start));
  const units = { startUtf16, endUtf16: startUtf16 + text.length };
  const mention = { text, id: text, name: text, type: null, start: from, end: from + codePoints(text), ...units };
  return { sentence, mention };
}

/** What is selected in a list of sentences. Elements with data-at say where in the document their text begins. */
export function useMarkedText(
  list: RefObject<HTMLElement | null>,
  sentences: readonly SentencePlace[],
): MarkedText | null {
  const [range, setRange] = useState<[number, number] | null>(null);
  useEffect(() => {
    const read = () => {
      const selection = getSelection();
      const own = selection && !selection.isCollapsed && selection.rangeCount > 0 ? selection.getRangeAt(0) : null;
      const isInside = own !== null && list.current?.contains(own.commonAncestorContainer);
      const ends = isInside
        ? [placeOf(own.startContainer, own.startOffset), placeOf(own.endContainer, own.endOffset)]
        : [];
      const [start, end] = ends;
      setRange((before) => {
        if (typeof start !== "number" || typeof end !== "number" || start >= end) return null;
        return before?.[0] === start && before[1] === end ? before : [start, end];
      });
    };
    document.addEventListener("selectionchange", read);
    return () => document.removeEventListener("selectionchange", read);
  }, [list]);
  return range === null ? null : markedText(sentences, ...range);
}

function placeOf(node: Node, offset: number): number | null {
  const element = node.nodeType === Node.TEXT_NODE ? node.parentElement : (node as Element);
  const owner = element?.closest<HTMLElement>("[data-at]");
  if (!owner) return null;
  return Number(owner.dataset.at) + (node.nodeType === Node.TEXT_NODE ? offset : 0);
}
