import { render } from "preact";
import { App } from "./shell/app.tsx";
import { openPreferences } from "./shell/preferences.ts";

const preferences = openPreferences(
  () => localStorage,
  () => sessionStorage,
  navigator.languages,
);
render(<App preferences={preferences} />, document.getElementById("page") as HTMLElement);
