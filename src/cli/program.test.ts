import { Command } from "commander";
import { describe, expect, it } from "vitest";
import { COMMANDS } from "./program.ts";

describe("the table of commands", () => {
  it("has every command that its files add, by its name", async () => {
    for (const [names, load] of COMMANDS) {
      const program = new Command();
      (await load())(program);
      expect(program.commands.map((command) => command.name()).toSorted()).toEqual([...names].toSorted());
    }
  });
});
