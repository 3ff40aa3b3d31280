interface Pair {
  sentence: string;
  head: string;
  tail: string;
  /** Places in UTF-16 units. */
  headSpan?: Span;
  tailSpan?: Span;
}

type Span = { start: number; end: number } | readonly [number, number];

interface Mark {
  start: number;
  end: number;
  role: "head" | "tail";
}

/** The parts of a sentence with what is marked in them; of marks that overlap, the one of the head is drawn. Without a place, the first one counts. */
export function markedParts({
  sentence,
  head,
  tail,
  headSpan,
  tailSpan,
}: Pair): { text: string; role?: "head" | "tail" }[] {
  const placeOf = (name: string, span: Span | undefined, role: Mark["role"]): Mark[] => {
    if (span !== undefined) {
      const [start, end] = "start" in span ? [span.start, span.end] : span;
      return [{ start, end, role }];
    }
    const start = sentence.indexOf(name);
    return start < 0 ? [] : [{ start, end: start + name.length, role }];
  };
  const first = placeOf(head, headSpan, "head");
  const second = placeOf(tail, tailSpan, "tail").filter(({ start, end }) =>
    first.every((one) => end <= one.start || start >= one.end),
  );
  const parts: { text: string; role?: "head" | "tail" }[] = [];
  let at = 0;
  for (const { start, end, role } of [...first, ...second].sort((a, b) => a.start - b.start)) {
    if (start > at) parts.push({ text: sentence.slice(at, start) });
    parts.push({ text: sentence.slice(start, end), role });
    at = end;
  }
  if (at < sentence.length) parts.push({ text: sentence.slice(at) });
  return parts;
}

/** A sentence with its head and tail marked. */
export function MarkedSentence(pair: Pair) {
  return (
    <span class="marked">
      {markedParts(pair).map(({ text, role }, i) =>
        role === undefined ? (
          text
        ) : (
          <mark key={`${role} ${i}`} class={`is-${role}`}>
            {text}
          </mark>
        ),
      )}
    </span>
  );
}
