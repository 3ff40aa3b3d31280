/** Runs statements of SQL. Parameters are $1, $2, …; one call without parameters may hold several statements. */
export interface Sql {
  query<Row = Record<string, unknown>>(text: string, values?: readonly unknown[]): Promise<Row[]>;
}

/** A database that holds queues. */
export interface Store extends Sql {
  /** Its address without the password, or its folder. */
  readonly name: string;
  /** Whether other processes, also of other machines, can use it at the same time. */
  readonly isShared: boolean;
  /** Runs statements as one: all of them happen, or none when `work` throws or the process ends. */
  transaction<Value>(work: (sql: Sql) => Promise<Value>): Promise<Value>;
  close(): Promise<void>;
}

/** PostgreSQL's codes of a connection that ended, and of a server that starts or stops. */
const AWAY_STATES = /^(?:08|57P0[1-3])/;
const AWAY_SYSTEM = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOENT",
]);
/** Messages of the client for a connection that broke off. */
const AWAY_MESSAGES =
  /^(?:Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error)/;

/** Whether an error says that the database cannot be reached now, and may be later. */
export function isAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.every(isAway);
  if (code !== undefined && (AWAY_STATES.test(code) || AWAY_SYSTEM.has(code))) return true;
  return AWAY_MESSAGES.test(error.message) || isAway(error.cause);
}

export interface Patience {
  /** Time after which the last error is thrown, ms. */
  limitMs: number;
  /** Hears of every failure that is followed by another attempt. */
  onAway?: (error: Error) => void;
  signal?: AbortSignal;
}

const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 10_000;

/** Does work on a database, again and later when the database is away. The work must bear being done twice. */
export async function patiently<Value>(
  work: () => Promise<Value>,
  { limitMs, onAway, signal }: Patience,
): Promise<Value> {
  const started = performance.now();
  for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)) {
    try {
      return await work();
    } catch (error) {
      if (!isAway(error) || performance.now() - started > limitMs || signal?.aborted) throw error;
      onAway?.(error as Error);
    }
    await pause(waitMs * (0.5 + Math.random()), signal);
  }
}

/** Waits, less when the signal aborts. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return;
  await new Promise<void>((done) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      done();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end, { once: true });
  });
}
