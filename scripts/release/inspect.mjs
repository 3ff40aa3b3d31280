/**
 * What a compiled addon needs from the system that loads it, read from its tables: `node scripts/release/inspect.mjs FILE …` prints it as JSON.
 * ELF: https://refspecs.linuxfoundation.org/elf/gabi4+/ and the LSB's symbol versions; PE: Microsoft's "PE Format"; Mach-O: <mach-o/loader.h>.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * @typedef {object} Needs
 * @property {"elf" | "pe" | "mach-o"} format
 * @property {"x64" | "arm64"} cpu
 * @property {string[]} libraries
 * @property {string[]} symbols Undefined symbols that the loader looks for; on PE "LIBRARY!symbol".
 * @property {string[]} versions ELF only: versions of symbols, such as GLIBC_2.28.
 * @property {string[]} exports
 * @property {string[]} anywhere Mach-O only: symbols that are looked up in the whole process instead of a named library.
 * @property {string | null} oldestSystem Mach-O only: the oldest macOS that loads it.
 * @property {boolean | null} signed Mach-O only: whether it has a code signature, without which arm64 refuses it.
 */

/** @returns {Needs} */
export function inspect(bytes) {
  if (bytes.length >= 64 && bytes.readUInt32BE(0) === 0x7f454c46) return inspectElf(bytes);
  if (bytes.length >= 64 && bytes.readUInt32LE(0) === 0xfeedfacf) return inspectMachO(bytes);
  if (bytes.length >= 64 && bytes.toString("latin1", 0, 2) === "MZ") return inspectPe(bytes);
  throw new Error("is no 64-bit ELF, PE or Mach-O file.");
}

const unique = (names) => [...new Set(names)].sort();

function textAt(bytes, start) {
  const end = bytes.indexOf(0, start);
  if (start < 0 || end < 0) throw new Error("has a name outside of the file.");
  return bytes.toString("latin1", start, end);
}

const u64 = (bytes, at) => Number(bytes.readBigUInt64LE(at));

// ---- ELF

const ELF_CPUS = { 62: "x64", 183: "arm64" };
const SHT_DYNAMIC = 6;
const SHT_DYNSYM = 11;
const SHT_GNU_VERNEED = 0x6ffffffe;
const DT_NEEDED = 1;

function inspectElf(bytes) {
  const [start, size, count] = [u64(bytes, 40), bytes.readUInt16LE(58), bytes.readUInt16LE(60)];
  const sections = Array.from({ length: count }, (_, i) => {
    const at = start + i * size;
    const [type, offset, length, link] = [
      bytes.readUInt32LE(at + 4),
      u64(bytes, at + 24),
      u64(bytes, at + 32),
      bytes.readUInt32LE(at + 40),
    ];
    return { type, offset, length, link };
  });
  const found = { libraries: [], symbols: [], versions: [], exports: [] };
  for (const { type, offset, length, link } of sections) {
    const nameAt = (at) => textAt(bytes, sections[link].offset + at);
    if (type === SHT_DYNAMIC) {
      for (let at = offset; at < offset + length; at += 16) {
        if (u64(bytes, at) === DT_NEEDED) found.libraries.push(nameAt(u64(bytes, at + 8)));
      }
    } else if (type === SHT_DYNSYM) {
      for (let at = offset + 24; at < offset + length; at += 24) {
        const list = bytes.readUInt16LE(at + 6) === 0 ? found.symbols : found.exports;
        list.push(nameAt(bytes.readUInt32LE(at)));
      }
    } else if (type === SHT_GNU_VERNEED) {
      for (let at = offset, next = 1; next !== 0; at += next) {
        next = bytes.readUInt32LE(at + 12);
        let entry = at + bytes.readUInt32LE(at + 8);
        for (let left = bytes.readUInt16LE(at + 2); left > 0; left--, entry += bytes.readUInt32LE(entry + 12)) {
          found.versions.push(nameAt(bytes.readUInt32LE(entry + 8)));
        }
      }
    }
  }
  const cpu = ELF_CPUS[bytes.readUInt16LE(18)];
  return { format: "elf", cpu, ...sorted(found), anywhere: [], oldestSystem: null, signed: null };
}

const sorted = (found) => Object.fromEntries(Object.entries(found).map(([name, list]) => [name, unique(list)]));

// ---- PE

const PE_CPUS = { 34404: "x64", 43620: "arm64" };

function inspectPe(bytes) {
  const header = bytes.readUInt32LE(60) + 4;
  const optional = header + 20;
  if (bytes.readUInt16LE(optional) !== 0x20b) throw new Error("is no 64-bit PE file.");
  const table = optional + bytes.readUInt16LE(header + 16);
  const sections = Array.from({ length: bytes.readUInt16LE(header + 2) }, (_, i) => {
    const at = table + i * 40;
    return {
      address: bytes.readUInt32LE(at + 12),
      length: bytes.readUInt32LE(at + 16),
      offset: bytes.readUInt32LE(at + 20),
    };
  });
  const offsetOf = (address) => {
    const section = sections.find((one) => address >= one.address && address < one.address + one.length);
    if (section === undefined) throw new Error(`has no section for address ${address}.`);
    return address - section.address + section.offset;
  };
  const found = { libraries: [], symbols: [], versions: [], exports: [] };
  const importsAt = bytes.readUInt32LE(optional + 120);
  for (let at = importsAt && offsetOf(importsAt); at && bytes.readUInt32LE(at + 12) !== 0; at += 20) {
    const library = textAt(bytes, offsetOf(bytes.readUInt32LE(at + 12))).toLowerCase();
    found.libraries.push(library);
    const names = bytes.readUInt32LE(at) || bytes.readUInt32LE(at + 16);
    for (let entry = offsetOf(names); bytes.readBigUInt64LE(entry) !== 0n; entry += 8) {
      const value = bytes.readBigUInt64LE(entry);
      const byNumber = value >> 63n === 1n;
      found.symbols.push(`${library}!${byNumber ? `#${value & 0xffffn}` : textAt(bytes, offsetOf(Number(value)) + 2)}`);
    }
  }
  const exportsAt = bytes.readUInt32LE(optional + 112);
  if (exportsAt !== 0) {
    const directory = offsetOf(exportsAt);
    const names = bytes.readUInt32LE(directory + 24) > 0 ? offsetOf(bytes.readUInt32LE(directory + 32)) : 0;
    for (let i = 0; i < bytes.readUInt32LE(directory + 24); i++) {
      found.exports.push(textAt(bytes, offsetOf(bytes.readUInt32LE(names + 4 * i))));
    }
  }
  const cpu = PE_CPUS[bytes.readUInt16LE(header)];
  return { format: "pe", cpu, ...sorted(found), anywhere: [], oldestSystem: null, signed: null };
}

// ---- Mach-O

const MACH_CPUS = { 16777223: "x64", 16777228: "arm64" };
const LC_SYMTAB = 2;
/** Libraries that are loaded: always, where there is one, instead of another, when first called, and upwards. */
const LC_LOADS = [0xc, 0x18, 0x1f, 0x20, 0x23];
const LC_CODE_SIGNATURE = 0x1d;
const LC_BUILD_VERSION = 0x32;
/** The flag of a file whose symbols say which library they are from, and the numbers of none: zig writes 0, others 0xfe. */
const MH_TWOLEVEL = 0x80;
const NO_LIBRARY = [0, 0xfe];

function inspectMachO(bytes) {
  const found = { libraries: [], symbols: [], versions: [], exports: [], anywhere: [] };
  const hasLibraries = (bytes.readUInt32LE(24) & MH_TWOLEVEL) !== 0;
  let oldestSystem = null;
  let signed = false;
  let at = 32;
  for (let left = bytes.readUInt32LE(16); left > 0; left--) {
    const command = bytes.readUInt32LE(at) & 0x7fffffff;
    if (LC_LOADS.includes(command)) found.libraries.push(textAt(bytes, at + bytes.readUInt32LE(at + 8)));
    if (command === LC_CODE_SIGNATURE) signed = true;
    if (command === LC_BUILD_VERSION) oldestSystem = `${bytes.readUInt16LE(at + 14)}.${bytes[at + 13]}`;
    if (command === LC_SYMTAB) {
      const [symbols, count, strings] = [8, 12, 16].map((offset) => bytes.readUInt32LE(at + offset));
      for (let i = 0; i < count; i++) {
        const entry = symbols + 16 * i;
        const type = bytes[entry + 4];
        // Debugging entries have the bits 0xe0; only external symbols are looked up.
        if ((type & 0xe0) !== 0 || (type & 1) === 0) continue;
        const name = textAt(bytes, strings + bytes.readUInt32LE(entry)).replace(/^_/, "");
        const isImported = (type & 0xe) === 0;
        (isImported ? found.symbols : found.exports).push(name);
        if (isImported && (!hasLibraries || NO_LIBRARY.includes(bytes[entry + 7]))) found.anywhere.push(name);
      }
    }
    at += bytes.readUInt32LE(at + 4);
  }
  return { format: "mach-o", cpu: MACH_CPUS[bytes.readUInt32LE(4)], ...sorted(found), oldestSystem, signed };
}

// ---- what a package may need

const FORMATS = { linux: "elf", win32: "pe", darwin: "mach-o" };
const LIBRARIES = {
  glibc:
    /^(libc\.so\.6|libm\.so\.6|libpthread\.so\.0|libdl\.so\.2|librt\.so\.1|ld-linux-(x86-64\.so\.2|aarch64\.so\.1))$/,
  musl: /^libc\.(so|musl-x86_64\.so\.1)$/,
  // Part of every Windows 10; node.exe is the process that loads the addon.
  win32: /^(node\.exe|kernel32\.dll|ntdll\.dll|advapi32\.dll|api-ms-win-(crt|core)-[a-z0-9-]+\.dll|ucrtbase\.dll)$/,
  darwin: /^\/usr\/lib\/libSystem\.B\.dylib$/,
};
const NEWEST_GLIBC = [2, 28];
const NEWEST_MACOS = 13;
/** C++ names and the runtime of exceptions: an addon brings its own. */
const OF_CXX = /^(_Z|__gxx_|__cxa_(?!finalize$|atexit$|thread_atexit_impl$)|_Unwind_)/;
/** Names of libSystem of macOS 13 that addons use. The file says where they are from. */
const macosSymbols = () =>
  new Set(readFileSync(new URL("macos-13.txt", import.meta.url), "utf8").match(/^[^#\s]\S*$/gm));

/** Why the addon does not fit the platform of prebuilt.ts: one line for each problem, none when it does. */
export function problemsOf(needs, { os, cpu, libc }) {
  const problems = [];
  if (needs.format !== FORMATS[os]) problems.push(`is ${needs.format}, expected ${FORMATS[os]}`);
  if (needs.cpu !== cpu) problems.push(`is for ${needs.cpu}, expected ${cpu}`);
  const allowed = LIBRARIES[libc ?? os];
  for (const library of needs.libraries) if (!allowed.test(library)) problems.push(`needs ${library}`);
  for (const version of needs.versions) {
    const [, major, minor] = version.match(/^GLIBC_(\d+)\.(\d+)/)?.map(Number) ?? [];
    const isOld = major < NEWEST_GLIBC[0] || (major === NEWEST_GLIBC[0] && minor <= NEWEST_GLIBC[1]);
    if (libc !== "glibc" || !isOld) problems.push(`needs ${version}`);
  }
  const isNodeApi = (symbol) => /^([^!]+!)?(napi|node_api)_/.test(symbol);
  if (os === "win32") {
    const wrong = needs.symbols.filter((symbol) => symbol.startsWith("node.exe!") !== isNodeApi(symbol));
    problems.push(...wrong.map((symbol) => `imports ${symbol}`));
  }
  if (os === "darwin") {
    problems.push(
      ...needs.anywhere.filter((name) => !isNodeApi(name)).map((name) => `looks up ${name} in the whole process`),
    );
    const unknown = needs.symbols.filter((name) => !isNodeApi(name) && !macosSymbols().has(name));
    problems.push(...unknown.map((name) => `needs ${name}, which is not in macos-13.txt`));
    if (!(Number.parseFloat(needs.oldestSystem) <= NEWEST_MACOS)) problems.push(`needs macOS ${needs.oldestSystem}`);
  }
  const fromLibrary = needs.symbols.filter((name) => os === "linux" && OF_CXX.test(name));
  problems.push(...fromLibrary.map((name) => `needs ${name} of a C++ library`));
  const others = needs.exports.filter(
    (name) => !/^(napi_register_module_v1|node_api_module_get_api_version_v1)$/.test(name),
  );
  if (os === "linux" && others.length > 0) problems.push(`exports ${others.join(", ")}`);
  if (!needs.exports.includes("napi_register_module_v1")) problems.push("does not export napi_register_module_v1");
  if (os === "darwin" && cpu === "arm64" && !needs.signed) problems.push("has no code signature");
  return problems;
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  for (const file of process.argv.slice(2))
    console.log(JSON.stringify({ file, ...inspect(readFileSync(file)) }, null, 1));
}
