import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { RunInfo, ServerInfo } from "../../server-info.ts";
import type { Api } from "./api.ts";
import type { Language } from "./preferences.ts";

/** What every view works with. */
export interface PageContext {
  api: Api;
  language: Language;
  server: ServerInfo;
  /** The run that the views ask. */
  run: RunInfo;
  setRun(name: string): void;
  /** Asks the server again for its runs, after a switch for example. */
  reload(): Promise<void>;
}

export const Page = createContext<PageContext | null>(null);

export function usePage(): PageContext {
  const page = useContext(Page);
  if (page === null) throw new Error("a view is drawn outside of the page");
  return page;
}

/** The texts of a view in the language of the page. */
export const useTexts = <T>(texts: Readonly<Record<Language, T>>): T => texts[usePage().language];
