// What the page knows of the server: its models, their sizes and defaults.

import { ServerError } from "./answer.js";
import { fetchModels, fetchProps } from "./api.js";
import { FIELDS } from "./fields.js";

export class ServerState {
  models = [];
  #props = new Map(); // name of a model -> what /props says, while it is asked for a promise

  async refresh() {
    this.models = await fetchModels();
    this.#props.clear();
  }

  /** The name to ask for: the wished one if the server has it, else one that is loaded, else the first. */
  choose(wished) {
    const found = this.models.find(({ id }) => id === wished) ?? this.models.find(isLoaded) ?? this.models[0];
    return found?.id ?? "";
  }

  /** Tokens of a model's context, 0 where it is not known. */
  async contextOf(model) {
    const meta = this.models.find(({ id }) => id === model)?.meta;
    return meta?.n_ctx || (await this.#propsOf(model))?.default_generation_settings?.n_ctx || 0;
  }

  /** What settings mean for a model: {defaults: the server's own, of those that the page knows; thinks: whether its
   * template can switch thinking on and off, null where that is not known}. */
  async settingsOf(model) {
    const props = await this.#propsOf(model);
    const given = props?.default_generation_settings;
    const params = { ...given, ...given?.params };
    const known = FIELDS.filter(({ kind, name }) => kind === "number" && Number.isFinite(params[name]));
    const template = props?.chat_template;
    return {
      defaults: Object.fromEntries(known.map(({ name }) => [name, params[name]])),
      thinks: typeof template === "string" ? /think|reasoning/i.test(template) : null,
    };
  }

  /** Of a model that is loaded: asking would load another. */
  #propsOf(model) {
    if (!this.models.some((each) => each.id === model && isLoaded(each))) return null;
    if (!this.#props.has(model)) {
      const asked = fetchProps(model).catch((error) => {
        if (!(error instanceof ServerError)) throw error;
        return null;
      });
      this.#props.set(model, asked);
    }
    return this.#props.get(model);
  }
}

const isLoaded = ({ status }) => (status?.value ?? "loaded") === "loaded";
