export type Language = "zh" | "en";
/** "system" follows the system's setting. */
export type Theme = "system" | "light" | "dark";

/** What a browser keeps for a page; it throws where the user has forbidden it. */
type Kept = Pick<Storage, "getItem" | "setItem" | "removeItem">;

const LANGUAGE = "cre.language";
const THEME = "cre.theme";
const TOKEN = "cre.token";

export interface Preferences {
  language(): Language;
  theme(): Theme;
  /** Kept until the tab is closed. */
  token(): string | null;
  setLanguage(language: Language): void;
  setTheme(theme: Theme): void;
  setToken(token: string | null): void;
}

/** `local` outlives the tab, `session` does not; `languages` are the browser's, the preferred one first. */
export function openPreferences(local: () => Kept, session: () => Kept, languages: readonly string[]): Preferences {
  const read = (kept: () => Kept, key: string): string | null => {
    try {
      return kept().getItem(key);
    } catch {
      return null;
    }
  };
  const write = (kept: () => Kept, key: string, value: string | null) => {
    try {
      if (value === null) kept().removeItem(key);
      else kept().setItem(key, value);
    } catch {
      // The choice holds until the page is left.
    }
  };
  let token = read(session, TOKEN);
  return {
    language() {
      const kept = read(local, LANGUAGE);
      if (kept === "zh" || kept === "en") return kept;
      return /^zh\b/i.test(languages[0] ?? "zh") ? "zh" : "en";
    },
    theme() {
      const kept = read(local, THEME);
      return kept === "light" || kept === "dark" ? kept : "system";
    },
    token: () => token,
    setLanguage: (language) => write(local, LANGUAGE, language),
    setTheme: (theme) => write(local, THEME, theme === "system" ? null : theme),
    setToken(own) {
      token = own;
      write(session, TOKEN, own);
    },
  };
}
