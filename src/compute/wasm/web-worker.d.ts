// The part of a browser's globals that this program uses; TypeScript has it only among the types of browsers.
declare class Worker {
  constructor(url: URL, options: { type: "module" });
  onmessage: ((event: { data: unknown }) => void) | null;
  onerror: ((event: { message?: string }) => void) | null;
  postMessage(message: unknown): void;
  terminate(): void;
}
declare const crossOriginIsolated: boolean | undefined;
