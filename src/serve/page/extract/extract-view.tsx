/** Text or a document in, relations out. */
export function ExtractView({ isShown }: { isShown: boolean }) {
  return <p>{String(isShown)}</p>;
}
