import type { ExtractTexts } from "./texts.ts";

interface PagerProps {
  /** From 0. */
  page: number;
  pages: number;
  texts: ExtractTexts;
  onPage(page: number): void;
}

export function Pager({ page, pages, texts, onPage }: PagerProps) {
  if (pages < 2) return null;
  return (
    <div class="pager">
      <button type="button" disabled={page === 0} onClick={() => onPage(page - 1)}>
        {texts.previous}
      </button>
      <span class="number">{texts.page(page + 1, pages)}</span>
      <button type="button" disabled={page >= pages - 1} onClick={() => onPage(page + 1)}>
        {texts.next}
      </button>
    </div>
  );
}
