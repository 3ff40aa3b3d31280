// The page: it draws what the worker says. Nothing here needs the model.
import { browserProblem } from "../../src/compute/wasm/browser.ts";
import { ENGLISH_LABELS, EXAMPLES } from "../../src/serve/page/demo-texts.ts";
import type { Language } from "../../src/serve/page/shell/preferences.ts";
import type { Answer, Question, ShownMention } from "./messages.ts";
import { createNameList } from "./names.ts";
import { type ShownSentence, sentenceItem } from "./results.ts";
import { TEXTS } from "./texts.ts";

const find = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const page = {
  state: find("state"),
  line: find("state-line"),
  hint: find("state-hint"),
  progress: find<HTMLProgressElement>("state-progress"),
  text: find<HTMLTextAreaElement>("text"),
  mark: find<HTMLButtonElement>("mark"),
  names: find("names"),
  name: find<HTMLInputElement>("name"),
  find: find<HTMLButtonElement>("find"),
  summary: find("summary"),
  least: find<HTMLInputElement>("least"),
  leastValue: find("least-value"),
  empty: find("empty"),
  results: find("results"),
  sentences: find("sentences"),
  examples: find("examples"),
  labels: find("labels"),
};

let language: Language = /^zh\b/i.test(navigator.language) ? "zh" : "en";
/** What the worker said of its model last; null before the first word. */
let state: Exclude<Answer, { id: number }> | null = null;
/** Of the current question; sentences come one after the other. */
let asked: Question | null = null;
let mentions: ShownMention[] = [];
let problems: string[] = [];
let sentences: ShownSentence[] = [];
let finished: { pairs: number; milliseconds: number } | null = null;

const texts = () => TEXTS[language];
const labelOf = (relation: string) => (language === "en" ? (ENGLISH_LABELS[relation] ?? relation) : relation);
const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1);

const list = createNameList(page.names, drawNames);

function drawState(): void {
  const says = texts();
  page.progress.hidden = state?.kind === "ready" || state?.kind === "failed";
  page.state.classList.toggle("is-bad", state?.kind === "failed");
  page.hint.hidden = true;
  if (state === null) page.line.textContent = says.starting;
  else if (state.kind === "loading") {
    page.progress.value = state.bytes / state.totalBytes;
    page.line.textContent = says.loading(megabytes(state.bytes), megabytes(state.totalBytes));
  } else if (state.kind === "placing") {
    page.progress.value = state.done / state.total;
    page.line.textContent = says.placing;
  } else if (state.kind === "ready") {
    page.line.textContent = says.ready(state.threads, state.seconds.toFixed(1));
    page.labels.replaceChildren(
      ...state.labels.map((label) => {
        const item = document.createElement("li");
        item.textContent = labelOf(label);
        return item;
      }),
    );
  } else {
    const isSimd = browserProblem() !== null;
    page.line.textContent = isSimd ? says.noSimd : `${says.failed}${state.message}`;
    page.hint.textContent = isSimd ? says.noSimdHint : state.hint;
    page.hint.hidden = page.hint.textContent === "";
  }
}

function drawNames(): void {
  list.draw(page.text.value, texts().remove);
  page.find.disabled = state?.kind !== "ready" || page.text.value.trim() === "" || list.names.length === 0;
}

/** What is selected in the text, if it can be a name. */
function selectedName(): string {
  const { value, selectionStart, selectionEnd } = page.text;
  const name = value.slice(selectionStart, selectionEnd).trim();
  return /[\r\n]/.test(name) || name.length > 60 ? "" : name;
}

function drawMark(): void {
  const name = selectedName();
  page.mark.textContent = texts().mark(name);
  page.mark.disabled = name === "";
}

function drawResults(): void {
  const says = texts();
  const least = Number(page.least.value) / 100;
  page.leastValue.textContent = `${page.least.value} %`;
  page.empty.hidden = asked !== null;
  const withPairs = sentences.filter(({ pairs }) => pairs > 0);
  const shown = { none: says.none, cut: says.cut, label: labelOf };
  page.sentences.replaceChildren(
    ...withPairs.map((one) => sentenceItem(asked?.text ?? "", mentions, one, least, shown)),
  );
  const pairs = sentences.reduce((sum, one) => sum + one.pairs, 0);
  const line =
    finished === null
      ? asked === null
        ? ""
        : says.working(pairs)
      : finished.pairs === 0
        ? says.noPairs
        : says.done(finished.pairs, finished.milliseconds.toFixed(0));
  page.summary.textContent = [line, ...problems].filter((part) => part !== "").join(" ");
}

function drawAll(): void {
  const says = texts();
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = says.title;
  for (const one of document.querySelectorAll<HTMLElement>("[data-text]")) {
    one.textContent = says[one.dataset.text as "find"];
  }
  for (const button of document.querySelectorAll<HTMLElement>("[data-language]")) {
    button.ariaPressed = String(button.dataset.language === language);
  }
  page.name.placeholder = says.namesPlaceholder;
  page.name.ariaLabel = says.namesLabel;
  page.examples.replaceChildren(
    says.examples,
    ...EXAMPLES.map(({ title, text, names }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet";
      button.textContent = title[language];
      button.addEventListener("click", () => {
        page.text.value = text;
        list.set(names);
        drawMark();
      });
      return button;
    }),
  );
  drawState();
  drawNames();
  drawMark();
  drawResults();
}

/** On a narrow screen the results are below the text: scrolls to them. */
function showResults(): void {
  const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const { top } = page.results.getBoundingClientRect();
  if (top > innerHeight * 0.7) page.results.scrollIntoView({ behavior: isStill ? "auto" : "smooth", block: "start" });
}

/** Adds what is in the field of names, or is pasted there: one name a line. */
function addTyped(text: string): void {
  list.add(text.split(/[\r\n]+/));
  page.name.value = "";
}

function receive(answer: Answer): void {
  if (!("id" in answer)) {
    state = answer;
    drawState();
    drawNames();
    return;
  }
  if (answer.id !== asked?.id) return;
  if (answer.kind === "named") ({ mentions, problems } = answer);
  else if (answer.kind === "sentence") sentences.push(answer);
  else finished = answer;
  drawResults();
  if (answer.kind === "done") showResults();
}

function start(): void {
  const problem = browserProblem();
  if (problem !== null) {
    receive({ kind: "failed", message: problem, hint: null });
    return;
  }
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  worker.addEventListener("message", ({ data }: MessageEvent<Answer>) => receive(data));
  worker.addEventListener("error", ({ message }) =>
    receive({ kind: "failed", message: message || "worker.ts", hint: null }),
  );
  page.find.addEventListener("click", () => {
    asked = { id: (asked?.id ?? 0) + 1, text: page.text.value, names: [...list.names] };
    mentions = [];
    problems = [];
    sentences = [];
    finished = null;
    worker.postMessage(asked);
    drawResults();
  });
}

for (const button of document.querySelectorAll<HTMLElement>("[data-language]")) {
  button.addEventListener("click", () => {
    language = button.dataset.language as Language;
    drawAll();
  });
}
page.text.addEventListener("input", drawNames);
document.addEventListener("selectionchange", drawMark);
page.text.addEventListener("select", drawMark);
page.mark.addEventListener("mousedown", (event) => event.preventDefault());
page.mark.addEventListener("click", () => list.add([selectedName()]));
page.name.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing) return;
  event.preventDefault();
  addTyped(page.name.value);
});
page.name.addEventListener("paste", (event) => {
  const text = event.clipboardData?.getData("text/plain") ?? "";
  if (!/[\r\n]/.test(text.trim())) return;
  event.preventDefault();
  addTyped(text);
});
page.name.addEventListener("blur", () => addTyped(page.name.value));
page.least.addEventListener("input", drawResults);

page.text.value = EXAMPLES[0].text;
list.set(EXAMPLES[0].names);
drawAll();
start();
