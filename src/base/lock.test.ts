import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { expectUnlocked, holdLock } from "./lock.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-lock-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("holdLock", () => {
  const file = join(folder, "run.lock");

  it("is held by one at a time and leaves nothing behind", async () => {
    const release = await holdLock(file, "runs/a");
    await expect(holdLock(file, "runs/a")).rejects.toThrow(
      `runs/a is in use by process ${process.pid} on ${hostname()}.`,
    );
    await release();
    expect(existsSync(file)).toBe(false);
    const again = await holdLock(file, "runs/a");
    await again();
    expect(readdirSync(folder)).toEqual([]);
  });

  it("works on a file system without second names", async () => {
    const linkFile = () => Promise.reject(Object.assign(new Error("no links"), { code: "EPERM" }));
    const release = await holdLock(file, "runs/a", linkFile);
    await expect(holdLock(file, "runs/a", linkFile)).rejects.toThrow(`in use by process ${process.pid}`);
    await release();
    expect(readdirSync(folder)).toEqual([]);
    const full = () => Promise.reject(Object.assign(new Error("no space"), { code: "ENOSPC" }));
    await expect(holdLock(file, "runs/a", full)).rejects.toThrow("cannot be written (no space)");
    expect(readdirSync(folder)).toEqual([]);
  });

  it("goes to one of many who ask at once", async () => {
    const asked = await Promise.allSettled(Array.from({ length: 8 }, () => holdLock(file, "x")));
    const held = asked.filter((one) => one.status === "fulfilled");
    expect(held).toHaveLength(1);
    await held[0].value();
  });

  it("is taken over from a process that was killed, and from one whose number another has now", async () => {
    const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
    const holder = { host: hostname(), pid: child.pid, began: null as string | null, token: "00" };
    writeFileSync(file, JSON.stringify(holder));
    await expect(holdLock(file, "x")).rejects.toThrow(`process ${child.pid}`);
    child.kill("SIGKILL");
    await once(child, "exit");
    await (await holdLock(file, "x"))();
    if (process.platform === "linux") {
      writeFileSync(file, JSON.stringify({ ...holder, pid: process.pid, began: "another boot/1" }));
      await (await holdLock(file, "x"))();
    }
    writeFileSync(file, "{");
    await (await holdLock(file, "x"))();
  });

  it("of another machine stays", async () => {
    const text = JSON.stringify({ host: `not-${hostname()}`, pid: 1, began: null, token: "00" });
    writeFileSync(file, text);
    await expect(holdLock(file, "x")).rejects.toThrow(`on not-${hostname()}`);
    expect(readFileSync(file, "utf8")).toBe(text);
    rmSync(file);
  });

  it("can be asked for without being held", async () => {
    await expectUnlocked(file, "runs/a");
    const release = await holdLock(file, "runs/a");
    await expect(expectUnlocked(file, "runs/a")).rejects.toThrow(`runs/a is in use by process ${process.pid}`);
    await release();
    await expectUnlocked(file, "runs/a");
    writeFileSync(file, JSON.stringify({ host: hostname(), pid: 2 ** 22 + 1, began: null, token: "00" }));
    await expectUnlocked(file, "runs/a");
    rmSync(file);
  });

  it("names a folder that is not there", async () => {
    await expect(holdLock(join(folder, "none", "run.lock"), "x")).rejects.toThrow("cannot be written");
  });
});
