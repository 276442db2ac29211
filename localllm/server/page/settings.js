// The dialog of a conversation's settings.

import { byId, h } from "./dom.js";
import { FIELDS, GROUPS, checkSettings, readField, showField } from "./fields.js";

const DEFAULTS = "localllm.defaults";

/** The settings with which a new conversation begins. */
export function defaultSettings() {
  try {
    return checkSettings(JSON.parse(localStorage.getItem(DEFAULTS) ?? "{}"));
  } catch {
    return {}; // a text of another version of this page
  }
}

export class SettingsDialog {
  #inputs = new Map();

  constructor() {
    this.dialog = byId("settings");
    this.form = this.dialog.querySelector("form");
    this.error = byId("settings-error");
    byId("settings-fields").append(...GROUPS.map(([group, title]) => this.#group(group, title)));
    byId("settings-cancel").addEventListener("click", () => this.dialog.close());
    byId("settings-reset").addEventListener("click", () => this.#fill({}));
    this.form.addEventListener("submit", (event) => this.#submit(event));
  }

  #group(group, title) {
    const fields = FIELDS.filter((field) => field.group === group).map((field) => this.#field(field));
    return h("fieldset", { class: group }, title && h("legend", { text: title }), ...fields);
  }

  #field(field) {
    const id = `setting-${field.name}`;
    const hint = `${id}-hint`;
    const input = INPUTS[field.kind](field, { id, name: field.name, "aria-describedby": hint });
    this.#inputs.set(field.name, input);
    return h("div", { class: `field ${field.kind}` }, h("label", { for: id, text: field.label }), input, h("p", { id: hint, class: "hint", text: field.hint }));
  }

  /** Show settings; `save` is called with those that the reader has left. told: a promise of what the server says of
   * them, {defaults, thinks}. */
  open(settings, told, save) {
    this.save = save;
    this.#fill(settings);
    byId("settings-default").checked = false;
    this.dialog.showModal();
    told.then(({ defaults, thinks }) => {
      this.#showDefaults(defaults);
      this.form.querySelector("fieldset.thinking").disabled = thinks === false;
    });
  }

  #showDefaults(defaults) {
    for (const { kind, name, placeholder } of FIELDS) {
      const value = defaults[name];
      const shown = value === undefined ? "default" : String(Number(value.toPrecision(4)));
      if (kind === "number" && !placeholder) this.#inputs.get(name).placeholder = shown;
    }
  }

  #fill(settings) {
    this.error.hidden = true;
    for (const [name, input] of this.#inputs) {
      input.value = showField(settings[name]);
      input.removeAttribute("aria-invalid");
    }
  }

  #submit(event) {
    event.preventDefault();
    const settings = {};
    for (const field of FIELDS) {
      const input = this.#inputs.get(field.name);
      input.removeAttribute("aria-invalid");
      try {
        const value = readField(field, input.value);
        if (value !== undefined) settings[field.name] = value;
      } catch (error) {
        return this.#refuse(input, error.message);
      }
    }
    if (byId("settings-default").checked) localStorage.setItem(DEFAULTS, JSON.stringify(settings));
    this.dialog.close();
    this.save(settings);
  }

  #refuse(input, message) {
    this.error.textContent = message;
    this.error.hidden = false;
    input.setAttribute("aria-invalid", "true");
    input.focus();
  }
}

const area = (field, props) => h("textarea", { ...props, rows: field.rows, dir: "auto", spellcheck: field.kind === "text" ? null : "false" });

// Numbers are texts with a keypad for numbers: a number input gives out an empty text for what it cannot read.
const INPUTS = {
  text: area,
  lines: area,
  json: area,
  number: (field, props) => h("input", { ...props, inputmode: field.min < 0 ? "text" : "decimal", autocomplete: "off", placeholder: field.placeholder ?? "default" }),
  choice: (field, props) => h("select", props, ...field.choices.map(([value, text]) => h("option", { value, text }))),
};
