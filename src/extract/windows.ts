/** Rows that are extracted together unless told: they are held in memory, and sorted by length into batches. */
export const DEFAULT_WINDOW_ROWS = 512;

/** Cuts a stream into windows of `rows` items; the last one may be shorter. */
export async function* windowsOf<T>(items: AsyncIterable<T> | Iterable<T>, rows: number): AsyncGenerator<T[]> {
  let window: T[] = [];
  for await (const item of items) {
    window.push(item);
    if (window.length < rows) continue;
    yield window;
    window = [];
  }
  if (window.length > 0) yield window;
}
