import { useEffect, useState } from "preact/hooks";
import { usePage, useTexts } from "../shell/page-context.ts";
import { ProblemNote } from "../shell/problem-note.tsx";
import { SHELL_TEXTS } from "../shell/texts.ts";
import { type Draft, InputPanel } from "./input-panel.tsx";
import { ResultsView } from "./results-view.tsx";
import { EXTRACT_TEXTS } from "./texts.ts";
import { type Extraction, type ExtractionInput, useExtraction } from "./use-extraction.ts";
import { useJudging } from "./use-judging.ts";

/** Text or a document in, relations out. */
export function ExtractView({ isShown }: { isShown: boolean }) {
  const texts = useTexts(EXTRACT_TEXTS);
  const shellTexts = useTexts(SHELL_TEXTS);
  const { run } = usePage();
  const [draft, setDraft] = useState<Draft>({ text: "", names: "", file: null, find: run.findsMentions });
  const [isInput, setInput] = useState(true);
  const [asked, setAsked] = useState<ExtractionInput | null>(null);
  const extraction = useExtraction();
  const judging = useJudging(extraction);
  const { results, isRunning, wasStopped, error } = extraction;
  const start = (input: ExtractionInput) => {
    setAsked(input);
    setInput(false);
    extraction.start(input);
  };
  const { clear } = extraction;
  // Results of another run would be judged as this one's.
  useEffect(() => {
    clear();
    setInput(true);
    setDraft((before) => ({ ...before, find: run.findsMentions }));
  }, [run.name]);
  if (isInput || results === null) {
    return (
      <InputPanel
        draft={draft}
        onDraft={setDraft}
        onStart={start}
        onBack={results === null ? null : () => setInput(false)}
      />
    );
  }
  return (
    <>
      <div class="results-head">
        <p>
          <button type="button" onClick={() => setInput(true)}>
            {texts.editInput}
          </button>
        </p>
        {isRunning ? (
          <Progress extraction={extraction} isFile={asked?.file !== null} />
        ) : (
          <Summary extraction={extraction} />
        )}
      </div>
      {wasStopped && <p class="note said-above">{texts.stopped}</p>}
      {error !== null && (
        <div class="said-above">
          <ProblemNote error={error} texts={shellTexts} onRetry={() => asked && extraction.start(asked)} />
        </div>
      )}
      <ResultsView extraction={extraction} judging={judging} isShown={isShown} />
    </>
  );
}

function Progress({ extraction, isFile }: { extraction: Extraction; isFile: boolean }) {
  const texts = useTexts(EXTRACT_TEXTS);
  const { progress, results, stop } = extraction;
  const triples = results?.triples.length ?? 0;
  const { done, of } = progress;
  return (
    <div class="progress">
      <p class="number" role="status">
        {isFile || of === null ? texts.progressFile(done, triples) : texts.progress(done, of, triples)}
      </p>
      <button type="button" onClick={stop}>
        {texts.stop}
      </button>
      {of === null ? (
        <progress aria-label={texts.start} />
      ) : (
        <progress aria-label={texts.start} max={of} value={done} />
      )}
    </div>
  );
}

function Summary({ extraction: { results } }: { extraction: Extraction }) {
  const texts = useTexts(EXTRACT_TEXTS);
  if (results === null) return null;
  const { documents, badDocuments, counts } = results;
  const mentions = documents.reduce((sum, one) => sum + one.mentions.length, 0);
  const notes = [
    ...(counts.cutByCap > 0 ? [texts.notAsked(counts.cutByCap)] : []),
    ...(counts.badPairs > 0 ? [texts.badPairs(counts.badPairs)] : []),
    ...(counts.truncated > 0 ? [texts.truncated(counts.truncated)] : []),
    ...badDocuments.slice(0, 5).map(({ id, reason }) => `${texts.badDocuments}：${id}（${reason}）`),
  ];
  return (
    <div class="summary">
      <p class="soft">{texts.summary(documents.length, mentions, counts.pairs)}</p>
      {notes.map((note) => (
        <p key={note} class="bad small">
          {note}
        </p>
      ))}
    </div>
  );
}
