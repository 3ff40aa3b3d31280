import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import type { ServerInfo } from "../../server-info.ts";
import { DatasetsView } from "../datasets/datasets-view.tsx";
import { ExtractView } from "../extract/extract-view.tsx";
import { ReviewView } from "../review/review-view.tsx";
import { RunsView } from "../runs/runs-view.tsx";
import { createApi } from "./api.ts";
import { Header } from "./header.tsx";
import { Page, type PageContext } from "./page-context.ts";
import type { Preferences } from "./preferences.ts";
import { ProblemNote } from "./problem-note.tsx";
import { routeOf } from "./router.ts";
import { SHELL_TEXTS } from "./texts.ts";
import { TokenForm } from "./token-form.tsx";

/** The page: it connects, asks for a token where the server wants one, and shows a view. */
export function App({ preferences }: { preferences: Preferences }) {
  const [language, setLanguage] = useState(preferences.language());
  const [theme, setTheme] = useState(preferences.theme());
  const [route, setRoute] = useState(routeOf(location.hash));
  const [server, setServer] = useState<ServerInfo | null>(null);
  const [runName, setRunName] = useState<string | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [wantsToken, setWantsToken] = useState(false);
  const texts = SHELL_TEXTS[language];

  const api = useMemo(
    () => createApi({ token: preferences.token, onUnauthorized: () => setWantsToken(true) }),
    [preferences],
  );
  const reload = useCallback(async () => {
    try {
      setServer(await api.get<ServerInfo>("v1/runs"));
      setError(null);
      setWantsToken(false);
    } catch (problem) {
      setError(problem);
    }
  }, [api]);

  useEffect(() => {
    void reload();
  }, [reload]);
  useEffect(() => {
    const follow = () => setRoute(routeOf(location.hash));
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  useEffect(() => {
    const { documentElement: root } = document;
    root.lang = language === "zh" ? "zh-CN" : "en";
    root.dataset.theme = theme;
    document.title = `${texts.views[route.view]} · ${texts.title}`;
  }, [language, theme, route.view, texts]);

  const run = server?.runs.find(({ name }) => name === runName) ?? server?.runs[0] ?? null;
  const page = useMemo<PageContext | null>(
    () => (server && run ? { api, language, server, run, setRun: setRunName, reload } : null),
    [api, language, server, run, reload],
  );
  const header = (
    <Header
      view={route.view}
      texts={texts}
      language={language}
      theme={theme}
      onLanguage={(next) => {
        preferences.setLanguage(next);
        setLanguage(next);
      }}
      onTheme={(next) => {
        preferences.setTheme(next);
        setTheme(next);
      }}
      runs={server?.runs.map(({ name }) => name) ?? []}
      run={run?.name ?? null}
      onRun={setRunName}
      onForgetToken={
        preferences.token() === null
          ? null
          : () => {
              preferences.setToken(null);
              setServer(null);
              void reload();
            }
      }
    />
  );
  if (wantsToken) {
    return (
      <>
        {header}
        <TokenForm
          texts={texts}
          wasRefused={preferences.token() !== null}
          onToken={(token) => {
            preferences.setToken(token);
            void reload();
          }}
        />
      </>
    );
  }
  if (page === null) {
    return (
      <>
        {header}
        <main id="main" class="waiting">
          {error === null ? (
            <p class="soft">{texts.connecting}</p>
          ) : (
            <ProblemNote error={error} texts={texts} onRetry={reload} />
          )}
        </main>
      </>
    );
  }
  return (
    <Page.Provider value={page}>
      {header}
      <main id="main" tabIndex={-1}>
        {/* The view stays while another one is looked at: its text and its results are not lost. */}
        <div hidden={route.view !== "extract"}>
          <ExtractView isShown={route.view === "extract"} />
        </div>
        {route.view === "review" && <ReviewView rest={route.rest} />}
        {route.view === "runs" && <RunsView rest={route.rest} />}
        {route.view === "datasets" && <DatasetsView />}
      </main>
    </Page.Provider>
  );
}
