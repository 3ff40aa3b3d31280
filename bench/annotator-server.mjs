// A server with OpenAI's API that answers the questions of cre label like a noisy annotator:
// node bench/annotator-server.mjs --gold FILE.jsonl [--gold …] --labels labels.json [--right 0.8] [--systematic 0] [--delay MS] [--log FILE]
// It is right in a given share of the answers, by a hash of row and seed, so that the same question has the same answer. Of the wrong answers the share
// --systematic is the same for every seed of a row. The first line of its output is its address. Each request is a line of --log.
import { createHash } from "node:crypto";
import { appendFileSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    gold: { type: "string", multiple: true, default: [] },
    labels: { type: "string" },
    right: { type: "string", default: "0.8" },
    systematic: { type: "string", default: "0" },
    delay: { type: "string", default: "0" },
    log: { type: "string" },
  },
});
const { labels } = JSON.parse(readFileSync(values.labels, "utf8"));
const gold = new Map();
for (const file of values.gold) {
  for (const line of readFileSync(file, "utf8").split("\n").filter(Boolean)) {
    const { sentence, head, tail, relations } = JSON.parse(line);
    gold.set(JSON.stringify([sentence, head, tail]), relations);
  }
}

/** A number from 0 to 1 that the parts decide. */
const chance = (...parts) => createHash("sha256").update(JSON.stringify(parts)).digest().readUInt32BE() / 2 ** 32;

/** What the annotator says of a row when it is asked with a seed. */
function labelOf(row, seed) {
  const relations = gold.get(row) ?? ["unknown"];
  const wrong = 1 - Number(values.right);
  const always = wrong * Number(values.systematic);
  const isAlways = chance(row, "always") < always;
  const isWrong = isAlways || chance(row, seed, "wrong") < (wrong - always) / (1 - always);
  if (!isWrong) return relations[0];
  const others = labels.filter((label) => !relations.includes(label));
  return others[Math.floor(chance(row, isAlways ? "always" : seed, "which") * others.length)];
}

/** Answers as models write them. */
const FORMS = [
  (label) => label,
  (label) => label,
  (label) => `${label}。`,
  (label) => `关系：${label}`,
  (label) => `“${label}”`,
  (label) => `${label}\n理由：句子直接说明了两者的关系。`,
];

function answer({ messages, prompt, seed = 0 }) {
  const text = prompt ?? messages.at(-1).content;
  const [, marked, head, tail] = /\n句子[^：\n]*：([\s\S]*)\n头实体：([\s\S]*)\n尾实体：([\s\S]*)\n关系：$/.exec(text);
  const sentence = marked.replace(/<\/?[头尾]>/g, "");
  const row = JSON.stringify([sentence, head, tail]);
  const label = labelOf(row, seed);
  const isUnreadable = chance(row, seed, "unreadable") < 0.01;
  const content = isUnreadable
    ? "这句话我无法判断。"
    : FORMS[Math.floor(chance(row, seed, "form") * FORMS.length)](label);
  // One token a character, and a template around the question.
  const usage = { prompt_tokens: [...text].length + 10, completion_tokens: [...content].length + 1 };
  return { row, seed, content, usage: { ...usage, total_tokens: usage.prompt_tokens + usage.completion_tokens } };
}

const server = createServer((request, response) => {
  let body = "";
  request.setEncoding("utf8").on("data", (part) => {
    body += part;
  });
  request.on("end", () => {
    if (request.method === "GET") {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ data: [{ id: "annotator" }] }));
      return;
    }
    const given = JSON.parse(body);
    const { row, seed, content, usage } = answer(given);
    const choice = given.messages
      ? { index: 0, message: { role: "assistant", content }, finish_reason: "stop" }
      : { index: 0, text: content, finish_reason: "stop" };
    const log = (event) => {
      if (values.log)
        appendFileSync(values.log, `${JSON.stringify({ event, row, seed, tokens: usage.total_tokens })}\n`);
    };
    log("asked");
    setTimeout(() => {
      log("answered");
      response.setHeader("content-type", "application/json");
      response.end(
        JSON.stringify({ id: "a", object: "chat.completion", model: given.model, choices: [choice], usage }),
      );
    }, Number(values.delay));
  });
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/v1`));
