import { Option } from "commander";
import type { QueueStatus } from "../queue/status.ts";
import { duration } from "./terminal.ts";

/** `--store`: where the queues are. */
export function storeOption(): Option {
  return new Option(
    "--store <place>",
    "postgres://USER@HOST/DATABASE, or a folder for an embedded database of one process",
  )
    .env("CRE_STORE")
    .default("cre-queue", "cre-queue");
}

/** A queue's status for people: several lines. */
export function queueText(status: QueueStatus): string {
  const { documents, waiting, active, done, failed, bad, rate, left } = status;
  const some = (count: number, text: string) => (count > 0 ? [`${count} ${text}`] : []);
  const counts = [
    `${done} done`,
    `${waiting} waiting`,
    `${active} in work`,
    ...some(failed, "failed"),
    ...some(bad, "cannot be read"),
  ];
  const lines = [`${status.queue}: ${documents} ${status.kind}: ${counts.join(", ")}`];
  if (status.run !== null) lines.push(`  run ${status.run}`);
  if (rate !== null) {
    const end = waiting + active > 0 && left !== null ? `, ${duration(left)} left` : "";
    lines.push(`  ${rate.toFixed(1)} a second over the last minute${end}`);
  }
  for (const worker of status.workers) {
    const { host, pid, arithmetic, silentSeconds } = worker;
    lines.push(
      `  worker ${pid} on ${host}, ${arithmetic}: ${worker.documents} done, heard of ${Math.round(silentSeconds)} s ago`,
    );
  }
  for (const { key, reason } of status.failures) lines.push(`  failed, ${key}: ${reason}`);
  if (failed > status.failures.length) lines.push(`  … and ${failed - status.failures.length} more`);
  return `${lines.join("\n")}\n`;
}
