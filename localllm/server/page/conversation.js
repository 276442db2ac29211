// What a conversation is: {id, title, named, created, updated, model, settings, from, messages}, and files of them.
// named: the reader gave the title. from: the first message that is sent; those before it are left out.
// Messages: {role, content} and, of the assistant: model, reasoning, toolCalls [{id, name, arguments}], logprobs, usage,
// timings, finish, error {text, advice, kind}; of a tool: toolCallId.

import { checkSettings } from "./fields.js";
import { titleOf } from "./format.js";

const FORMAT = "localllm conversations";
const ROLES = ["user", "assistant", "tool"];

export function newConversation(model, settings) {
  const now = Date.now();
  return { id: newId(), title: "New chat", named: false, created: now, updated: now, model, settings: { ...settings }, from: 0, messages: [] };
}

/** crypto.randomUUID is there on secure origins alone; a server in the local network is none. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A conversation that has changed: its time, and its title until the reader gives one. */
export function touch(conversation) {
  conversation.updated = Date.now();
  const first = conversation.messages.find(({ role }) => role === "user");
  if (!conversation.named && first) conversation.title = titleOf(first.content);
}

/** Remove the messages from `index` on. */
export function cutFrom(conversation, index) {
  conversation.messages.length = index;
  conversation.from = Math.min(conversation.from ?? 0, index);
}

/** Whether messages are sent that stand before the last one of the user. */
export function canLeaveOut({ messages, from = 0 }) {
  return from < messages.findLastIndex(({ role }) => role === "user");
}

/** Leave out the older half of the messages that are sent, but never the last one of the user. */
export function leaveOutOldest(conversation) {
  if (!canLeaveOut(conversation)) return;
  const { messages, from = 0 } = conversation;
  const last = messages.findLastIndex(({ role }) => role === "user");
  let next = from + Math.max(1, Math.floor((last - from) / 2));
  while (next < last && messages[next].role !== "user") next += 1;
  conversation.from = Math.min(next, last);
}

export function toFile(conversations) {
  return JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1);
}

/** The conversations of a file, with new ids. Raises Error with one line for what is none. */
export function fromFile(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch (error) {
    throw new Error(`The file is no JSON: ${error.message}`, { cause: error });
  }
  if (file?.format !== FORMAT || !Array.isArray(file.conversations)) throw new Error("The file holds no conversations of this page.");
  return file.conversations.map(checkConversation);
}

function checkConversation(given, index) {
  const where = `Conversation ${index + 1}`;
  if (!Array.isArray(given?.messages)) throw new Error(`${where} has no messages.`);
  const checked = newConversation(text(given.model), checkSettings(given.settings));
  checked.title = text(given.title).slice(0, 200) || checked.title;
  checked.named = given.named === true;
  for (const name of ["created", "updated"]) if (Number.isFinite(given[name])) checked[name] = given[name];
  checked.messages = given.messages.map((message, at) => checkMessage(message, `${where}, message ${at + 1}`));
  if (Number.isInteger(given.from) && given.from > 0 && given.from < checked.messages.length) checked.from = given.from;
  return checked;
}

function checkMessage(given, where) {
  if (!ROLES.includes(given?.role)) throw new Error(`${where}: the role must be one of ${ROLES.join(", ")}.`);
  if (typeof given.content !== "string") throw new Error(`${where} has no text.`);
  const message = { role: given.role, content: given.content };
  for (const name of ["model", "reasoning", "toolCallId", "finish"]) if (typeof given[name] === "string") message[name] = given[name];
  if (Array.isArray(given.toolCalls))
    message.toolCalls = given.toolCalls.map((call) => ({ id: text(call?.id), name: text(call?.name), arguments: text(call?.arguments) }));
  for (const name of ["usage", "timings"]) if (isNumbers(given[name])) message[name] = given[name];
  if (isLogprobs(given.logprobs)) message.logprobs = given.logprobs;
  if (typeof given.error?.text === "string")
    message.error = { text: given.error.text, advice: text(given.error.advice), kind: text(given.error.kind) };
  return message;
}

const text = (value) => (typeof value === "string" ? value : "");
const isToken = (value) => Array.isArray(value) && typeof value[0] === "string" && Number.isFinite(value[1]);
const isLogprobs = (value) => Array.isArray(value) && value.every((each) => isToken(each) && Array.isArray(each[2]) && each[2].every(isToken));

/** An object of numbers, or of such objects. */
function isNumbers(value, depth = 2) {
  if (typeof value !== "object" || value === null) return false;
  return Object.values(value).every((each) => each === null || Number.isFinite(each) || (depth > 0 && isNumbers(each, depth - 1)));
}
