/** The slash commands, asked for once. */

import type { CommandInfo } from "@noxics/runtime";
import type { UseNox } from "@noxics/runtime/react";
import { useEffect, useState } from "react";

/** Empty until the runtime has told them; they are carried out all the same. */
export function useCommands({ nox, isReady }: UseNox): readonly CommandInfo[] {
  const [commands, setCommands] = useState<readonly CommandInfo[]>([]);
  useEffect(() => {
    if (!isReady) return undefined;
    let isGone = false;
    nox.commands.list().then(
      (list) => isGone || setCommands(list),
      () => undefined,
    );
    return () => {
      isGone = true;
    };
  }, [nox, isReady]);
  return commands;
}
