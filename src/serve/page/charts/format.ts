import type { Language } from "../shell/preferences.ts";

/** 0.4567 → "45.7%"; a space before the sign would be English typography of another house. */
export const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;

/** 0.012 → "+1.2", in percentage points, with a true minus. */
export function points(difference: number): string {
  const text = (100 * Math.abs(difference)).toFixed(1);
  if (Number(text) === 0) return "0.0";
  return `${difference < 0 ? "−" : "+"}${text}`;
}

export const grouped = (count: number): string => count.toLocaleString("en-US");

/** "2026-11-30 21:05", in the time of the reader. */
export function dateTime(iso: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** The label of a reference of an evaluation, whose names are English. */
export function referenceName(name: string, language: Language): string {
  if (language === "en") return name;
  const [, label] = /^always (.+)$/.exec(name) ?? [];
  if (label !== undefined) return `一律答“${label}”`;
  return (
    {
      "linear floor": "线性模型",
      "model alone": "语言模型单独",
      mixed: "与线性模型混合",
      "best single label": "单标签上限",
    }[name] ?? name
  );
}
