import { CommanderError } from "commander";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { UserError, UserErrors } from "../base/errors.ts";
import { Interrupted, report } from "./report.ts";
import { OutputClosed } from "./terminal.ts";

let said = "";
beforeEach(() => {
  said = "";
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    said += text;
    return true;
  });
});
afterEach(() => vi.restoreAllMocks());

describe("report", () => {
  it("says the user's mistake with its hint and without a stack: exit code 1", () => {
    expect(report(new UserError("x.yaml: is empty.", { hint: "Write one." }))).toBe(1);
    expect(said).toContain("error:");
    expect(said).toContain("x.yaml: is empty.\n");
    expect(said).toContain("Write one.\n");
    expect(said).not.toContain("    at ");
    expect(report(new UserErrors("2 problems:", ["a", "b"]))).toBe(1);
    expect(said).toContain("2 problems:\n  - a\n  - b\n");
  });

  it("shows the stack of a fault of ours: exit code 2", () => {
    expect(report(new TypeError("x is not a function"))).toBe(2);
    expect(said).toContain("x is not a function");
    expect(said).toMatch(/\n {4}at /);
    expect(said).toContain("a fault of cre-llm, not of your input");
    said = "";
    expect(report("thrown text")).toBe(2);
    expect(said).toContain("thrown text");
  });

  it("shows what a message quotes from a file as text", () => {
    report(new UserError("\u001b[2J: is bad.", { hint: "\u001b]0;x\u0007" }));
    report(new Error("\u001b[2J"));
    report(new Interrupted("\u001b[2J"));
    expect(said).toContain("\\u001b[2J: is bad.");
    expect(said.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
  });

  it("says what the system refused at a path without a stack: exit code 1", () => {
    const full = { syscall: "copyfile", path: "/disk/a", code: "ENOSPC" };
    expect(report(Object.assign(new Error("ENOSPC: no space left on device, copyfile '/disk/a'"), full))).toBe(1);
    expect(said).toContain("no space left on device, copyfile '/disk/a'");
    expect(said).not.toContain("    at ");
  });

  it("is silent about a closed standard output: exit code 141, as of a command that SIGPIPE ended", () => {
    expect(report(new OutputClosed())).toBe(141);
    expect(said).toBe("");
  });

  it("leaves the command line's own messages alone, and ends help with 0", () => {
    expect(report(new CommanderError(1, "commander.unknownCommand", "no"))).toBe(1);
    expect(report(new CommanderError(0, "commander.helpDisplayed", ""))).toBe(0);
    expect(said).toBe("");
  });

  it("ends as shells expect after an interruption: exit code 130, or that of the signal", () => {
    expect(report(new Interrupted("after step 3."))).toBe(130);
    expect(report(new Interrupted("after step 3.", "SIGTERM"))).toBe(143);
    expect(report(new Interrupted("after step 3.", "SIGHUP"))).toBe(129);
    expect(said).toContain("after step 3.");
    expect(said).not.toContain("    at ");
  });
});
