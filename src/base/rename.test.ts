import { describe, expect, it } from "vitest";
import { replaceFile } from "./rename.ts";

/** A rename that is refused with `code` the first `times` times. */
function refusing(code: string, times: number) {
  const calls: string[] = [];
  const renaming = async (from: unknown, to: unknown) => {
    calls.push(`${from} ${to}`);
    if (calls.length <= times) throw Object.assign(new Error(code), { code });
  };
  return { calls, renaming };
}

describe("replacing a file", () => {
  it.each(["EPERM", "EACCES", "EBUSY"])("waits on Windows until another program has closed it (%s)", async (code) => {
    const { calls, renaming } = refusing(code, 2);
    await replaceFile("a", "b", "win32", renaming);
    expect(calls).toEqual(["a b", "a b", "a b"]);
  });

  it("throws the last refusal of Windows", async () => {
    const { calls, renaming } = refusing("EPERM", 100);
    await expect(replaceFile("a", "b", "win32", renaming)).rejects.toThrow("EPERM");
    expect(calls).toHaveLength(8);
  });

  it("tries once on other systems, and once for other errors", async () => {
    const linux = refusing("EPERM", 1);
    await expect(replaceFile("a", "b", "linux", linux.renaming)).rejects.toThrow("EPERM");
    const missing = refusing("ENOENT", 1);
    await expect(replaceFile("a", "b", "win32", missing.renaming)).rejects.toThrow("ENOENT");
    expect([linux.calls.length, missing.calls.length]).toEqual([1, 1]);
  });
});
