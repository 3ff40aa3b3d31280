import { showValue, UserError } from "../base/errors.ts";

/** The values of a pickle: plain data, allowed names, and the results of allowed calls. */
export type PickleValue =
  | null
  | boolean
  | number
  | string
  | { kind: "tuple"; items: readonly PickleValue[] }
  | { kind: "list"; items: PickleValue[] }
  | { kind: "dict"; entries: Map<string | number, PickleValue> }
  | { kind: "global"; name: string }
  | { kind: "object"; object: object };

/** A value for a message, without its parts: items that are shared many times would make an endless text. */
export function describePickle(value: PickleValue | undefined): string {
  if (value === undefined || value === null || typeof value !== "object") return showValue(value);
  if (value.kind === "global") return value.name;
  if (value.kind === "object") return "a tensor or storage";
  return `a ${value.kind} of ${value.kind === "dict" ? value.entries.size : value.items.length}`;
}

/** Everything that a pickle may refer to. Names are looked up here only, so no file can reach other code. */
export interface PickleRules {
  /** The result of each callable; throws a UserError when the operands do not fit. */
  calls: ReadonlyMap<string, (operands: readonly PickleValue[]) => PickleValue>;
  /** Names that a pickle may mention but not call, as types of storages. */
  names: ReadonlySet<string>;
  /** The value for a reference to something outside the pickle. */
  persistent(id: PickleValue): PickleValue;
}

/** Limits; the state dict of a published shard needs less than 100,000 steps and nests 4 marks. */
const MAX_STEPS = 2_000_000;
const MAX_STACK = 1 << 20;
const MAX_MARKS = 100;

const decoder = new TextDecoder("utf-8", { fatal: true });

/**
 * Reads a pickle of protocol 2 to 4 that holds plain data (opcodes: Python's pickletools). Throws a UserError that names the byte for every
 * opcode, name or call that a state dict does not need: those are the way in which a pickle executes code.
 */
export function readPickle(bytes: Uint8Array, name: string, rules: PickleRules): PickleValue {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const stack: PickleValue[] = [];
  const marks: number[] = [];
  const memo = new Map<number, PickleValue>();
  let at = 0;
  const fail = (message: string): UserError => new UserError(`${name}, byte ${at}: ${message}.`);
  const take = (count: number): number => {
    const from = at;
    if (count > bytes.length - from) throw fail(`${count} bytes are needed, ${bytes.length - from} are left`);
    at += count;
    return from;
  };
  const byte = () => view.getUint8(take(1));
  const text = (count: number): string => {
    const from = take(count);
    try {
      return decoder.decode(bytes.subarray(from, at));
    } catch {
      throw fail("a text is not UTF-8");
    }
  };
  const line = (): string => {
    const end = bytes.indexOf(10, at);
    if (end < 0 || end - at > 1000) throw fail("a name has no end");
    const read = text(end - at);
    at++;
    return read;
  };
  const pop = (): PickleValue => {
    if (stack.length <= (marks.at(-1) ?? 0)) throw fail("the stack is empty");
    return stack.pop() as PickleValue;
  };
  const top = (): PickleValue => {
    const value = pop();
    stack.push(value);
    return value;
  };
  const popMark = (): PickleValue[] => {
    const mark = marks.pop();
    if (mark === undefined) throw fail("there is no mark");
    return stack.splice(mark);
  };
  const tuple = (items: readonly PickleValue[]): PickleValue => ({ kind: "tuple", items });
  const recall = (key: number): PickleValue => {
    const value = memo.get(key);
    if (value === undefined) throw fail(`memo ${key} is empty`);
    return value;
  };
  const named = (module: PickleValue, item: PickleValue): PickleValue => {
    if (typeof module !== "string" || typeof item !== "string") throw fail("a name is no text");
    const full = `${module}.${item}`;
    if (rules.calls.has(full) || rules.names.has(full)) return { kind: "global", name: full };
    throw new UserError(`${name}, byte ${at}: asks for ${showValue(full)}, which a state dict does not need.`, {
      hint: "Only tensors of float32, float16 and bfloat16 are read, and no code is executed. Save the model's state dict alone, best as safetensors.",
    });
  };
  const setItems = (items: readonly PickleValue[]): void => {
    const target = top();
    if (target === null || typeof target !== "object" || target.kind !== "dict" || items.length % 2 !== 0) {
      throw fail("items are put into something that is no dict");
    }
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i];
      if (typeof key !== "string" && typeof key !== "number") {
        throw fail(`a key is ${describePickle(key)}, expected a text or a number`);
      }
      target.entries.set(key, items[i + 1]);
    }
  };
  const append = (items: readonly PickleValue[]): void => {
    const target = top();
    if (target === null || typeof target !== "object" || target.kind !== "list") {
      throw fail("items are appended to something that is no list");
    }
    for (const item of items) target.items.push(item);
  };
  const reduce = (): PickleValue => {
    const operands = pop();
    const callee = pop();
    const isCall = callee !== null && typeof callee === "object" && callee.kind === "global";
    const call = isCall ? rules.calls.get(callee.name) : undefined;
    const hasOperands = operands !== null && typeof operands === "object" && operands.kind === "tuple";
    if (!call || !hasOperands) throw fail("calls something that cannot be called");
    return call(operands.items);
  };
  const wholeNumber = (count: number): number => {
    if (count > 8) throw fail(`a whole number has ${count} bytes, expected at most 8`);
    const from = take(count);
    let value = 0n;
    for (let i = count - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[from + i]);
    const number = Number(BigInt.asIntN(count * 8, value));
    if (!Number.isSafeInteger(number)) throw fail(`a whole number is ${number}, expected less than 2^53`);
    return number;
  };
  const length64 = () => {
    const value = view.getBigUint64(take(8), true);
    return value > BigInt(bytes.length) ? Number.POSITIVE_INFINITY : Number(value);
  };

  for (let step = 0; step < MAX_STEPS; step++) {
    if (stack.length > MAX_STACK) throw fail(`the stack is higher than ${MAX_STACK}`);
    const opcode = byte();
    switch (opcode) {
      case 0x80: {
        // PROTO
        const protocol = byte();
        if (protocol < 2 || protocol > 5) throw fail(`is pickle protocol ${protocol}, expected 2 to 5`);
        break;
      }
      case 0x95: // FRAME
        take(8);
        break;
      case 0x2e: {
        // STOP
        const value = pop();
        if (stack.length > 0 || marks.length > 0) throw fail("ends with values left on the stack");
        return value;
      }
      case 0x28: // MARK
        if (marks.length === MAX_MARKS) throw fail(`is nested deeper than ${MAX_MARKS} marks`);
        marks.push(stack.length);
        break;
      case 0x4e: // NONE
        stack.push(null);
        break;
      case 0x88: // NEWTRUE
      case 0x89: // NEWFALSE
        stack.push(opcode === 0x88);
        break;
      case 0x4a: // BININT
        stack.push(view.getInt32(take(4), true));
        break;
      case 0x4b: // BININT1
        stack.push(byte());
        break;
      case 0x4d: // BININT2
        stack.push(view.getUint16(take(2), true));
        break;
      case 0x8a: // LONG1
        stack.push(wholeNumber(byte()));
        break;
      case 0x47: // BINFLOAT
        stack.push(view.getFloat64(take(8), false));
        break;
      case 0x8c: // SHORT_BINUNICODE
        stack.push(text(byte()));
        break;
      case 0x58: // BINUNICODE
        stack.push(text(view.getUint32(take(4), true)));
        break;
      case 0x8d: // BINUNICODE8
        stack.push(text(length64()));
        break;
      case 0x29: // EMPTY_TUPLE
        stack.push(tuple([]));
        break;
      case 0x85: // TUPLE1
        stack.push(tuple([pop()]));
        break;
      case 0x86: // TUPLE2
        stack.push(tuple([pop(), pop()].reverse()));
        break;
      case 0x87: // TUPLE3
        stack.push(tuple([pop(), pop(), pop()].reverse()));
        break;
      case 0x74: // TUPLE
        stack.push(tuple(popMark()));
        break;
      case 0x5d: // EMPTY_LIST
        stack.push({ kind: "list", items: [] });
        break;
      case 0x61: // APPEND
        append([pop()]);
        break;
      case 0x65: // APPENDS
        append(popMark());
        break;
      case 0x7d: // EMPTY_DICT
        stack.push({ kind: "dict", entries: new Map() });
        break;
      case 0x73: // SETITEM
        setItems([pop(), pop()].reverse());
        break;
      case 0x75: // SETITEMS
        setItems(popMark());
        break;
      case 0x71: // BINPUT
        memo.set(byte(), top());
        break;
      case 0x72: // LONG_BINPUT
        memo.set(view.getUint32(take(4), true), top());
        break;
      case 0x94: // MEMOIZE
        memo.set(memo.size, top());
        break;
      case 0x68: // BINGET
        stack.push(recall(byte()));
        break;
      case 0x6a: // LONG_BINGET
        stack.push(recall(view.getUint32(take(4), true)));
        break;
      case 0x63: // GLOBAL
        stack.push(named(line(), line()));
        break;
      case 0x93: {
        // STACK_GLOBAL
        const item = pop();
        stack.push(named(pop(), item));
        break;
      }
      case 0x52: // REDUCE
        stack.push(reduce());
        break;
      case 0x62: {
        // BUILD: attributes of a dict (torch keeps versions of modules there) say nothing about tensors.
        pop();
        const target = top();
        if (target === null || typeof target !== "object" || target.kind !== "dict") {
          throw fail("sets attributes of something that is no dict");
        }
        break;
      }
      case 0x51: // BINPERSID
        stack.push(rules.persistent(pop()));
        break;
      default:
        throw fail(`opcode 0x${opcode.toString(16).padStart(2, "0")} is not part of a state dict`);
    }
  }
  throw fail(`has more than ${MAX_STEPS} steps`);
}
