import { useState } from "preact/hooks";
import { namesOf } from "../extract/given-names.ts";
import { usePage, useTexts } from "../shell/page-context.ts";
import { type RowsOfFile, rowsOfFile } from "./rows-file.ts";
import { REVIEW_TEXTS } from "./texts.ts";

/** What POST /v1/uncertain is asked, without the name of the run. */
export type Question =
  | { rows: { split: string; offset: number; limit: number } }
  | { text: string; entities?: object[]; find?: true }
  | { examples: RowsOfFile["examples"] };

interface SourceFormProps {
  isBusy: boolean;
  onAsk(question: Question): void;
  onStop(): void;
}

const SOURCES = ["rows", "text", "file"] as const;
const SPLITS = ["train", "valid", "test"];
const COUNTS = [50, 100, 200, 500, 1000];
/** Bodies of requests have a limit. */
const MOST_FILE_BYTES = 1_500_000;

/** Where the examples come from. */
export function SourceForm({ isBusy, onAsk, onStop }: SourceFormProps) {
  const { server, run } = usePage();
  const texts = useTexts(REVIEW_TEXTS);
  const [source, setSource] = useState<(typeof SOURCES)[number]>("rows");
  const [split, setSplit] = useState("train");
  const [count, setCount] = useState(100);
  const [text, setText] = useState("");
  const [names, setNames] = useState("");
  const [finds, setFinds] = useState(run.findsMentions);
  const [file, setFile] = useState<RowsOfFile | null>(null);

  const ask = () => {
    if (source === "rows") return onAsk({ rows: { split, offset: 0, limit: count } });
    if (source === "file") return file && onAsk({ examples: file.examples });
    const entities = namesOf(names);
    const isFound = finds && run.findsMentions;
    onAsk({ text, ...(entities.length > 0 ? { entities } : {}), ...(isFound ? { find: true as const } : {}) });
  };
  const isReady =
    source === "rows" ||
    (source === "file" && file !== null && file.examples.length > 0) ||
    (source === "text" &&
      text.trim() !== "" &&
      (names.trim() !== "" || server.hasEntities || (finds && run.findsMentions)));

  return (
    <form
      class="source"
      onSubmit={(event) => {
        event.preventDefault();
        if (isReady && !isBusy) ask();
      }}
    >
      <div class="source-row">
        <label>
          <span>{texts.source}</span>
          <select value={source} onChange={(event) => setSource(event.currentTarget.value as typeof source)}>
            {SOURCES.map((one) => (
              <option key={one} value={one}>
                {texts.sources[one]}
              </option>
            ))}
          </select>
        </label>
        {source === "rows" && (
          <>
            <label>
              <span>{texts.split}</span>
              <select value={split} onChange={(event) => setSplit(event.currentTarget.value)}>
                {SPLITS.map((one) => (
                  <option key={one} value={one}>
                    {texts.splits[one]}
                  </option>
                ))}
              </select>
            </label>
            <label>
              <span>{texts.most}</span>
              <select value={String(count)} onChange={(event) => setCount(Number(event.currentTarget.value))}>
                {COUNTS.filter((one) => one <= server.limits.pairs).map((one) => (
                  <option key={one} value={String(one)}>
                    {one}
                  </option>
                ))}
              </select>
            </label>
          </>
        )}
        {isBusy ? (
          <button type="button" onClick={onStop}>
            {texts.stop}
          </button>
        ) : (
          <button type="submit" class="primary" disabled={!isReady}>
            {texts.find}
          </button>
        )}
      </div>
      {source === "rows" && split !== "train" && <p class="soft small">{texts.heldOut}</p>}
      {source === "text" && (
        <div class="source-text">
          <label>
            <span>{texts.text}</span>
            <textarea
              rows={6}
              value={text}
              maxLength={server.limits.textCharacters}
              placeholder={texts.textPlaceholder}
              spellcheck={false}
              onInput={(event) => setText(event.currentTarget.value)}
            />
          </label>
          <label>
            <span>{texts.names}</span>
            <textarea
              rows={6}
              value={names}
              aria-describedby="review-names"
              spellcheck={false}
              onInput={(event) => setNames(event.currentTarget.value)}
            />
          </label>
          {run.findsMentions && (
            <label class="check">
              <input type="checkbox" checked={finds} onChange={(event) => setFinds(event.currentTarget.checked)} />
              <span>{texts.findEntities}</span>
            </label>
          )}
          <p class="soft small" id="review-names">
            {texts.namesHelp}
          </p>
        </div>
      )}
      {source === "file" && (
        <div class="source-file">
          <label>
            <span>{texts.file}</span>
            <input
              type="file"
              accept=".jsonl,.json,.ndjson"
              onChange={async (event) => {
                const [own] = event.currentTarget.files ?? [];
                if (!own) return setFile(null);
                setFile(rowsOfFile(await own.slice(0, MOST_FILE_BYTES).text(), server.limits.pairs));
              }}
            />
          </label>
          {file && (
            <p class="soft small" role="status">
              {texts.fileRead(file.examples.length, file.bad, file.left)}
            </p>
          )}
        </div>
      )}
    </form>
  );
}
