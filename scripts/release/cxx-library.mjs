/**
 * The part of LLVM's C++ library that addons use, compiled from the sources that zig brings along.
 *
 * Left to itself, zig compiles the whole library for each target, one file after the other: locales, streams, regular expressions and file
 * systems, of which an addon uses nothing. That took longer than its own files. Here are three files instead, a tenth of that work. What is
 * missing for a later addon shows at once: it would need the symbol from elsewhere, and inspect.mjs refuses it.
 */
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Sources of libcxx and libcxxabi that are compiled together. */
const LIBRARY = [
  ...[
    "algorithm",
    "chrono",
    "condition_variable",
    "exception",
    "functional",
    "future",
    "hash",
    "memory",
    "mutex",
    "new",
  ],
  ...[
    "new_handler",
    "new_helpers",
    "stdexcept",
    "string",
    "system_error",
    "thread",
    "typeinfo",
    "vector",
    "verbose_abort",
  ],
];
/** These define what the headers of the others declare inline, so they are compiled apart. */
const APART = ["condition_variable_destructor", "mutex_destructor", "error_category"];
const EXCEPTIONS = [
  ...[
    "abort_message",
    "cxa_aux_runtime",
    "cxa_default_handlers",
    "cxa_exception",
    "cxa_exception_storage",
    "cxa_guard",
  ],
  ...["cxa_handlers", "cxa_personality", "cxa_thread_atexit", "cxa_vector", "cxa_virtual", "fallback_malloc"],
  ...["private_typeinfo", "stdlib_exception", "stdlib_new_delete", "stdlib_stdexcept", "stdlib_typeinfo"],
];

const FLAGS = [
  ...["-std=c++23", "-O2", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-faligned-allocation"],
  ...["-ffunction-sections", "-fdata-sections", "-fno-sanitize=undefined", "-DNDEBUG", "-Wno-everything"],
  ...["-D_LIBCPP_BUILDING_LIBRARY", "-DLIBCXX_BUILDING_LIBCXXABI", "-DLIBC_NAMESPACE=__llvm_libc_common_utils"],
  ...["-D_LIBCPP_DISABLE_VISIBILITY_ANNOTATIONS", "-D_LIBCXXABI_DISABLE_VISIBILITY_ANNOTATIONS"],
  ...["-D_LIBCPP_HAS_NO_PRAGMA_SYSTEM_HEADER", "-DLIBCXXABI_NON_DEMANGLING_TERMINATE"],
];

const included = (folder, names) => names.map((name) => `#include "${folder}/${name}.cpp"\n`).join("");

/** The three files as text, with the flags that each needs besides. */
function unitsOf(zig, { os, libc }) {
  const lib = join(dirname(zig), "lib").replaceAll("\\", "/");
  const sources = `${lib}/libcxx/src`;
  const onWindows = os === "win32" ? included(`${sources}/support/win32`, ["support", "thread_win32"]) : "";
  const shared = os === "win32" ? "" : "#define _LIBCPP_SHARED_PTR_DEFINE_LEGACY_INLINE_FUNCTIONS\n";
  const abi = EXCEPTIONS.filter((name) => os !== "win32" || name !== "cxa_thread_atexit");
  const folders = [`-I${lib}/libcxxabi/include`, `-I${sources}`, `-I${lib}/libcxx/libc`];
  const atExit = libc === "glibc" ? ["-DHAVE___CXA_THREAD_ATEXIT_IMPL"] : [];
  return [
    { name: "libcxx", text: shared + included(sources, LIBRARY) + onWindows, flags: folders },
    { name: "libcxx-apart", text: included(sources, APART), flags: folders },
    {
      name: "libcxxabi",
      text: included(`${lib}/libcxxabi/src`, abi),
      flags: ["-D_LIBCXXABI_BUILDING_LIBRARY", ...atExit, ...folders, `-I${lib}/libcxxabi/src`],
    },
  ];
}

/** Compiles them into `folder`, side by side; zig keeps what did not change. Returns what an addon is linked with. */
export async function cxxLibrary(zig, platform, folder) {
  mkdirSync(folder, { recursive: true });
  const compiled = unitsOf(zig, platform).map(async ({ name, text, flags }) => {
    const [source, object] = [join(folder, `${name}.cpp`), join(folder, `${name}.o`)];
    writeFileSync(source, text);
    await run(zig, ["c++", "-target", platform.target, ...FLAGS, ...flags, "-c", source, "-o", object]);
    return object;
  });
  // macOS has the unwinder in its system library.
  const unwinder = platform.os === "darwin" ? ["-Wl,-dead_strip"] : ["-lunwind", "-Wl,--gc-sections"];
  return ["-nostdlib++", ...(await Promise.all(compiled)), ...unwinder];
}

function run(command, words) {
  return new Promise((done, failed) => {
    const child = spawn(command, words, { stdio: ["ignore", "inherit", "inherit"] });
    child.on("error", failed);
    child.on("exit", (code) => {
      if (code === 0) done();
      else failed(new Error(`${command} ${words.join(" ")} ended with code ${code}.`));
    });
  });
}
