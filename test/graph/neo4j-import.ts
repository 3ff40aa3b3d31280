// What `neo4j-admin database import full` requires of its files, by "Import" in Neo4j's Operations Manual (5.x): header fields "NAME:TYPE", the types
// :ID, :LABEL, :START_ID, :END_ID and :TYPE, types of properties, quoting by RFC 4180, no line break inside a field (--multiline-fields=false).

const PROPERTY_TYPES = new Set([
  ...["int", "long", "float", "double", "boolean", "byte", "short", "char", "string", "point"],
  ...["date", "localtime", "time", "localdatetime", "datetime", "duration"],
]);
const INTEGERS = new Set(["int", "long", "short", "byte"]);
const NUMBERS = new Set(["float", "double"]);

interface Field {
  name: string;
  /** ID, LABEL, START_ID, END_ID, TYPE, IGNORE, or the type of a property. */
  type: string;
  isList: boolean;
}

/** What an import would refuse, one line each. */
export function importProblems(nodesCsv: string, relationshipsCsv: string): string[] {
  const problems: string[] = [];
  const nodes = tableOf(nodesCsv, "nodes", problems);
  const relationships = tableOf(relationshipsCsv, "relationships", problems);
  const count = (fields: readonly Field[], type: string) => fields.filter((field) => field.type === type).length;
  if (count(nodes.fields, "ID") !== 1) problems.push("nodes: expected one field of type ID");
  if (count(nodes.fields, "LABEL") !== 1) problems.push("nodes: expected one field of type LABEL");
  for (const type of ["START_ID", "END_ID", "TYPE"]) {
    if (count(relationships.fields, type) !== 1) problems.push(`relationships: expected one field of type ${type}`);
  }
  for (const type of ["START_ID", "END_ID", "TYPE"]) {
    if (count(nodes.fields, type) > 0) problems.push(`nodes: ${type} is of relationships`);
  }
  for (const { fields, name } of [nodes, relationships]) {
    const names = fields.map((field) => field.name).filter((one) => one !== "");
    if (new Set(names).size < names.length) problems.push(`${name}: a property is named twice`);
  }
  const valuesOf = ({ fields, rows }: typeof nodes, type: string) => {
    const place = fields.findIndex((field) => field.type === type);
    return rows.map((row) => row[place] ?? "");
  };
  const ids = valuesOf(nodes, "ID");
  if (new Set(ids).size < ids.length) problems.push("nodes: an id is there twice");
  if (ids.includes("")) problems.push("nodes: an id is empty");
  const known = new Set(ids);
  for (const type of ["START_ID", "END_ID"]) {
    for (const id of valuesOf(relationships, type)) {
      if (!known.has(id)) problems.push(`relationships: ${type} ${id} is no node`);
    }
  }
  if (valuesOf(relationships, "TYPE").includes("")) problems.push("relationships: a type is empty");
  for (const labels of valuesOf(nodes, "LABEL")) {
    if (labels.split(";").includes("")) problems.push(`nodes: the labels ${labels} have an empty one`);
  }
  return problems;
}

function tableOf(csv: string, name: string, problems: string[]) {
  const [header = [], ...rows] = rowsOf(csv, name, problems);
  const fields = header.map((text) => fieldOf(text, name, problems));
  for (const [i, row] of rows.entries()) {
    if (row.length !== fields.length) problems.push(`${name}: row ${i + 1} has ${row.length} fields`);
    for (const [k, value] of row.entries()) {
      const { type = "string", isList = false } = fields[k] ?? {};
      for (const one of isList ? value.split(";") : [value]) {
        if (INTEGERS.has(type) && !/^-?\d+$/.test(one)) problems.push(`${name}: ${one} is no ${type}`);
        if (NUMBERS.has(type) && !/^-?\d+(\.\d+)?(e-?\d+)?$/i.test(one)) problems.push(`${name}: ${one} is no ${type}`);
      }
    }
  }
  return { name, fields, rows };
}

function fieldOf(text: string, name: string, problems: string[]): Field {
  const found = /^(?<name>[^:]*)(?::(?<type>[A-Za-z_]+)(?<list>\[\])?(?:\([^)]*\))?)?$/.exec(text)?.groups;
  if (!found) {
    problems.push(`${name}: "${text}" is no header field`);
    return { name: text, type: "string", isList: false };
  }
  const { type = "string" } = found;
  const isReserved = ["ID", "LABEL", "START_ID", "END_ID", "TYPE", "IGNORE"].includes(type);
  if (!isReserved && !PROPERTY_TYPES.has(type)) problems.push(`${name}: ${type} is no type`);
  if (!isReserved && found.name === "") problems.push(`${name}: a property has no name`);
  return { name: found.name, type, isList: found.list !== undefined };
}

/** Fields of each line; a quote inside of a quoted field is doubled. */
function rowsOf(csv: string, name: string, problems: string[]): string[][] {
  const lines = csv.split(/\r?\n/);
  if (lines.pop() !== "") problems.push(`${name}: the last line has no end`);
  return lines.map((line, i) => {
    const fields: string[] = [];
    let rest = line;
    for (;;) {
      const quoted = /^"((?:[^"]|"")*)"/.exec(rest);
      const plain = quoted ? null : /^[^,"]*/.exec(rest);
      const text = quoted?.[0] ?? plain?.[0] ?? "";
      fields.push(quoted ? quoted[1].replaceAll('""', '"') : text);
      rest = rest.slice(text.length);
      if (rest === "") return fields;
      if (!rest.startsWith(",")) {
        problems.push(`${name}: line ${i + 1} has a quote or a line break inside of a field`);
        return fields;
      }
      rest = rest.slice(1);
    }
  });
}
