let last: Promise<void> = Promise.resolve();

/**
 * Waits for a turn of the event loop that no other caller has. Work that is cut into pieces with such pauses holds the loop for one piece at a
 * time, however many do so at once; with `setImmediate` alone all of their next pieces would run in one turn.
 */
export function ownTurn(): Promise<void> {
  last = last.then(() => new Promise((done) => setImmediate(done)));
  return last;
}

/** Milliseconds after which a piece of long work ends. */
const PIECE_MS = 8;

/**
 * Calls for work that arrives in bursts, as requests do: it runs at once while the burst has held the event loop for less than a piece, later
 * arrivals of the same burst have a turn of their own each.
 */
export function createBurstGate(pieceMs = PIECE_MS): (run: () => void) => void {
  let began: number | null = null;
  return (run) => {
    if (began === null) {
      began = performance.now();
      setImmediate(() => {
        began = null;
      });
    }
    if (performance.now() - began < pieceMs) run();
    else void ownTurn().then(run);
  };
}

/** Cuts work into pieces by time: `if (pieces.isLong()) await pieces.next()` between its steps. */
export interface Pieces {
  /** Whether the piece has taken its time. */
  isLong(): boolean;
  /** Ends the piece; the next one begins in a turn of the event loop of its own. */
  next(): Promise<void>;
}

/** The first piece begins now. Time that the work waits counts too. */
export function createPieces(pieceMs = PIECE_MS): Pieces {
  let began = performance.now();
  return {
    isLong: () => performance.now() - began >= pieceMs,
    async next() {
      await ownTurn();
      began = performance.now();
    },
  };
}
