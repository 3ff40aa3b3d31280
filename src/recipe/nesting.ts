import { UserError } from "../base/errors.ts";

const MOST_LEVELS = 200;
const INDICATORS = new RegExp(`(?:[-?] ){${MOST_LEVELS}}`);

/** Throws a UserError for YAML that is nested so deeply that reading it would take gigabytes; `where` names the text in the message. */
export function expectShallow(text: string, where: string): void {
  let depth = 0;
  let isDeep = INDICATORS.test(text);
  for (let i = 0; i < text.length && !isDeep; i++) {
    const character = text[i];
    if (character === "[" || character === "{") isDeep = ++depth > MOST_LEVELS;
    else if ((character === "]" || character === "}") && depth > 0) depth--;
  }
  if (isDeep) throw new UserError(`${where}: is nested more than ${MOST_LEVELS} levels deep.`);
}
