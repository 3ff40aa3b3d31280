/** An entity as requests give it. */
export interface GivenName {
  name: string;
  aliases?: string[];
  type?: string;
}

/**
 * The names of a field, one a line: "远山集团", with other forms "远山集团|远山", with a type "远山集团 #公司". Equal names are joined.
 */
export function namesOf(field: string): GivenName[] {
  const names = new Map<string, { aliases: Set<string>; type: string | undefined }>();
  for (const line of field.split(/\r?\n/)) {
    const [, forms, type] = /^(.*?)(?:\s+[#＃](\S+))?\s*$/.exec(line) ?? ["", "", undefined];
    const [name, ...others] = forms
      .split(/[|｜]/)
      .map((form) => form.trim())
      .filter((form) => form !== "");
    if (name === undefined) continue;
    const known = names.get(name) ?? { aliases: new Set<string>(), type: undefined };
    for (const other of others) if (other !== name) known.aliases.add(other);
    known.type ??= type;
    names.set(name, known);
  }
  return Array.from(names, ([name, { aliases, type }]) => ({
    name,
    ...(aliases.size > 0 ? { aliases: [...aliases] } : {}),
    ...(type === undefined ? {} : { type }),
  }));
}

/** The field with one more name; unchanged where it has that form already. */
export function withName(field: string, name: string): string {
  const own = name.trim().replaceAll(/\s*\n\s*/g, "");
  if (own === "" || namesOf(field).some((one) => one.name === own || one.aliases?.includes(own))) return field;
  return field.trim() === "" ? own : `${field.replace(/\s+$/, "")}\n${own}`;
}
