import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { ROOT } from "./support.ts";

/** A server that the built command line runs. */
export interface Serving {
  url: string;
  /** All of its standard error so far. */
  stderr(): string;
  child: ChildProcess;
  /** Sends a signal and waits for the end; the exit code, or the signal that ended it. */
  end(signal?: NodeJS.Signals): Promise<number | NodeJS.Signals | null>;
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
  get(path: string, headers?: Record<string, string>): Promise<Response>;
}

/** Starts `cre serve` on a free port, on the reference backend unless `env` says otherwise. */
export async function serving(command: readonly string[], env: Record<string, string> = {}): Promise<Serving> {
  const cli = join(ROOT, "dist", "cli.js");
  const child = spawn(process.execPath, [cli, "serve", ...command, "--port", "0"], {
    env: { ...process.env, CRE_BACKEND: "reference", NO_COLOR: "1", ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let stderr = "";
  child.stderr.setEncoding("utf8");
  const url = await new Promise<string>((done, fail) => {
    child.stderr.on("data", (chunk: string) => {
      stderr += chunk;
      const found = /(http:\/\/\S+) answers with/.exec(stderr)?.[1];
      if (found !== undefined) done(found);
    });
    child.on("exit", (code) => fail(new Error(`cre serve ended with ${code}: ${stderr}`)));
  });
  const ended = new Promise<number | NodeJS.Signals | null>((done) =>
    child.on("exit", (code, signal) => done(code ?? signal)),
  );
  return {
    ...{ url, child, stderr: () => stderr },
    end(signal = "SIGTERM") {
      child.kill(signal);
      return ended;
    },
    post: (path, body, headers = {}) =>
      fetch(url + path, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    get: (path, headers = {}) => fetch(url + path, { headers }),
  };
}

/** The lines of an answer in NDJSON. */
export async function linesOf(response: Response): Promise<Record<string, unknown>[]> {
  return (await response.text())
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}
