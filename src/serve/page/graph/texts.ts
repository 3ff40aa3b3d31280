import type { Language } from "../shell/preferences.ts";

const zh = {
  label: "关系图",
  help: "方向键移动，加减号缩放，0 键显示全部；J 和 K 逐条选择关系，回车查看出处。",
  counts: (nodes: number, edges: number) => `${nodes} 个实体，${edges} 条关系`,
  hidden: (nodes: number, edges: number) => `实体过多，只画出关系最多的；另有 ${nodes} 个实体、${edges} 条关系未画出。`,
  zoomIn: "放大",
  zoomOut: "缩小",
  fit: "显示全部",
  empty: "没有可画的关系。",
  edge: (head: string, label: string, tail: string, evidence: number) =>
    `${head}，${label}，${tail}；出处 ${evidence} 处`,
  keys: "点一条关系查看出处；拖动移动，滚轮在点过图之后缩放。",
};

export type GraphTexts = typeof zh;

const en: GraphTexts = {
  label: "Graph of relations",
  help: "Arrow keys move, plus and minus zoom, 0 shows all; J and K step through relations, Enter shows the evidence.",
  counts: (nodes, edges) =>
    `${nodes} ${nodes === 1 ? "entity" : "entities"}, ${edges} ${edges === 1 ? "relation" : "relations"}`,
  hidden: (nodes, edges) =>
    `Only the entities with the most relations are drawn; ${nodes} entities and ${edges} relations are left out.`,
  zoomIn: "Zoom in",
  zoomOut: "Zoom out",
  fit: "Show all",
  empty: "There are no relations to draw.",
  edge: (head, label, tail, evidence) =>
    `${head}, ${label}, ${tail}; ${evidence} ${evidence === 1 ? "place" : "places"}`,
  keys: "Click a relation for its evidence; drag to move, and the wheel zooms once the graph was clicked.",
};

export const GRAPH_TEXTS: Readonly<Record<Language, GraphTexts>> = { zh, en };
