// Answers that are arriving: one a conversation, whichever is shown.

import { applyChunk, ServerError } from "./answer.js";
import { streamChat } from "./api.js";
import { touch } from "./conversation.js";
import { explain } from "./explain.js";
import { requestBody } from "./request.js";

const SAVE_EVERY = 2000; // milliseconds: so much of an answer may be lost when the browser is killed

export class Runs extends EventTarget {
  #active = new Map(); // id of a conversation -> {conversation, message, controller}

  /** Events "update" and "end" (detail: {conversation, message}), and "unsaved" (detail: an Error). */
  constructor(store) {
    super();
    this.store = store;
  }

  of(id) {
    return this.#active.get(id);
  }

  /** Have the last message of a conversation, of the assistant, written. prefill: go on with what it holds. */
  async start(conversation, { prefill = false } = {}) {
    const message = conversation.messages.at(-1);
    const controller = new AbortController();
    const run = { conversation, message, controller };
    this.#active.set(conversation.id, run);
    const body = requestBody(conversation, { prefill });
    delete message.finish;
    delete message.error;
    let saved = Date.now();
    try {
      await this.#save(run, asBroken(conversation));
      for await (const chunk of streamChat(body, controller.signal)) {
        applyChunk(message, chunk);
        countPiece(run, chunk);
        this.#tell("update", run);
        if (Date.now() - saved > SAVE_EVERY) {
          saved = Date.now();
          await this.#save(run, asBroken(conversation));
        }
      }
      if (!message.finish) throw new ServerError("the answer broke off", { kind: "unreachable" });
    } catch (error) {
      if (controller.signal.aborted) message.finish = "stopped";
      else message.error = explain(error);
    }
    delete message.progress;
    this.#active.delete(conversation.id);
    touch(conversation);
    this.#tell("end", run);
    await this.#save(run, conversation);
  }

  stop(id) {
    this.#active.get(id)?.controller.abort();
  }

  /** Stop, and keep nothing: the conversation is deleted. */
  drop(id) {
    const run = this.#active.get(id);
    if (run) run.isDropped = true;
    this.stop(id);
  }

  /** The page is being closed: what has come stays. */
  saveAll() {
    for (const run of this.#active.values()) this.#save(run, asBroken(run.conversation));
  }

  /** An answer goes on where the browser has no room to keep it. */
  async #save(run, conversation) {
    if (run.isDropped) return;
    try {
      await this.store.save(conversation);
    } catch (error) {
      this.dispatchEvent(new CustomEvent("unsaved", { detail: error }));
    }
  }

  #tell(name, { conversation, message }) {
    this.dispatchEvent(new CustomEvent(name, { detail: { conversation, message } }));
  }
}

/** Nearly every piece is a token: `pieces` since `firstPiece` tell how fast an answer comes before the server does. */
function countPiece(run, chunk) {
  const { content, reasoning_content: reasoning } = chunk.choices?.[0]?.delta ?? {};
  if (!content && !reasoning) return;
  run.firstPiece ??= performance.now();
  run.pieces = (run.pieces ?? 0) + 1;
}

/** The conversation as it is to be found if the page does not live to see the end of its last message. */
function asBroken(conversation) {
  const { messages } = conversation;
  return { ...conversation, messages: [...messages.slice(0, -1), { ...messages.at(-1), finish: "broken", progress: undefined }] };
}
