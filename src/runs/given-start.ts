import { resolve } from "node:path";
import { openGivenAdapter } from "../adapters/given.ts";
import { UserError } from "../base/errors.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { type RecipeSource, readRecipeParts } from "../recipe/read.ts";

/** Settings that a trained adapter has of its own. */
const OWN = /^adapter\.(?:method|rank|alpha|scaling|targets|virtualTokens|encoderWidth|start)=/;

/**
 * The recipe that continues from a trained adapter: its adapter's method and sizes are those of the folder; dropout and the ratio of learning
 * rates stay the recipe's. Throws a UserError for an adapter that cannot be trained further.
 */
export async function continuing(source: RecipeSource, directory: string): Promise<RecipeSource> {
  const { overrides = [] } = source;
  const own = overrides.find((override) => OWN.test(override));
  if (own !== undefined) {
    throw new UserError(`--set ${own}: does not go with --adapter: the adapter has settings of its own.`);
  }
  const { parts } = await readRecipeParts(source);
  const { path } = parts.model;
  if (path === undefined || parts.model.init) {
    throw new UserError(
      "--adapter: the recipe starts from no trained model, expected model.path with the adapter's base.",
    );
  }
  const base = await openCheckpoint(path);
  try {
    const given = await openGivenAdapter(directory, base);
    await given.close();
    if (given.isJoined) {
      throw new UserError(
        `${directory}: names modules of another form of ${path}, and cannot be trained further here.`,
        {
          hint: "Train on what `cre export BASE --to hf` writes, whose modules have these names.",
        },
      );
    }
    if (given.checkpoint !== base) {
      throw new UserError(`${directory}: changes weights of the base itself, and cannot be trained further here.`, {
        hint: "Export it with cre export --adapter … --to merged and train on the merged model.",
      });
    }
    const { adapter } = parts;
    const isLowRank = "dropout" in given.settings && adapter !== null && "dropout" in adapter;
    const kept = isLowRank ? { dropout: adapter.dropout, learningRateRatio: adapter.learningRateRatio } : {};
    const settings = { ...given.settings, ...kept, start: resolve(directory) };
    const others = overrides.filter((override) => !override.startsWith("adapter."));
    return { ...source, overrides: [...others, `adapter=${JSON.stringify(settings)}`] };
  } finally {
    await base.source.close();
  }
}
