import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  buildCli,
  cre,
  jsonl,
  ROOT,
  temporaryFolder,
  toyRecipe,
  toyRows,
  writeRecipe,
  writeToyData,
} from "./support.ts";

const temporary = temporaryFolder("cli-output");
const file = (name: string) => join(temporary.path, name);

beforeAll(() => buildCli(), 120_000);
afterAll(() => temporary.remove());

/** A command in a shell, which closes or redirects its streams. */
function shell(command: string) {
  const words = command.replaceAll("cre ", `'${process.execPath}' dist/cli.js `);
  const env = { ...process.env, CRE_BACKEND: "reference", NO_COLOR: "1" };
  const { stdout, stderr } = spawnSync("bash", ["-c", words], { cwd: ROOT, encoding: "utf8", env });
  return { stdout, stderr, codes: stdout.trimEnd().split("\n").at(-1) };
}

describe("cre", () => {
  it("tells its version", async () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    for (const option of ["--version", "-V"]) {
      expect(await cre([option])).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: "" });
    }
  });

  it("refuses empty paths by the name of the option", async () => {
    for (const command of [
      ["train", "recipes/demo.yaml", "--run", ""],
      ["score", "x.jsonl", "--json", ""],
      ["demo", "--run", ""],
    ]) {
      const { code, stderr } = await cre(command);
      expect([code, stderr], command.join(" ")).toEqual([1, expect.stringMatching(/^error: --(run|json): is empty/)]);
    }
  });

  it("shows escape sequences of files and of its arguments as text", async () => {
    const evil = "\u001b[2J\u0007";
    const data = writeToyData(file("evil"));
    writeFileSync(join(data, "train.jsonl"), `{"sentence": "a", "${evil.replace("\u0007", "")}": 1}\n`);
    writeFileSync(file("evil.yaml"), `"model\\e[31m": 1\n`);
    for (const command of [
      ["data", "stats", data],
      ["train", file("evil.yaml")],
      ["train", file(evil)],
      [evil],
      ["data", "fetch", evil],
      ["extract", file("none"), "-", `--${evil}`],
    ]) {
      const { code, stderr } = await cre(command);
      expect(code, stderr).toBe(1);
      expect(stderr.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
    }
  });
});

describe("streams that fail", () => {
  it("do not stop a training: it is done with exit code 0", () => {
    const recipe = writeRecipe(file("toy.yaml"), toyRecipe(writeToyData(file("data"))));
    for (const [name, streams] of [
      ["err", "2> >(true)"],
      ["both", "> >(true) 2>&1"],
      ["full", "2> /dev/full"],
    ]) {
      const run = file(`run-${name}`);
      const { codes } = shell(`cre train ${recipe} --run ${run} ${streams}; code=$?; echo; echo $code`);
      expect(codes).toBe("0");
      expect(existsSync(join(run, "done.json"))).toBe(true);
    }
  }, 60_000);

  it("end a command that prints: quietly without a reader, with a message when the disk is full", () => {
    mkdirSync(file("many"));
    const data = writeToyData(file("many"));
    writeFileSync(join(data, "train.jsonl"), jsonl(toyRows(5000, 1)));
    const convert = `cre data convert ${data} --split train --format jsonl`;
    const early = shell(`${convert} | head -1; echo "\${PIPESTATUS[0]}"`);
    expect([early.codes, early.stderr]).toEqual(["141", ""]);
    if (!existsSync("/dev/full")) return;
    for (const command of [convert, "cre --help", "cre data stats demo"]) {
      const { codes, stderr } = shell(`${command} > /dev/full; echo $?`);
      expect(codes, command).toBe("1");
      expect(stderr.match(/^error: standard output: cannot be written \(ENOSPC/gm), stderr).toHaveLength(1);
    }
  });
});

describe("cre demo", () => {
  it("replaces nothing that it did not make", async () => {
    mkdirSync(file("mine"));
    writeFileSync(join(file("mine"), "recipe.yaml"), "my: cake\n");
    const refused = await cre(["demo", "--run", file("mine")]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`error: ${file("mine")}: holds a run that cre demo did not make`);
    writeFileSync(join(file("mine"), "demo.json"), "{}\n");
    writeFileSync(join(file("mine"), "thesis.txt"), "mine");
    const other = await cre(["demo", "--run", file("mine")]);
    expect(other.stderr).toContain("thesis.txt in it was not made by this program");
    expect(other.code).toBe(1);
    expect(readFileSync(join(file("mine"), "recipe.yaml"), "utf8")).toBe("my: cake\n");
  });
});
