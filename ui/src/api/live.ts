/**
 * The live link: one stream per tab over /api/v1/events. Events say what
 * changed, not the data; listeners refetch what they show.
 */
import { prefix } from "./client";

export interface LiveEvent { id?: string; type?: string; subject?: string }
/** since is when the link was lost; null while it is up or was never wanted. */
export interface LiveState { since: Date | null }

type OnEvent = (event: LiveEvent) => void;

const wanted = new Map<string, number>();
const eventFns = new Set<OnEvent>();
const gapFns = new Set<() => void>();
const stateFns = new Set<() => void>();
let state: LiveState = { since: null };
let stop: AbortController | null = null;
let open = "";
let lastId = "";
let timer: ReturnType<typeof setTimeout> | undefined;

export const liveState = () => state;
export function onLiveState(fn: () => void): () => void { stateFns.add(fn); return () => stateFns.delete(fn); }
export function onEvent(fn: OnEvent): () => void { eventFns.add(fn); return () => eventFns.delete(fn); }
/** Calls fn after a lost link came back, when events may have been missed. */
export function onGap(fn: () => void): () => void { gapFns.add(fn); return () => gapFns.delete(fn); }

/** Asks for events of these topics until the returned function is called. */
export function want(topics: string[]): () => void {
  for (const t of topics) wanted.set(t, (wanted.get(t) ?? 0) + 1);
  plan();
  return () => {
    for (const t of topics) {
      const n = (wanted.get(t) ?? 1) - 1;
      if (n > 0) wanted.set(t, n); else wanted.delete(t);
    }
    plan();
  };
}

function plan() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    const topics = [...wanted.keys()].sort().join(",");
    if (topics === open) return;
    stop?.abort();
    stop = null;
    open = topics;
    if (topics) void follow(topics);
  }, 100);
}

function say(next: LiveState) {
  if (next.since === state.since) return;
  state = next;
  stateFns.forEach((fn) => fn());
}

async function follow(topics: string) {
  const mine = new AbortController();
  stop = mine;
  let wait = 1000;
  let lost = false;
  while (!mine.signal.aborted) {
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (lastId) headers["Last-Event-ID"] = lastId;
      const answer = await fetch(`${prefix}/api/v1/events?topics=${encodeURIComponent(topics)}`, { headers, credentials: "same-origin", signal: mine.signal });
      if (answer.status === 401 || answer.status === 403 || answer.status === 404) { say({ since: null }); return; }
      if (!answer.ok || !answer.body) throw new Error(String(answer.status));
      say({ since: null });
      if (lost) gapFns.forEach((fn) => fn());
      lost = false;
      wait = 1000;
      await read(answer.body);
    } catch {
      if (mine.signal.aborted) return;
    }
    lost = true;
    if (!state.since) say({ since: new Date() });
    await new Promise((done) => setTimeout(done, wait * (0.7 + Math.random() * 0.6)));
    wait = Math.min(wait * 2, 30_000);
  }
}

async function read(body: ReadableStream<Uint8Array>) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = blocks.pop() ?? "";
    for (const block of blocks) deliver(parse(block));
  }
}

/** One block of a stream: the event of its data lines, or null for a heartbeat. */
export function parse(block: string): LiveEvent | null {
  let id = "", data = "", type = "";
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith(":")) continue;
    const at = line.indexOf(":");
    const field = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
    if (field === "id") id = value;
    else if (field === "event") type = value;
    else if (field === "data") data += (data ? "\n" : "") + value;
  }
  if (id) lastId = id;
  if (!data) return null;
  try {
    const doc: unknown = JSON.parse(data);
    if (!doc || typeof doc !== "object") return null;
    const event = doc as LiveEvent;
    return { id, type: event.type ?? type, subject: event.subject };
  } catch {
    return null;
  }
}

function deliver(event: LiveEvent | null) {
  if (event) eventFns.forEach((fn) => fn(event));
}
