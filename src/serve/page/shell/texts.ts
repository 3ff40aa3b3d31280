import type { Language } from "./preferences.ts";
import type { View } from "./router.ts";

const zh = {
  title: "cre-llm 关系抽取",
  skip: "跳到正文",
  views: { extract: "抽取", review: "校对", runs: "模型", datasets: "数据" } as Record<View, string>,
  navigation: "页面",
  run: "模型",
  theme: { system: "跟随系统", light: "浅色", dark: "深色" },
  themeLabel: "外观",
  languageLabel: "语言",
  connecting: "正在连接服务……",
  unreachable: "连不上服务，请确认 cre serve 还在运行。",
  retry: "重试",
  tokenTitle: "需要访问令牌",
  tokenHelp: "令牌在服务端 --token-file 指定的文件里，每行一个。它只保留到关闭这个标签页为止。",
  tokenUnknown: "服务端不认识这个令牌。",
  token: "令牌",
  enter: "进入",
  forgetToken: "退出",
  api: "接口说明",
  noRelation: "无关系",
  noWork: "服务启动时没有指定工作目录，因此不能保存校对结果，也不能再训练。请这样启动：",
};

export type ShellTexts = typeof zh;

const en: ShellTexts = {
  title: "cre-llm relation extraction",
  skip: "Skip to content",
  views: { extract: "Extract", review: "Review", runs: "Runs", datasets: "Data" },
  navigation: "Views",
  run: "Run",
  theme: { system: "System", light: "Light", dark: "Dark" },
  themeLabel: "Appearance",
  languageLabel: "Language",
  connecting: "Connecting to the server …",
  unreachable: "The server cannot be reached. Is cre serve still running?",
  retry: "Try again",
  tokenTitle: "This server asks for a token",
  tokenHelp: "The file of --token-file has one token a line. It is kept until this tab is closed.",
  tokenUnknown: "The server does not know this token.",
  token: "Token",
  enter: "Continue",
  forgetToken: "Sign out",
  api: "API",
  noRelation: "no relation",
  noWork: "The server was started without a work folder, so it keeps no corrections and cannot retrain. Start it with:",
};

export const SHELL_TEXTS: Readonly<Record<Language, ShellTexts>> = { zh, en };
