import type { PageTriple } from "../extract/page-triple.ts";

export interface GraphViewProps {
  /** The relations that the filters let through. */
  triples: readonly PageTriple[];
  /** Key of the relation that is selected in another part of the view. */
  selected: string | null;
  onSelect(triple: PageTriple): void;
}

/** The entities and relations as a drawing. */
export function GraphView({ triples }: GraphViewProps) {
  return <p>{triples.length}</p>;
}
