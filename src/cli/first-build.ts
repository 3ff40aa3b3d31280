import type { Command } from "commander";
import { buildAtFirstUse } from "../compute/native/first-build.ts";
import { say } from "./terminal.ts";

/** The commands that compute, by the names of a command and of the groups that it is in. */
const COMPUTING =
  /^(train|tune|distill|evaluate|calibrate|extract|export|worker|serve|demo|bench\b.*|data audit|model (init|generate|score|pretrain))$/;

/** Builds the native backend before a command that computes, where that was not done yet. */
export async function buildBeforeComputing(command: Command): Promise<void> {
  const names: string[] = [];
  for (let at: Command | null = command; at?.parent; at = at.parent) names.unshift(at.name());
  if (COMPUTING.test(names.join(" "))) await buildAtFirstUse(say);
}
