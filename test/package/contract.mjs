/**
 * The contract suite on compiled addons, under any Node: of another processor through qemu, of Windows through Wine, or one without vitest.
 *
 *     node test/package/contract.mjs --addons build/release/linux-arm64-gnu/package -- qemu-aarch64-static -L /usr/aarch64-linux-gnu ARM_NODE
 *
 * `--file native,matmul` names tests of src/compute/native (native.test.ts by default), `--only TEXT,TEXT` tests whose name has one of the texts. What follows
 * `--` starts Node; this Node by default. The tests are compiled into build/contract, next to a small stand-in for vitest, and the last line
 * is `N passed, N failed, N skipped`.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const ROOT = resolve(fileURLToPath(new URL("../..", import.meta.url)));
const FOLDER = join(ROOT, "build", "contract");

const USAGE = "node test/package/contract.mjs --addons FOLDER [--file native,ops] [--only TEXT,TEXT] [-- COMMAND …]";

/** Compiles src with its tests, and lays the addons where the compiled program looks for them. */
function stage(addons) {
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER, { recursive: true });
  const options = { extends: "../../tsconfig.json", compilerOptions: { rootDir: "../..", outDir: "." } };
  const tests = ["native", "ops", "matmul", "storages"].map((name) => `native/${name}.test.ts`);
  const files = [...tests, "wasm/web-assembly.d.ts"].map((name) => `../../src/compute/${name}`);
  writeFileSync(join(FOLDER, "tsconfig.json"), JSON.stringify({ ...options, include: files }));
  const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
  execFileSync(process.execPath, [tsc, "-p", join(FOLDER, "tsconfig.json")], { stdio: "inherit" });
  copyFileSync(join(ROOT, "package.json"), join(FOLDER, "package.json"));
  cpSync(join(ROOT, "native"), join(FOLDER, "native"), { recursive: true });
  for (const name of ["kernels.wasm", "kernels.json", "node-worker.js", "serve.js"]) {
    copyFileSync(join(ROOT, "src", "compute", "wasm", name), join(FOLDER, "src", "compute", "wasm", name));
  }
  const native = join(FOLDER, "build", "native");
  mkdirSync(native, { recursive: true });
  const names = readdirSync(addons).filter((name) => name.endsWith(".node"));
  for (const name of names) copyFileSync(join(addons, name), join(native, name));
  const modules = join(FOLDER, "node_modules");
  mkdirSync(join(modules, "vitest"), { recursive: true });
  const own = { name: "vitest", type: "module", exports: "./index.js" };
  writeFileSync(join(modules, "vitest", "package.json"), JSON.stringify(own));
  copyFileSync(join(ROOT, "test", "package", "stand-in.mjs"), join(modules, "vitest", "index.js"));
  return names;
}

const { values, positionals } = parseArgs({
  options: {
    addons: { type: "string" },
    file: { type: "string", default: "native" },
    only: { type: "string", default: "" },
    help: { type: "boolean", default: false },
  },
  allowPositionals: true,
});
if (values.help || values.addons === undefined) {
  console.log(USAGE);
  process.exitCode = values.help ? 0 : 1;
} else {
  const names = stage(resolve(values.addons));
  console.log(`addons: ${names.join(", ")}`);
  const tests = values.file.split(",").map((name) => `./src/compute/native/${name}.test.js`);
  const lines = tests.map((name) => `await import(${JSON.stringify(name)});`);
  const start = `import { run } from "vitest";\n${lines.join("\n")}\nprocess.exitCode = await run(process.env.CRE_ONLY ?? "");\n`;
  writeFileSync(join(FOLDER, "run.js"), start);
  const [command, ...words] = positionals.length > 0 ? positionals : [process.execPath];
  const env = { ...process.env, CRE_ONLY: values.only };
  const outcome = spawnSync(command, [...words, "run.js"], { cwd: FOLDER, env, stdio: "inherit" });
  if (outcome.error) throw outcome.error;
  process.exitCode = outcome.status ?? 1;
}
