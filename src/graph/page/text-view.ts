/// <reference lib="dom" />
import type { PageData, PageText } from "./data.ts";
import type { Words } from "./words.ts";

export interface TextView {
  element: HTMLElement;
  /** Shows relations of these types from this probability. */
  show(isShown: (relation: string, probability: number) => boolean): void;
  /** Opens a document; false when the page does not have it. */
  open(id: string): boolean;
}

export interface TextContext {
  data: PageData;
  words: () => Words;
  colour: (type: string | null) => string;
}

/** The texts with mentions and relations drawn in them. It runs inside of the page: it must not use anything outside of itself. */
export function textView({ data, words, colour }: TextContext): TextView {
  /** Arcs of more relations would hide the text. */
  const MOST_ARCS = 6;
  type Fact = PageText["triples"][number];
  const make = <K extends keyof HTMLElementTagNameMap>(name: K, className: string, ...content: (Node | string)[]) => {
    const element = document.createElement(name);
    if (className !== "") element.className = className;
    element.append(...content);
    return element;
  };
  const element = make("div", "texts");
  const index = make("div", "card index");
  const choice = make("select", "");
  const body = make("article", "card text");
  const side = make("div", "", index, choice);
  element.append(side, body);
  index.after(choice);
  let isShown: (relation: string, probability: number) => boolean = () => true;
  let current = 0;

  const list = () => {
    const counts = data.texts.map(
      ({ triples }) => triples.filter((one) => isShown(one.relation, one.probability)).length,
    );
    index.replaceChildren(
      ...data.texts.map(({ id }, i) => {
        const button = make("button", "", make("span", "", id), make("i", "", String(counts[i])));
        button.type = "button";
        button.setAttribute("aria-current", String(i === current));
        button.addEventListener("click", () => go(i));
        return button;
      }),
    );
    choice.replaceChildren(
      ...data.texts.map(({ id }, i) => {
        const option = make("option", "", `${id} (${counts[i]})`);
        option.value = String(i);
        option.selected = i === current;
        return option;
      }),
    );
  };
  choice.addEventListener("change", () => go(Number(choice.value)));

  /** The text of [start, end) with its mentions marked; marks are kept by their place. */
  const marked = (text: PageText, start: number, end: number, marks: Map<string, HTMLElement>): (Node | string)[] => {
    const parts: (Node | string)[] = [];
    let at = start;
    for (const [from, to, type, name] of text.mentions) {
      if (from < at || to > end) continue;
      parts.push(text.text.slice(at, from));
      const mark = make("mark", "", text.text.slice(from, to));
      mark.style.setProperty("--c", colour(type));
      mark.title = type === null ? name : `${name} · ${type}`;
      marks.set(`${from}`, mark);
      parts.push(mark);
      at = to;
    }
    parts.push(text.text.slice(at, end));
    return parts;
  };

  const arcs: (() => void)[] = [];
  const drawArcs = (paragraph: HTMLElement, facts: readonly Fact[], marks: Map<string, HTMLElement>) => {
    const svgElement = (name: string, attributes: Record<string, string | number>, parent: Element) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
      parent.append(made);
      return made;
    };
    const svg = svgElement("svg", { class: "arcs", "aria-hidden": "true" }, paragraph);
    arcs.push(() => {
      svg.replaceChildren();
      const box = paragraph.getBoundingClientRect();
      const labels: { x: number; y: number }[] = [];
      for (const { head, tail, relation } of facts) {
        const [from, to] = [marks.get(`${head[0]}`), marks.get(`${tail[0]}`)];
        if (!from || !to) continue;
        const [a, b] = [from.getClientRects()[0], to.getClientRects()[0]];
        if (!a || !b) continue;
        const [x1, y1, x2, y2] = [
          a.left + a.width / 2 - box.left,
          a.top - box.top,
          b.left + b.width / 2 - box.left,
          b.top - box.top,
        ];
        const isOneLine = Math.abs(y1 - y2) < 4;
        const lift = isOneLine ? Math.min(19, 9 + Math.abs(x2 - x1) / 14) : 17;
        const [cx, cy] = [(x1 + x2) / 2, Math.min(y1, y2) - lift];
        const path = isOneLine
          ? `M${x1} ${y1}C${x1} ${cy} ${x2} ${cy} ${x2} ${y2 - 3}`
          : `M${x1} ${y1}C${x1} ${y1 - lift} ${x2} ${y2 - lift} ${x2} ${y2 - 3}`;
        svgElement("path", { d: path }, svg);
        svgElement("path", { class: "tip", d: `M${x2} ${y2}l-3.5 -6h7Z` }, svg);
        // Labels of neighbours go side by side.
        let x = isOneLine ? cx : x1;
        const y = isOneLine ? y1 - lift * 0.75 - 1 : y1 - lift * 0.6;
        while (labels.some((other) => Math.abs(other.x - x) < 34 && Math.abs(other.y - y) < 12)) x += 36;
        labels.push({ x, y });
        svgElement("text", { x, y }, svg).textContent = relation;
      }
    });
  };

  const factLine = (text: PageText, fact: Fact, marks: Map<string, HTMLElement>) => {
    const cut = ([start, end]: [number, number]) => text.text.slice(start, end);
    const probability = make("i", "", fact.probability.toFixed(2));
    const line = make(
      "span",
      "fact",
      `${cut(fact.head)} → `,
      make("b", "", fact.relation),
      ` → ${cut(fact.tail)}`,
      probability,
    );
    const light = (isOn: boolean) => {
      for (const [start] of [fact.head, fact.tail]) marks.get(`${start}`)?.classList.toggle("on", isOn);
    };
    line.addEventListener("pointerenter", () => light(true));
    line.addEventListener("pointerleave", () => light(false));
    return line;
  };

  const draw = () => {
    arcs.length = 0;
    const text = data.texts[current];
    if (!text) return body.replaceChildren(make("p", "soft", words().noTexts));
    const content: Node[] = [make("h2", "", text.id)];
    const shown = text.triples.filter(({ relation, probability }) => isShown(relation, probability));
    for (let start = 0; start <= text.text.length; ) {
      const next = text.text.indexOf("\n", start);
      const end = next < 0 ? text.text.length : next;
      const marks = new Map<string, HTMLElement>();
      const own = shown.filter(({ head }) => head[0] >= start && head[0] < end);
      if (end > start) {
        const paragraph = make("p", "", ...marked(text, start, end, marks));
        content.push(paragraph);
        if (own.length > 0 && own.length <= MOST_ARCS) {
          paragraph.classList.add("drawn");
          drawArcs(paragraph, own, marks);
        }
      }
      if (own.length > 0) content.push(make("div", "found", ...own.map((fact) => factLine(text, fact, marks))));
      start = end + 1;
    }
    if (text.isCut) content.push(make("p", "soft", words().cutText));
    body.replaceChildren(...content);
    for (const arc of arcs) arc();
  };
  const go = (i: number) => {
    current = i;
    list();
    draw();
  };
  new ResizeObserver(() => {
    for (const arc of arcs) arc();
  }).observe(body);
  return {
    element,
    show(filter) {
      isShown = filter;
      side.hidden = data.texts.length === 0;
      list();
      draw();
    },
    open(id) {
      const i = data.texts.findIndex((text) => text.id === id);
      if (i >= 0) go(i);
      return i >= 0;
    },
  };
}
