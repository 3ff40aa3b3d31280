import { execFile, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { toyRuns } from "./cases/toy-runs.ts";
import { cre, jsonl, ROOT, temporaryFolder, toyRows } from "./e2e/support.ts";

// A run as a filter of Spark: RDD.pipe on PySpark's local cluster.

const python = process.env.CRE_SPARK_PYTHON ?? "";
const hasSpark = python !== "" && spawnSync(python, ["-c", "import pyspark"]).status === 0;
const hasJava = spawnSync("java", ["-version"]).status === 0;
const reason = !hasSpark ? "CRE_SPARK_PYTHON names no Python with pyspark" : !hasJava ? "there is no Java" : null;
const temporary = temporaryFolder("spark");
afterAll(() => temporary.remove());

describe.skipIf(reason !== null)(`RDD.pipe${reason === null ? "" : ` (skipped: ${reason})`}`, () => {
  it("gives the rows of cre extract, partition by partition", async () => {
    const { run } = await toyRuns();
    const rows = join(temporary.path, "rows.jsonl");
    writeFileSync(rows, jsonl(toyRows(400, 5)));
    const output = join(temporary.path, "out");
    const command = `${process.execPath} ${join(ROOT, "dist", "cli.js")} extract ${run} -`;
    const env = { ...process.env, NO_COLOR: "1", PYSPARK_PYTHON: python };
    await promisify(execFile)(python, [join(ROOT, "test", "spark", "pipe.py"), command, rows, output], { env });
    const parts = readdirSync(output).filter((name) => name.startsWith("part-"));
    expect(parts).toHaveLength(2);
    const found = parts.sort().flatMap((name) => readFileSync(join(output, name), "utf8").trimEnd().split("\n"));
    const single = await cre(["extract", run, rows], { env: { CRE_BACKEND: "" } });
    expect(found).toEqual(single.stdout.trimEnd().split("\n"));
    expect(found).toHaveLength(400);
  }, 300_000);
});
