const PERIOD_MS = 100;

/** How late a timer of 100 ms fires at worst: whether computing leaves the event loop free. */
export interface TimerWatch {
  worstDelayMs(): number;
  stop(): void;
}

export function watchTimer(): TimerWatch {
  let last = performance.now();
  let worst = 0;
  const fire = (): void => {
    const now = performance.now();
    worst = Math.max(worst, now - last - PERIOD_MS);
    last = now;
  };
  const timer = setInterval(fire, PERIOD_MS);
  return {
    worstDelayMs: () => Math.max(worst, performance.now() - last - PERIOD_MS),
    stop: () => clearInterval(timer),
  };
}
