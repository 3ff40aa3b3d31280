import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { openDataset } from "../src/data/dataset.ts";
import { IGNORED_KEYS, REASONS } from "../src/models/families/ignored-keys.ts";
import { FAMILIES } from "../src/models/families/registry.ts";
import { IGNORED_GGUF_KEYS, READ_KEYS, USUAL_VALUES } from "../src/models/gguf/keys.ts";
import { chatTemplates, templateText } from "../src/prompts/chat-template.ts";
import { promptStyles } from "../src/prompts/relation-prompt.ts";
import { MANY_ROWS } from "../src/recipe/defaults.ts";
import { recipeSchema } from "../src/recipe/schema.ts";

const root = join(import.meta.dirname, "..");
const page = (name: string) => readFileSync(join(root, "docs", name), "utf8");
const EXAMPLE = { sentence: "昨日，华盛达收购了刚泰控股。", head: "华盛达", tail: "刚泰控股" };

describe("docs/recipes.md", () => {
  const recipes = page("recipes.md");
  /** The code block that follows a name at the beginning of a line. */
  const blockOf = (name: string) =>
    new RegExp(`^\`${name}\`:[^\`]*(?:\`[^\`]+\`[^\`]*)*?\n\n\`\`\`text\n([\\s\\S]*?)\n\`\`\``, "m").exec(recipes)?.[1];

  it.each(Object.values(promptStyles))("shows the prompt style $name as it is rendered", (style) => {
    expect(blockOf(style.name)).toBe(style.renderQuery(EXAMPLE));
    expect(recipes).toContain(`\`${style.answerFor(EXAMPLE, "收购")}\``);
  });

  it.each(Object.values(chatTemplates))("shows the chat template $name as it is rendered", (template) => {
    const begin = template.begin === "bos" ? "<s>" : "";
    expect(blockOf(template.name)).toBe(begin + templateText(template, "QUERY"));
  });

  it("names every section, the shortest recipe and the limit of the defaults", () => {
    for (const section of Object.keys(recipeSchema.shape)) expect(recipes).toContain(`\`${section}\``);
    const minimal = readFileSync(join(root, "recipes", "minimal.yaml"), "utf8");
    expect(parse(/```yaml\n([\s\S]*?)```/.exec(recipes)?.[1] ?? "")).toEqual(parse(minimal));
    expect(recipes).toContain(`from ${MANY_ROWS.toLocaleString("en")} on`);
  });
});

describe("docs/method.md", () => {
  it("shows the paper's prompt and answer as they are rendered", () => {
    const sentence = "<N>日,“借壳”华盛达的刚泰控股在上交所举行了更名及上市仪式。";
    const example = { ...EXAMPLE, sentence };
    const method = page("method.md");
    expect(method).toContain(`\`${promptStyles.paper.instruction}\``);
    const answer = promptStyles.paper.answerFor(example, "拥有");
    expect(method).toContain(`\`\`\`text\n${promptStyles.paper.renderInput(example)}\n${answer}\n\`\`\``);
  });

  it("has the number of rows that the defaults are tuned to", async () => {
    expect(page("method.md")).toContain("| FinRE, 44 labels | train | 13,486 | 12,294 |");
    const demo = await (await openDataset(join(root, "demo"))).split("train");
    expect(page("recipes.md")).toContain(`· ${demo.examples.length.toLocaleString("en")} / rows`);
  });
});

describe("docs/model-files.md", () => {
  const text = page("model-files.md");

  it("has every ignored entry of config.json next to its reason", () => {
    for (const [kind, keys] of Object.entries(IGNORED_KEYS)) {
      const names = keys.map((key) => `\`${key}\``).join(", ");
      expect(text).toContain(`| ${names} | ${REASONS[kind as keyof typeof REASONS]} |`);
    }
  });

  it.each(FAMILIES)("has every entry that the reader of $modelType asks for", (family) => {
    const asked = new Set<string>();
    const watched = new Proxy<Record<string, unknown>>(
      { model_type: family.modelType },
      {
        get(config, key) {
          asked.add(String(key));
          return config[String(key)];
        },
      },
    );
    expect(() => family.readConfig(watched, "x")).toThrow("the configuration cannot be used");
    expect(asked.size).toBeGreaterThan(10);
    for (const key of asked) expect(text).toContain(`\`${key}\``);
  });

  it("has every entry of GGUF metadata with its values", () => {
    for (const key of [...READ_KEYS, ...IGNORED_GGUF_KEYS]) expect(text).toContain(`\`${key}\``);
    for (const [key, values] of Object.entries(USUAL_VALUES)) {
      expect(text).toContain(`| \`${key}\` | ${values.map((value) => JSON.stringify(value)).join(" or ")} |`);
    }
  });
});
