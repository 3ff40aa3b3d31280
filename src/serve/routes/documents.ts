import type { Multipart } from "@fastify/multipart";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { messageOf } from "../../base/errors.ts";
import { emptyReadCounts } from "../../documents/read/format.ts";
import {
  DOCUMENT_FORMAT_NAMES,
  type DocumentFormatName,
  formatOfName,
  KNOWN_ENDINGS,
} from "../../documents/read/formats.ts";
import { READ_LIMITS, type ReadLimits } from "../../documents/read/limits.ts";
import { admit, runOf, type ServeContext } from "../context.ts";
import type { GivenEntity } from "../given-entities.ts";
import type { ServeLimits } from "../limits.ts";
import { sendLines, sendObject } from "../ndjson.ts";
import { Problem, problemOf } from "../problem.ts";
import { readUpload } from "../read-upload.ts";
import { answers, ENTITY, LINES, OBJECT, problems, RUN_NAME, SETTINGS_OF_TEXT, upload } from "../schemas.ts";
import { finderFor, type TextSettings, textEvents } from "../text-work.ts";
import { collected } from "./extract.ts";

/** The part "settings" of an upload. */
interface UploadSettings extends TextSettings {
  run?: string;
  entities?: GivenEntity[];
  find?: boolean;
  stream?: boolean;
  format?: DocumentFormatName;
  textField?: string;
}

const settingsSchema = (limits: ServeLimits) => ({
  type: "object",
  properties: {
    run: RUN_NAME,
    entities: { type: "array", items: ENTITY, maxItems: limits.entities },
    find: { type: "boolean" },
    stream: { type: "boolean" },
    format: { enum: DOCUMENT_FORMAT_NAMES, description: "Default: by the ending of the file's name." },
    textField: {
      type: "string",
      maxLength: 200,
      description: "Field of CSV, JSONL and Parquet rows that has the text.",
    },
    texts: { type: "boolean", description: "With stream: the first mentions of each document come with its text." },
    ...SETTINGS_OF_TEXT,
  },
  additionalProperties: false,
});

const MAX_FILE_NAME = 255;

/** POST /v1/documents: the relations of an uploaded file. */
export function addDocumentsRoute(app: FastifyInstance, context: ServeContext): void {
  const { limits } = context;
  const settings = settingsSchema(limits);
  const schema = {
    tags: ["extraction"],
    summary: "Relations of an uploaded file",
    description:
      `multipart/form-data with the part "settings" (JSON, may be left out) first and the part "file" ` +
      `of at most ${limits.fileBytes} bytes: ${KNOWN_ENDINGS}.`,
    ...upload(settings),
    response: {
      ...answers("The relations of the file.", { "application/json": OBJECT, "application/x-ndjson": LINES }),
      ...problems(404, 413, 415, 422, 429),
    },
  };
  app.post("/v1/documents", { schema, attachValidation: true }, async (request, reply) => {
    const { settings: given, bytes, name } = await uploadOf(request, limits, settings);
    const served = runOf(context, given.run);
    const format = given.format ?? formatOfName(name);
    if (format === null) {
      throw new Problem("unsupported-media-type", `The file ${JSON.stringify(name)} has no ending of a known format.`, {
        hint: `Expected one of ${KNOWN_ENDINGS}, or "format" in the settings.`,
      });
    }
    const ticket = admit(context, request, reply, 1, limits.documentMs);
    const counts = emptyReadCounts();
    const documents = readUpload(
      { bytes, name, format, textField: given.textField },
      readLimits(limits),
      counts,
      ticket.signal,
    );
    const events = textEvents(
      context,
      served,
      ticket,
      documents,
      finderFor(context, served, ticket, given, null),
      given,
    );
    if (given.stream) return sendLines(reply, events);
    return sendObject(reply, { run: served.name, ...(await collected(events)), read: counts });
  });
}

function readLimits({ fileBytes, documentCharacters, requestMs }: ServeLimits): ReadLimits {
  return {
    ...READ_LIMITS,
    wholeFileBytes: 4 * fileBytes,
    decompressedBytes: 4 * fileBytes,
    rowBytes: Math.min(READ_LIMITS.rowBytes, fileBytes),
    rowGroupBytes: 4 * fileBytes,
    textCharacters: documentCharacters,
    parseMs: requestMs,
    parseBytes: 1 << 30,
  };
}

async function uploadOf(request: FastifyRequest, limits: ServeLimits, schema: object) {
  if (!request.isMultipart()) {
    throw new Problem("unsupported-media-type", "The body is no multipart/form-data.", {
      hint: 'Send the file as the part "file": curl -F file=@report.pdf URL',
    });
  }
  let settings: UploadSettings = {};
  const bounds = { fileSize: limits.fileBytes, files: 1, fields: 4, fieldSize: limits.bodyBytes };
  for await (const part of partsOf(request, bounds)) {
    if (part.type === "field") {
      if (part.fieldname !== "settings")
        throw new Problem(
          "bad-request",
          `The part ${JSON.stringify(part.fieldname)} is not known, expected "settings" and "file".`,
        );
      settings = checkedSettings(request, String(part.value), schema);
      continue;
    }
    if (part.fieldname !== "file") {
      part.file.resume();
      throw new Problem("bad-request", `The file is the part ${JSON.stringify(part.fieldname)}, expected "file".`);
    }
    const bytes = await part.toBuffer();
    const name = (part.filename ?? "").split(/[/\\]/).at(-1)?.slice(-MAX_FILE_NAME) || "file";
    return { settings, bytes, name };
  }
  throw new Problem("bad-request", 'There is no part "file".', { hint: 'The part "settings" comes before it.' });
}

/** The parts of a body. Throws a Problem for one that cannot be cut into parts. */
async function* partsOf(request: FastifyRequest, limits: object): AsyncGenerator<Multipart> {
  try {
    yield* request.parts({ limits });
  } catch (error) {
    if (problemOf(error).code !== "fault") throw error;
    throw new Problem("bad-request", `The body is no multipart/form-data: ${messageOf(error)}.`);
  }
}

function checkedSettings(request: FastifyRequest, text: string, schema: object): UploadSettings {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Problem("bad-request", "settings: is not JSON.");
  }
  const validate = request.compileValidationSchema(schema as Parameters<FastifyRequest["compileValidationSchema"]>[0]);
  if (validate(value)) return value as UploadSettings;
  throw Object.assign(new Error("settings"), { validation: validate.errors, validationContext: "settings" });
}
