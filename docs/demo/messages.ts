// What the page and its worker tell each other.

/** Of one text; `id` tells the answers to it from those to an earlier one. */
export interface Question {
  id: number;
  text: string;
  names: string[];
}

export interface ShownMention {
  start: number;
  end: number;
  name: string;
}

export interface ShownRelation {
  head: ShownMention;
  relation: string;
  tail: ShownMention;
  probability: number;
}

export type Answer =
  | { kind: "loading"; bytes: number; totalBytes: number }
  | { kind: "placing"; done: number; total: number }
  | { kind: "ready"; threads: number; labels: string[]; seconds: number }
  | { kind: "failed"; message: string; hint: string | null }
  | { kind: "named"; id: number; sentences: number; mentions: ShownMention[]; problems: string[] }
  | {
      kind: "sentence";
      id: number;
      start: number;
      end: number;
      pairs: number;
      cutPairs: number;
      relations: ShownRelation[];
      problems: string[];
    }
  | { kind: "done"; id: number; pairs: number; milliseconds: number };
