import { yarnMagnitude } from "../rotary.ts";
import type { RotaryPositions, RotaryScaling } from "../spec.ts";
import type { Config, ConfigReader } from "./config-reader.ts";

const DEFAULT_BASE = 10_000;
/** YaRN's own ends of the ramp, in turns. */
const FAST_TURNS = 32;
const SLOW_TURNS = 1;

type Entries = Readonly<Record<string, unknown>>;

const isNumber = (value: unknown) => typeof value === "number" && Number.isFinite(value);
const ANY: Readonly<Record<string, (value: unknown) => boolean>> = {
  rope_type: (value) => typeof value === "string",
  type: (value) => typeof value === "string",
  rope_theta: isNumber,
  partial_rotary_factor: isNumber,
};

/** The entries of each kind of rotary positions in rope_scaling or rope_parameters. */
const KINDS: Readonly<Record<string, Readonly<Record<string, (value: unknown) => boolean>>>> = {
  default: { ...ANY, factor: (value) => value === 1 },
  linear: { ...ANY, factor: isNumber },
  llama3: {
    ...ANY,
    factor: isNumber,
    low_freq_factor: isNumber,
    high_freq_factor: isNumber,
    original_max_position_embeddings: isNumber,
  },
  yarn: {
    ...ANY,
    factor: isNumber,
    original_max_position_embeddings: isNumber,
    beta_fast: isNumber,
    beta_slow: isNumber,
    attention_factor: isNumber,
    truncate: (value) => typeof value === "boolean",
  },
};
const SUPPORTED = "plain rotary positions, or those scaled by linear, llama3 or yarn";
const SHARE = "partial_rotary_factor";

/**
 * Rotary positions as transformers 4 (rope_theta, rope_scaling) or 5 (rope_parameters) writes them; rope_layout is our own entry.
 * `defaultShare` is the share of a head that the family rotates where config.json does not say it; null: always all of it.
 */
export function readRotary(
  config: Config,
  read: ConfigReader,
  headWidth: number,
  { layout, defaultShare }: { layout: RotaryPositions["layout"] | null; defaultShare: number | null },
): RotaryPositions {
  const stated = read.number("rope_theta", DEFAULT_BASE);
  const bases = (config.rope_theta ?? null) === null ? [] : [stated];
  const shares: unknown[] = [];
  const scalings: (RotaryScaling | null)[] = [];
  read.known(SHARE);
  const addShare = (key: string, share: unknown) => {
    if (share === null) return;
    if (!isNumber(share) || (defaultShare === null && share !== 1)) read.refuse(key, key === SHARE ? "1" : SUPPORTED);
    shares.push(share);
    if (new Set(shares).size > 1) read.refuse(key, "one partial_rotary_factor in all entries");
  };
  addShare(SHARE, config.partial_rotary_factor ?? null);
  for (const key of ["rope_scaling", "rope_parameters"]) {
    read.known(key);
    if ((config[key] ?? null) === null) continue;
    const value = ofFullAttention(config[key]);
    const scaling = readScaling(value, config);
    if (scaling === undefined) {
      read.refuse(key, SUPPORTED);
      continue;
    }
    scalings.push(scaling);
    const { rope_theta: base = null, partial_rotary_factor: share = null } = value as Entries;
    if (typeof base === "number") bases.push(base);
    addShare(key, share);
    if (new Set(bases).size > 1) read.refuse(key, `one base in all entries, ${bases[0]} is another`);
    if (new Set(scalings.map((one) => JSON.stringify(one))).size > 1) read.refuse(key, "the scaling of rope_scaling");
  }
  const share = Number(shares[0] ?? defaultShare ?? 1);
  read.only("rope_layout", ...(layout ? [layout] : ["halves", "interleaved"]));
  const own = config.rope_layout === "interleaved" ? "interleaved" : "halves";
  const [scaling = null] = scalings;
  return {
    kind: "rotary",
    base: bases.at(-1) ?? DEFAULT_BASE,
    layout: layout ?? own,
    rotatedWidth: Math.floor(headWidth * share),
    ...(scaling ? { scaling } : {}),
  };
}

/** The scaling that entries state; null for none, undefined for one that is not computed here. */
function readScaling(value: object, config: Config): RotaryScaling | null | undefined {
  const entries = value as Entries;
  const { rope_type: type = null, type: oldType = null } = entries;
  const kind = type ?? oldType ?? "default";
  if (type !== null && oldType !== null && type !== oldType) return undefined;
  if (Array.isArray(value) || typeof kind !== "string" || !Object.hasOwn(KINDS, kind)) return undefined;
  const known = KINDS[kind];
  const fits = Object.entries(entries).every(
    ([name, one]) => one === null || (Object.hasOwn(known, name) && known[name](one)),
  );
  if (!fits) return undefined;
  if (kind === "default") return null;
  const of = (name: string, fallback?: unknown) => (entries[name] ?? fallback) as number;
  const factor = of("factor");
  const originalTokens = of(
    "original_max_position_embeddings",
    kind === "yarn" ? config.max_position_embeddings : undefined,
  );
  const scaling: RotaryScaling =
    kind === "linear"
      ? { kind, factor }
      : kind === "llama3"
        ? { kind, factor, originalTokens, lowTurns: of("low_freq_factor"), highTurns: of("high_freq_factor") }
        : {
            kind: "yarn",
            factor,
            originalTokens,
            fastTurns: of("beta_fast", FAST_TURNS),
            slowTurns: of("beta_slow", SLOW_TURNS),
            magnitude: of("attention_factor", yarnMagnitude(factor)),
            isWhole: (entries.truncate ?? true) === true,
          };
  return Object.values(scaling).every((one) => one !== undefined) ? scaling : undefined;
}

/** transformers 5 may write the positions of each kind of layers; the only kind that is computed here is full attention. */
function ofFullAttention(value: unknown): object {
  const { full_attention: full, ...others } = Object(value);
  return typeof full === "object" && full !== null && Object.keys(others).length === 0 ? full : Object(value);
}

/** The entries that {@link readRotary} reads, as transformers 4 and 5 read them. */
export function writeRotary(positions: RotaryPositions, headWidth: number): Record<string, unknown> {
  const { base, rotatedWidth, scaling } = positions;
  return {
    rope_theta: base,
    ...(rotatedWidth === headWidth ? {} : { partial_rotary_factor: rotatedWidth / headWidth }),
    ...(scaling ? { rope_scaling: writeScaling(scaling) } : {}),
  };
}

function writeScaling(scaling: RotaryScaling): Record<string, unknown> {
  const { kind: rope_type, factor } = scaling;
  if (scaling.kind === "linear") return { rope_type, factor };
  const { originalTokens: original_max_position_embeddings } = scaling;
  if (scaling.kind === "llama3") {
    const { lowTurns: low_freq_factor, highTurns: high_freq_factor } = scaling;
    return { rope_type, factor, low_freq_factor, high_freq_factor, original_max_position_embeddings };
  }
  const { fastTurns, slowTurns, magnitude, isWhole } = scaling;
  return {
    rope_type,
    factor,
    original_max_position_embeddings,
    ...(fastTurns === FAST_TURNS ? {} : { beta_fast: fastTurns }),
    ...(slowTurns === SLOW_TURNS ? {} : { beta_slow: slowTurns }),
    ...(magnitude === yarnMagnitude(factor) ? {} : { attention_factor: magnitude }),
    ...(isWhole ? {} : { truncate: false }),
  };
}
