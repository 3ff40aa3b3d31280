export function DatasetsView() {
  return <p />;
}
