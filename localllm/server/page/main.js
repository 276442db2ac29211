// The page: what is shown, and what keys and buttons do.

import { newAnswer } from "./answer.js";
import { hasKey, setKey } from "./api.js";
import { Composer } from "./composer.js";
import { fromFile, leaveOutOldest, newConversation, toFile, touch } from "./conversation.js";
import { byId, download } from "./dom.js";
import { explain } from "./explain.js";
import { openDrawer, setUpDrawer, setUpSkipLink, setUpTheme, toast } from "./frame.js";
import { Meter } from "./meter.js";
import { Runs } from "./runs.js";
import { ServerState } from "./server.js";
import { SettingsDialog, defaultSettings } from "./settings.js";
import { Sidebar } from "./sidebar.js";
import { openStore } from "./store.js";
import { Thread } from "./thread.js";

const LAST_MODEL = "localllm.model";

class App {
  constructor(store) {
    this.store = store;
    this.server = new ServerState();
    this.runs = new Runs(store);
    this.settings = new SettingsDialog();
    this.meter = new Meter(byId("meter"));
    this.nCtx = 0;
    this.composer = new Composer(byId("composer"), {
      send: (text) => this.send(text),
      stop: () => this.runs.stop(this.conversation.id),
      editLast: () => this.thread.editLast(),
    });
    this.sidebar = new Sidebar(byId("conversations"), byId("search"), store, {
      rename: (id, title) => this.rename(id, title),
      export: (id) => this.export([id]),
      remove: (id) => this.remove(id),
    });
    this.sidebar.isRunning = (id) => Boolean(this.runs.of(id));
    this.thread = new Thread(byId("thread"), byId("messages"), byId("jump"), {
      send: (text) => this.send(text),
      regenerate: () => this.regenerate(),
      continue: () => this.answer({ prefill: true }),
      leaveOut: () => {
        leaveOutOldest(this.conversation);
        this.regenerate();
      },
      results: (texts) => this.sendResults(texts),
    });
    this.listen();
  }

  listen() {
    this.runs.addEventListener("update", ({ detail }) => detail.conversation === this.conversation && this.thread.grow());
    this.runs.addEventListener("end", ({ detail }) => this.ended(detail));
    this.runs.addEventListener("unsaved", ({ detail }) => toast(`The browser did not keep the conversation: ${detail.message}`));
    this.store.addEventListener("changed", ({ detail }) => this.changedElsewhere(detail));
    addEventListener("hashchange", () => this.route());
    addEventListener("pagehide", () => {
      this.runs.saveAll();
      this.composer.keep();
    });
    addEventListener("keydown", (event) => this.key(event));
    byId("new").addEventListener("click", () => this.startNew());
    byId("open-settings").addEventListener("click", () => this.openSettings());
    byId("model").addEventListener("change", ({ target }) => this.setModel(target.value));
    byId("export-all").addEventListener("click", () => this.export(null));
    byId("import").addEventListener("click", () => byId("import-file").click());
    byId("import-file").addEventListener("change", ({ target }) => this.import(target));
    byId("retry-server").addEventListener("click", () => this.connect());
    byId("key-form").addEventListener("submit", () => this.useKey());
  }

  async begin() {
    if (!this.store.isKept) toast("This browser keeps no data for this page: conversations end with it.");
    await this.route();
    this.composer.restore();
    await this.sidebar.refresh();
    await this.connect();
  }

  /** Ask the server what it has. */
  async connect() {
    try {
      await this.server.refresh();
      byId("server-error").hidden = true;
    } catch (error) {
      this.serverFailed(explain(error));
      return;
    }
    await this.modelChanged();
  }

  serverFailed({ text, advice, kind }) {
    if (kind === "key") return this.askKey();
    byId("server-error-text").textContent = `${text} ${advice}`;
    byId("server-error").hidden = false;
  }

  askKey() {
    byId("key-error").hidden = !hasKey();
    if (!byId("key").open) byId("key").showModal();
  }

  useKey() {
    setKey(byId("key-input").value);
    byId("key-input").value = "";
    this.connect();
  }

  async modelChanged() {
    const select = byId("model");
    const { conversation, server } = this;
    conversation.model = server.choose(conversation.model || localStorage.getItem(LAST_MODEL));
    select.replaceChildren(...server.models.map(({ id }) => new Option(id, id)));
    select.value = conversation.model;
    const nCtx = await server.contextOf(conversation.model);
    if (conversation !== this.conversation) return; // another one was opened meanwhile
    this.nCtx = nCtx;
    this.refresh();
  }

  setModel(model) {
    this.conversation.model = model;
    localStorage.setItem(LAST_MODEL, model);
    if (this.conversation.messages.length) this.store.save(this.conversation);
    this.thread.refresh(this.threadState());
    this.modelChanged();
  }

  /** Show the conversation that the address names, or a new one. */
  async route() {
    const id = location.hash.slice(1);
    if (this.conversation && id === this.conversation.id) return;
    const found = id && (this.runs.of(id)?.conversation ?? (await this.store.load(id)));
    if (id && !found) history.replaceState(null, "", location.pathname);
    this.show(found || newConversation("", defaultSettings()));
  }

  show(conversation) {
    this.composer.change(this.conversation?.id, conversation.id);
    this.conversation = conversation;
    this.sidebar.current = conversation.id;
    this.sidebar.draw();
    this.thread.show(conversation, this.threadState());
    this.refresh();
    this.composer.focus();
    if (this.server.models.length) this.modelChanged();
  }

  threadState() {
    return { run: this.runs.of(this.conversation.id), nCtx: this.nCtx };
  }

  /** Bring all but the messages up to date. */
  refresh() {
    const { conversation } = this;
    const run = this.runs.of(conversation.id);
    byId("title").textContent = conversation.title;
    document.title = conversation.messages.length ? `${conversation.title} – localllm` : "localllm";
    byId("welcome").hidden = conversation.messages.length > 0;
    byId("open-settings").classList.toggle("set", Object.keys(conversation.settings).length > 0);
    this.composer.running = Boolean(run);
    this.meter.show(conversation, this.nCtx);
  }

  startNew() {
    if (location.hash) history.pushState(null, "", location.pathname);
    openDrawer(false);
    this.show(newConversation("", defaultSettings()));
  }

  send(text) {
    this.conversation.messages.push({ role: "user", content: text });
    this.answer();
  }

  sendResults(texts) {
    const { messages } = this.conversation;
    const { toolCalls } = messages.at(-1);
    messages.push(...texts.map((content, index) => ({ role: "tool", content, toolCallId: toolCalls[index].id })));
    this.answer();
  }

  regenerate() {
    this.thread.cut(this.conversation.messages.length - 1);
    this.answer();
  }

  answer({ prefill = false } = {}) {
    const { conversation } = this;
    if (this.runs.of(conversation.id)) return;
    if (!prefill) conversation.messages.push(newAnswer(conversation.model));
    const isNew = location.hash !== `#${conversation.id}`;
    touch(conversation);
    this.runs.start(conversation, { prefill });
    if (isNew) history.pushState(null, "", `#${conversation.id}`);
    this.thread.refresh(this.threadState());
    this.thread.follow();
    this.refresh();
    announce("Waiting for the answer.");
    this.sidebar.refresh();
  }

  ended({ conversation, message }) {
    if (!this.nCtx && !message.error) this.connect(); // the size of a model's context is known once it is loaded
    if (conversation === this.conversation) {
      this.thread.refresh(this.threadState());
      this.refresh();
      if (message.error?.kind === "key") this.askKey();
    }
    announce(message.error ? "" : spoken(message));
    this.sidebar.refresh();
  }

  async changedElsewhere(id) {
    this.sidebar.refresh();
    if (id !== this.conversation.id || this.runs.of(id)) return;
    const found = await this.store.load(id);
    if (found) this.show(found);
  }

  openSettings() {
    const { conversation } = this;
    this.settings.open(conversation.settings, this.server.settingsOf(conversation.model), (settings) => {
      conversation.settings = settings;
      if (conversation.messages.length) this.store.save(conversation);
      this.refresh();
    });
  }

  async whole(id) {
    return this.conversation.id === id ? this.conversation : (this.runs.of(id)?.conversation ?? (await this.store.load(id)));
  }

  async rename(id, title) {
    const conversation = await this.whole(id);
    Object.assign(conversation, { title, named: true });
    await this.store.save(conversation);
    await this.sidebar.refresh();
    this.refresh();
  }

  async remove(id) {
    const conversation = await this.whole(id);
    this.runs.drop(id);
    await this.store.remove(id);
    if (id === this.conversation.id) this.startNew();
    await this.sidebar.refresh();
    toast(`“${conversation.title}” is deleted.`, "Undo", async () => {
      await this.store.save(conversation);
      await this.sidebar.refresh();
      location.hash = id;
    });
  }

  /** Conversations as a file. ids: null for all. */
  async export(ids) {
    const conversations = ids ? await Promise.all(ids.map((id) => this.whole(id))) : await this.store.loadAll();
    const name = ids ? conversations[0].title.replace(/[^\p{L}\p{N} _-]+/gu, "").slice(0, 60) : "conversations";
    download(`${name || "conversation"}.json`, toFile(conversations));
  }

  async import(input) {
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    try {
      const conversations = fromFile(await file.text());
      for (const conversation of conversations) await this.store.save(conversation);
      await this.sidebar.refresh();
      toast(conversations.length === 1 ? "One conversation was imported." : `${conversations.length} conversations were imported.`);
    } catch (error) {
      toast(error.message);
    }
  }

  key(event) {
    if (event.isComposing || document.querySelector("dialog[open]")) return;
    if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      this.startNew();
    }
    if (event.key === "Escape" && !openDrawer(false)) this.runs.stop(this.conversation.id);
  }
}

/** Tell screen readers, which do not hear an answer while it arrives. */
function announce(text) {
  byId("status").textContent = text;
}

const SPOKEN = 600; // characters of an answer that are read out at its end

function spoken({ content, finish }) {
  const start = finish === "stopped" ? "Stopped." : "Answer:";
  if (content.length <= SPOKEN) return `${start} ${content}`;
  return `${start} ${content.slice(0, content.lastIndexOf(" ", SPOKEN))} … ${content.split(/\s+/).length} words in all.`;
}

setUpTheme();
setUpDrawer();
setUpSkipLink();
const app = new App(await openStore());
await app.begin();
