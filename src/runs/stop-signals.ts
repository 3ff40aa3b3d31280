/** Process signals that ask a run to stop: Ctrl-C, a supervisor or batch system, a terminal that closes. */
const STOP_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export type StopSignal = (typeof STOP_SIGNALS)[number];

/** How a run can be asked to stop before its end. It then finishes the step in progress and saves a checkpoint. */
export interface StopOptions {
  /** Stops the run when it aborts. */
  signal?: AbortSignal;
  /**
   * When given, SIGINT, SIGTERM and SIGHUP stop the run too: the first one calls this function, a second one ends the process at once.
   * When absent, no signal handler is installed.
   */
  onSignal?: (name: StopSignal) => void;
}

export interface StopRequest {
  /** Aborts when the run should stop. */
  readonly signal: AbortSignal;
  /** The process signal that asked for it; null when none did. */
  readonly by: StopSignal | null;
  /** Removes the handlers. */
  close(): void;
}

/** Listens for a request to stop until it is closed. */
export function watchForStop({ signal, onSignal }: StopOptions): StopRequest {
  const stop = new AbortController();
  let by: StopSignal | null = null;
  const onAbort = () => stop.abort(signal?.reason);
  if (signal?.aborted) onAbort();
  else signal?.addEventListener("abort", onAbort, { once: true });
  const removeHandlers = () => {
    for (const name of STOP_SIGNALS) process.off(name, onProcessSignal);
  };
  // Without our handlers, Node's default ends the process on the second signal, whichever of them it is.
  const onProcessSignal = (name: StopSignal) => {
    removeHandlers();
    by = name;
    onSignal?.(name);
    stop.abort(name);
  };
  if (onSignal) for (const name of STOP_SIGNALS) process.on(name, onProcessSignal);
  return {
    signal: stop.signal,
    get by() {
      return by;
    },
    close() {
      removeHandlers();
      signal?.removeEventListener("abort", onAbort);
    },
  };
}
