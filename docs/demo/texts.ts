// What the page says, in Chinese and English.

import type { Language } from "../../src/serve/page/shell/preferences.ts";

const zh = {
  title: "cre-llm · 在浏览器里抽取关系",
  tagline: "在浏览器里抽取关系，文本不离开本机",
  inputTitle: "文本",
  examples: "示例：",
  textLabel: "粘贴一段中文",
  mark: (name: string) => (name === "" ? "先在文本里选中一个名称" : `把“${name}”加为名称`),
  namesLabel: "名称",
  namesPlaceholder: "公司、人物、作品、地点……",
  namesHelp: "回车加入；可一次粘贴多行；同一对象的别名用 | 隔开，如：三片叶奶茶|三片叶。虚线框的名称在文本里没有出现。",
  remove: (name: string) => `去掉“${name}”`,
  find: "抽取关系",
  resultTitle: "关系",
  leastLabel: "最低概率",
  empty: "同一句里的名称两两成对，逐对询问模型。结果会出现在这里。",
  aboutTitle: "关于这个页面",
  aboutModel:
    "底座模型约 2,700 万参数，随项目发布；LoRA 适配器在 demo/ 的 1,094 行演示数据上训练，句子里的公司、人物和作品均为虚构。它只认识下面这些关系，用来演示流程，不代表评测水平。",
  aboutPrivacy: "模型由 WebAssembly 在本机运行。页面载入之后不再发出任何网络请求，粘贴的文本不会上传，也不会保存。",
  starting: "正在准备……",
  loading: (done: string, total: string) => `正在载入模型：${done} / ${total} MB`,
  placing: "正在把权重放入内存……",
  ready: (threads: number, seconds: string) =>
    `模型已就绪，载入用了 ${seconds} 秒。WebAssembly，${threads > 0 ? `${threads} 个线程` : "单线程"}。`,
  failed: "模型无法运行：",
  noSimd: "这个浏览器的 WebAssembly 不支持 SIMD 向量指令，模型无法运行。",
  noSimdHint: "请使用较新的浏览器：Chrome 91、Firefox 89、Safari 16.4 或更高版本。",
  working: (pairs: number) => `已询问 ${pairs} 对……`,
  done: (pairs: number, milliseconds: string) => `询问了 ${pairs} 对，用时 ${milliseconds} 毫秒。`,
  noPairs: "没有可询问的名称对：同一句里至少要有两个名称。",
  none: "没有超过最低概率的关系",
  cut: (pairs: number) => `这一句的名称太多，有 ${pairs} 对没有询问`,
};

export type Texts = typeof zh;

const en: Texts = {
  title: "cre-llm · relation extraction in the browser",
  tagline: "Relation extraction in the browser; the text never leaves your machine",
  inputTitle: "Text",
  examples: "Examples:",
  textLabel: "Paste Chinese text",
  mark: (name) => (name === "" ? "Select a name in the text" : `Add “${name}” as a name`),
  namesLabel: "Names",
  namesPlaceholder: "Companies, people, works, places …",
  namesHelp:
    "Enter adds a name; several lines can be pasted. Separate other forms of a name with |, as in 三片叶奶茶|三片叶. A dashed name does not occur in the text.",
  remove: (name) => `Remove “${name}”`,
  find: "Find relations",
  resultTitle: "Relations",
  leastLabel: "Least probability",
  empty: "Every two names in a sentence are asked as a pair. The relations appear here.",
  aboutTitle: "About this page",
  aboutModel:
    "The base model has about 27 million parameters and comes with the project. Its LoRA adapter was trained on the 1,094 rows of the demonstration set in demo/, whose companies, people and works are invented. It knows only the relations below: a demonstration, not a benchmark.",
  aboutPrivacy:
    "The model runs on your machine, on WebAssembly. After loading, the page sends no request: pasted text is neither uploaded nor saved.",
  starting: "Starting …",
  loading: (done, total) => `Loading the model: ${done} of ${total} MB`,
  placing: "Placing the weights in memory …",
  ready: (threads, seconds) =>
    `The model is ready, loaded in ${seconds} s. WebAssembly, ${threads > 1 ? `${threads} threads` : "one thread"}.`,
  failed: "The model cannot run: ",
  noSimd: "The WebAssembly of this browser has no vector instructions (SIMD), so the model cannot run.",
  noSimdHint: "Use a newer browser: Chrome 91, Firefox 89, Safari 16.4, or later.",
  working: (pairs) => `${pairs} ${pairs === 1 ? "pair" : "pairs"} asked …`,
  done: (pairs, milliseconds) => `${pairs} ${pairs === 1 ? "pair" : "pairs"} asked in ${milliseconds} ms.`,
  noPairs: "No pair to ask: a sentence needs at least two names.",
  none: "No relation above the least probability",
  cut: (pairs) => `Too many names in this sentence: ${pairs} pairs were not asked`,
};

export const TEXTS: Readonly<Record<Language, Texts>> = { zh, en };
