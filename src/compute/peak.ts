import type { Backend } from "./backend.ts";
import type { Engine } from "./native/addon.ts";

const engines = new WeakMap<Backend, Pick<Engine, "peak">>();

export function keepEngine(backend: Backend, engine: Pick<Engine, "peak">): void {
  engines.set(backend, engine);
}

/** Multiplications and additions of a second, in 10⁹. */
export interface Peak {
  /** From registers alone, on zeros: what the units can do. */
  registers: number;
  /** On numbers in [-1, 1) from the first-level cache: tiles full of changing bits draw more power, and the core lowers its frequency. */
  numbers: number;
}

/** The best of a few rounds; null when the backend is not native. */
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

/** Bytes read from memory in a second, in 10⁹, or null when the backend is not native; takes 1 GB meanwhile. */
export async function measureReadSpeed(backend: Backend, seconds = 0.2): Promise<number | null> {
  return (await engines.get(backend)?.peak(seconds, true))?.[1] ?? null;
}
