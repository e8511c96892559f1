import type { CommandInfo } from "@noxics/runtime";
import { useEffect, useRef } from "react";

interface CommandListProps {
  options: readonly CommandInfo[];
  active: CommandInfo | undefined;
  onChoose: (command: CommandInfo) => void;
}

/** By this id the message field points at the option that a key would choose. */
export function optionId({ name }: CommandInfo): string {
  return `command-${name.slice(1)}`;
}

/** The commands that a draft may become. The focus stays in the message field. */
export function CommandList({ options, active, onChoose }: CommandListProps) {
  const list = useRef<HTMLUListElement>(null);
  useEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }, [active]);
  return (
    <>
      <ul ref={list} id="commands" className="commands" data-testid="commands" role="listbox" aria-label="Commands">
        {options.map((command) => (
          <li
            key={command.name}
            id={optionId(command)}
            role="option"
            aria-selected={command === active}
            // Pressing it must not take the focus from the field.
            onMouseDown={(event) => event.preventDefault()}
            onClick={() => onChoose(command)}
          >
            <code>
              {command.name} <span className="command-arguments">{command.arguments}</span>
            </code>
            <span className="command-help">{command.help}</span>
          </li>
        ))}
      </ul>
      <p className="visually-hidden" role="status">
        {options.length === 1 ? "1 command" : `${options.length} commands`}
      </p>
    </>
  );
}
