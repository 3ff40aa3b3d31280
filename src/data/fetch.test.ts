import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { fetchDataset } from "./fetch.ts";

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "cre-fetch-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function serve(answer: (path: string) => Buffer | null): Promise<{ server: Server; baseUrl: string }> {
  const server = createServer((request, response) => {
    const content = answer(request.url ?? "");
    response.writeHead(content === null ? 404 : 200, { connection: "close" }).end(content);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function failureOf(promise: Promise<unknown>): Promise<UserError> {
  const thrown = await promise.then(
    () => null,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(UserError);
  return thrown as UserError;
}

describe("fetchDataset without the published files", () => {
  it("reports a server's refusal and a dead server with the way out", async () => {
    const { server, baseUrl } = await serve(() => null);
    const target = join(root, "refused");
    const refused = await failureOf(fetchDataset("sanwen", target, { baseUrl }));
    expect(refused.message).toBe(
      `${baseUrl}/data/SanWen/relation2id.txt: the server answered 404 Not Found, expected 200.`,
    );
    expect(refused.hint).toContain("--from");
    await new Promise((resolve) => server.close(resolve));
    const dead = await failureOf(fetchDataset("sanwen", target, { baseUrl }));
    expect(dead.message).toContain(`${baseUrl}/data/SanWen/relation2id.txt: cannot be downloaded (`);
    expect(dead.message).toContain("ECONNREFUSED");
    expect(dead.hint).toContain("--from");
    expect(existsSync(target)).toBe(false);
  });

  it("refuses content that is not the published one, with both checksums", async () => {
    const content = Buffer.alloc(113, "x");
    const got = createHash("sha256").update(content).digest("hex");
    const { server, baseUrl } = await serve(() => content);
    const target = join(root, "wrong");
    const wrong = await failureOf(fetchDataset("sanwen", target, { baseUrl }));
    server.close();
    expect(wrong.message).toBe(
      `${baseUrl}/data/SanWen/relation2id.txt: sha256 is ${got}, expected 7e9e0208eec6ab4bc37bc6760b096c38d8f96daf2a7d5ae0aa01b4f103b0d3e3; nothing was written.`,
    );
    expect(existsSync(target)).toBe(false);
  });

  it("stops a server that sends too much", async () => {
    const { server, baseUrl } = await serve(() => Buffer.alloc(1_000_000));
    const endless = await failureOf(fetchDataset("finre", join(root, "endless"), { baseUrl }));
    server.close();
    expect(endless.message).toContain("sent more than the 527 bytes of the published file.");
  });

  it("names a copy that is missing or has changed", async () => {
    const from = join(root, "copies");
    await mkdir(from);
    const missing = await failureOf(fetchDataset("finre", join(root, "x"), { from }));
    expect(missing.message).toContain(`${join(from, "relation2id.txt")}: cannot be read`);
    await writeFile(join(from, "relation2id.txt"), "unknown 0\n");
    const changed = await failureOf(fetchDataset("finre", join(root, "x"), { from }));
    expect(changed.message).toBe(
      `${join(from, "relation2id.txt")}: has 10 bytes, expected the 527 of the published file.`,
    );
    expect(changed.hint).toContain("autocrlf");
  });

  it("leaves a different file in the target alone", async () => {
    const target = join(root, "mine");
    await mkdir(target);
    await writeFile(join(target, "relation2id.txt"), "my own");
    const refused = await failureOf(fetchDataset("finre", target, { from: root }));
    expect(refused.message).toContain(`${join(target, "relation2id.txt")}: is there and is not the published file`);
    expect(await readFile(join(target, "relation2id.txt"), "utf8")).toBe("my own");
  });
});

const shared = join(import.meta.dirname, "../../../shared/data");
if (!existsSync(shared)) console.warn(`skipped: the published data are not at ${shared}`);

describe.skipIf(!existsSync(shared))("fetchDataset with the published files", () => {
  it.each(["finre", "sanwen"] as const)("copies %s from a folder and keeps what is already right", async (name) => {
    const target = join(root, `copied-${name}`);
    const seen: string[] = [];
    const first = await fetchDataset(name, target, {
      from: join(shared, name),
      onProgress: (file) => seen.push(file.name),
    });
    expect(first.map((file) => file.origin)).toEqual(Array(5).fill("copied"));
    expect(seen).toEqual(["relation2id.txt", "train.txt", "valid.txt", "test.txt", "LICENSE"]);
    expect((await readdir(target)).sort()).toEqual([...seen].sort());
    await rm(join(target, "valid.txt"));
    const second = await fetchDataset(name, target, { from: join(shared, name) });
    expect(second.filter((file) => file.origin === "copied").map((file) => file.name)).toEqual(["valid.txt"]);
    expect(await readFile(join(target, "test.txt"))).toEqual(await readFile(join(shared, name, "test.txt")));
  });

  it("downloads by the paths of the repository and copies from a clone of it", async () => {
    const clone = join(root, "clone");
    await cp(join(shared, "sanwen"), join(clone, "data/SanWen"), { recursive: true });
    await cp(join(shared, "sanwen/LICENSE"), join(clone, "LICENSE"));
    const contents = new Map<string, Buffer>();
    for (const name of ["relation2id.txt", "train.txt", "valid.txt", "test.txt"]) {
      contents.set(`/data/SanWen/${name}`, await readFile(join(shared, "sanwen", name)));
    }
    contents.set("/LICENSE", await readFile(join(shared, "sanwen/LICENSE")));
    const { server, baseUrl } = await serve((path) => contents.get(path) ?? null);
    const downloaded = await fetchDataset("sanwen", join(root, "downloaded"), { baseUrl });
    server.close();
    expect(downloaded.map((file) => file.origin)).toEqual(Array(5).fill("downloaded"));
    const fromClone = await fetchDataset("sanwen", join(root, "from-clone"), { from: clone });
    expect(fromClone.map((file) => file.sizeBytes)).toEqual([113, 2087902, 226962, 271387, 1063]);
  });

  it("notices one changed byte", async () => {
    const from = join(root, "flipped");
    await cp(join(shared, "sanwen"), from, { recursive: true });
    const content = await readFile(join(from, "train.txt"));
    content[1_000_000] ^= 1;
    await writeFile(join(from, "train.txt"), content);
    const target = join(root, "from-flipped");
    const refused = await failureOf(fetchDataset("sanwen", target, { from }));
    expect(refused.message).toContain(`${join(from, "train.txt")}: sha256 is `);
    expect(existsSync(target)).toBe(false);
  });
});
