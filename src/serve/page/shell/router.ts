export const VIEWS = ["extract", "review", "runs", "datasets"] as const;
export type View = (typeof VIEWS)[number];

/** What the part of the address after # says: a view, and what it shows. */
export interface Route {
  view: View;
  /** The parts after the view: "#/runs/demo" has ["demo"]. */
  rest: string[];
}

export function routeOf(hash: string): Route {
  const [view, ...rest] = hash
    .replace(/^#\/?/, "")
    .split("/")
    .filter((part) => part !== "")
    .map(decoded);
  return VIEWS.includes(view as View) ? { view: view as View, rest } : { view: "extract", rest: [] };
}

export const hashOf = (view: View, ...rest: string[]) => `#/${[view, ...rest].map(encodeURIComponent).join("/")}`;

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
