/** The same items, the next one requested while the caller works on the one before: reading and computing overlap. */
export async function* readAhead<T>(items: AsyncIterable<T>): AsyncGenerator<T, void, void> {
  const iterator = items[Symbol.asyncIterator]();
  const request = () => {
    const next = iterator.next();
    // A failure is thrown where the item is awaited; nobody may be waiting yet.
    next.catch(() => {});
    return next;
  };
  let next = request();
  try {
    for (;;) {
      const { done, value } = await next;
      if (done) return;
      next = request();
      yield value;
    }
  } finally {
    // Not awaited: after a signal nobody waits for the document that is being read.
    next.then(() => iterator.return?.()).catch(() => {});
  }
}
