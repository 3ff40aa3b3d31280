import type { RunInfo } from "../../server-info.ts";
import { usePage, useTexts } from "./page-context.ts";
import { SHELL_TEXTS } from "./texts.ts";

/** How labels are called on the page: that of pairs without a relation has a name in the language of the page. */
export function useLabelName(of?: Pick<RunInfo, "labels">): (label: string) => string {
  const { run } = usePage();
  const { noRelation } = useTexts(SHELL_TEXTS);
  const { labels } = of ?? run;
  return (label) => (label === labels.noRelation ? noRelation : label);
}
