/** Bounds of what a request may cost. Each message of a request beyond one names it. */
export interface ServeLimits {
  /** A body of JSON. */
  bodyBytes: number;
  /** An uploaded file. */
  fileBytes: number;
  /** Pairs that one request may give. */
  pairs: number;
  /** The text of one request, in UTF-16 units. */
  textCharacters: number;
  /** Names and mentions that a request gives with a text. */
  entities: number;
  /** Requests that are computed or wait, of all clients. */
  requests: number;
  /** Pairs that wait, of all clients; one client may have half of them. */
  queuedPairs: number;
  /** Time for one request. */
  requestMs: number;
  /** Time for one uploaded file. */
  documentMs: number;
  /** The text of one document of an uploaded file, in UTF-16 units. */
  documentCharacters: number;
  /** Tokens that one answer of a completion may have. */
  newTokens: number;
  /** Answers that are generated at the same time. */
  sequences: number;
  /** Time for the requests in progress when the server stops. */
  drainMs: number;
}

export const SERVE_LIMITS: ServeLimits = {
  bodyBytes: 2 * 2 ** 20,
  fileBytes: 16 * 2 ** 20,
  pairs: 1024,
  textCharacters: 200_000,
  entities: 1000,
  requests: 1024,
  queuedPairs: 16_384,
  requestMs: 60_000,
  documentMs: 600_000,
  documentCharacters: 1_000_000,
  newTokens: 1024,
  sequences: 32,
  drainMs: 30_000,
};
