import { Drawer, Menu, useMantineColorScheme, type MantineColorScheme } from "@mantine/core";
import { Outlet } from "@tanstack/react-router";
import { lazy, Suspense, useEffect, useRef, useState } from "react";
import { asProblem } from "../api/problem";
import { useMe } from "../api/me";
import type { Me } from "../api/types";
import { useInboxCount } from "../features/approvals/ApprovalsPage";
import { useSignOut } from "../features/session/api";
import { SignIn } from "../features/session/SignIn";
import { HandledBar } from "../features/settings/Handled";
import { m } from "../messages";
import { clockTime } from "../ui/format";
import { Go } from "../ui/Go";
import { useLive } from "../ui/hooks";
import { IconDown, IconInbox, IconMenu, IconMoon, IconSearch, IconSun, IconSystem, IconUser } from "../ui/icons";
import { ProblemNote } from "../ui/Note";
import { useParam, usePath } from "../ui/url";
import { useKeys } from "./keys";
import { menu } from "./menu";

const Palette = lazy(() => import("./Palette"));

/** What surrounds every page; or the sign-in page when nobody is signed in. */
export function Shell() {
  const me = useMe();
  const [link] = useParam("link");
  const status = me.error ? asProblem(me.error).status : 0;
  if (me.error && status === 401) return <SignIn />;
  if (!me.data) return <main className="main">{me.error ? <ProblemNote problem={me.error} retry={() => void me.refetch()} /> : <span className="sr">{m.loading}</span>}</main>;
  if (link) return <SignIn />;
  return <Frame me={me.data} />;
}

function Frame({ me }: { me: Me }) {
  const [drawer, setDrawer] = useState(false);
  const [palette, setPalette] = useState(false);
  const path = usePath();
  const main = useRef<HTMLElement>(null);
  const before = useRef(path);
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  useKeys({ palette: () => setPalette(true), theme: () => setColorScheme(nextScheme(colorScheme)) });
  useEffect(() => {
    if (before.current === path) return;
    const tabs = before.current.split("/").slice(0, 3).join("/") === path.split("/").slice(0, 3).join("/");
    before.current = path;
    setDrawer(false);
    if (!tabs) main.current?.focus({ preventScroll: true });
  }, [path]);
  return (
    <div className="shell">
      <a className="skip" href="#main" onClick={(e) => { e.preventDefault(); main.current?.focus(); }}>{m.shell.skip}</a>
      <header className="head">
        <button type="button" className="iconb only-narrow" aria-label={m.shell.menu} aria-haspopup="dialog" aria-expanded={drawer} onClick={() => setDrawer(true)}><IconMenu size={20} /></button>
        <Go className="brand" to="/" aria-label="keelson"><img src="/favicon.svg" alt="" /><span className="only-wide">keelson</span></Go>
        <Workspaces me={me} />
        <span className="grow" />
        <button type="button" className="find" onClick={() => setPalette(true)} aria-keyshortcuts="Control+K"><IconSearch size={16} /><span className="label">{m.shell.find}</span><kbd className="only-wide" aria-hidden="true">Ctrl K</kbd></button>
        <span className="grow" />
        <InboxLink me={me} />
        <ThemeMenu scheme={colorScheme} set={setColorScheme} />
        <Profile me={me} />
      </header>
      <aside className="side"><MainMenu label={m.shell.navigation} /></aside>
      <Drawer opened={drawer} onClose={() => setDrawer(false)} title={m.shell.navigation} size={270} closeButtonProps={{ "aria-label": m.close }} transitionProps={{ duration: 0 }}><MainMenu label={m.shell.navigationDrawer} /></Drawer>
      <main id="main" className="main" ref={main} tabIndex={-1}><StaleBar /><HandledBar me={me} /><Outlet /></main>
      {palette && <Suspense fallback={null}><Palette onClose={() => setPalette(false)} /></Suspense>}
    </div>
  );
}

const nextScheme = (s: MantineColorScheme): MantineColorScheme => (s === "auto" ? "light" : s === "light" ? "dark" : "auto");

function MainMenu({ label }: { label: string }) {
  const path = usePath();
  const waiting = useInboxCount();
  return (
    <nav className="menu" aria-label={label}>
      {menu.map((group) => (
        <div key={group.title}>
          <h2>{group.title}</h2>
          <ul>{group.pages.map((p) => (
            <li key={p.to}><Go to={p.to} aria-current={path === p.to || path.startsWith(p.to + "/") ? "page" : undefined}><p.icon size={18} aria-hidden="true" />{p.label}{p.to === "/inbox" && waiting > 0 && <span className="count">{waiting}<span className="sr"> {m.shell.waiting}</span></span>}</Go></li>
          ))}</ul>
        </div>
      ))}
    </nav>
  );
}

function InboxLink({ me }: { me: Me }) {
  const n = useInboxCount();
  if (!(me.permissions ?? []).includes("approval.read")) return null;
  return <Go className="iconb" to="/inbox" aria-label={m.shell.inbox(n)}><IconInbox size={18} />{n > 0 && <span className="count" aria-hidden="true">{n}</span>}</Go>;
}

function Workspaces({ me }: { me: Me }) {
  const all = me.workspaces ?? [];
  if (all.length < 2) return null;
  return (
    <Menu shadow="md" position="bottom-start" transitionProps={{ duration: 0 }}>
      <Menu.Target><button type="button" className="iconb" aria-label={m.shell.workspaceIs(me.workspace)}>{me.workspace}<IconDown size={14} /></button></Menu.Target>
      <Menu.Dropdown>{all.map((w) => <Menu.Item key={w} component="a" href={w === "default" ? "/models" : `/w/${encodeURIComponent(w)}/models`} aria-current={w === me.workspace ? "true" : undefined}>{w}</Menu.Item>)}</Menu.Dropdown>
    </Menu>
  );
}

function ThemeMenu({ scheme, set }: { scheme: MantineColorScheme; set: (s: MantineColorScheme) => void }) {
  const Icon = scheme === "dark" ? IconMoon : scheme === "light" ? IconSun : IconSystem;
  return (
    <Menu shadow="md" position="bottom-end" transitionProps={{ duration: 0 }}>
      <Menu.Target><button type="button" className="iconb" aria-label={m.shell.themeIs(m.shell.themes[scheme])}><Icon size={18} /></button></Menu.Target>
      <Menu.Dropdown>
        <Menu.Item leftSection={<IconSystem size={16} />} onClick={() => set("auto")}>{m.shell.themes.auto}</Menu.Item>
        <Menu.Item leftSection={<IconSun size={16} />} onClick={() => set("light")}>{m.shell.themes.light}</Menu.Item>
        <Menu.Item leftSection={<IconMoon size={16} />} onClick={() => set("dark")}>{m.shell.themes.dark}</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

function Profile({ me }: { me: Me }) {
  const signOut = useSignOut();
  return (
    <Menu shadow="md" position="bottom-end" width={230} transitionProps={{ duration: 0 }}>
      <Menu.Target><button type="button" className="iconb" aria-label={m.shell.profileOf(me.display || me.name)}><IconUser size={18} /><span className="only-wide">{me.display || me.name}</span></button></Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{me.name} · {(me.roles ?? []).map(m.role).join(", ")}</Menu.Label>
        <Menu.Item component={Go} to="/settings">{m.settings.title}</Menu.Item>
        {me.auth !== "off" && <Menu.Item onClick={() => signOut.mutate()}>{m.shell.signOut}</Menu.Item>}
      </Menu.Dropdown>
    </Menu>
  );
}

/** Says since when the page is no longer renewed by itself. */
function StaleBar() {
  const { since } = useLive();
  const [show, setShow] = useState(false);
  useEffect(() => {
    if (!since) { setShow(false); return; }
    const t = setTimeout(() => setShow(true), 2500);
    return () => clearTimeout(t);
  }, [since]);
  return <div role="status">{since && show ? <p className="stale">{m.shell.stale(clockTime(since))}</p> : null}</div>;
}
