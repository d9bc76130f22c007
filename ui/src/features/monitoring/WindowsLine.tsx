import { useEffect, useRef } from "react";
import type { Window } from "../../api/types";
import { m } from "../../messages";
import { absolute, clockTime, count, fixed } from "../../ui/format";
import { Go } from "../../ui/Go";
import { paths, useParam } from "../../ui/url";

const dayMonth = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const day = (iso: string) => dayMonth.format(new Date(iso));

const worst = (w: Window) => Math.max(0, ...(w.features ?? []).map((f) => f.psi ?? 0));

/** One column per window, as high as its largest shift; a breach carries a mark, a new version its number, and the limit is a line. Each column is a link to its window. */
export function WindowsLine({ model, endpoint, windows, current, limit }: { model: string; endpoint: string; windows: Window[]; current: string; limit?: number }) {
  const [feature] = useParam("feature");
  const top = Math.max(0.5, ...windows.map(worst));
  const strip = useRef<HTMLDivElement>(null);
  useEffect(() => { // the window that is looked at, at first the newest, stands at the right end of a long line
    const box = strip.current, at = box?.querySelector<HTMLElement>('[aria-current="true"]');
    if (box && at) box.scrollLeft = at.offsetLeft - box.offsetLeft + at.offsetWidth + 8 - box.clientWidth;
  }, [current, windows.length]);
  const oneDay = new Set(windows.map((w) => w.to.slice(0, 10))).size === 1;
  return (
    <>
      <p className="legend"><span><i style={{ background: "var(--k-c1)" }} />{m.monitor.within}</span><span><i style={{ background: "var(--k-c2)" }} /><span aria-hidden="true">▲ </span>{m.monitor.breach}</span><span>{m.monitor.heightHelp}</span>{limit !== undefined && <span><i className="limitkey" />{m.look.limitLine(fixed(limit, 2))}</span>}</p>
      <div className="windows" ref={strip} tabIndex={0} role="region" aria-label={m.monitor.windowsRegion}>
        {windows.map((w, i) => {
          const when = oneDay ? clockTime(new Date(w.to)).slice(0, 5) : day(w.to);
          const version = w.version !== windows[i - 1]?.version ? `v${w.version}` : "";
          const label = m.monitor.windowLabel(i + 1, w.breached, fixed(worst(w)), count(w.rows), absolute(w.to));
          return <Go key={w.id} className="win" data-breach={w.breached} aria-current={w.id === current ? "true" : undefined} to={paths.monitoring(model, { endpoint, window: w.id, feature })}
            aria-label={[`#${i + 1}`, when, version, label].filter(Boolean).join(" ")} title={label}>
            <span className="mark" aria-hidden="true">{w.breached ? "▲" : ""}</span>
            <span className="col"><i style={{ height: `${Math.max(3, (Math.min(worst(w), top) / top) * 100)}%` }} />{limit !== undefined && <b className="limitat" style={{ bottom: `${Math.min(100, (limit / top) * 100)}%` }} />}</span>
            {/* the spaces are not seen; they keep the words apart that the accessible name begins with */}
            <span>#{i + 1}</span>{" "}
            <span className="nowrap">{when}</span>{" "}
            <span className="deployed" title={m.look.deployed(w.version)}>{version || "\u00a0"}</span>
          </Go>;
        })}
      </div>
    </>
  );
}
