// The worker of the page: opens the run and answers questions, so that the page stays usable meanwhile.
import {
  type Extractor,
  fetchedFolder,
  findNames,
  findRelations,
  openBrowserRun,
  openBrowserWasm,
  UserError,
  usualThreads,
} from "cre-llm/browser";
import type { Answer, Question, ShownMention } from "./messages.ts";

/** files.json, which the build writes: sizes of the files by folder and name. */
interface Files {
  model: Record<string, number>;
  run: Record<string, number>;
}

const post = (answer: Answer) => postMessage(answer);

/** The page's own folder; the built worker is in assets/. */
const ROOT = new URL(/* @vite-ignore */ "../", import.meta.url).href;

const sum = (sizes: Record<string, number>) => Object.values(sizes).reduce((total, bytes) => total + bytes, 0);

async function fetchText(name: string): Promise<string> {
  const response = await fetch(new URL(name, ROOT));
  if (!response.ok) throw new UserError(`${name}: cannot be read (status ${response.status}).`);
  return response.text();
}

async function open(): Promise<{ extractor: Extractor; characters: string }> {
  const started = performance.now();
  const { model, run } = JSON.parse(await fetchText("files.json")) as Files;
  const totalBytes = sum(model) + sum(run);
  let bytes = 0;
  const onBytes = (more: number) => {
    bytes += more;
    post({ kind: "loading", bytes, totalBytes });
  };
  const threads = usualThreads();
  const [backend, characters] = await Promise.all([openBrowserWasm({ threads }), fetchText("TSCharacters.txt")]);
  const extractor = await openBrowserRun({
    run: fetchedFolder(`${ROOT}run/`, { files: run, onBytes }),
    model: fetchedFolder(`${ROOT}model/`, { files: model, onBytes }),
    backend,
    onLoad: (done, total) => post({ kind: "placing", done, total }),
  });
  const { labels, noRelation } = extractor.labels;
  const seconds = (performance.now() - started) / 1000;
  const known = labels.filter((label) => label !== noRelation);
  post({ kind: "ready", threads, labels: known, seconds });
  return { extractor, characters };
}

const shown = ({ start, end, name }: ShownMention): ShownMention => ({ start, end, name });

let latest = 0;

async function answer({ id, text, names }: Question): Promise<void> {
  const { extractor, characters } = await opened;
  if (id !== latest) return;
  const started = performance.now();
  const named = findNames(text, names, { characters });
  const problems = named.problems.map(({ problem }) => problem);
  post({ kind: "named", id, sentences: named.sentences.length, mentions: named.mentions.map(shown), problems });
  let pairs = 0;
  for await (const found of findRelations(extractor, text, named)) {
    pairs += found.pairs;
    const relations = found.relations.map((one) => ({ ...one, head: shown(one.head), tail: shown(one.tail) }));
    const { start, end } = found.sentence;
    const { cutPairs } = found;
    post({ kind: "sentence", id, start, end, pairs: found.pairs, cutPairs, relations, problems: [...found.problems] });
    // Lets a newer question in.
    await new Promise((resolve) => setTimeout(resolve));
    if (id !== latest) return;
  }
  post({ kind: "done", id, pairs, milliseconds: performance.now() - started });
}

function fail(error: unknown): void {
  const { message, hint = null } = error instanceof UserError ? error : { message: String(error) };
  post({ kind: "failed", message, hint });
}

const opened = open();
opened.catch(fail);
addEventListener("message", ({ data }: MessageEvent<Question>) => {
  latest = data.id;
  answer(data).catch(fail);
});
