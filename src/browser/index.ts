// What a page needs to extract relations on the machine of its reader: `import { … } from "cre-llm/browser"` (docs/browser.md).
export { UserError, UserErrors } from "../base/errors.ts";
export type { Folder, OpenFile, ReadableFile } from "../base/folder.ts";
export type { Backend } from "../compute/backend.ts";
export { type BrowserWasmOptions, browserProblem, openBrowserWasm, usualThreads } from "../compute/wasm/browser.ts";
export type { Example, LabelSet, Span } from "../data/example.ts";
export type { Sentence } from "../documents/document.ts";
export type { Mention } from "../documents/mention.ts";
export { splitSentences } from "../documents/sentences.ts";
export type { Extraction, Extractor, Prediction, Unextracted } from "../extract/extractor.ts";
export type { Found } from "../extract/triples.ts";
export { type FetchedFolderOptions, type FileSizes, fetchedFolder } from "./fetched-folder.ts";
export { type BrowserRunOptions, openBrowserRun } from "./open-run.ts";
export { type FindOptions, findNames, findRelations, type NamedText, type SentenceRelations } from "./relations.ts";
