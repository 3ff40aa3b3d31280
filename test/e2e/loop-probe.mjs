// Preloaded into a process: how long its event loop is held, by the clock and in processor time of its main thread. A machine that computes
// other things too holds back a turn that has little to do; processor time does not count that. Linux has it in /proc. CRE_PROBE names the file
// for the answer, which is written at SIGUSR2 and begins anew.
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";

const { CRE_PROBE } = process.env;
const TICK_MS = 10;

if (isMainThread && CRE_PROBE) {
  // Nanoseconds on a processor.
  const readMs = () => Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "latin1").split(" ")[0]) / 1e6;
  let ticks = [];
  let [at, used] = [performance.now(), readMs()];
  setInterval(() => {
    const [now, own] = [performance.now(), readMs()];
    ticks.push({ wall: now - at - TICK_MS, processor: own - used });
    [at, used] = [now, own];
  }, TICK_MS).unref();
  const of = (name) => {
    const sorted = ticks.map((tick) => tick[name]).sort((a, b) => a - b);
    return { p50: sorted[sorted.length >> 1], p99: sorted[Math.floor(0.99 * sorted.length)], most: sorted.at(-1) };
  };
  process.on("SIGUSR2", () => {
    const answer = { ticks: ticks.length, wall: of("wall"), processor: of("processor") };
    ticks = [];
    writeFileSync(`${CRE_PROBE}.part`, JSON.stringify(answer));
    renameSync(`${CRE_PROBE}.part`, CRE_PROBE);
  });
}
