import type { Language, Theme } from "./preferences.ts";
import { hashOf, VIEWS, type View } from "./router.ts";
import type { ShellTexts } from "./texts.ts";

interface HeaderProps {
  view: View;
  texts: ShellTexts;
  language: Language;
  theme: Theme;
  onLanguage(language: Language): void;
  onTheme(theme: Theme): void;
  runs: readonly string[];
  run: string | null;
  onRun(name: string): void;
  /** Null where no token was needed. */
  onForgetToken: (() => void) | null;
}

const THEMES: readonly Theme[] = ["system", "light", "dark"];

export function Header(props: HeaderProps) {
  const { view, texts, language, theme, runs, run } = props;
  return (
    <header class="top">
      <button type="button" class="skip" onClick={() => document.getElementById("main")?.focus()}>
        {texts.skip}
      </button>
      <span class="brand">cre-llm</span>
      <nav aria-label={texts.navigation}>
        {VIEWS.map((one) => (
          <a key={one} href={hashOf(one)} aria-current={one === view ? "page" : undefined}>
            {texts.views[one]}
          </a>
        ))}
      </nav>
      {runs.length > 1 && run !== null && (
        <select
          class="top-run"
          aria-label={texts.run}
          value={run}
          onChange={(event) => props.onRun(event.currentTarget.value)}
        >
          {runs.map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      )}
      <div class="top-tools">
        {props.onForgetToken && (
          <button type="button" class="quiet" onClick={props.onForgetToken}>
            {texts.forgetToken}
          </button>
        )}
        <a class="quiet" href="./docs">
          {texts.api}
        </a>
        <select
          aria-label={texts.themeLabel}
          class="quiet"
          value={theme}
          onChange={(event) => props.onTheme(event.currentTarget.value as Theme)}
        >
          {THEMES.map((one) => (
            <option key={one} value={one}>
              {texts.theme[one]}
            </option>
          ))}
        </select>
        <button
          type="button"
          class="quiet"
          lang={language === "zh" ? "en" : "zh-CN"}
          title={texts.languageLabel}
          onClick={() => props.onLanguage(language === "zh" ? "en" : "zh")}
        >
          {language === "zh" ? "English" : "中文"}
        </button>
      </div>
    </header>
  );
}
