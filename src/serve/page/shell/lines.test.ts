import { expect, it } from "vitest";
import { readLines } from "./lines.ts";

it("reads lines over the borders of chunks and of characters", async () => {
  const bytes = new TextEncoder().encode('{"a":"收购"}\n\n{"b":1}\n{"c":2}');
  for (const size of [1, 2, 5, 100]) {
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
        controller.close();
      },
    });
    const lines: string[] = [];
    for await (const line of readLines(stream)) lines.push(line);
    expect(lines).toEqual(['{"a":"收购"}', '{"b":1}', '{"c":2}']);
  }
});
