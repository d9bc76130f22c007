import { useRouter } from "@tanstack/react-router";
import { useCallback, useSyncExternalStore } from "react";
import { prefix } from "../api/client";

const enc = encodeURIComponent;

/** Addresses of the pages, without the workspace prefix. */
export const paths = {
  models: "/models",
  model: (name: string, tab = "") => `/models/${enc(name)}${tab ? "/" + tab : ""}`,
  version: (name: string, v: number | string) => `/models/${enc(name)}/versions/${v}`,
  approvals: "/approvals",
  approval: (id: string) => `/approvals/${enc(id)}`,
  pipelines: "/pipelines",
  pipeline: (name: string) => `/pipelines/${enc(name)}`,
  run: (pipeline: string, id: string, step = "") => `/pipelines/${enc(pipeline)}/runs/${enc(id)}${step ? "?step=" + enc(step) : ""}`,
  deployments: "/deployments",
  deployment: (endpoint: string) => `/deployments/${enc(endpoint)}`,
  dataset: (name: string, v?: number | string) => `/data/${enc(name)}${v ? "/" + v : ""}`,
  experiment: (id: string) => `/experiments/${enc(id)}`,
  trackingRun: (id: string) => `/runs/${enc(id)}`,
  predictions: (q: Record<string, string | number | undefined> = {}) => "/predictions" + query(q),
  prediction: (id: string) => `/predictions/${enc(id)}`,
  trace: (id: string, q: Record<string, string | undefined> = {}) => `/traces/${enc(id)}` + query(q),
  incident: (id: string) => `/incidents/${enc(id)}`,
  audit: (q: Record<string, string | number | undefined> = {}) => "/audit" + query(q),
  monitoring: (model: string, q: Record<string, string | undefined> = {}) => `/models/${enc(model)}/monitoring` + query(q),
};

/** "?a=1&b=2" of the values that are set, or "". */
export function query(values: Record<string, string | number | undefined | null>): string {
  const p = new URLSearchParams();
  for (const [k, v] of Object.entries(values)) if (v !== undefined && v !== null && v !== "") p.set(k, String(v));
  const text = p.toString();
  return text ? "?" + text : "";
}

/** The page with the predictions that a link of the API names. */
export function rowsOf(link: string | undefined, endpoint: string): string {
  const at = link?.indexOf("?") ?? -1;
  return at >= 0 ? `/predictions${link!.slice(at)}` : paths.predictions({ endpoint });
}

/** The address as the browser knows it: with the workspace prefix. */
export const full = (path: string) => (path.startsWith("/") ? prefix + path : path);

/** The page an object of the audit log or an event names ("approval/ID", "model/NAME/3"), or undefined. */
export function pageOf(object: string): string | undefined {
  const [noun, first, ...more] = object.split("/");
  if (!first) return undefined;
  switch (noun) {
    case "model": return more[0] && /^\d+$/.test(more[0]) ? paths.version(first, more[0]) : paths.model(first);
    case "version": return more[0] ? paths.version(first, more[0]) : paths.model(first);
    case "approval": return paths.approval(first);
    case "deployment": return paths.deployment(first);
    case "data": case "dataset": return paths.dataset(first, more[0]);
    case "incident": return paths.incident(first);
    case "pipeline": return paths.pipeline(first);
    case "pipeline-run": return `/pipelines/-/runs/${enc(first)}`;
    case "run": return paths.trackingRun(first);
    case "experiment": return paths.experiment(first);
    case "trace": return paths.trace(first);
    case "prediction": return paths.prediction(first);
    case "monitor": return paths.monitoring(first.split(".")[0], { endpoint: first });
    default: return undefined;
  }
}

function useHistory() {
  return useRouter({ warn: false })?.history;
}

function nowhere(fn: () => void) {
  addEventListener("popstate", fn);
  return () => removeEventListener("popstate", fn);
}

/** One value of the address' query, and the way to change it in place (empty removes it). */
export function useParam(key: string): [string, (value: string) => void] {
  const history = useHistory();
  const read = () => (history ? history.location.search : location.search);
  const search = useSyncExternalStore(history ? (fn) => history.subscribe(fn) : nowhere, read);
  const put = useSetParams();
  const set = useCallback((value: string) => put({ [key]: value }), [put, key]);
  return [new URLSearchParams(search).get(key) ?? "", set];
}

/** Changes several values of the address' query in one step, in place (empty removes). */
export function useSetParams(): (values: Record<string, string>) => void {
  const history = useHistory();
  return useCallback((values) => {
    const at = history ? history.location : location;
    const p = new URLSearchParams(at.search);
    for (const [k, v] of Object.entries(values)) if (v) p.set(k, v); else p.delete(k);
    const text = p.toString();
    const href = at.pathname + (text ? "?" + text : "");
    if (history) history.replace(href);
    else { window.history.replaceState(null, "", href); dispatchEvent(new PopStateEvent("popstate")); }
  }, [history]);
}

/** The whole query of the address ("?a=1" or ""). */
export function useQueryText(): string {
  const history = useHistory();
  return useSyncExternalStore(history ? (fn) => history.subscribe(fn) : nowhere, () => (history ? history.location.search : location.search));
}

/** The path of the page without the workspace prefix. */
export function usePath(): string {
  const history = useHistory();
  const path = useSyncExternalStore(history ? (fn) => history.subscribe(fn) : nowhere, () => (history ? history.location.pathname : location.pathname));
  return path.startsWith(prefix) ? path.slice(prefix.length) || "/" : path;
}

/** Goes to a page (a path without the workspace prefix). */
export function useGo(): (path: string, replace?: boolean) => void {
  const history = useHistory();
  return useCallback((path, replace) => {
    if (!history) location.assign(full(path));
    else if (replace) history.replace(full(path));
    else history.push(full(path));
  }, [history]);
}
