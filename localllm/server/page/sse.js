// Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), as chat completions use them:
// only the data of each event matters.

/** Takes text as it arrives and gives the data of the events that are complete. */
export class EventParser {
  #rest = "";
  #data = [];
  #first = true;

  /** Add a piece of text; returns the data of each event that it completes. */
  push(text) {
    if (this.#first && text) {
      this.#first = false;
      if (text[0] === "\uFEFF") text = text.slice(1);
    }
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    return lines.flatMap((line) => this.#line(line));
  }

  /** The stream has ended: an event that no empty line has closed is given out too. */
  finish() {
    const line = this.#rest.replace(/\r$/, "");
    this.#rest = "";
    return [...this.#line(line), ...(line ? this.#line("") : [])];
  }

  #line(line) {
    if (line === "") {
      if (!this.#data.length) return [];
      const data = this.#data.join("\n");
      this.#data = [];
      return [data];
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    if (field === "data") this.#data.push(colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, ""));
    return [];
  }
}

/** The data of the events of a ReadableStream of bytes, one after the other. */
export async function* readEvents(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
    yield* parser.push(decoder.decode());
    yield* parser.finish();
  } finally {
    // Also where the reader of this generator stops early; a stream that failed has nothing left to cancel.
    reader.cancel().catch(() => {});
  }
}
