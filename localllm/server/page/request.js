// The body of a chat completion: OpenAI's fields, and llama.cpp's for what OpenAI has none.

const COPIED = ["temperature", "top_k", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty", "seed", "max_tokens", "stop"];

/** The body for the next answer to a conversation. prefill: its last message, of the assistant, is continued. */
export function requestBody(conversation, { prefill = false } = {}) {
  const { settings, model } = conversation;
  const body = {
    ...(model ? { model } : {}),
    messages: requestMessages(conversation, prefill),
    stream: true,
    stream_options: { include_usage: true },
    return_progress: true,
  };
  for (const name of COPIED) if (settings[name] !== undefined) body[name] = settings[name];
  if (settings.thinking) body.chat_template_kwargs = { enable_thinking: settings.thinking === "on" };
  if (settings.thinking_budget !== undefined) body.thinking_budget_tokens = settings.thinking_budget;
  if (settings.logprobs !== undefined) Object.assign(body, { logprobs: true, top_logprobs: settings.logprobs });
  if (settings.schema)
    body.response_format = { type: "json_schema", json_schema: { name: "answer", strict: true, schema: JSON.parse(settings.schema) } };
  if (settings.tools) body.tools = JSON.parse(settings.tools);
  if (prefill) body.continue_final_message = true;
  return body;
}

/** The messages that are sent: those from `conversation.from` on, without questions that were never answered. */
export function requestMessages(conversation, prefill) {
  const system = conversation.settings.system ? [{ role: "system", content: conversation.settings.system }] : [];
  const kept = conversation.messages.slice(conversation.from ?? 0);
  if (!prefill && kept.at(-1)?.role === "assistant") kept.pop();
  const sent = kept.filter((message, index) => !isEmptyAnswer(message) && !isUnanswered(kept, index));
  return [...system, ...sent.map(requestMessage)];
}

/** Whether a message of the user got no answer: an error, or it was stopped before the first token. */
export function isUnanswered(messages, index) {
  return messages[index].role === "user" && index + 1 < messages.length && isEmptyAnswer(messages[index + 1]);
}

function isEmptyAnswer({ role, content, reasoning, toolCalls }) {
  return role === "assistant" && !content && !reasoning && !toolCalls?.length;
}

function requestMessage({ role, content, reasoning, toolCalls, toolCallId }) {
  const message = { role, content };
  if (reasoning) message.reasoning_content = reasoning;
  if (toolCalls?.length)
    message.tool_calls = toolCalls.map((call) => ({ id: call.id, type: "function", function: { name: call.name, arguments: call.arguments } }));
  if (toolCallId) message.tool_call_id = toolCallId;
  return message;
}
