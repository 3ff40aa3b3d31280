/** The user's mistake: one clear message, no stack, exit code 1. Anything else that is thrown is a fault of ours (exit code 2). */
export class UserError extends Error {
  readonly hint: string | undefined;

  constructor(message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "UserError";
    this.hint = options.hint;
  }
}

const MAX_SHOWN_PROBLEMS = 40;

/**
 * Several problems of one input, reported together; the message shows the first 40 and counts the others. With `inline` a single problem is on
 * the line of the title.
 */
export class UserErrors extends UserError {
  readonly problems: readonly string[];

  constructor(title: string, problems: readonly string[], options: { hint?: string; inline?: boolean } = {}) {
    const shown = problems.slice(0, MAX_SHOWN_PROBLEMS);
    if (problems.length > shown.length) shown.push(`… and ${problems.length - shown.length} more`);
    const isInline = options.inline && problems.length === 1;
    super(isInline ? `${title} ${problems[0]}.` : [title, ...shown.map((one) => `  - ${one}`)].join("\n"), options);
    this.name = "UserErrors";
    this.problems = problems;
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Whether the system refused a call (a full disk, no permission, no such file). */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "syscall" in error;
}

/** A value as a message shows it: JSON on one line, cut after `maxCharacters`; works for any value, however deep or large. */
export function showValue(value: unknown, maxCharacters = 80): string {
  if (value === undefined) return "missing";
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // Nested too deeply, or circular.
  }
  text ??= `a value of type ${typeof value}`;
  if (text.length <= maxCharacters) return text;
  // Not between the two halves of a surrogate pair.
  const cut = /[\ud800-\udbff]/.test(text[maxCharacters - 1]) ? maxCharacters - 1 : maxCharacters;
  return `${text.slice(0, cut)}…`;
}

/** Control characters but line breaks and TAB, and those that turn the direction of text. */
const UNPRINTABLE = /(?![\n\t])[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu;

/** Text with control characters as their escapes ("\u001b"): what a file holds must not steer the terminal that shows it. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => {
    if (character === "\r") return "\\r";
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/** One row of distances; kept, because a name may be compared with thousands. */
let distances = new Int32Array(64);

/** Levenshtein distance between two strings, or `limit` when it is not below that; then it is known after a few characters. */
export function editDistance(a: string, b: string, limit = Number.POSITIVE_INFINITY): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let start = 0;
  let [endA, endB] = [a.length, b.length];
  while (start < endA && start < endB && a.charCodeAt(start) === b.charCodeAt(start)) start++;
  while (endA > start && endB > start && a.charCodeAt(endA - 1) === b.charCodeAt(endB - 1)) {
    endA--;
    endB--;
  }
  const columns = endB - start;
  if (distances.length <= columns) distances = new Int32Array(2 * columns);
  for (let j = 0; j <= columns; j++) distances[j] = j;
  for (let i = 1; i <= endA - start; i++) {
    const unit = a.charCodeAt(start + i - 1);
    let diagonal = distances[0]; // of the row before
    let left = i;
    let least = i;
    distances[0] = i;
    for (let j = 1; j <= columns; j++) {
      const above = distances[j];
      const substitution = unit === b.charCodeAt(start + j - 1) ? diagonal : diagonal + 1;
      left = Math.min(above + 1, left + 1, substitution);
      distances[j] = left;
      diagonal = above;
      if (left < least) least = left;
    }
    // No later row has a smaller number than the smallest of this one.
    if (least >= limit) return limit;
  }
  return Math.min(limit, distances[columns]);
}

/** One of 31 bits for each character: those of ASCII without case, and those of Chinese; other characters, which may have a case, have none. */
function characterBits(text: string): number {
  let bits = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) bits |= 1 << ((unit >= 0x41 && unit <= 0x5a ? unit + 0x20 : unit) % 31);
    else if (unit >= 0x3400 && unit <= 0x9fff) bits |= 1 << (unit % 31);
  }
  return bits;
}

function bitCount(bits: number): number {
  let count = 0;
  for (let left = bits; left !== 0; left &= left - 1) count++;
  return count;
}

/** The candidate nearest to `name`, or null when none is close enough to be a slip of the finger. */
export function nearestName(name: string, candidates: Iterable<string>): string | null {
  let best: string | null = null;
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
  const lower = name.toLowerCase();
  const own = characterBits(name);
  for (const candidate of candidates) {
    // The distance is at least the difference of the lengths: keeps a hostile name of a megabyte cheap.
    if (Math.abs(name.length - candidate.length) >= bestDistance) continue;
    // Each character that the candidate lacks costs an edit.
    if (bitCount(own & ~characterBits(candidate)) >= bestDistance) continue;
    const distance = editDistance(lower, candidate.toLowerCase(), bestDistance);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}
