import type { Backend } from "./backend.ts";
import type { Engine } from "./engine/engine.ts";

/** Backends do not show their engine; measurements need it. */
const engines = new WeakMap<Backend, Pick<Engine, "peak">>();

export function keepEngine(backend: Backend, engine: Pick<Engine, "peak">): void {
  engines.set(backend, engine);
}

/** Multiplications and additions per second, in 10⁹. */
export interface Peak {
  /** From registers alone, on zeros: the limit of the arithmetic units. */
  registers: number;
  /** On numbers in [-1, 1) from the first-level cache: changing bits draw more power, and the core lowers its frequency. */
  numbers: number;
}

/** The best of a few rounds; null for a backend that is not native. */
export async function measurePeak(backend: Backend, roundSeconds = 0.01, rounds = 8): Promise<Peak | null> {
  const engine = engines.get(backend);
  if (!engine) return null;
  const peak: Peak = { registers: 0, numbers: 0 };
  for (let round = 0; round < rounds; round++) {
    const [registers, , numbers] = await engine.peak(roundSeconds, false);
    peak.registers = Math.max(peak.registers, registers);
    peak.numbers = Math.max(peak.numbers, numbers);
  }
  return peak;
}

/** Bytes read from memory per second, in 10⁹; null for a backend that is not native. Needs 1 GB meanwhile. */
export async function measureReadSpeed(backend: Backend, seconds = 0.2): Promise<number | null> {
  return (await engines.get(backend)?.peak(seconds, true))?.[1] ?? null;
}
