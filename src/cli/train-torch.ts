import { relative } from "node:path";
import picocolors from "picocolors";
import { quoted } from "../engines/launch.ts";
import type { TorchEvent } from "../engines/torch.ts";

type EventOf<Kind extends TorchEvent["kind"]> = Extract<TorchEvent, { kind: Kind }>;

/** A path as a command line shows it: relative where that is shorter. */
function shownPath(path: string): string {
  const near = relative(process.cwd(), path);
  return near !== "" && near.length < path.length ? near : path;
}

/** What was handed over, and the command that trains it. */
export function handOverLines(
  { directory, command, rows, steps, truncated }: EventOf<"handed over">,
  isDryRun: boolean,
): string[] {
  const shortened = truncated > 0 ? `, ${truncated} prompts shortened to fit` : "";
  const about = `${picocolors.bold(shownPath(directory))}  ${rows} training rows${shortened}; ${steps} steps`;
  const shown = command.map((word) => quoted(word.startsWith(directory) ? shownPath(word) : word)).join(" ");
  if (!isDryRun) return [about, `starting: ${shown}`];
  const output = command[command.indexOf("--output") + 1];
  return [
    about,
    "Copy the folder to where the GPUs are, and there:",
    `  pip install -r ${shownPath(directory)}/requirements.txt`,
    `  ${shown}`,
    `Then here, with the folder ${shownPath(output)} back in its place: cre train --collect ${shownPath(output)}`,
  ];
}

export function trainerLine({
  device,
  processes,
  parallel,
  torch,
  precision,
  trained,
}: EventOf<"trainer">["event"]): string {
  const together = processes > 1 ? `${processes} processes (${parallel})` : "one process";
  return `torch ${torch} on ${device}, ${together}, ${precision}; ${(trained / 1e6).toFixed(2)} M trained`;
}
