/** A mention of a triple, as `triples.jsonl` has it. */
interface Place {
  text: string;
  start: number;
  end: number;
  startUtf16: number;
  endUtf16: number;
}

/**
 * The mentions of triples that are not what is at their place in the document, by code points and by UTF-16 units. It shares nothing with the
 * program: characters are counted one by one, units as pairs of bytes.
 */
export function wrongSpans(triplesJsonl: string, texts: ReadonlyMap<string, string>): string[] {
  const wrong: string[] = [];
  for (const line of triplesJsonl.split("\n")) {
    if (line === "") continue;
    const { document, sentence, sentenceStart, head, tail } = JSON.parse(line);
    const text = texts.get(document);
    if (text === undefined) {
      wrong.push(`${document}: is no document`);
      continue;
    }
    const bytes = Buffer.from(text, "utf16le");
    for (const { text: mention, start, end, startUtf16, endUtf16 } of [head, tail] as Place[]) {
      const byCharacters = cut(text, start, end);
      const byUnits = bytes.subarray(2 * startUtf16, 2 * endUtf16).toString("utf16le");
      if (byCharacters !== mention) wrong.push(`${document}: ${start}–${end} is ${byCharacters}, not ${mention}`);
      if (byUnits !== mention)
        wrong.push(`${document}: units ${startUtf16}–${endUtf16} are ${byUnits}, not ${mention}`);
    }
    if (cut(text, sentenceStart, sentenceStart + characters(sentence)) !== sentence) {
      wrong.push(`${document}: the sentence at ${sentenceStart} is another one`);
    }
  }
  return wrong;
}

function cut(text: string, start: number, end: number): string {
  let at = 0;
  let found = "";
  for (const character of text) {
    if (at >= start && at < end) found += character;
    at++;
  }
  return found;
}

function characters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
