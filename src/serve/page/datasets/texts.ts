import type { Language } from "../shell/preferences.ts";

const zh = {
  heading: "训练数据",
  counting: "正在统计……",
  splits: { train: "训练集", valid: "验证集", test: "测试集" } as Record<string, string>,
  split: "划分",
  rows: "条数",
  sentences: "句子",
  noRelation: "无关系",
  several: "多关系",
  bad: "不能用",
  mean: "平均字数",
  median: "中位数",
  p95: "95% 分位",
  longest: "最长",
  labels: "各关系的条数",
  lengths: "句长分布",
  lengthsOf: (split: string) => `${split}句长`,
  lengthsAre: (split: string, median: number, longest: number) =>
    `${split}的句长分布：中位数 ${median} 字，最长 ${longest} 字`,
  characters: "字",
  examples: "数据示例",
  allLabels: "全部关系",
  label: "关系",
  place: (from: number, to: number, total: number) => `第 ${from}–${to} 条，共 ${total} 条`,
  none: "没有这样的数据。",
  previous: "上一页",
  next: "下一页",
  labelled: "校对集",
  labelledRows: (rows: number) => `${rows} 条`,
  noData: "这个模型没有记下训练数据的位置，或数据已经不在原处。",
};

export type DatasetsTexts = typeof zh;

const en: DatasetsTexts = {
  heading: "Training data",
  counting: "Counting …",
  splits: { train: "Training", valid: "Validation", test: "Test" },
  split: "Split",
  rows: "Rows",
  sentences: "Sentences",
  noRelation: "No relation",
  several: "Several",
  bad: "Unusable",
  mean: "Mean length",
  median: "Median",
  p95: "95th percentile",
  longest: "Longest",
  labels: "Rows by relation",
  lengths: "Sentence lengths",
  lengthsOf: (split) => `${split}: lengths`,
  lengthsAre: (split, median, longest) =>
    `Lengths of the sentences, ${split}: median ${median} characters, longest ${longest}`,
  characters: "characters",
  examples: "Rows",
  allLabels: "All relations",
  label: "Relation",
  place: (from, to, total) => `${from}–${to} of ${total}`,
  none: "There are no such rows.",
  previous: "Previous",
  next: "Next",
  labelled: "Labelled set",
  labelledRows: (rows) => `${rows} ${rows === 1 ? "row" : "rows"}`,
  noData: "The run does not know where its data is, or it is there no more.",
};

export const DATASETS_TEXTS: Readonly<Record<Language, DatasetsTexts>> = { zh, en };
