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

/** Several problems of one input, reported together; the message shows the first 40 and counts the others. */
export class UserErrors extends UserError {
  readonly problems: readonly string[];

  constructor(title: string, problems: readonly string[], options: { hint?: string } = {}) {
    const shown = problems.slice(0, MAX_SHOWN_PROBLEMS);
    if (problems.length > shown.length) shown.push(`… and ${problems.length - shown.length} more`);
    super([title, ...shown.map((problem) => `  - ${problem}`)].join("\n"), options);
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

/** Levenshtein distance between two strings, or `limit` when it is not below that; then it is known after a few characters. */
export function editDistance(a: string, b: string, limit = Number.POSITIVE_INFINITY): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  const row = new Int32Array(b.length + 1);
  for (let j = 1; j <= b.length; j++) row[j] = j;
  for (let i = 1; i <= a.length; i++) {
    let diagonal = row[0]; // of the row before
    row[0] = i;
    let least = i;
    for (let j = 1; j <= b.length; j++) {
      const substitution = diagonal + (a.charCodeAt(i - 1) === b.charCodeAt(j - 1) ? 0 : 1);
      diagonal = row[j];
      row[j] = Math.min(diagonal + 1, row[j - 1] + 1, substitution);
      least = Math.min(least, row[j]);
    }
    // No later row has a smaller number than the smallest of this one.
    if (least >= limit) return limit;
  }
  return Math.min(limit, row[b.length]);
}

/** The candidate nearest to `name`, or null when none is close enough to be a slip of the finger. */
export function nearestName(name: string, candidates: Iterable<string>): string | null {
  let best: string | null = null;
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
  const lower = name.toLowerCase();
  for (const candidate of candidates) {
    // The distance is at least the difference of the lengths: keeps a hostile name of a megabyte cheap.
    if (Math.abs(name.length - candidate.length) >= bestDistance) continue;
    const distance = editDistance(lower, candidate.toLowerCase(), bestDistance);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}
