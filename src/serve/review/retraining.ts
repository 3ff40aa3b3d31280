import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { setPriority } from "node:os";
import { join } from "node:path";
import { writeFileAtomic } from "../../base/files.ts";
import { isFinished, runFolder } from "../../runs/run-folder.ts";
import { Problem } from "../problem.ts";
import type { ServedRun, ServedRuns } from "../served-run.ts";
import type { LabelledSet } from "./labelled-set.ts";
import { writeRetraining } from "./retraining-data.ts";
import { type Job, jobFolder, type RetrainingState, stateOf } from "./retraining-job.ts";
import type { Switches } from "./switches.ts";

/** Fine-tunes runs on their data with the judged rows, in processes of their own. */
export interface Retraining {
  /** Throws a Problem while another one is in progress. */
  start(served: ServedRun, epochs: number | undefined): Promise<RetrainingState>;
  list(): Promise<RetrainingState[]>;
  get(id: string): Promise<RetrainingState>;
  /** Ends one that is in progress for good; its corrections stay in the labelled set. */
  cancel(id: string): Promise<RetrainingState>;
  /** Begins to evaluate a finished one, and to compare it with the run that it started from. */
  compare(id: string): Promise<RetrainingState>;
  /** Serves a finished one under the name of the run that it started from, also after a restart. */
  switchTo(id: string): Promise<ServedRun>;
  /** Serves the run that the server was started with again. */
  switchBack(served: ServedRun): Promise<ServedRun>;
  /** Stops what is in progress; it is resumed at the next start. */
  close(): Promise<void>;
}

const LOWER_PRIORITY = 10;
const RETRY_MS = 5_000;
const KEPT_MESSAGE = 4_000;

/** `program` is the command line of cre: the program and its first arguments. */
export async function openRetraining(
  folder: string,
  program: readonly string[],
  runs: ServedRuns,
  labelled: Pick<LabelledSet, "rows">,
  switches: Switches,
  log: (line: string) => void,
): Promise<Retraining> {
  await mkdir(folder, { recursive: true });
  const own = jobFolder(folder);
  const children = new Map<string, ChildProcess>();
  const comparing = new Map<string, ChildProcess>();
  const waits = new Set<string>();
  let isClosed = false;
  let isStarting = false;
  /** One switch after another: a run is opened once. */
  let switching: Promise<unknown> = Promise.resolve();
  const shown = async (job: Job) => stateOf(job, own, comparing.has(job.id));

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

  /** The end of what a command wrote, without the paths of this machine. */
  const messageOf = (job: Job, stderr: string) =>
    stderr.trim().replaceAll(own.place(job.id), `retraining ${job.id}`).replaceAll(job.from, job.run);

  const train = async (job: Job): Promise<void> => {
    const directory = own.run(job.id);
    const words = existsSync(runFolder(directory).recipe)
      ? ["train", "--resume", "--run", directory]
      : ["train", join(own.place(job.id), "recipe.yaml"), "--run", directory];
    const { code, stderr } = await cre(words, children, job.id);
    if (code === 0) return log(`retraining ${job.id} of ${job.run} has finished`);
    if (isClosed || (await own.read(job.id)).isCancelled) return;
    // A training of a server that was killed goes on by itself.
    if (stderr.includes("is in use")) {
      waits.add(job.id);
      const timer = setTimeout(async () => {
        waits.delete(job.id);
        if (!isClosed && !(await own.read(job.id)).isCancelled) run(job);
      }, RETRY_MS);
      timer.unref();
      return;
    }
    await own.save({ ...job, failure: messageOf(job, stderr) || `ended with ${code}` });
    log(`retraining ${job.id} of ${job.run} has failed`);
  };

  const told = (job: Job) => (error: Error) => log(`retraining ${job.id} of ${job.run}: ${error.message}`);
  const run = (job: Job) => void train(job).catch(told(job));

  const compareBoth = async (job: Job): Promise<void> => {
    const data = join(own.place(job.id), "data");
    const directory = own.run(job.id);
    // The evaluation writes the report of the new run, and answers that the comparison uses.
    const evaluated = await cre(["evaluate", directory, "--data", data], comparing, job.id);
    const { code, stdout, stderr } =
      evaluated.code !== 0 || isClosed
        ? evaluated
        : await cre(
            ["compare", job.from, directory, "--data", data, "--json", "--rows", own.changed(job.id)],
            comparing,
            job.id,
          );
    if (isClosed) return;
    const value = code === 0 ? JSON.parse(stdout) : { failure: messageOf(job, stderr) };
    await writeFileAtomic(own.comparison(job.id), `${JSON.stringify(value)}\n`);
  };

  const finished = async (id: string): Promise<Job> => {
    const job = await own.read(id);
    if (await isFinished(runFolder(own.run(id)))) return job;
    throw new Problem("conflict", `Retraining ${id} has not finished.`, {
      hint: `GET /v1/retrain/${id} shows how far it is.`,
    });
  };
  const oneByOne = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = switching.then(work);
    switching = turn.catch(() => {});
    return turn;
  };

  for (const job of await own.all()) {
    const isOver = job.failure !== undefined || job.isCancelled;
    if (isOver || (await isFinished(runFolder(own.run(job.id))))) continue;
    log(`resuming retraining ${job.id} of ${job.run}`);
    run(job);
  }
  return {
    async start(served, epochs) {
      if (children.size + waits.size > 0 || isStarting) {
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
      const id = String(Number((await own.ids()).at(-1) ?? 0) + 1);
      try {
        await mkdir(own.place(id), { recursive: true });
        const written = await writeRetraining(own.place(id), served.run, labelled.rows(), epochs);
        const job: Job = {
          ...{ id, run: served.name, from: served.directory, counts: written.counts, epochs: written.epochs },
          startedAt: new Date().toISOString(),
        };
        await own.save(job);
        run(job);
        return await shown(job);
      } catch (error) {
        await rm(own.place(id), { recursive: true, force: true });
        throw error;
      } finally {
        isStarting = false;
      }
    },
    list: async () => Promise.all((await own.all()).map(shown)),
    get: async (id) => shown(await own.read(id)),
    async cancel(id) {
      const job = await own.read(id);
      if ((await shown(job)).state !== "running") {
        throw new Problem("conflict", `Retraining ${id} is not in progress.`);
      }
      const cancelled = { ...job, isCancelled: true as const };
      await own.save(cancelled);
      children.get(id)?.kill("SIGTERM");
      log(`retraining ${id} of ${job.run} was cancelled`);
      return shown(cancelled);
    },
    async compare(id) {
      const job = await finished(id);
      if (!comparing.has(id)) void compareBoth(job).catch(told(job));
      return shown(job);
    },
    switchTo: (id) =>
      oneByOne(async () => {
        const { run: name } = await finished(id);
        const before = runs.get(name);
        if (before === undefined) {
          throw new Problem("conflict", `The run ${name} is not served.`, {
            hint: "Start the server with the run that the retraining is of.",
          });
        }
        const directory = own.run(id);
        const served = await runs.open({ name, directory, given: before.given, retraining: id });
        await switches.set(name, { retraining: id, directory, given: before.given });
        log(`${name} is now ${directory}, also after a restart; to serve ${before.given}: --forget-switches`);
        return served;
      }),
    switchBack: ({ name }) =>
      oneByOne(async () => {
        const served = runs.get(name);
        if (served === undefined || served.retraining === null) {
          throw new Problem("conflict", `The run ${name} is the one that the server was started with.`);
        }
        const { given } = served;
        const back = await runs.open({ name, directory: given, given, retraining: null });
        await switches.remove(name);
        log(`${name} is ${given} again`);
        return back;
      }),
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
