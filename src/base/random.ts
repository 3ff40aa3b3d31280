/** A seeded stream of random numbers (xoshiro128**, Blackman & Vigna 2018): the same seed gives the same numbers on every machine. */
export interface Random {
  /** A 32-bit unsigned integer. */
  uint32(): number;
  /** A number in [0, 1). */
  uniform(): number;
  /** A standard normal number (Box–Muller). */
  normal(): number;
  /** An integer in [0, bound). */
  below(bound: number): number;
  /** Shuffles in place (Fisher–Yates) and returns the same array. */
  shuffle<T>(items: T[]): T[];
  /** The state as four 32-bit integers, to save and restore. */
  state(): number[];
}

/** Mixes integers into one 32-bit seed, so that (run seed, epoch, purpose) give independent streams. */
export function mixSeed(...parts: number[]): number {
  let hash = 0x9e3779b9;
  for (const part of parts) {
    hash = Math.imul(hash ^ (part >>> 0), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    hash ^= hash >>> 16;
  }
  return hash >>> 0;
}

/** Starts a stream from a seed (its low 32 bits count), or continues one from a saved state of four 32-bit integers. */
export function createRandom(seed: number | number[]): Random {
  const s = new Uint32Array(4);
  if (Array.isArray(seed)) {
    const isState = seed.length === 4 && seed.every((word) => word >>> 0 === word) && seed.some((word) => word !== 0);
    if (!isState)
      throw new Error(`The state [${seed}] is not one of a random stream: four 32-bit integers, not all 0.`);
    s.set(seed);
  } else {
    let z = seed >>> 0;
    for (let i = 0; i < 4; i++) {
      z = (z + 0x9e3779b9) >>> 0;
      s[i] = mixSeed(z, i);
    }
    if (s.every((word) => word === 0)) s[0] = 1;
  }
  const rotateLeft = (x: number, k: number) => (x << k) | (x >>> (32 - k));
  const uint32 = () => {
    const result = Math.imul(rotateLeft(Math.imul(s[1], 5), 7), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotateLeft(s[3], 11);
    return result;
  };
  const uniform = () => uint32() / 4294967296;
  return {
    uint32,
    uniform,
    normal() {
      const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
      return radius * Math.cos(2 * Math.PI * uniform());
    },
    below: (bound) => Math.floor(uniform() * bound),
    shuffle(items) {
      for (let i = items.length - 1; i > 0; i--) {
        const j = Math.floor(uniform() * (i + 1));
        [items[i], items[j]] = [items[j], items[i]];
      }
      return items;
    },
    state: () => [...s],
  };
}
