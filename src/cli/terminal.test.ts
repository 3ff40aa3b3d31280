import { describe, expect, it, vi } from "vitest";
import { fakeTerminal } from "../../test/fake-terminal.ts";
import { duration, megabytes, OutputClosed, percent, print, printText, progress, say, warn } from "./terminal.ts";

const terminal = fakeTerminal();
const { setTerminal } = terminal;

/** What a terminal shows in the end: each line as it was last written. */
const shown = () => terminal.said.split("\n").map((line) => line.split("\r\x1b[2K").at(-1));

describe("progress", () => {
  it("draws a bar on a terminal, below the lines it is told", () => {
    setTerminal(true);
    const bar = progress("train", 10);
    expect(shown()).toEqual([`train ${"░".repeat(24)} 0/10  `]);
    vi.advanceTimersByTime(1000);
    bar.update(5, "loss 0.5");
    expect(shown()).toEqual([`train ${"█".repeat(12)}${"░".repeat(12)} 5/10  loss 0.5  1 s left`]);
    bar.update(6, "too early to draw");
    bar.line("a line above");
    expect(shown()[0]).toBe("a line above");
    expect(shown()[1]).toContain("6/10");
    bar.line("another");
    bar.stop();
    expect(shown()).toEqual(["a line above", "another", ""]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("counts when the total is not known", () => {
    setTerminal(true);
    const bar = progress("extract", null);
    vi.advanceTimersByTime(1000);
    bar.update(512, "30 rows/s");
    expect(shown()).toEqual(["extract 512  30 rows/s"]);
  });

  it("never wraps a line", () => {
    setTerminal(true);
    const bar = progress("train", 10);
    vi.advanceTimersByTime(1000);
    bar.update(5, "x".repeat(500));
    expect(shown()[0]?.length).toBeLessThan(process.stderr.columns || 80);
  });

  it("writes a line every ten seconds where there is no terminal", () => {
    setTerminal(false);
    const bar = progress("evaluate", 100, 20);
    for (let done = 30; done <= 60; done += 10) {
      vi.advanceTimersByTime(4000);
      bar.update(done, "x");
    }
    bar.stop();
    expect(terminal.said).toBe("evaluate 50/100  x  20 s left\n");
    terminal.forget();
    const counter = progress("extract", null);
    vi.advanceTimersByTime(11_000);
    counter.update(7);
    expect(terminal.said.trimEnd()).toBe("extract 7");
  });
});

describe("what a file holds", () => {
  it("does not steer the terminal", () => {
    setTerminal(true);
    const evil = "\u001b[2Jname\u0007";
    say(evil);
    warn(evil);
    const bar = progress(evil, 10);
    vi.advanceTimersByTime(1000);
    bar.update(5, evil);
    bar.line(evil);
    expect(terminal.said).toContain("\\u001b[2Jname\\u0007");
    expect(terminal.said.replaceAll("\r\u001b[2K", "").replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
  });

  it("is printed as text in tables, and as it is in results", async () => {
    let printed = "";
    vi.spyOn(process.stdout, "write").mockImplementation((text, done) => {
      printed += text;
      (done as unknown as () => void)();
      return true;
    });
    await printText("\u001b]0;title\u0007\n");
    await print('{"a":"\u007f"}\n');
    expect(printed).toBe('\\u001b]0;title\\u0007\n{"a":"\u007f"}\n');
  });
});

describe("a standard output that fails", () => {
  const failing = (code: string) =>
    vi.spyOn(process.stdout, "write").mockImplementation((_, done) => {
      (done as unknown as (error: Error) => void)(
        Object.assign(new Error(`${code}: write`), { code, syscall: "write" }),
      );
      return false;
    });

  it("ends a command quietly without a reader, and with a message when the disk is full", async () => {
    failing("EPIPE");
    await expect(print("x")).rejects.toThrow(OutputClosed);
    failing("ENOSPC");
    await expect(print("x")).rejects.toThrow("standard output: cannot be written (ENOSPC: write).");
  });
});

describe("words for numbers", () => {
  it("are short", () => {
    expect([0, 59.6, 61, 3600, 3725].map(duration)).toEqual([
      "0 s",
      "1 min 00 s",
      "1 min 01 s",
      "1 h 00 min",
      "1 h 02 min",
    ]);
    expect(duration(-1)).toBe("0 s");
    expect(megabytes(123_400_000)).toBe("123 MB");
    expect(percent(0.12345)).toBe("12.3");
  });
});
