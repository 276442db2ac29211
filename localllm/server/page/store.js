// Conversations in the browser's IndexedDB: heads for the list, bodies for what is open. Nothing leaves the browser.

const NAME = "localllm";
const CHANNEL = "localllm.conversations";

/** Open the store. Where the browser keeps nothing (private windows of some), one in memory takes its place. */
export async function openStore() {
  try {
    return new Store(await openDatabase());
  } catch {
    return new Store(null);
  }
}

function openDatabase() {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("heads", { keyPath: "id" });
    request.result.createObjectStore("bodies", { keyPath: "id" });
  };
  return promised(request);
}

function promised(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("another page holds the database"));
  });
}

class Store extends EventTarget {
  #database;
  #memory = new Map();
  #channel = new BroadcastChannel(CHANNEL);

  /** Event "changed" (detail: id of a conversation): another page has saved or removed it. */
  constructor(database) {
    super();
    this.#database = database;
    this.#channel.onmessage = ({ data }) => this.dispatchEvent(new CustomEvent("changed", { detail: data }));
  }

  get isKept() {
    return this.#database !== null;
  }

  /** The heads of all conversations, {id, title, updated}, the newest first. */
  async list() {
    const heads = this.#database ? await promised(this.#read("heads").getAll()) : [...this.#memory.values()].map(headOf);
    return heads.sort((a, b) => b.updated - a.updated);
  }

  /** A whole conversation, or undefined. */
  async load(id) {
    if (!this.#database) return this.#memory.get(id);
    return promised(this.#read("bodies").get(id));
  }

  /** All conversations, whole. */
  async loadAll() {
    return this.#database ? promised(this.#read("bodies").getAll()) : [...this.#memory.values()];
  }

  async save(conversation) {
    if (this.#database) {
      const work = this.#database.transaction(["heads", "bodies"], "readwrite");
      work.objectStore("heads").put(headOf(conversation));
      work.objectStore("bodies").put(conversation);
      await completed(work);
    } else this.#memory.set(conversation.id, conversation);
    this.#channel.postMessage(conversation.id);
  }

  async remove(id) {
    if (this.#database) {
      const work = this.#database.transaction(["heads", "bodies"], "readwrite");
      work.objectStore("heads").delete(id);
      work.objectStore("bodies").delete(id);
      await completed(work);
    } else this.#memory.delete(id);
    this.#channel.postMessage(id);
  }

  /** The ids of conversations in whose title or messages all words of a text occur. */
  async search(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = new Set();
    for (const { id, title, messages } of await this.loadAll()) {
      const whole = [title, ...messages.map((message) => message.content)].join("\n").toLowerCase();
      if (words.every((word) => whole.includes(word))) found.add(id);
    }
    return found;
  }

  #read(name) {
    return this.#database.transaction(name).objectStore(name);
  }
}

/** Commits at once: when the page is being closed there is no later. */
function completed(work) {
  work.commit();
  return new Promise((resolve, reject) => {
    work.oncomplete = () => resolve();
    work.onabort = () => reject(work.error ?? new Error("the browser did not save the conversation"));
  });
}

const headOf = ({ id, title, updated }) => ({ id, title, updated });
