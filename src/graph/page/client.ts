/// <reference lib="dom" />
import type { PageData, PageEdge } from "./data.ts";
import type { graphView } from "./graph-view.ts";
import type { layout } from "./layout.ts";
import type { textView } from "./text-view.ts";
import type { WORDS, Words } from "./words.ts";

export interface ClientParts {
  words: typeof WORDS;
  layout: typeof layout;
  graphView: typeof graphView;
  textView: typeof textView;
}

/** The program of the page: filters, three views, details. It runs inside of the page: it must not use anything outside of itself. */
export function client(data: PageData, parts: ClientParts): void {
  const ROWS = 200;
  let language: "zh" | "en" = /^zh/i.test(navigator.language) ? "zh" : "en";
  const words = (): Words => parts.words[language];
  const filled = (text: string, values: Record<string, number>) =>
    text.replace(/\{(\w+)\}/g, (_, name: string) => values[name].toLocaleString());
  const make = <K extends keyof HTMLElementTagNameMap>(name: K, className: string, ...content: (Node | string)[]) => {
    const element = document.createElement(name);
    if (className !== "") element.className = className;
    element.append(...content);
    return element;
  };
  const press = (className: string, text: string, work: () => void) => {
    const button = make("button", className, text);
    button.type = "button";
    button.addEventListener("click", work);
    return button;
  };

  const types = [...new Set(data.nodes.map(({ type }) => type).filter((type) => type !== null))];
  // The most frequent types have colours of their own.
  const ofType = (type: string) => data.nodes.filter((node) => node.type === type).length;
  types.sort((a, b) => ofType(b) - ofType(a));
  const colour = (type: string | null) => {
    const i = type === null ? -1 : types.indexOf(type);
    return `var(--c${i < 0 || i > 6 ? 7 : i})`;
  };
  const relations = new Map<string, number>();
  for (const { relation } of data.edges) relations.set(relation, (relations.get(relation) ?? 0) + 1);
  const names = [...relations.keys()].sort((a, b) => (relations.get(b) ?? 0) - (relations.get(a) ?? 0));
  const state = { on: new Set(names), least: 0, query: "", tab: "graph", rows: ROWS };
  const name = (node: number) => data.nodes[node].name;
  const isShown = (relation: string, probability: number) => state.on.has(relation) && probability >= state.least;
  const matches = (node: number) => {
    const { id, names: own } = data.nodes[node];
    return [name(node), id, ...own].some((text) => text.toLowerCase().includes(state.query));
  };
  const shownEdges = () =>
    data.edges.filter(
      ({ relation, probability, head, tail }) =>
        isShown(relation, probability) && (state.query === "" || matches(head) || matches(tail)),
    );

  const placesOf = ({ places }: PageEdge) =>
    `${places.toLocaleString()} ${places === 1 ? words().place : words().places}`;
  const root = document.querySelector("main") as HTMLElement;

  const build = () => {
    const w = words();
    document.title = w.title;
    document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
    const fact = (count: number, word: string) => make("span", "", make("b", "", count.toLocaleString()), ` ${word}`);
    const facts = make("span", "facts");
    const counts: [number, string][] = [
      [data.documents, w.documents],
      [data.totals.nodes, w.nodes],
      [data.totals.edges, w.edges],
      [data.totals.triples, w.triples],
    ];
    for (const [i, [count, word]] of counts.entries()) facts.append(i === 0 ? "" : " · ", fact(count, word));
    const other = press("language", w.other, () => {
      language = language === "zh" ? "en" : "zh";
      build();
    });
    const header = make("header", "", make("h1", "", w.title), facts, other);

    const search = make("input", "");
    search.type = "search";
    search.value = state.query;
    search.setAttribute("aria-label", w.search);
    search.placeholder = w.search;
    const range = make("input", "");
    Object.assign(range, { type: "range", min: "0", max: "1", step: "0.01", value: String(state.least) });
    const value = make("output", "", state.least.toFixed(2));
    const chips = make("div", "chips");
    const drawChips = () => {
      const all = names.every((relation) => state.on.has(relation));
      chips.replaceChildren(
        press("chip plain", all ? w.none : w.all, () => {
          state.on = new Set(all ? [] : names);
          drawChips();
          update();
        }),
        ...names.map((relation) => {
          const chip = press("chip", relation, () => {
            if (!state.on.delete(relation)) state.on.add(relation);
            drawChips();
            update();
          });
          chip.append(make("i", "", String(relations.get(relation))));
          chip.setAttribute("aria-pressed", String(state.on.has(relation)));
          return chip;
        }),
      );
    };
    const leastLabel = make("label", "", w.least, value, range);
    const filters = make("section", "card filters", make("div", "", search), leastLabel, chips);
    drawChips();

    const details = make("aside", "card details", make("p", "soft", w.pick));
    const graph = parts.graphView({
      data,
      words,
      place: parts.layout,
      colour,
      onNode: showNode,
      onEdge: (edges) => showEdge(edges[0], edges),
    });
    const texts = parts.textView({ data, words, colour });
    const graphNotice = make("p", "notice");
    const edgeNotice = make("p", "notice", filled(w.cutEdges, { shown: data.edges.length, all: data.totals.edges }));
    edgeNotice.hidden = data.edges.length === data.totals.edges;
    const textNotice = make("p", "notice", filled(w.cutTexts, { shown: data.texts.length, all: data.documents }));
    textNotice.hidden = data.texts.length >= data.documents;
    const body = make("tbody", "");
    const more = press("more", w.more, () => {
      state.rows += ROWS;
      drawList(shownEdges());
    });
    const headings = [w.head, w.relation, w.tail, w.probability, w.found].map((text) => make("th", "", text));
    const table = make("table", "", make("thead", "", make("tr", "", ...headings)), body);
    const none = make("p", "notice", w.empty);
    const views: Record<string, HTMLElement> = {
      graph: make("section", "", graphNotice, make("div", "split", graph.element, details)),
      text: make("section", "", textNotice, texts.element),
      list: make("section", "", make("div", "card table", table), more),
    };
    const tabs = make("nav", "");
    tabs.setAttribute("role", "tablist");
    const openTab = (tab: string) => {
      state.tab = tab;
      for (const button of tabs.children)
        button.setAttribute("aria-selected", String((button as HTMLElement).dataset.tab === tab));
      for (const [key, view] of Object.entries(views)) view.hidden = key !== tab;
      update();
    };
    for (const tab of ["graph", "text", "list"] as const) {
      const button = press("", w[tab], () => openTab(tab));
      button.dataset.tab = tab;
      button.setAttribute("role", "tab");
      tabs.append(button);
    }

    const entityLink = (node: number) =>
      press("link", name(node), () => {
        openTab("graph");
        showNode(node);
      });
    const tag = (type: string | null) => {
      const element = make("span", "tag", type ?? "");
      element.style.setProperty("--c", colour(type));
      element.hidden = type === null;
      return element;
    };
    const quote = ({ sentence, head, tail }: PageEdge["evidence"][number], edge: PageEdge) => {
      const marks = [
        { span: head, type: data.nodes[edge.head].type },
        { span: tail, type: data.nodes[edge.tail].type },
      ].sort((a, b) => a.span[0] - b.span[0]);
      const line = make("p", "quote");
      let at = 0;
      for (const { span, type } of marks) {
        if (span[0] < at) continue;
        const mark = make("mark", "", sentence.slice(...span));
        mark.style.setProperty("--c", colour(type));
        line.append(sentence.slice(at, span[0]), mark);
        at = span[1];
      }
      line.append(sentence.slice(at));
      return line;
    };
    const source = (document: string) => {
      if (!data.texts.some(({ id }) => id === document)) return make("span", "soft", document);
      return press("link soft", document, () => {
        openTab("text");
        texts.open(document);
      });
    };
    function showEdge(edge: PageEdge, all: readonly PageEdge[] = [edge]): void {
      graph.select(null, edge);
      const blocks = all.flatMap((one) => [
        make("h2", "", entityLink(one.head), ` → ${one.relation} → `, entityLink(one.tail)),
        make("p", "soft", `${words().probability} ${one.probability.toFixed(2)} · ${placesOf(one)}`),
        make(
          "ul",
          "",
          ...one.evidence.map((evidence) => make("li", "", source(evidence.document), quote(evidence, one))),
        ),
      ]);
      details.replaceChildren(...blocks);
    }
    function showNode(node: number): void {
      graph.select(node, null);
      const { type, id, mentions, names: own } = data.nodes[node];
      const others = own.filter((text) => text !== name(node));
      const about = [id === name(node) ? "" : id, ...others].filter((text) => text !== "").join(" · ");
      const rows = shownEdges()
        .filter(({ head, tail }) => head === node || tail === node)
        .map((edge) => {
          const isHead = edge.head === node;
          const more = press("link", isHead ? `${edge.relation} → ` : `← ${edge.relation} `, () => showEdge(edge));
          return make(
            "li",
            "",
            more,
            " ",
            entityLink(isHead ? edge.tail : edge.head),
            make("span", "soft", ` ${edge.probability.toFixed(2)}`),
          );
        });
      details.replaceChildren(
        make("h2", "", name(node), tag(type)),
        make("p", "soft", `${mentions.toLocaleString()} ${words().mentions}${about === "" ? "" : ` · ${about}`}`),
        make("ul", "", ...rows),
      );
    }
    const drawList = (edges: readonly PageEdge[]) => {
      more.hidden = edges.length <= state.rows;
      body.replaceChildren(
        ...edges.slice(0, state.rows).map((edge) => {
          const meter = make("span", "meter", make("i", ""));
          (meter.firstChild as HTMLElement).style.width = `${100 * edge.probability}%`;
          const [first] = edge.evidence;
          const row = make(
            "tr",
            "",
            make("td", "triple", name(edge.head), tag(data.nodes[edge.head].type)),
            make("td", "relation", edge.relation),
            make("td", "triple", name(edge.tail), tag(data.nodes[edge.tail].type)),
            make("td", "number", meter, edge.probability.toFixed(2)),
            make(
              "td",
              "sentence",
              make("span", "", first ? first.document : ""),
              ` · ${placesOf(edge)}`,
              first ? quote(first, edge) : "",
            ),
          );
          row.addEventListener("click", () => {
            openTab("graph");
            showEdge(edge);
          });
          return row;
        }),
      );
    };
    const update = () => {
      const edges = shownEdges();
      none.hidden = edges.length > 0 || state.tab === "text";
      if (state.tab === "graph") {
        const drawn = graph.show(edges);
        graphNotice.hidden = drawn.shown === drawn.all && drawn.lines === drawn.edges;
        graphNotice.textContent = filled(w.cutNodes, drawn);
      } else if (state.tab === "list") drawList(edges);
      else texts.show(isShown);
    };
    search.addEventListener("input", () => {
      state.query = search.value.trim().toLowerCase();
      update();
    });
    range.addEventListener("input", () => {
      state.least = Number(range.value);
      value.textContent = state.least.toFixed(2);
      update();
    });
    const bad = data.badDocuments > 0 ? ` · ${data.badDocuments.toLocaleString()} ${w.bad}` : "";
    const footer = make("footer", "", `${w.run} ${data.run} · ${w.least2} ${data.minProbability}${bad}`);
    root.replaceChildren(header, filters, tabs, edgeNotice, none, ...Object.values(views), footer);
    const asked = location.hash.slice(1);
    openTab(asked in views && state.tab === "graph" ? asked : state.tab);
  };
  build();
}
