import type { Backend, MatmulOptions, Tensor, Weight } from "../backend.ts";
import type { Engine } from "./engine.ts";

/** Time of one kind of operation; a kind is its name and, for products, its shape. */
export interface KindTime {
  kind: string;
  calls: number;
  seconds: number;
  /** Processor time of the whole process in these calls. */
  processorSeconds: number;
  /** Floating-point operations of all calls; 0 for operations other than products. */
  flops: number;
}

const profiles = new WeakMap<Backend, () => KindTime[]>();

/** Times of everything that a profiled backend has computed so far; empty for other backends. Await `sync` first. */
export function profileOf(backend: Backend): KindTime[] {
  return profiles.get(backend)?.() ?? [];
}

/** The backend with every operation timed on the thread that computes it. */
export function profiled(backend: Backend, engine: Pick<Engine, "label" | "spent">): Backend {
  const kinds: { kind: string; flops: number }[] = [];
  const numbers = new Map<string, number>();
  const label = (kind: string, flops: number): void => {
    let number = numbers.get(kind);
    if (number === undefined) {
      number = kinds.push({ kind, flops: 0 });
      numbers.set(kind, number);
    }
    kinds[number - 1].flops += flops;
    engine.label(number);
  };
  const proxy = new Proxy(backend, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...given: unknown[]) => {
        if (name !== "close" && name !== "memory") label(...kindOf(String(name), given));
        return Reflect.apply(value, target, given) as unknown;
      };
    },
  });
  profiles.set(proxy, () => {
    const spent = engine.spent();
    return kinds.map(({ kind, flops }, i) => {
      const [calls, seconds, processorSeconds] = spent.subarray(3 * (i + 1), 3 * (i + 2));
      return { kind, calls, seconds, processorSeconds, flops };
    });
  });
  return proxy;
}

const isMatrix = (value: unknown): value is Tensor | Weight =>
  typeof value === "object" && value !== null && "rows" in value && "columns" in value;

const isWeight = (value: unknown): value is Weight => isMatrix(value) && "storage" in value;

/** For products of tensors with a weight: y[T,O] = x[T,I] · wᵀ and its gradients all cost 2·T·O·I. */
function kindOf(name: string, given: readonly unknown[]): [kind: string, flops: number] {
  if (!name.startsWith("matmul")) return [name, 0];
  const [first] = given.filter(isMatrix);
  const plus = given.flatMap((value) => (value as MatmulOptions | null)?.plus ?? []).map((term) => term.w);
  const weights = [...given.filter(isWeight), ...plus];
  const rows = first.rows;
  const shapes = weights.map((weight) => `${weight.columns}→${weight.rows}`);
  const flops = weights.reduce((sum, weight) => sum + 2 * rows * weight.rows * weight.columns, 0);
  return [`${name} ${rows}×${shapes.join(",")}`, flops];
}
