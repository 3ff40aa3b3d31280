/**
 * Makes the packages of a release in build/release/packages: `npm run release`.
 *
 * cre-llm-VERSION.tgz, and cre-llm-PLATFORM-VERSION.tgz for each platform of src/compute/native/prebuilt.ts with its compiled addons. The main
 * package names them as optional dependencies of exactly its version, and npm installs the one whose os, cpu and libc match: an installation
 * compiles and downloads nothing else. The checkout's package.json does not name them, so `npm ci` there does not look for them.
 */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { buildNative } from "../../dist/compute/native/build.js";
import { addonFile, cpuAddonFile } from "../../dist/compute/native/levels.js";
import { PREBUILT, packageOf } from "../../dist/compute/native/prebuilt.js";
import { checkRelease } from "./check.mjs";
import { inspect, problemsOf } from "./inspect.mjs";
import { crossOf, findZig } from "./zig.mjs";

const ROOT = resolve(fileURLToPath(new URL("../..", import.meta.url)));
const USAGE = `npm run release -- [--platforms a,b] [--levels portable,avx2] [--folder build/release] [--only-main] [--unpacked]
npm run release -- --check [--platforms a,b] [--levels portable,avx2] [--folder build/release]
platforms: ${PREBUILT.map(({ name }) => name).join(", ")}; all of them by default, with all of their levels.
--unpacked leaves the main package as the folder main, without packing it.
--check makes nothing: it unpacks the archives that are there and checks them, as every release does at its end.`;

const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));

/** package.json of a platform's package. */
function platformManifest(platform, files) {
  const { os, cpu, libc } = platform;
  return {
    name: packageOf(platform),
    version: manifest.version,
    description: `Compiled addons of cre-llm for ${platform.name}.`,
    license: manifest.license,
    os: [os],
    cpu: [cpu],
    ...(libc === null ? {} : { libc: [libc] }),
    engines: manifest.engines,
    files,
    // Plug'n'Play keeps packages as archives, from which the system cannot load addons.
    preferUnplugged: true,
  };
}

const readmeOf = (platform) => `# ${packageOf(platform)}

Compiled addons of [cre-llm](https://www.npmjs.com/package/cre-llm) for ${platform.name}: install \`cre-llm\`, which names this package as an
optional dependency. They are compiled from \`native/\` of cre-llm and contain LLVM's libc++, libunwind and compiler-rt (Apache-2.0 WITH
LLVM-exception)${platform.os === "win32" ? " and the runtime of mingw-w64 (public domain and Zope Public License 2.1)" : ""}.
`;

/** Compiles the addons of a platform, checks what they need, and packs them. Throws with every problem of the platform. */
async function releasePlatform(zig, platform, { folder, levels, packages }) {
  const output = join(folder, platform.name);
  const wanted = platform.levels.filter((level) => levels === null || levels.includes(level));
  if (wanted.length === 0)
    throw new Error(`${platform.name}: none of its levels (${platform.levels.join(", ")}) is asked for.`);
  const cross = await crossOf(zig, platform, output);
  const report = await buildNative({
    output,
    cross,
    architecture: platform.cpu,
    levels: wanted.join(","),
    print: (line) => console.log(`${platform.name}: ${line}`),
  });
  const missing = wanted.filter((level) => !report.levels.includes(level));
  if (report.problem !== null || missing.length > 0) {
    throw new Error(`${platform.name}: not built: ${missing.join(", ")}. ${report.problem ?? ""}`);
  }
  const addons = [cpuAddonFile(output), ...wanted.map((level) => addonFile(level, output))];
  const problems = addons.flatMap((file) =>
    problemsOf(inspect(readFileSync(file)), platform).map((problem) => `${basename(file)} ${problem}`),
  );
  if (problems.length > 0) throw new Error(`${platform.name}:\n${problems.join("\n")}`);
  const staging = join(output, "package");
  rmSync(staging, { recursive: true, force: true });
  mkdirSync(staging, { recursive: true });
  for (const file of addons) copyFileSync(file, join(staging, basename(file)));
  copyFileSync(join(ROOT, "LICENSE"), join(staging, "LICENSE"));
  writeFileSync(join(staging, "README.md"), readmeOf(platform));
  const names = addons.map((file) => basename(file));
  writeFileSync(join(staging, "package.json"), `${JSON.stringify(platformManifest(platform, names), null, 2)}\n`);
  return pack(staging, packages);
}

/** Lays out the main package as npm would pack the checkout, with the optional dependencies; returns its folder. */
function stageMain(folder) {
  const staging = join(folder, "main");
  rmSync(staging, { recursive: true, force: true });
  const [{ files }] = npmPack(["--dry-run"], ROOT);
  for (const { path } of files) {
    mkdirSync(dirname(join(staging, path)), { recursive: true });
    copyFileSync(join(ROOT, path), join(staging, path));
  }
  chmodSync(join(staging, "dist", "cli.js"), 0o755);
  const optionalDependencies = Object.fromEntries(PREBUILT.map((one) => [packageOf(one), manifest.version]));
  const { devDependencies: _, scripts: __, ...kept } = manifest;
  writeFileSync(join(staging, "package.json"), `${JSON.stringify({ ...kept, optionalDependencies }, null, 2)}\n`);
  return staging;
}

/** What `npm pack` says of the folder, as JSON. */
function npmPack(words, folder) {
  const options = { cwd: folder, encoding: "utf8", shell: process.platform === "win32", maxBuffer: 1 << 26 };
  return JSON.parse(execFileSync("npm", ["pack", "--ignore-scripts", "--json", ...words], options));
}

/** Packs a folder; returns the archive. It appears under its name when it is whole. */
function pack(folder, destination) {
  const own = mkdtempSync(join(destination, "packing-"));
  try {
    const [{ filename }] = npmPack(["--pack-destination", own], folder);
    renameSync(join(own, filename), join(destination, filename));
    return join(destination, filename);
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
}

const { values } = parseArgs({
  options: {
    platforms: { type: "string" },
    levels: { type: "string" },
    folder: { type: "string", default: join(ROOT, "build", "release") },
    "only-main": { type: "boolean", default: false },
    unpacked: { type: "boolean", default: false },
    check: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(USAGE);
} else {
  const names = values.platforms?.split(",") ?? PREBUILT.map(({ name }) => name);
  const unknown = names.filter((name) => !PREBUILT.some((platform) => platform.name === name));
  if (unknown.length > 0) throw new Error(`--platforms names ${unknown.join(", ")}.\n${USAGE}`);
  const folder = resolve(values.folder);
  const packages = join(folder, "packages");
  const failures = values.check ? [] : await make(names, folder, packages);
  if (!values.unpacked) {
    const platforms = values["only-main"] ? [] : PREBUILT.filter(({ name }) => names.includes(name));
    const { version } = manifest;
    failures.push(
      ...checkRelease(packages, { version, platforms, all: values.levels === undefined, print: console.log }),
    );
  }
  for (const failure of failures) console.error(failure);
  if (failures.length > 0) process.exitCode = 1;
}

/** Makes the packages; returns what failed. */
async function make(names, folder, packages) {
  mkdirSync(packages, { recursive: true });
  const failures = [];
  const zig = values["only-main"] ? null : findZig(folder, { install: true });
  for (const platform of PREBUILT.filter(({ name }) => zig !== null && names.includes(name))) {
    try {
      await releasePlatform(zig, platform, { folder, levels: values.levels?.split(",") ?? null, packages });
    } catch (error) {
      failures.push(error.message);
    }
  }
  const main = stageMain(folder);
  if (!values.unpacked) pack(main, packages);
  return failures;
}
