/** Checks the archives of a release as npm would unpack them: `npm run release -- --check`. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PREBUILT, packageOf } from "../../dist/compute/native/prebuilt.js";
import { inspect, problemsOf } from "./inspect.mjs";

/** Calls body with the folder of the unpacked archive. */
function unpacked(archive, body) {
  const folder = mkdtempSync(join(tmpdir(), "cre-release-"));
  try {
    // Without a drive letter in it: a tar of GNU takes `C:` for a machine.
    execFileSync("tar", ["-xzf", "-"], {
      cwd: folder,
      input: readFileSync(archive),
      stdio: ["pipe", "pipe", "inherit"],
    });
    return body(join(folder, "package"));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const manifestIn = (folder) => JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

function problemsOfFile(file, platform) {
  try {
    return problemsOf(inspect(readFileSync(file)), platform);
  } catch (error) {
    return [error.message];
  }
}

/** What is wrong with a platform's unpacked package, and its levels. */
function checkPlatform(folder, platform, version) {
  const manifest = manifestIn(folder);
  const expected = { name: packageOf(platform), version, os: [platform.os], cpu: [platform.cpu] };
  if (platform.libc !== null) expected.libc = [platform.libc];
  const problems = Object.entries(expected)
    .filter(([key, value]) => !same(manifest[key], value))
    .map(
      ([key, value]) => `package.json: ${key} is ${JSON.stringify(manifest[key])}, expected ${JSON.stringify(value)}`,
    );
  if (manifest.scripts !== undefined || manifest.dependencies !== undefined)
    problems.push("package.json: a package of addons has no scripts and no dependencies");
  const addons = readdirSync(folder).filter((name) => name.endsWith(".node"));
  const levels = platform.levels.filter((level) => addons.includes(`cre-${level}.node`));
  const known = ["cre-cpu.node", ...levels.map((level) => `cre-${level}.node`)];
  if (!same([...addons].sort(), known.sort())) problems.push(`has ${addons.join(", ")}, expected ${known.join(", ")}`);
  if (levels.length === 0) problems.push("has no level");
  for (const name of addons) {
    problems.push(...problemsOfFile(join(folder, name), platform).map((problem) => `${name} ${problem}`));
  }
  return { levels, problems };
}

/** What is wrong with the unpacked main package. */
function checkMain(folder, version) {
  const manifest = manifestIn(folder);
  const optional = Object.fromEntries(PREBUILT.map((one) => [packageOf(one), version]));
  const problems = [];
  if (!same(manifest.optionalDependencies, optional))
    problems.push(`package.json: the optional dependencies are not the packages of version ${version}`);
  if (manifest.scripts !== undefined) problems.push("package.json: an installed package has no scripts");
  const kernels = ["kernels.wasm", "kernels-relaxed.wasm"].map((name) => `dist/compute/wasm/${name}`);
  for (const name of ["dist/cli.js", ...kernels, "native/runtime/kernels.h", "LICENSE"])
    if (!existsSync(join(folder, name))) problems.push(`has no ${name}`);
  const compiled = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".node"));
  if (compiled.length > 0) problems.push(`has compiled addons: ${compiled.join(", ")}`);
  return problems;
}

const megabytes = (file) => `${(statSync(file).size / 1e6).toFixed(1)} MB`;

/**
 * One line for each archive that the platforms' release should have in `packages`; returns the problems, each with the archive's name.
 * A level that is missing is named in the line, and is a problem when `all` is set.
 */
export function checkRelease(packages, { version, platforms, all, print }) {
  const problems = [];
  const check = (name, body) => {
    const archive = join(packages, `${name}-${version}.tgz`);
    if (!existsSync(archive)) return problems.push(`${name}-${version}.tgz: is missing`);
    let line = "main package";
    const found = unpacked(archive, (folder) => body(folder, (text) => (line = text)));
    print(`${name}-${version}.tgz: ${megabytes(archive)}, ${line}, ${found.length === 0 ? "fits" : "does not fit"}`);
    problems.push(...found.map((problem) => `${name}-${version}.tgz: ${problem}`));
  };
  check("cre-llm", (folder) => checkMain(folder, version));
  for (const platform of platforms) {
    check(packageOf(platform), (folder, describe) => {
      const { levels, problems: found } = checkPlatform(folder, platform, version);
      const missing = platform.levels.filter((level) => !levels.includes(level));
      describe(`${levels.join(", ")}${missing.length > 0 ? ` (without ${missing.join(", ")})` : ""}`);
      return missing.length > 0 && all ? [...found, `lacks the levels ${missing.join(", ")}`] : found;
    });
  }
  return problems;
}
