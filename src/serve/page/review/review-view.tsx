/** `rest` are the parts of the address after the view. */
export function ReviewView({ rest }: { rest: readonly string[] }) {
  return <p>{rest.join("/")}</p>;
}
