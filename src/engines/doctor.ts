import { spawnSync } from "node:child_process";
import { statfs } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { availableMemoryBytes } from "../base/available-memory.ts";
import { nativeStatus } from "../compute/native/addon.ts";
import { chosenBackend, openBackend } from "../compute/open.ts";
import { type TorchStatus, torchStatus } from "./python.ts";

/** What this machine can do. */
export interface Doctor {
  node: { version: string; platform: string; processor: string; cores: number };
  backend: {
    name: string;
    description: string;
    /** Built instruction levels that this processor runs, weakest first. */
    levels: string[];
    /** Why it is not the native one; null when it is. */
    reason: string | null;
  };
  /** The compiler that builds the native backend, its first line of --version; null without one. */
  compiler: string | null;
  memory: { totalBytes: number; availableBytes: number };
  /** Of the working directory. */
  disk: { freeBytes: number } | null;
  /** Only where it was asked for. */
  torch: TorchStatus | null;
}

const COMPILERS = ["c++", "g++", "clang++"];

/** Looks at this machine; asks Python only for the engine torch, which takes seconds. */
export async function examine({ engine }: { engine?: "torch" } = {}): Promise<Doctor> {
  const { available, reason, levels } = nativeStatus();
  const name = chosenBackend();
  const backend = openBackend("auto");
  const { description } = backend;
  await backend.close();
  const disk = await statfs(".").catch(() => null);
  return {
    node: {
      version: process.version,
      platform: `${process.platform}-${process.arch}`,
      processor: cpus()[0]?.model.trim() ?? "unknown",
      cores: cpus().length,
    },
    backend: { name, description, levels, reason: available ? null : reason },
    compiler: compilerVersion(),
    memory: { totalBytes: totalmem(), availableBytes: availableMemoryBytes() },
    disk: disk && { freeBytes: disk.bavail * disk.bsize },
    torch: engine === "torch" ? await torchStatus() : null,
  };
}

function compilerVersion(): string | null {
  const asked = process.env.CXX ? [process.env.CXX, ...COMPILERS] : COMPILERS;
  for (const one of asked) {
    const { status, stdout } = spawnSync(one, ["--version"], { encoding: "utf8", timeout: 10_000 });
    if (status === 0) return stdout.split("\n")[0].trim();
  }
  return null;
}
