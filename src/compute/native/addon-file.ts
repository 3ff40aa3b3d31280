import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { createRequire } from "node:module";
import { messageOf, UserError } from "../../base/errors.ts";

const requireAddon = createRequire(import.meta.url);

/** e_machine of an ELF file by Node's name of the processor. */
const ELF_MACHINES: Readonly<Record<string, number>> = { x64: 62, arm64: 183 };
const ELF_HEADER_BYTES = 64;

/**
 * Loads an addon that the build wrote. Throws a UserError for a file that is cut short, for another processor, or no addon of this program:
 * the system's loader kills the process for the first of these, and names no next step for the others.
 */
export function loadAddonFile<T extends object>(file: string, exported: keyof T & string): T {
  const problem = process.platform === "linux" ? elfProblem(file) : null;
  if (problem !== null) throw damaged(file, problem);
  let addon: T;
  try {
    addon = requireAddon(file) as T;
  } catch (error) {
    throw damaged(file, `cannot be loaded (${messageOf(error)})`);
  }
  if (addon[exported] === undefined) throw damaged(file, `has no "${exported}"`);
  return addon;
}

function damaged(file: string, problem: string): UserError {
  return new UserError(`${file}: ${problem}, expected an addon of this program.`, {
    hint: "Delete the file and run `npm run build`. CRE_BACKEND=wasm does without it, slower.",
  });
}

/** Why a file cannot be a whole ELF library for this processor; null when it can. The linker writes the table of sections last. */
function elfProblem(file: string): string | null {
  const header = Buffer.alloc(ELF_HEADER_BYTES);
  let sizeBytes = 0;
  try {
    const descriptor = openSync(file, "r");
    try {
      sizeBytes = fstatSync(descriptor).size;
      readSync(descriptor, header, 0, ELF_HEADER_BYTES, 0);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    return `cannot be read (${messageOf(error)})`;
  }
  if (sizeBytes < ELF_HEADER_BYTES) return `has ${sizeBytes} bytes`;
  const isElf = header.readUInt32BE(0) === 0x7f454c46;
  // 64 bits, little-endian, a shared library.
  if (!isElf || header[4] !== 2 || header[5] !== 1 || header.readUInt16LE(16) !== 3) return "is no 64-bit ELF library";
  const machine = ELF_MACHINES[process.arch];
  if (machine !== undefined && header.readUInt16LE(18) !== machine) return `is not built for ${process.arch}`;
  const sectionsEnd = Number(header.readBigUInt64LE(40)) + header.readUInt16LE(58) * header.readUInt16LE(60);
  return sectionsEnd > sizeBytes ? `is cut short: it has ${sizeBytes} bytes, expected ${sectionsEnd}` : null;
}
