import type { Backend } from "./backend.ts";
import type { Engine } from "./native-addon.ts";

const engines = new WeakMap<Backend, Pick<Engine, "peak">>();

export function keepEngine(backend: Backend, engine: Pick<Engine, "peak">): void {
  engines.set(backend, engine);
}

/** Multiplications and additions of a second from registers alone, in 10⁹: the best of a few rounds; null when the backend is not native. */
export async function measurePeak(backend: Backend, roundSeconds = 0.01, rounds = 8): Promise<number | null> {
  const engine = engines.get(backend);
  if (!engine) return null;
  let best = 0;
  for (let round = 0; round < rounds; round++) best = Math.max(best, (await engine.peak(roundSeconds, false))[0]);
  return best;
}

/** Bytes read from memory in a second, in 10⁹, or null when the backend is not native; takes 1 GB meanwhile. */
export async function measureReadSpeed(backend: Backend, seconds = 0.2): Promise<number | null> {
  return (await engines.get(backend)?.peak(seconds, true))?.[1] ?? null;
}
