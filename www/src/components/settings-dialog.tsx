import { NoxError } from "@noxics/runtime";
import type { ConfigResult, UserInfo } from "@noxics/runtime";
import type { UseNox } from "@noxics/runtime/react";
import { useEffect, useRef, useState } from "react";
import type { FormEvent } from "react";

import { sentence } from "../advice";
import { distinctName, partsText } from "../model-names";
import { PLACEHOLDERS, settingInError, settingsChange, settingsDraft } from "../settings-form";
import type { SettingName, SettingsDraft } from "../settings-form";
import { Dialog } from "./dialog";
import { Field, Switch } from "./field";
import { NoPreferences } from "./no-preferences";
import { NumberField } from "./number-field";
import { RoutingSection } from "./routing-section";
import { StorageSection } from "./storage-section";

/** Answers where no model is chosen. */
const DEFAULT_ALIAS = "nox";

interface SettingsDialogProps {
  chat: UseNox;
  onClose: () => void;
}

/** What the dialog is about, as the runtime tells it. */
interface Loaded {
  config: ConfigResult;
  user: UserInfo | null;
}

/** What the user sets, for all chats. */
export function SettingsDialog({ chat, onClose }: SettingsDialogProps) {
  const [loaded, setLoaded] = useState<Loaded | null>(null);
  const [error, setError] = useState<NoxError | null>(null);
  const { nox, chats } = chat;
  const state = chats?.state;
  useEffect(() => {
    let isGone = false;
    Promise.all([nox.config.get(), nox.users.list()]).then(
      ([config, users]) => isGone || setLoaded({ config, user: users.find(({ current }) => current) ?? null }),
      (reason: unknown) => isGone || setError(NoxError.from(reason)),
    );
    return () => {
      isGone = true;
    };
  }, [nox, state]);
  return (
    <Dialog title="Settings" testId="settings-dialog" onClose={onClose}>
      {loaded ? (
        <>
          <SettingsForm chat={chat} loaded={loaded} onLoaded={setLoaded} />
          <StorageSection chat={chat} />
          <RoutingSection chat={chat} config={loaded.config} onConfig={(config) => setLoaded({ ...loaded, config })} />
        </>
      ) : (
        <NoPreferences chat={chat} error={error} />
      )}
    </Dialog>
  );
}

interface SettingsFormProps {
  chat: UseNox;
  loaded: Loaded;
  onLoaded: (loaded: Loaded) => void;
}

/** What went wrong at a field, or with the whole. */
interface FormError {
  readonly field: SettingName | "user" | null;
  readonly text: string;
}

function SettingsForm({ chat, loaded, onLoaded }: SettingsFormProps) {
  const before = settingsDraft(loaded.config.settings);
  const nameBefore = loaded.user?.display ?? "";
  const [draft, setDraft] = useState(before);
  const [userName, setUserName] = useState(nameBefore);
  const [error, setError] = useState<FormError | null>(null);
  const [isSaved, setIsSaved] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => form.current?.querySelector<HTMLElement>("[aria-invalid]")?.focus(), [error]);
  const set = (change: Partial<SettingsDraft>): void => {
    setDraft({ ...draft, ...change });
    setIsSaved(false);
  };
  const errorAt = (field: FormError["field"]): string | null => (error?.field === field ? error.text : null);

  const save = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setError(null);
    const { nox } = chat;
    try {
      const config = await nox.config.set({ settings: settingsChange(before, draft) });
      setDraft(settingsDraft(config.settings));
      onLoaded({ ...loaded, config });
      if (loaded.user && userName.trim() !== nameBefore) {
        onLoaded({ config, user: await renameUser(chat, loaded.user, userName.trim()) });
      }
      await chat.reloadPreferences();
      setIsSaved(true);
    } catch (reason) {
      const { message } = NoxError.from(reason);
      setError({ field: settingInError(message) ?? (/user|name/.test(message) ? "user" : null), text: sentence(message) });
    }
  };

  return (
    <form ref={form} className="form" data-testid="settings-form" noValidate onSubmit={(event) => void save(event)}>
      <Field label="Answers come from" error={errorAt("model")}>
        {(control) => (
          <select {...control} value={draft.model} onChange={({ currentTarget }) => set({ model: currentTarget.value })}>
            <option value="">The built-in model</option>
            {chat.models
              .filter((model) => !model.builtin && partsText(model) === null)
              .map((model) => (
                <option key={model.id} value={model.id}>
                  {distinctName(model, chat.models)}
                </option>
              ))}
            {aliasOptions(chat, draft.model).map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        )}
      </Field>
      <div className="field-row">
        <NumberField
          label="Temperature"
          help="0 takes the likeliest word, 1 and more wander."
          error={errorAt("temperature")}
          testId="setting-temperature"
          isDecimal
          placeholder="by the model"
          value={draft.temperature}
          onChange={(temperature) => set({ temperature })}
        />
        <NumberField
          label="Longest reply"
          help="In tokens."
          error={errorAt("max_tokens")}
          placeholder="no limit"
          value={draft.max_tokens}
          onChange={(max_tokens) => set({ max_tokens })}
        />
        <NumberField
          label="Turns it remembers"
          help="Of each chat."
          error={errorAt("history_turns")}
          placeholder="as many as fit"
          value={draft.history_turns}
          onChange={(history_turns) => set({ history_turns })}
        />
      </div>
      <Field label="System prompt" help={<PlaceholderList />} error={errorAt("system_prompt")}>
        {(control) => (
          <textarea
            {...control}
            rows={3}
            placeholder="The product’s own, which names the persona"
            value={draft.system_prompt}
            onChange={({ currentTarget }) => set({ system_prompt: currentTarget.value })}
          />
        )}
      </Field>
      <Switches draft={draft} set={set} errorAt={errorAt} />
      <NumberField
        label="Room for warm starts"
        help="In MiB. What was computed for kept chats is stored, so that they go on at once after a reload; 0 stores nothing and removes what there is."
        error={errorAt("warm_start_mib")}
        testId="setting-warm-start"
        placeholder="256"
        value={draft.warm_start_mib}
        onChange={(warm_start_mib) => set({ warm_start_mib })}
      />
      <InstrumentField
        config={loaded.config}
        answering={draft.model || DEFAULT_ALIAS}
        value={draft.instrument}
        error={errorAt("instrument")}
        onChange={(instrument) => set({ instrument })}
      />
      <Field label="Your name" help="The chats on this device are kept under it." error={errorAt("user")}>
        {(control) => (
          <input
            {...control}
            data-testid="setting-user"
            autoComplete="nickname"
            disabled={!loaded.user}
            value={userName}
            onChange={({ currentTarget }) => {
              setUserName(currentTarget.value);
              setIsSaved(false);
            }}
          />
        )}
      </Field>
      {error?.field === null && (
        <p className="field-error" role="alert">
          {error.text}
        </p>
      )}
      <div className="form-actions">
        <p role="status">{isSaved && "Saved."}</p>
        <button type="submit" className="button primary" data-testid="settings-save">
          Save
        </button>
      </div>
    </form>
  );
}

interface SwitchesProps {
  draft: SettingsDraft;
  set: (change: Partial<SettingsDraft>) => void;
  errorAt: (field: SettingName) => string | null;
}

function Switches({ draft, set, errorAt }: SwitchesProps) {
  return (
    <>
      <Switch
        label="Keep chats on this device"
        help="Off, a chat ends with the page."
        error={errorAt("keep_chats")}
        checked={draft.keep_chats}
        onChange={(keep_chats) => set({ keep_chats })}
      />
      <Switch
        label="Replace personal data in what I write"
        help="E-mail addresses, card and account numbers, IP addresses and phone numbers, before the model sees them and before they are stored."
        error={errorAt("sanitize")}
        checked={draft.sanitize}
        onChange={(sanitize) => set({ sanitize })}
      />
      <Switch
        label="Keep reasoning apart from the reply"
        error={errorAt("strip_reasoning")}
        checked={draft.strip_reasoning}
        onChange={(strip_reasoning) => set({ strip_reasoning })}
      />
      <Switch
        label="Let the model grade its own replies"
        help="One more short question to the model after each reply."
        error={errorAt("self_score")}
        checked={draft.self_score}
        onChange={(self_score) => set({ self_score })}
      />
    </>
  );
}

interface InstrumentFieldProps {
  config: ConfigResult;
  /** Who answers by itself, and so can't be asked for help. */
  answering: string;
  value: string;
  error: string | null;
  onChange: (alias: string) => void;
}

function InstrumentField({ config, answering, value, error, onChange }: InstrumentFieldProps) {
  const names = config.aliases.filter((alias) => alias !== answering);
  const options = value === "" || names.includes(value) ? names : [...names, value];
  const help =
    options.length === 0
      ? "None is available: the routing below names no other model."
      : "A larger model that may be asked when the answer needs it, or when the model grades its reply low. What it is asked may leave this device; personal data is replaced before.";
  return (
    <Field label="Instrument" help={help} error={error}>
      {(control) => (
        <select
          {...control}
          data-testid="setting-instrument"
          disabled={options.length === 0}
          value={value}
          onChange={({ currentTarget }) => onChange(currentTarget.value)}
        >
          <option value="">None: nothing is asked</option>
          {options.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      )}
    </Field>
  );
}

function PlaceholderList() {
  return (
    <details>
      <summary>It may hold placeholders</summary>
      <ul className="placeholders">
        {PLACEHOLDERS.map(([name, meaning]) => (
          <li key={name}>
            <code>{`{{${name}}}`}</code> {meaning}
          </li>
        ))}
      </ul>
    </details>
  );
}

/** Aliases to choose from, with the one that is set even if it is gone. */
function aliasOptions({ aliases, models }: UseNox, model: string): readonly string[] {
  const isListed = model === "" || aliases.includes(model) || models.some(({ id, builtin }) => id === model && !builtin);
  const isBuiltin = models.some(({ id, builtin }) => id === model && builtin);
  return isListed || isBuiltin ? aliases : [...aliases, model];
}

async function renameUser(chat: UseNox, user: UserInfo, display: string): Promise<UserInfo> {
  const renamed = await chat.nox.users.set(user.id, { display });
  chat.sessionsChanged();
  return renamed;
}
