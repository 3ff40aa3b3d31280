import type { FileHandle } from "node:fs/promises";
import { showValue, UserError, UserErrors } from "../base/errors.ts";
import { openToRead } from "../base/files.ts";
import { expectNoLfsPointer } from "../base/hints.ts";
import { describePickle, type PickleValue, readPickle } from "./pickle.ts";
import { readBytes } from "./read-bytes.ts";
import { rowsInFile } from "./row-chunks.ts";
import { createTensorChecks } from "./tensor-checks.ts";
import {
  DTYPE_BYTES,
  decodeElements,
  elementCount,
  type StoredTensor,
  type TensorChecks,
  type TensorDtype,
  type TensorInfo,
  type TensorSource,
} from "./tensor-source.ts";
import { locateZipEntry, readZipDirectory, type ZipEntry } from "./zip.ts";

const MAX_PICKLE_BYTES = 16 * 2 ** 20;
const MAX_DIMENSIONS = 8;
const STORAGE_TYPES: ReadonlyMap<string, TensorDtype> = new Map([
  ["torch.FloatStorage", "F32"],
  ["torch.HalfStorage", "F16"],
  ["torch.BFloat16Storage", "BF16"],
]);
const SAVE_AGAIN =
  "Load it with PyTorch and save it again: torch.save(torch.load(FILE, weights_only=True), FILE), or as safetensors.";

/** A part of the archive that tensors are views of. */
interface Storage {
  kind: "storage";
  key: string;
  dtype: TensorDtype;
  elements: number;
}

/** Elements of a storage: element [i, j, …] is at offset + i · strides[0] + j · strides[1] + … */
interface View {
  kind: "view";
  storage: Storage;
  offset: number;
  shape: readonly number[];
  strides: readonly number[];
  /** Number of elements of the storage from the first to the last element of the view. */
  span: number;
}

interface Entry extends TensorInfo {
  dtype: TensorDtype;
  view: View;
  startByte: number;
}

/**
 * Opens a checkpoint that torch.save wrote as a zip archive (PyTorch 1.6 and later): a pickled dict of tensors over stored files. Reading the
 * pickle builds tensors and plain data and executes no code. Throws a UserError that names the file and the item for anything else.
 */
export async function openPytorchBin(file: string, checks: TensorChecks = createTensorChecks()): Promise<TensorSource> {
  const { handle, sizeBytes } = await openToRead(file, "a PyTorch checkpoint");
  try {
    const { entries, pickle } = await readEntries(handle, file, sizeBytes);
    checks.header(file, pickle);
    return {
      tensors: entries,
      checks,
      async read(name) {
        const entry = entries.get(name);
        if (!entry) throw new UserError(`${file}: tensor "${name}" is missing.`);
        const { view, dtype } = entry;
        const stored = storedTensor(entry);
        const bytes = await readBytes(handle, file, firstByte(entry), stored.sizeBytes);
        checks.part(stored, 0, bytes);
        checks.values(stored, dtype, bytes);
        return gather(decodeElements(bytes, dtype), view);
      },
      rows(name) {
        const entry = entries.get(name);
        if (entry?.shape.length !== 2 || !isContiguous(entry.view)) return null;
        const [, columns] = entry.shape;
        const matrix = { handle, tensor: storedTensor(entry), columns, startByte: firstByte(entry), checks };
        return rowsInFile(matrix, entry.dtype);
      },
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

const firstByte = ({ view, dtype, startByte }: Entry) => startByte + view.offset * DTYPE_BYTES[dtype];

/** The bytes from the first to the last element of a tensor. */
const storedTensor = ({ file, name, view, dtype }: Entry): StoredTensor => ({
  file,
  name,
  sizeBytes: view.span * DTYPE_BYTES[dtype],
});

async function readEntries(
  handle: FileHandle,
  file: string,
  sizeBytes: number,
): Promise<{ entries: Map<string, Entry>; pickle: Uint8Array }> {
  await checkKind(handle, file, sizeBytes);
  const archive = await readZipDirectory(handle, file, sizeBytes);
  const pickles = [...archive.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (pickles.length !== 1) {
    throw new UserError(`${file}: has ${pickles.length} entries data.pkl, expected one as torch.save writes it.`, {
      hint: archive.has("META-INF/MANIFEST.MF") ? "This is a Java archive." : SAVE_AGAIN,
    });
  }
  const prefix = pickles[0].slice(0, -"data.pkl".length);
  const content = async (entry: ZipEntry) =>
    readBytes(handle, file, await locateZipEntry(handle, file, entry), entry.sizeBytes);
  const order = archive.get(`${prefix}byteorder`);
  if (order && (order.sizeBytes > 100 || Buffer.from(await content(order)).toString("utf8") !== "little")) {
    throw new UserError(`${file}: was saved on a big-endian machine, expected little-endian numbers.`);
  }
  const pickle = archive.get(pickles[0]) as ZipEntry;
  if (pickle.sizeBytes > MAX_PICKLE_BYTES) {
    throw new UserError(`${file}: data.pkl has ${pickle.sizeBytes} bytes, expected at most ${MAX_PICKLE_BYTES}.`);
  }
  const pickled = await content(pickle);
  const views = tensorsOf(readStateDict(pickled, `${file}: data.pkl`), file);
  const starts = new Map<string, number>();
  const entries = new Map<string, Entry>();
  for (const [name, view] of views) {
    const { key, dtype, elements } = view.storage;
    const stored = archive.get(`${prefix}data/${key}`);
    if (stored?.sizeBytes !== elements * DTYPE_BYTES[dtype]) {
      const got = stored ? `has ${stored.sizeBytes} bytes` : "is missing";
      const wanted = elements * DTYPE_BYTES[dtype];
      throw new UserError(`${file}: storage ${showValue(key)} of ${showValue(name)} ${got}, expected ${wanted} bytes.`);
    }
    const startByte = starts.get(key) ?? (await locateZipEntry(handle, file, stored));
    starts.set(key, startByte);
    entries.set(name, { name, dtype, shape: view.shape, file, view, startByte });
  }
  return { entries, pickle: pickled };
}

/** Refuses files of other formats that have these names. */
async function checkKind(handle: FileHandle, file: string, sizeBytes: number): Promise<void> {
  const start = Buffer.from(await readBytes(handle, file, 0, Math.min(sizeBytes, 24)));
  if (start.toString("latin1", 0, 2) === "PK") return;
  if (start[0] === 0x80) {
    throw new UserError(`${file}: is in PyTorch's format from before version 1.6, expected a zip archive.`, {
      hint: SAVE_AGAIN,
    });
  }
  expectNoLfsPointer(file, start, "the weights themselves");
  throw new UserError(`${file}: is no zip archive, expected a checkpoint.`, {
    hint: "Is this a file that torch.save wrote? Download it again.",
  });
}

/** Reads the pickle with the few names that a state dict of tensors needs. */
function readStateDict(bytes: Uint8Array, name: string): PickleValue {
  const storages = new Map<string, Storage>();
  const rebuild = (operands: readonly PickleValue[]): PickleValue => ({
    kind: "object",
    object: viewOf(operands, name),
  });
  const orderedDict = (operands: readonly PickleValue[]): PickleValue => {
    if (operands.length > 0) throw new UserError(`${name}: an OrderedDict is made of something, expected nothing.`);
    return { kind: "dict", entries: new Map() };
  };
  return readPickle(bytes, name, {
    calls: new Map([
      ["collections.OrderedDict", orderedDict],
      ["torch._utils._rebuild_tensor", rebuild],
      ["torch._utils._rebuild_tensor_v2", rebuild],
    ]),
    names: new Set(STORAGE_TYPES.keys()),
    persistent(id) {
      const storage = storageOf(id, name);
      const known = storages.get(storage.key);
      if (known && (known.dtype !== storage.dtype || known.elements !== storage.elements)) {
        throw new UserError(`${name}: storage ${showValue(storage.key)} is described in two ways.`);
      }
      storages.set(storage.key, known ?? storage);
      return { kind: "object", object: known ?? storage };
    },
  });
}

/** The items of a tuple or list; null where there are too many. */
function itemsOf(value: PickleValue | undefined, atMost: number): readonly PickleValue[] | null {
  if (value === undefined || value === null || typeof value !== "object") return null;
  return (value.kind === "tuple" || value.kind === "list") && value.items.length <= atMost ? value.items : null;
}

/** A storage or a view that the calls above have made. */
function builtOf(value: PickleValue | undefined): Storage | View | null {
  const isBuilt = value !== undefined && value !== null && typeof value === "object" && value.kind === "object";
  return isBuilt ? (value.object as Storage | View) : null;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** ("storage", type, key, device, elements) */
function storageOf(id: PickleValue, name: string): Storage {
  const items = itemsOf(id, 5) ?? [];
  const [mark, type, key, , elements] = items;
  const isName = type !== undefined && type !== null && typeof type === "object" && type.kind === "global";
  const dtype = isName ? STORAGE_TYPES.get(type.name) : undefined;
  // Digits only: the key is part of a file name in the archive.
  const isKey = typeof key === "string" && /^\d{1,9}$/.test(key);
  if (mark !== "storage" || !dtype || !isKey || !isCount(elements)) {
    const got = items.map(describePickle).join(", ") || describePickle(id);
    throw new UserError(`${name}: a storage is described as (${got}), expected its type, number and length.`);
  }
  return { kind: "storage", key, dtype, elements };
}

/** (storage, offset, sizes, strides, …); the rest concerns gradients. */
function viewOf(operands: readonly PickleValue[], name: string): View {
  const storage = builtOf(operands[0]);
  const offset = operands[1];
  const shape = itemsOf(operands[2], MAX_DIMENSIONS);
  const strides = itemsOf(operands[3], MAX_DIMENSIONS);
  const fits = shape?.every(isCount) && strides?.every(isCount) && shape.length === strides.length;
  if (storage?.kind !== "storage" || !isCount(offset) || !fits) {
    const got = operands.slice(0, 4).map(describePickle).join(", ");
    throw new UserError(
      `${name}: a tensor is made of (${got}), expected a storage, an offset and at most ${MAX_DIMENSIONS} sizes with one stride each.`,
    );
  }
  const sizes = shape as readonly number[];
  const steps = strides as readonly number[];
  const count = elementCount(sizes);
  const span = count === 0 ? 0 : sizes.reduce((sum, size, i) => sum + (size - 1) * steps[i], 1);
  // A view with more elements than its storage repeats some (stride 0): a small file could claim any memory.
  if (offset + span > storage.elements || count > storage.elements) {
    throw new UserError(
      `${name}: a tensor [${sizes}] with strides [${steps}] from element ${offset} on does not fit the ` +
        `${storage.elements} elements of storage ${storage.key}.`,
    );
  }
  return { kind: "view", storage, offset, shape: sizes, strides: steps, span };
}

function tensorsOf(value: PickleValue, file: string): Map<string, View> {
  if (value === null || typeof value !== "object" || value.kind !== "dict") {
    throw new UserError(`${file}: holds ${describePickle(value)}, expected a dict of tensors (a model's state dict).`);
  }
  const views = new Map<string, View>();
  const problems: string[] = [];
  for (const [name, item] of value.entries) {
    const view = builtOf(item);
    if (typeof name === "string" && view?.kind === "view") views.set(name, view);
    else problems.push(`${showValue(name)} is ${describePickle(item)}, expected a tensor`);
  }
  if (problems.length === 0) return views;
  throw new UserErrors(`${file}: is no dict of tensors:`, problems, {
    hint: "A training checkpoint keeps the model's tensors under a key: save that part alone.",
  });
}

/** Whether the elements are in row-major order without gaps. */
function isContiguous({ shape, strides, span }: View): boolean {
  const standsInOrder = shape.every((size, i) => size === 1 || strides[i] === elementCount(shape.slice(i + 1)));
  return elementCount(shape) === span && standsInOrder;
}

/** The elements of a view in row-major order, from the part of the storage that it spans. */
function gather(values: Float32Array, view: View): Float32Array {
  if (isContiguous(view)) return values;
  const { shape, strides } = view;
  const count = elementCount(shape);
  const out = new Float32Array(count);
  const index = new Array<number>(shape.length).fill(0);
  let from = 0;
  for (let to = 0; to < count; to++) {
    out[to] = values[from];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis];
      if (++index[axis] < shape[axis]) break;
      from -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return out;
}
