import { createHash } from "node:crypto";
import type { Replay } from "../base/replay.ts";
import type { Mention, SlowMentionFinder } from "../documents/mention.ts";

/** A finder that does not find again what was found before an interruption. */
export function keepingMentions(finder: SlowMentionFinder, kept: Pick<Replay, "take" | "add">): SlowMentionFinder {
  return {
    async find(document, sentences) {
      const key = createHash("sha256")
        .update(JSON.stringify([document.id, document.text]))
        .digest("hex");
      const known = (await kept.take(key)) as Mention[] | null;
      if (known !== null) return known;
      const found = await finder.find(document, sentences);
      await kept.add(key, found);
      return found;
    },
  };
}
