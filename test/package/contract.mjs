/**
 * The contract suite on compiled addons, under any Node: of another processor through qemu, of Windows through Wine, or one without vitest.
 *
 *     node test/package/contract.mjs --addons build/release/linux-arm64-gnu/package -- qemu-aarch64-static -L /usr/aarch64-linux-gnu ARM_NODE
 *
 * `--file native,matmul` names tests of src/compute/native (native.test.ts by default), `--only TEXT,TEXT` tests whose name has one of the texts. What follows
 * `--` starts Node; this Node by default. The tests are compiled into build/contract-NAME (runs at the same time need a name each), next to a
 * small stand-in for vitest, and the last line is `N passed, N failed, N skipped`.
 *
 * build/contract-NAME/report.txt has a line for each test: its outcome, the SHA-256 of all values that it read from the backend, its name; the
 * last line has the SHA-256 of the lines before. Two runs with the same bits write the same file.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const ROOT = resolve(fileURLToPath(new URL("../..", import.meta.url)));

const USAGE =
  "node test/package/contract.mjs --addons FOLDER [--file native,ops] [--only TEXT,TEXT] [--name NAME] [-- COMMAND …]";

/** Of a report: it is there when every test has ended. */
const LAST_LINE = /\n[0-9a-f]{64} of \d+ values\n$/;

/** Compiles src with its tests into `folder`, and lays the addons where the compiled program looks for them. */
function stage(addons, folder) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const options = { extends: "../../tsconfig.json", compilerOptions: { rootDir: "../..", outDir: "." } };
  const tests = ["native", "ops", "matmul", "storages"].map((name) => `native/${name}.test.ts`);
  const files = [...tests, "contract/digest.contract.ts", "wasm/web-assembly.d.ts"].map(
    (name) => `../../src/compute/${name}`,
  );
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ ...options, include: files }));
  const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
  execFileSync(process.execPath, [tsc, "-p", join(folder, "tsconfig.json")], { stdio: "inherit" });
  copyFileSync(join(ROOT, "package.json"), join(folder, "package.json"));
  cpSync(join(ROOT, "native"), join(folder, "native"), { recursive: true });
  for (const name of ["kernels.wasm", "kernels-relaxed.wasm", "kernels.json", "node-worker.js", "serve.js"]) {
    copyFileSync(join(ROOT, "src", "compute", "wasm", name), join(folder, "src", "compute", "wasm", name));
  }
  mkdirSync(join(folder, "test", "golden"), { recursive: true });
  copyFileSync(join(ROOT, "test", "golden", "w8a8.json"), join(folder, "test", "golden", "w8a8.json"));
  const native = join(folder, "build", "native");
  mkdirSync(native, { recursive: true });
  const names = readdirSync(addons).filter((name) => name.endsWith(".node"));
  for (const name of names) copyFileSync(join(addons, name), join(native, name));
  const modules = join(folder, "node_modules");
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
    name: { type: "string", default: "run" },
    help: { type: "boolean", default: false },
  },
  allowPositionals: true,
});
if (values.help || values.addons === undefined) {
  console.log(USAGE);
  process.exitCode = values.help ? 0 : 1;
} else {
  const folder = join(ROOT, "build", `contract-${basename(values.name)}`);
  const names = stage(resolve(values.addons), folder);
  console.log(`addons: ${names.join(", ")}`);
  const tests = values.file.split(",").map((name) => `./src/compute/native/${name}.test.js`);
  const lines = [
    'import { run } from "vitest";',
    'import { recordReads } from "./src/compute/contract/digest.contract.js";',
    "const taken = recordReads();",
    ...tests.map((name) => `await import(${JSON.stringify(name)});`),
    'process.exitCode = await run(process.env.CRE_ONLY ?? "", { report: "report.txt", taken });',
  ];
  writeFileSync(join(folder, "run.js"), `${lines.join("\n")}\n`);
  const [command, ...words] = positionals.length > 0 ? positionals : [process.execPath];
  const env = { ...process.env, CRE_ONLY: values.only };
  const outcome = spawnSync(command, [...words, "run.js"], { cwd: folder, env, stdio: "inherit" });
  if (outcome.error) throw outcome.error;
  const report = join(folder, "report.txt");
  const isWhole = existsSync(report) && LAST_LINE.test(readFileSync(report, "utf8"));
  console.log(isWhole ? `report: ${report}` : `${command} ended before the last test (code ${outcome.status}).`);
  // Wine's code is 0 after a crash too.
  process.exitCode = isWhole ? (outcome.status ?? 1) : 1;
}
