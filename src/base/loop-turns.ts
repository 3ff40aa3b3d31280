let last: Promise<void> = Promise.resolve();

/**
 * Waits for a turn of the event loop that no other caller has. Work that is cut into pieces with such pauses holds the loop for one piece at a
 * time, however many do so at once; with `setImmediate` alone all of their next pieces would run in one turn.
 */
export function ownTurn(): Promise<void> {
  last = last.then(() => new Promise((done) => setImmediate(done)));
  return last;
}
