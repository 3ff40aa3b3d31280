import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { setPriority } from "node:os";
import { join } from "node:path";
import { writeFileAtomic } from "../../base/files.ts";
import { isFinished, readLog, runFolder } from "../../runs/run-folder.ts";
import { Problem } from "../problem.ts";
import type { ServedRun, ServedRuns } from "../served-run.ts";
import type { LabelledSet } from "./labelled-set.ts";
import { type RetrainingCounts, writeRetraining } from "./retraining-data.ts";

/** A retraining as its folder has it. */
interface Job {
  id: string;
  /** The served run that it starts from, and its folder. */
  run: string;
  from: string;
  counts: RetrainingCounts;
  startedAt: string;
  failure?: string;
}

export interface RetrainingState extends Omit<Job, "from"> {
  state: "running" | "finished" | "failed";
  steps: { step: number; loss: number; epoch: number }[];
  validations: Record<string, unknown>[];
  /** The paired comparison of both runs on the test split, once it was asked for. */
  comparison: unknown;
  isComparing: boolean;
}

/** Fine-tunes runs on their data with the judged rows, in processes of their own. */
export interface Retraining {
  /** Throws a Problem while another one is in progress. */
  start(served: ServedRun, epochs: number | undefined): Promise<RetrainingState>;
  list(): Promise<RetrainingState[]>;
  get(id: string): Promise<RetrainingState>;
  /** Begins to compare a finished one with the run that it started from. */
  compare(id: string): Promise<RetrainingState>;
  /** Serves a finished one under the name of the run that it started from. */
  switchTo(id: string): Promise<ServedRun>;
  /** Stops what is in progress; it is resumed at the next start. */
  close(): Promise<void>;
}

const LOWER_PRIORITY = 10;
const SHOWN_STEPS = 200;
const RETRY_MS = 5_000;
const KEPT_MESSAGE = 4_000;
const ID = /^[1-9]\d{0,5}$/;

/** `program` is the command line of cre: the program and its first arguments. */
export async function openRetraining(
  folder: string,
  program: readonly string[],
  runs: ServedRuns,
  labelled: Pick<LabelledSet, "rows">,
  log: (line: string) => void,
): Promise<Retraining> {
  await mkdir(folder, { recursive: true });
  const children = new Map<string, ChildProcess>();
  const comparing = new Map<string, ChildProcess>();
  let isClosed = false;
  let isStarting = false;
  const place = (id: string) => join(folder, id);
  const runOf = (id: string) => join(place(id), "run");
  const jobFile = (id: string) => join(place(id), "job.json");
  const readJob = async (id: string): Promise<Job> => {
    if (!ID.test(id) || !existsSync(jobFile(id))) {
      throw new Problem("not-found", `There is no retraining ${JSON.stringify(id.slice(0, 20))}.`);
    }
    return JSON.parse(await readFile(jobFile(id), "utf8"));
  };
  const saveJob = (job: Job) => writeFileAtomic(jobFile(job.id), `${JSON.stringify(job)}\n`);

  /** Runs cre; resolves with its exit code and the end of what it wrote. */
  const cre = (words: readonly string[], into: Map<string, ChildProcess>, id: string) =>
    new Promise<{ code: number | null; stdout: string; stderr: string }>((done) => {
      const child = spawn(program[0], [...program.slice(1), ...words], { stdio: ["ignore", "pipe", "pipe"] });
      into.set(id, child);
      if (child.pid !== undefined) setPriority(child.pid, LOWER_PRIORITY);
      let [stdout, stderr] = ["", ""];
      child.stdout.on("data", (chunk: Buffer) => {
        stdout += chunk;
      });
      child.stderr.on("data", (chunk: Buffer) => {
        stderr = (stderr + chunk).slice(-KEPT_MESSAGE);
      });
      const end = (code: number | null) => {
        into.delete(id);
        done({ code, stdout, stderr });
      };
      child.on("error", (error) => {
        stderr = error.message;
        end(2);
      });
      child.on("close", end);
    });

  const train = async (job: Job): Promise<void> => {
    const directory = runOf(job.id);
    const words = existsSync(runFolder(directory).recipe)
      ? ["train", "--resume", "--run", directory]
      : ["train", join(place(job.id), "recipe.yaml"), "--run", directory];
    const { code, stderr } = await cre(words, children, job.id);
    if (code === 0) return log(`retraining ${job.id} of ${job.run} has finished`);
    if (isClosed) return;
    // A training of a server that was killed goes on by itself.
    if (stderr.includes("is in use")) {
      const timer = setTimeout(() => void train(job), RETRY_MS);
      timer.unref();
      return;
    }
    await saveJob({ ...job, failure: stderr.trim() || `ended with ${code}` });
    log(`retraining ${job.id} of ${job.run} has failed`);
  };

  const stateOf = async (job: Job): Promise<RetrainingState> => {
    const files = runFolder(runOf(job.id));
    const lines = existsSync(files.log) ? await readLog(files) : [];
    const steps = lines.flatMap(({ kind, step, loss, epoch }) =>
      kind === "step" ? [{ step, loss: loss as number, epoch: epoch as number }] : [],
    );
    const comparison = join(place(job.id), "comparison.json");
    const { from: _, ...shown } = job;
    return {
      ...shown,
      state: (await isFinished(files)) ? "finished" : job.failure === undefined ? "running" : "failed",
      steps: steps.slice(-SHOWN_STEPS),
      validations: lines.filter(({ kind }) => kind === "validation"),
      comparison: existsSync(comparison) ? JSON.parse(await readFile(comparison, "utf8")) : null,
      isComparing: comparing.has(job.id),
    };
  };
  const ids = async () => (await readdir(folder)).filter((name) => ID.test(name)).sort((a, b) => Number(a) - Number(b));
  const jobs = async () => {
    const found: Job[] = [];
    for (const id of await ids()) if (existsSync(jobFile(id))) found.push(await readJob(id));
    return found;
  };
  const finished = async (id: string): Promise<Job> => {
    const job = await readJob(id);
    if (await isFinished(runFolder(runOf(id)))) return job;
    throw new Problem("conflict", `Retraining ${id} has not finished.`, {
      hint: `GET /v1/retrain/${id} shows how far it is.`,
    });
  };

  for (const job of await jobs()) {
    if (job.failure !== undefined || (await isFinished(runFolder(runOf(job.id))))) continue;
    log(`resuming retraining ${job.id} of ${job.run}`);
    void train(job);
  }
  return {
    async start(served, epochs) {
      if (children.size > 0 || isStarting) {
        throw new Problem("conflict", "A retraining is in progress.", {
          hint: "Start another one when it has finished.",
        });
      }
      if (labelled.rows().length === 0) {
        throw new Problem("conflict", "The labelled set has no rows.", {
          hint: "Confirm or correct some answers first.",
        });
      }
      isStarting = true;
      const id = String(Number((await ids()).at(-1) ?? 0) + 1);
      try {
        await mkdir(place(id), { recursive: true });
        const { counts } = await writeRetraining(place(id), served.run, labelled.rows(), epochs);
        const job: Job = { id, run: served.name, from: served.directory, counts, startedAt: new Date().toISOString() };
        await saveJob(job);
        void train(job);
        return await stateOf(job);
      } catch (error) {
        await rm(place(id), { recursive: true, force: true });
        throw error;
      } finally {
        isStarting = false;
      }
    },
    list: async () => Promise.all((await jobs()).map(stateOf)),
    get: async (id) => stateOf(await readJob(id)),
    async compare(id) {
      const job = await finished(id);
      if (!comparing.has(id)) {
        const words = ["compare", job.from, runOf(id), "--data", join(place(id), "data"), "--json"];
        void cre(words, comparing, id).then(async ({ code, stdout, stderr }) => {
          const value = code === 0 ? JSON.parse(stdout) : { failure: stderr.trim() };
          await writeFileAtomic(join(place(id), "comparison.json"), `${JSON.stringify(value)}\n`);
        });
      }
      return stateOf(job);
    },
    async switchTo(id) {
      const job = await finished(id);
      const served = await runs.open(job.run, runOf(id));
      log(`${job.run} is now ${runOf(id)}; to keep it: cre serve ${job.run}=${runOf(id)}`);
      return served;
    },
    async close() {
      isClosed = true;
      const ended = [...children.values(), ...comparing.values()].map(
        (child) => new Promise((done) => child.once("close", done)),
      );
      for (const child of [...children.values(), ...comparing.values()]) child.kill("SIGTERM");
      await Promise.all(ended);
    },
  };
}
