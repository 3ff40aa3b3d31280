import { Command, InvalidArgumentError } from "commander";
import { describe, expect, it } from "vitest";
import { collect, expectPaths, positiveNumber, wholeNumber } from "./options.ts";

it("reads whole numbers", () => {
  expect(wholeNumber("0")).toBe(0);
  expect(wholeNumber("4096")).toBe(4096);
  for (const text of ["", "-1", "1.5", "1e3", "x", "99999999999999999999"]) {
    expect(() => wholeNumber(text)).toThrow(InvalidArgumentError);
    expect(() => wholeNumber(text)).toThrow("expected a whole number.");
  }
});

it("reads positive numbers", () => {
  expect(positiveNumber("0.5")).toBe(0.5);
  for (const text of ["", "0", "-1", "x", "Infinity"]) {
    expect(() => positiveNumber(text)).toThrow("expected a positive number.");
  }
});

it("collects the values of a repeated option", () => {
  expect(collect("b", ["a"])).toEqual(["a", "b"]);
});

describe("expectPaths", () => {
  async function run(...words: string[]): Promise<void> {
    const program = new Command("cre").exitOverride().hook("preAction", (_, command) => expectPaths(command));
    const command = program.command("inner").command("work").argument("<run>").argument("[rows...]");
    command.option("--json-file <file>", "").option("--run <dir>", "").option("--prompt <text>", "");
    command.action(() => {});
    await program.parseAsync(["inner", "work", ...words], { from: "user" });
  }

  it("refuses empty arguments and empty paths, and no other empty value", async () => {
    await run("a", "b", "--run", "c", "--json-file", "d", "--prompt", "");
    await run("a");
    await expect(run("a", "--run", "")).rejects.toThrow("--run: is empty, expected a path.");
    await expect(run("a", "--json-file=")).rejects.toThrow("--json-file: is empty");
    await expect(run("")).rejects.toThrow("<run>: is empty, expected a value.");
    await expect(run("a", "b", "")).rejects.toThrow("<rows>: is empty");
  });
});
