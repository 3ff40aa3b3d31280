import { afterEach, beforeEach, vi } from "vitest";

/** Standard error as a test sees it: what was written, and whether it is a terminal. Time stands still until vi advances it. */
export function fakeTerminal(): { readonly said: string; forget(): void; setTerminal(isTerminal: boolean): void } {
  let said = "";
  const wasTerminal = process.stderr.isTTY;
  const setTerminal = (isTerminal: boolean) => {
    Object.defineProperty(process.stderr, "isTTY", { value: isTerminal, configurable: true });
  };
  beforeEach(() => {
    said = "";
    vi.useFakeTimers();
    vi.spyOn(process.stderr, "write").mockImplementation((text) => {
      said += text;
      return true;
    });
  });
  afterEach(() => {
    vi.restoreAllMocks();
    vi.useRealTimers();
    setTerminal(wasTerminal);
  });
  return {
    get said() {
      return said;
    },
    /** What was said so far is gone. */
    forget() {
      said = "";
    },
    setTerminal,
  };
}
