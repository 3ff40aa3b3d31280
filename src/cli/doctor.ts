import { type Command, Option } from "commander";
import picocolors from "picocolors";
import { UserError } from "../base/errors.ts";
import { type Doctor, examine } from "../engines/doctor.ts";
import { quoted, usualLaunch } from "../engines/launch.ts";
import type { TorchStatus } from "../engines/python.ts";
import { print, printText } from "./terminal.ts";

export function addDoctorCommand(program: Command): void {
  program
    .command("doctor")
    .description("say what this machine can do and what is missing; exit code 1 when a named engine cannot run")
    .addOption(new Option("--engine <name>", "torch: also what training with PyTorch needs").choices(["torch"]))
    .option("--json", "print JSON")
    .action(async ({ engine, json }: { engine?: "torch"; json?: boolean }) => {
      const doctor = await examine({ engine });
      if (json) await print(`${JSON.stringify(doctor, null, 2)}\n`);
      else await printText(`${linesOf(doctor).join("\n")}\n`);
      const missing = doctor.torch?.missing ?? [];
      if (missing.length > 0) throw new UserError(`The engine torch cannot run here: ${missing.join(", ")}.`);
    });
}

const gigabytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GB`;
const good = (label: string, text: string) => `${picocolors.green("ok")}    ${label.padEnd(13)} ${text}`;
const bad = (label: string, text: string) => `${picocolors.yellow("note")}  ${label.padEnd(13)} ${text}`;

export function linesOf({ node, backend, compiler, memory, disk, torch }: Doctor): string[] {
  const { name, description, levels, reason } = backend;
  const native = reason === null ? `; levels ${levels.join(", ")}` : `; not native: ${reason}`;
  return [
    good("node", `${node.version} on ${node.platform}`),
    good("processor", `${node.processor}, ${node.cores} threads`),
    (name === "native" ? good : bad)("backend", `${name} (${description})${native}`),
    compiler
      ? good("compiler", compiler)
      : bad("compiler", "none: a C++17 compiler (Debian: apt-get install g++) builds the native backend"),
    good("memory", `${gigabytes(memory.availableBytes)} available of ${gigabytes(memory.totalBytes)}`),
    ...(disk ? [good("disk", `${gigabytes(disk.freeBytes)} free in the working directory`)] : []),
    ...(torch ? torchLines(torch) : []),
  ];
}

function torchLines(status: TorchStatus): string[] {
  const { program, python, requirements, missing, gpus = [], cuda, bfloat16 } = status;
  const lines = python ? [good("python", `${python} (${program})`)] : [];
  for (const { name, pinned, installed, isNeeded } of python ? requirements : []) {
    if (installed === null)
      lines.push(bad(name, isNeeded ? `missing, needed: ${pinned}` : `missing, only for model.storage nf4: ${pinned}`));
    else if (installed.split("+")[0] === pinned) lines.push(good(name, installed));
    else lines.push(bad(name, `${installed}, tested with ${pinned}`));
  }
  for (const [i, gpu] of gpus.entries()) lines.push(good(`gpu ${i}`, `${gpu.name}, ${gigabytes(gpu.memoryBytes)}`));
  if (gpus.length > 0) lines.push(good("cuda", `${cuda}; bfloat16 ${bfloat16 ? "yes" : "no"}`));
  else if (python)
    lines.push(bad("gpu", "none that torch sees: the trainer runs on the processor, slower than cre train"));
  if (missing.length > 0) {
    const install = `${program} -m venv torch-venv && torch-venv/bin/pip install -r engines/torch/requirements.txt`;
    lines.push(
      bad("engine torch", `cannot run: ${missing.join(", ")}`),
      `      ${install}`,
      "      CRE_PYTHON=torch-venv/bin/python names it",
    );
  } else {
    const launch = usualLaunch(status).map(quoted).join(" ");
    lines.push(good("engine torch", `cre train RECIPE --engine torch --launch ${quoted(launch)}`));
  }
  return lines;
}
