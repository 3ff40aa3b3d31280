/** The cross compiler: zig of the PyPI package ziglang, installed into build/ for a release only. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { cxxLibrary } from "./cxx-library.mjs";

/** One version for all releases, so that the same sources give the same code. */
const ZIG_VERSION = "0.17.1";

const runText = (command, words) =>
  execFileSync(command, words, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });

/** The zig that `folder` holds, installed when `install` says so; null without one. */
export function findZig(folder, { install }) {
  const file = join(folder, "zig", "ziglang", process.platform === "win32" ? "zig.exe" : "zig");
  if (!existsSync(file)) {
    if (!install) return null;
    const python = process.platform === "win32" ? "python" : "python3";
    const pip = [
      "-m",
      "pip",
      "install",
      "--quiet",
      "--no-deps",
      "--target",
      join(folder, "zig"),
      `ziglang==${ZIG_VERSION}`,
    ];
    runText(python, pip);
  }
  const version = runText(file, ["version"]).trim();
  if (version !== ZIG_VERSION)
    throw new Error(`${file} is zig ${version}, expected ${ZIG_VERSION}: remove the folder ${folder}.`);
  process.env.ZIG_GLOBAL_CACHE_DIR = resolve(folder, "zig-cache");
  process.env.ZIG_LOCAL_CACHE_DIR = resolve(folder, "zig-cache");
  return file;
}

/** The value of buildNative's `cross` for a platform of src/compute/native/prebuilt.ts. `folder` is for files that linking needs. */
export async function crossOf(zig, platform, folder) {
  const { os, target } = platform;
  const version = `zig ${ZIG_VERSION} ${target} (${runText(zig, ["c++", "--version"]).split("\n")[0].trim()})`;
  // In a folder of its own: next to an addon the linker writes a library of its exports, named after one of the linked files.
  const importLibrary = os === "win32" ? [nodeImportLibrary(zig, join(folder, "node-api"))] : [];
  const exported = os === "linux" ? [`-Wl,--version-script=${exportList(folder)}`] : [];
  const library = await cxxLibrary(zig, platform, join(folder, "cxx"));
  return {
    compiler: { command: zig, words: ["c++", "-target", target], version },
    // Without the checks of undefined behaviour that zig adds by default.
    compileFlags: ["-fno-sanitize=undefined"],
    linkFlags: (addon) => {
      const deferred = ["-undefined", "dynamic_lookup", `-Wl,-install_name,@rpath/${addon}`];
      // The addon that asks the processor uses nothing of the C++ library.
      const cxx = addon === "cre-cpu.node" ? ["-nostdlib++"] : library;
      return ["-s", ...cxx, ...(os === "darwin" ? deferred : []), ...exported, ...importLibrary];
    },
  };
}

/** Writes the list of exported names: an addon must not give its C++ library's operators new and delete to others. */
function exportList(folder) {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, "exports.map");
  writeFileSync(file, "{ global: napi_register_module_v1; node_api_module_get_api_version_v1; local: *; };\n");
  return file;
}

/** Writes the library through which a Windows addon imports Node-API from node.exe, from the lists of node-api-headers. */
function nodeImportLibrary(zig, folder) {
  mkdirSync(folder, { recursive: true });
  const lists = join(dirname(createRequire(import.meta.url).resolve("node-api-headers/package.json")), "def");
  const names = ["js_native_api.def", "node_api.def"].flatMap((name) =>
    readFileSync(join(lists, name), "utf8")
      .split(/\r?\n/)
      .filter((line) => /^\s*(napi|node_api)_\w+\s*$/.test(line)),
  );
  const definition = join(folder, "node.def");
  const library = join(folder, "node.lib");
  writeFileSync(definition, `NAME node.exe\nEXPORTS\n${[...new Set(names)].join("\n")}\n`);
  runText(zig, ["dlltool", "-m", "i386:x86-64", "-D", "node.exe", "-d", definition, "-l", library]);
  return library;
}
