import { Component } from "react";
import type { ReactNode } from "react";

interface ErrorBoundaryProps {
  /** What is drawn; where it changes, drawing is tried again. */
  of: unknown;
  /** Stands where drawing failed. */
  otherwise: ReactNode;
  children: ReactNode;
}

/** Has a part that can't be drawn leave the rest of the page alone. */
export class ErrorBoundary extends Component<ErrorBoundaryProps, { hasFailed: boolean }> {
  override state = { hasFailed: false };

  static getDerivedStateFromError(): { hasFailed: boolean } {
    return { hasFailed: true };
  }

  override componentDidUpdate(before: ErrorBoundaryProps): void {
    if (this.state.hasFailed && before.of !== this.props.of) this.setState({ hasFailed: false });
  }

  override render(): ReactNode {
    return this.state.hasFailed ? this.props.otherwise : this.props.children;
  }
}
