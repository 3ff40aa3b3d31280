import { usePage, useTexts } from "../shell/page-context.ts";
import { WorkNote } from "../shell/problem-note.tsx";
import { hashOf } from "../shell/router.ts";
import { SHELL_TEXTS } from "../shell/texts.ts";
import { LabelledView } from "./labelled-view.tsx";
import { QueueView } from "./queue-view.tsx";
import { RetrainView } from "./retrain-view.tsx";
import { REVIEW_TEXTS } from "./texts.ts";

const SECTIONS = ["queue", "labelled", "retrain"] as const;
type Section = (typeof SECTIONS)[number];

/** Judging what the model is least sure of, the labelled set, and retraining. `rest` are the parts of the address after the view. */
export function ReviewView({ rest }: { rest: readonly string[] }) {
  const { server } = usePage();
  const texts = useTexts(REVIEW_TEXTS);
  const shell = useTexts(SHELL_TEXTS);
  const section: Section = SECTIONS.find((one) => one === rest[0]) ?? "queue";
  return (
    <div class="review">
      <h1 class="only-read">{shell.views.review}</h1>
      <nav class="sections" aria-label={texts.sectionsLabel}>
        {SECTIONS.map((one) => (
          <a key={one} href={hashOf("review", one)} aria-current={one === section ? "page" : undefined}>
            {texts.sections[one]}
          </a>
        ))}
      </nav>
      {section === "queue" && <QueueView />}
      {section !== "queue" && !server.keepsLabelled && <WorkNote texts={shell} />}
      {section === "labelled" && server.keepsLabelled && <LabelledView />}
      {section === "retrain" && server.keepsLabelled && <RetrainView id={rest[1] ?? null} />}
    </div>
  );
}
