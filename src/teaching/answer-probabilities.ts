/** A token of an answer with the most probable tokens at its place (itself may be among them). */
export interface ScoredToken {
  /** UTF-8 bytes, one character each: a token may hold a part of a character. */
  bytes: string;
  logProbability: number;
  others: readonly { bytes: string; logProbability: number }[];
}

/** Tokens before a label that say nothing: white space, quotes, brackets. */
const EMPTY = /^[\s"'`*([{]*$/;
const QUOTES = ["“", "「", "『", "《", "【"].map(bytesOf);

export function bytesOf(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

/**
 * The distribution over the labels at the places where an answer chooses among them, normalised: of every token there the probability goes to
 * the labels that it begins, in equal shares where they still agree. Null when the answer does not begin with a label.
 */
export function answerProbabilities(tokens: readonly ScoredToken[], labels: readonly string[]): Float64Array | null {
  const texts = labels.map(bytesOf);
  const shares = new Float64Array(labels.length);
  let path = "";
  let probability = 1;
  const give = (places: readonly number[], mass: number) => {
    for (const place of places) shares[place] += mass / places.length;
  };
  for (const { bytes, logProbability, others } of tokens) {
    const isStart = path === "";
    if (isStart && (EMPTY.test(bytes) || QUOTES.includes(bytes))) continue;
    const extended = (more: string) => (isStart ? more.trimStart() : path + more);
    for (const other of others) {
      if (other.bytes === bytes) continue;
      const text = extended(other.bytes);
      if (text !== "") give(placesOf(text, texts), probability * Math.exp(other.logProbability));
    }
    path = extended(bytes);
    probability *= Math.exp(logProbability);
    const places = placesOf(path, texts);
    if (places.length === 0) return null;
    if (places.length === 1) {
      give(places, probability);
      return normalised(shares);
    }
  }
  // The answer ends with a label that others begin with.
  const exact = texts.indexOf(path);
  if (exact < 0) return null;
  give([exact], probability);
  return normalised(shares);
}

/** The labels that begin with a text; without any, the longest that the text begins with. */
function placesOf(text: string, labels: readonly string[]): number[] {
  const longer = [...labels.keys()].filter((i) => labels[i].startsWith(text));
  if (longer.length > 0) return longer;
  const whole = [...labels.keys()].filter((i) => text.startsWith(labels[i]));
  return whole.sort((a, b) => labels[b].length - labels[a].length).slice(0, 1);
}

function normalised(shares: Float64Array): Float64Array | null {
  const sum = shares.reduce((total, share) => total + share, 0);
  return sum > 0 && Number.isFinite(sum) ? shares.map((share) => share / sum) : null;
}
