/** `rest` are the parts of the address after the view. */
export function RunsView({ rest }: { rest: readonly string[] }) {
  return <p>{rest.join("/")}</p>;
}
