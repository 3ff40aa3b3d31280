import { ApiProblem } from "./api.ts";
import type { ShellTexts } from "./texts.ts";

/** What went wrong, in the words of the server. */
export function ProblemNote({ error, texts, onRetry }: { error: unknown; texts: ShellTexts; onRetry?: () => void }) {
  const problem = error instanceof ApiProblem ? error : null;
  const text = problem?.code === "unreachable" ? texts.unreachable : String((error as Error)?.message || error);
  return (
    <div class="problem" role="alert">
      <p>{text}</p>
      {problem?.hint && <p class="problem-hint">{problem.hint}</p>}
      {onRetry && (
        <button type="button" onClick={onRetry}>
          {texts.retry}
        </button>
      )}
    </div>
  );
}

/** How to start the server so that it keeps corrections. */
export function WorkNote({ texts }: { texts: ShellTexts }) {
  return (
    <div class="note">
      <p>{texts.noWork}</p>
      <pre>
        <code>cre serve RUN --work review/</code>
      </pre>
    </div>
  );
}
