import type { AnchorHTMLAttributes, MouseEvent, ReactNode } from "react";
import { full, useGo } from "./url";

interface Props extends Omit<AnchorHTMLAttributes<HTMLAnchorElement>, "href"> { to: string; children: ReactNode }

/** A real link to a page of the interface: middle click, copy and Enter work as on any link. */
export function Go({ to, children, onClick, ...rest }: Props) {
  const go = useGo();
  const click = (e: MouseEvent<HTMLAnchorElement>) => {
    onClick?.(e);
    if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey || rest.target) return;
    e.preventDefault();
    go(to);
  };
  return <a {...rest} href={full(to)} onClick={click}>{children}</a>;
}
