import { describe, expect, it } from "vitest";
import { type StopSignal, watchForStop } from "./stop-signals.ts";

const handlers = () => (["SIGINT", "SIGTERM", "SIGHUP"] as const).map((name) => process.listenerCount(name));

describe("watchForStop", () => {
  it("installs no signal handler unless asked", () => {
    const before = handlers();
    const stop = watchForStop({});
    expect(handlers()).toEqual(before);
    expect(stop.signal.aborted).toBe(false);
    stop.close();
  });

  it("hears the first process signal and leaves the second to the system", () => {
    const before = handlers();
    const heard: StopSignal[] = [];
    const stop = watchForStop({ onSignal: (name) => heard.push(name) });
    expect(handlers()).toEqual(before.map((count) => count + 1));
    process.emit("SIGHUP", "SIGHUP");
    expect(stop.signal.aborted).toBe(true);
    expect(stop.by).toBe("SIGHUP");
    expect(heard).toEqual(["SIGHUP"]);
    // A second signal of any kind meets no handler of ours.
    expect(handlers()).toEqual(before);
    stop.close();
  });

  it("follows the caller's signal, also one that aborted before", () => {
    const abort = new AbortController();
    const stop = watchForStop({ signal: abort.signal });
    abort.abort();
    expect(stop.signal.aborted).toBe(true);
    expect(stop.by).toBe(null);
    expect(watchForStop({ signal: abort.signal }).signal.aborted).toBe(true);
  });

  it("removes its handlers when it is closed", () => {
    const before = handlers();
    const abort = new AbortController();
    const stop = watchForStop({ signal: abort.signal, onSignal: () => {} });
    stop.close();
    expect(handlers()).toEqual(before);
    abort.abort();
    expect(stop.signal.aborted).toBe(false);
  });
});
