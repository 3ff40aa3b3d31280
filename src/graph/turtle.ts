import { DataFactory, Writer } from "n3";
import type { GraphEdge, GraphNode } from "./graph.ts";

const { namedNode, literal, quad } = DataFactory;

const PREFIXES = {
  rdf: "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
  rdfs: "http://www.w3.org/2000/01/rdf-schema#",
  skos: "http://www.w3.org/2004/02/skos/core#",
  prov: "http://www.w3.org/ns/prov#",
  xsd: "http://www.w3.org/2001/XMLSchema#",
  cre: "urn:cre:",
};

/** Writes a graph as Turtle. Text comes out through `write`; nothing is held back. */
export interface TurtleWriter {
  node(node: GraphNode): void;
  edge(edge: GraphEdge): void;
  /** The number of RDF triples that were written. */
  end(): number;
}

/**
 * Entities with their names and types, each relation as a triple of its own, and its places by the RDF reification and PROV-O vocabularies:
 * `<urn:cre:statement:N> rdf:subject …; prov:wasDerivedFrom <urn:cre:evidence:N.I>`, and the evidence with document, sentence, offsets in
 * code points and probability. An id that is an http(s) IRI is the entity's IRI; other ids are `urn:cre:entity:ID`.
 */
export function turtleWriter(write: (text: string) => void, run: string): TurtleWriter {
  const stream = {
    write(text: string, _encoding: string, done?: () => void) {
      write(text);
      done?.();
    },
    end(done?: () => void) {
      done?.();
    },
  };
  const writer = new Writer(stream as unknown as ConstructorParameters<typeof Writer>[0], { prefixes: PREFIXES });
  let triples = 0;
  let statements = 0;
  const add = (subject: string, predicate: string, object: ReturnType<typeof literal> | string) => {
    triples++;
    writer.addQuad(
      quad(namedNode(subject), namedNode(predicate), typeof object === "string" ? namedNode(object) : object),
    );
  };
  const number = (value: number, type: "integer" | "decimal") =>
    literal(plain(value), namedNode(`${PREFIXES.xsd}${type}`));
  return {
    node({ id, name, names, type }) {
      const iri = entityIri(id);
      add(iri, `${PREFIXES.rdfs}label`, literal(name));
      if (type !== null) add(iri, `${PREFIXES.rdf}type`, `urn:cre:type:${iriPart(type)}`);
      for (const other of names) if (other !== name) add(iri, `${PREFIXES.skos}altLabel`, literal(other));
    },
    edge({ head, relation, tail, probability, places, evidence }) {
      const [subject, predicate, object] = [entityIri(head), `urn:cre:relation:${iriPart(relation)}`, entityIri(tail)];
      add(subject, predicate, object);
      const statement = `urn:cre:statement:${++statements}`;
      add(statement, `${PREFIXES.rdf}type`, `${PREFIXES.rdf}Statement`);
      add(statement, `${PREFIXES.rdf}subject`, subject);
      add(statement, `${PREFIXES.rdf}predicate`, predicate);
      add(statement, `${PREFIXES.rdf}object`, object);
      add(statement, "urn:cre:probability", number(probability, "decimal"));
      add(statement, "urn:cre:places", number(places, "integer"));
      add(statement, `${PREFIXES.prov}wasAttributedTo`, `urn:cre:run:${iriPart(run)}`);
      for (const [i, one] of evidence.entries()) {
        const source = `urn:cre:evidence:${statements}.${i + 1}`;
        add(statement, `${PREFIXES.prov}wasDerivedFrom`, source);
        add(source, "urn:cre:document", literal(one.document));
        add(source, "urn:cre:sentence", literal(one.sentence));
        add(source, "urn:cre:probability", number(one.probability, "decimal"));
        for (const role of ["head", "tail"] as const) {
          const { text, start, end } = one[role];
          add(source, `urn:cre:${role}Text`, literal(text));
          add(source, `urn:cre:${role}Start`, number(start, "integer"));
          add(source, `urn:cre:${role}End`, number(end, "integer"));
        }
      }
    },
    end() {
      writer.end();
      return triples;
    },
  };
}

function entityIri(id: string): string {
  return /^https?:\/\/[^\s<>"{}|\\^`\p{Cc}]+$/u.test(id) ? id : `urn:cre:entity:${iriPart(id)}`;
}

/** Letters and digits of all scripts stay readable, as IRIs allow (RFC 3987); other characters are percent-encoded. */
function iriPart(text: string): string {
  return Array.from(text, (character) =>
    /^[\p{L}\p{N}._~-]$/u.test(character) ? character : percentEncoded(character),
  ).join("");
}

function percentEncoded(character: string): string {
  const bytes = [...Buffer.from(character)];
  return bytes.map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join("");
}

/** A decimal of XML Schema has no exponent. */
const plain = (value: number) => (Number.isInteger(value) ? String(value) : value.toFixed(6));
