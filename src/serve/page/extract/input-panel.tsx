import { useEffect, useRef, useState } from "preact/hooks";
import { DENSE_EXAMPLE, EXAMPLES, type ExampleText } from "../demo-texts.ts";
import { usePage, useTexts } from "../shell/page-context.ts";
import { namesOf, withName } from "./given-names.ts";
import { EXTRACT_TEXTS } from "./texts.ts";
import type { ExtractionInput } from "./use-extraction.ts";

/** What the user has typed or chosen. */
export interface Draft {
  text: string;
  names: string;
  file: File | null;
  find: boolean;
}

interface InputPanelProps {
  draft: Draft;
  onDraft(draft: Draft): void;
  onStart(input: ExtractionInput): void;
  /** Null before the first results. */
  onBack: (() => void) | null;
}

/** Labels of the demonstration run, whose examples are offered for it. */
const DEMO_LABELS = ["收购", "创办", "创作", "位于"];
const MOST_ABSENT = 6;
const MAX_MARK = 40;

export function InputPanel({ draft, onDraft, onStart, onBack }: InputPanelProps) {
  const texts = useTexts(EXTRACT_TEXTS);
  const { run, server, language } = usePage();
  const [isOver, setOver] = useState(false);
  const area = useRef<HTMLTextAreaElement>(null);
  const chooser = useRef<HTMLInputElement>(null);
  const marked = useMarked(area.current, draft.text);
  const { text, names, file, find } = draft;
  const { limits } = server;
  const number = new Intl.NumberFormat(language);
  const given = namesOf(names);
  const finds = find && run.findsMentions;
  const hasEntities = given.length > 0 || finds || server.hasEntities;
  const isTooLong = file === null && text.length > limits.textCharacters;
  const isReady = (file !== null || text.trim() !== "") && hasEntities && !isTooLong;
  const absent =
    file === null && text.length < 20_000
      ? given.filter(({ name, aliases = [] }) => ![name, ...aliases].some((form) => text.includes(form)))
      : [];
  const examples = DEMO_LABELS.every((label) => run.labels.labels.includes(label)) ? [...EXAMPLES, DENSE_EXAMPLE] : [];
  const useExample = ({ text, names }: ExampleText) => onDraft({ ...draft, text, names: names.join("\n"), file: null });
  const start = () => {
    if (isReady) onStart({ text, file, names: given, find: finds });
  };
  return (
    <form
      class={isOver ? "input is-over" : "input"}
      onSubmit={(event) => {
        event.preventDefault();
        start();
      }}
      onKeyDown={(event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start();
      }}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={(event) => {
        if (!event.currentTarget.contains(event.relatedTarget as Node | null)) setOver(false);
      }}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        const [dropped] = event.dataTransfer?.files ?? [];
        if (dropped) onDraft({ ...draft, file: dropped });
      }}
    >
      <div class="input-head">
        <h1>{texts.heading}</h1>
        {examples.length > 0 && (
          <p class="examples">
            <span class="soft">{texts.examples}</span>
            {examples.map((example) => (
              <button key={example.title.en} type="button" class="link" onClick={() => useExample(example)}>
                {example.title[language]}
              </button>
            ))}
          </p>
        )}
      </div>
      <div class="input-text">
        <div class="field-head">
          <label for="text">{texts.text}</label>
          {file === null && text !== "" && (
            <span class={isTooLong ? "bad number" : "soft number"}>{texts.characters(number.format(text.length))}</span>
          )}
        </div>
        {file === null ? (
          <textarea
            id="text"
            ref={area}
            lang="zh-CN"
            spellcheck={false}
            placeholder={isOver ? texts.drop : texts.textPlaceholder}
            value={text}
            onInput={(event) => onDraft({ ...draft, text: event.currentTarget.value })}
          />
        ) : (
          <div class="file">
            <p class="file-name">{file.name}</p>
            <p class="soft number">{number.format(Math.ceil(file.size / 1024))} KB</p>
            <button type="button" class="link" onClick={() => onDraft({ ...draft, file: null })}>
              {texts.removeFile}
            </button>
          </div>
        )}
        <div class="field-foot">
          <input
            ref={chooser}
            type="file"
            hidden
            onChange={(event) => {
              const [chosen] = event.currentTarget.files ?? [];
              if (chosen) onDraft({ ...draft, file: chosen });
              event.currentTarget.value = "";
            }}
          />
          <button type="button" class="link" onClick={() => chooser.current?.click()}>
            {texts.chooseFile}
          </button>
          <span class="soft">{texts.fileHelp(Math.floor(limits.fileBytes / 2 ** 20))}</span>
        </div>
        {isTooLong && <p class="bad small">{texts.tooLong(number.format(limits.textCharacters))}</p>}
      </div>
      <div class="input-names">
        <div class="field-head">
          <label for="names">{texts.names}</label>
          {given.length > 0 && <span class="soft number">{texts.nameCount(given.length)}</span>}
        </div>
        <textarea
          id="names"
          lang="zh-CN"
          spellcheck={false}
          aria-describedby="names-help"
          placeholder={texts.namesPlaceholder}
          value={names}
          onInput={(event) => onDraft({ ...draft, names: event.currentTarget.value })}
        />
        <p class="soft small" id="names-help">
          {texts.namesHelp}
          {server.hasEntities && given.length === 0 && ` ${texts.serverNames}`}
        </p>
        {file === null && (
          <button
            type="button"
            class="mark-name"
            disabled={marked === ""}
            onMouseDown={(event) => event.preventDefault()}
            onClick={() => onDraft({ ...draft, names: withName(names, marked) })}
          >
            {marked === "" ? texts.markHint : texts.mark(marked)}
          </button>
        )}
        {absent.length > 0 && (
          <p class="soft small">
            {texts.absent(
              absent
                .slice(0, MOST_ABSENT)
                .map(({ name }) => name)
                .join("、") + (absent.length > MOST_ABSENT ? "……" : ""),
            )}
          </p>
        )}
        {run.findsMentions && (
          <label class="check">
            <input
              type="checkbox"
              checked={find}
              onChange={(event) => onDraft({ ...draft, find: event.currentTarget.checked })}
            />
            <span>{texts.find}</span>
          </label>
        )}
      </div>
      <div class="input-actions">
        <button type="submit" class="primary" disabled={!isReady}>
          {texts.start}
        </button>
        {onBack && (
          <button type="button" onClick={onBack}>
            {texts.back}
          </button>
        )}
        {file === null && text.trim() === "" && <span class="soft small">{texts.needText}</span>}
        {!hasEntities && (file !== null || text.trim() !== "") && <span class="soft small">{texts.needNames}</span>}
      </div>
    </form>
  );
}

/** What is selected in the text field, for the button that makes a name of it. */
function useMarked(area: HTMLTextAreaElement | null, text: string): string {
  const [range, setRange] = useState<[number, number]>([0, 0]);
  useEffect(() => {
    if (area === null) return;
    const read = () => {
      if (document.activeElement === area) setRange([area.selectionStart, area.selectionEnd]);
    };
    document.addEventListener("selectionchange", read);
    area.addEventListener("select", read);
    return () => {
      document.removeEventListener("selectionchange", read);
      area.removeEventListener("select", read);
    };
  }, [area]);
  const marked = text.slice(...range).trim();
  return marked.length > MAX_MARK || marked.includes("\n") ? "" : marked;
}
