import { UserError } from "../base/errors.ts";

/** Wire types of the protocol buffer encoding (protobuf.dev/programming-guides/encoding). */
export const VARINT = 0;
export const FIXED64 = 1;
export const BYTES = 2;
export const FIXED32 = 5;

const WIRE_TYPE_NAMES = new Map([
  [VARINT, "a varint"],
  [FIXED64, "8 bytes"],
  [BYTES, "a length and bytes"],
  [FIXED32, "4 bytes"],
]);

/** One message inside a file: bytes [start, end), and its name in errors. */
export interface MessageRange {
  bytes: Uint8Array;
  start: number;
  end: number;
  name: string;
}

/** Called with one field: its number and wire type, the value of a varint (else 0), and the place of its content in the bytes. */
export type FieldVisitor = (field: number, wireType: number, value: number, start: number, end: number) => void;

/** Calls `visit` for every field of a message in order. Throws a UserError with the offset where the encoding is broken. */
export function readMessage({ bytes, start, end, name }: MessageRange, visit: FieldVisitor): void {
  let at = start;
  const varint = (what: string): number => {
    const from = at;
    let value = 0;
    let scale = 1;
    for (let length = 1; length <= 10; length++) {
      if (at >= end) throw new UserError(`${name}: ends inside ${what} at byte ${from}, expected more.`);
      const byte = bytes[at++];
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    throw new UserError(`${name}: ${what} at byte ${from} is longer than the 10 bytes of a varint.`);
  };
  while (at < end) {
    const from = at;
    const tag = varint("a field tag");
    const field = Math.floor(tag / 8);
    const wireType = tag % 8;
    if (field < 1 || field > 0x1fffffff) {
      throw new UserError(`${name}: field number ${field} at byte ${from}, expected 1 to 536870911.`);
    }
    let value = 0;
    let contentBytes = 0;
    if (wireType === VARINT) value = varint(`field ${field}`);
    else if (wireType === FIXED64) contentBytes = 8;
    else if (wireType === FIXED32) contentBytes = 4;
    else if (wireType === BYTES) contentBytes = varint(`the length of field ${field}`);
    else
      throw new UserError(`${name}: field ${field} at byte ${from} has wire type ${wireType}, expected 0, 1, 2 or 5.`);
    if (contentBytes > end - at) {
      throw new UserError(`${name}: field ${field} at byte ${from} has ${contentBytes} bytes, ${end - at} are left.`);
    }
    visit(field, wireType, value, at, at + contentBytes);
    at += contentBytes;
  }
}

/** Throws a UserError unless a field has the wire type of its definition. */
export function expectWireType(got: number, expected: number, name: string, field: string): void {
  if (got === expected) return;
  throw new UserError(`${name}: ${field} is ${WIRE_TYPE_NAMES.get(got)}, expected ${WIRE_TYPE_NAMES.get(expected)}.`);
}
