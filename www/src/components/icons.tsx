/** Icons of 20 × 20 units, drawn in the text's colour. They say nothing to screen readers. */

import type { ReactNode } from "react";

function Icon({ children }: { children: ReactNode }) {
  return (
    <svg
      className="icon"
      viewBox="0 0 20 20"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.6"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  );
}

export const SendIcon = () => (
  <Icon>
    <path d="M10 16V4.5M5 9.2l5-5 5 5" />
  </Icon>
);

export const StopIcon = () => (
  <Icon>
    <rect x="5.5" y="5.5" width="9" height="9" rx="1.8" fill="currentColor" stroke="none" />
  </Icon>
);

export const NewChatIcon = () => (
  <Icon>
    <path d="M9.5 4H6a2.2 2.2 0 0 0-2.2 2.2v7.6A2.2 2.2 0 0 0 6 16h7.6a2.2 2.2 0 0 0 2.2-2.2v-3.3M15.2 3.4a1.4 1.4 0 0 1 2 2l-6 6-2.7.7.7-2.7 6-6Z" />
  </Icon>
);

export const ModelsIcon = () => (
  <Icon>
    <path d="M10 3 3.5 6.5 10 10l6.5-3.5L10 3ZM3.5 10 10 13.5l6.5-3.5M3.5 13.5 10 17l6.5-3.5" />
  </Icon>
);

export const StatusIcon = () => (
  <Icon>
    <circle cx="10" cy="10" r="7" />
    <path d="M10 9.3v4.2M10 6.4v.1" />
  </Icon>
);

export const ChatsIcon = () => (
  <Icon>
    <path d="M3.5 5.5h13M3.5 10h13M3.5 14.5h8" />
  </Icon>
);

export const MoreIcon = () => (
  <Icon>
    <path d="M5 10h.1M10 10h.1M15 10h.1" strokeWidth="2.4" />
  </Icon>
);

export const AwayIcon = () => (
  <Icon>
    <path d="M8 4.5H6.2A1.7 1.7 0 0 0 4.5 6.2v7.6a1.7 1.7 0 0 0 1.7 1.7h7.6a1.7 1.7 0 0 0 1.7-1.7V12M11.5 4.5h4v4M15.2 4.8 9.5 10.5" />
  </Icon>
);

export const CloseIcon = () => (
  <Icon>
    <path d="m5.5 5.5 9 9M14.5 5.5l-9 9" />
  </Icon>
);

export const DownIcon = () => (
  <Icon>
    <path d="M10 4v11.5M5 10.8l5 5 5-5" />
  </Icon>
);

export const LockIcon = () => (
  <Icon>
    <rect x="4.5" y="9" width="11" height="7.5" rx="1.8" />
    <path d="M7 9V6.5a3 3 0 0 1 6 0V9" />
  </Icon>
);

/** The product's mark. */
export const Moon = () => (
  <svg className="moon" viewBox="0 0 64 64" aria-hidden="true">
    <rect width="64" height="64" rx="15" fill="#171a2b" />
    <path d="M42.5 45.6A19 19 0 1 1 36.3 13.6 15.5 15.5 0 0 0 42.5 45.6Z" fill="#f0eee6" />
    <circle cx="46" cy="24" r="3" fill="#a9b0ff" />
  </svg>
);
