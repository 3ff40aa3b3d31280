import { wholeText } from "./bytes.ts";
import type { DocumentFormat } from "./format.ts";

/** A whole file is one document; its characters stay as they are. */
export const plainText: DocumentFormat = {
  extensions: ["txt", "text"],
  async *read(source, context) {
    yield { id: source.id, text: await wholeText(source, context), fields: {} };
  },
};
