/** Bytes in use, and the most there were. */
export class ByteCount {
  #bytes = 0;
  #peakBytes = 0;

  /** A negative number for memory that was freed. */
  add(bytes: number): void {
    this.#bytes += bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
  }

  /** Everything was freed; the peak remains. */
  clear(): void {
    this.#bytes = 0;
  }

  summary(): { bytes: number; peakBytes: number } {
    return { bytes: this.#bytes, peakBytes: this.#peakBytes };
  }
}
