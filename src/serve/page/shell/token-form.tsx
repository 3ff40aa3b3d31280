import { useEffect, useRef } from "preact/hooks";
import type { ShellTexts } from "./texts.ts";

interface TokenFormProps {
  texts: ShellTexts;
  wasRefused: boolean;
  onToken(token: string): void;
}

export function TokenForm({ texts, wasRefused, onToken }: TokenFormProps) {
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  return (
    <main id="main" class="waiting">
      <form
        class="token"
        onSubmit={(event) => {
          event.preventDefault();
          const token = field.current?.value.trim() ?? "";
          if (token !== "") onToken(token);
        }}
      >
        <h1>{texts.tokenTitle}</h1>
        <p class="soft" id="token-help">
          {texts.tokenHelp}
        </p>
        <label for="token">{texts.token}</label>
        <div class="token-row">
          <input
            id="token"
            ref={field}
            type="password"
            autocomplete="off"
            aria-describedby={wasRefused ? "token-help token-unknown" : "token-help"}
            aria-invalid={wasRefused}
          />
          <button type="submit" class="primary">
            {texts.enter}
          </button>
        </div>
        {wasRefused && (
          <p class="bad" id="token-unknown" role="alert">
            {texts.tokenUnknown}
          </p>
        )}
      </form>
    </main>
  );
}
