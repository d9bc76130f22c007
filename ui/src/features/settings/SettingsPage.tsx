import { Button, Checkbox, Modal, NumberInput, PasswordInput, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import { api, call, items } from "../../api/client";
import { useMe, useWhyNot } from "../../api/me";
import type { Role, Token, User } from "../../api/types";
import { m } from "../../messages";
import { Action } from "../../ui/Action";
import { Await } from "../../ui/Await";
import { Chip, Command, Empty, Facts, Panel, Time } from "../../ui/Bits";
import { DataTable, type Column } from "../../ui/DataTable";
import { useRefresh } from "../../ui/hooks";
import { Note, ProblemNote } from "../../ui/Note";
import { Page, Tabs } from "../../ui/Page";
import { HandledList } from "./Handled";

/** Accounts, tokens, and who one is. */
export function SettingsPage({ tab, children }: { tab: "" | "users" | "tokens" | "routes" | "policies" | "retention"; children?: ReactNode }) {
  const titles = { "": m.settings.profile, users: m.settings.users, tokens: m.settings.tokens, routes: m.watching.routes.title, policies: m.policies.title, retention: m.retention.title };
  return (
    <Page title={m.settings.title} kind={titles[tab]}>
      <Tabs label={m.settings.title} tabs={(["", "users", "tokens", "routes", "policies", "retention"] as const).map((t) => ({ to: "/settings" + (t ? "/" + t : ""), label: titles[t] }))} />
      {tab === "users" ? <Users /> : tab === "tokens" ? <Tokens /> : children ?? <Profile />}
    </Page>
  );
}

function Profile() {
  const query = useMe();
  return <Await query={query}>{(me) => (
    <div className="stack gap16">
      <Panel title={m.settings.profile} id="profile"><Facts rows={[[m.name, me.display || me.name], [m.settings.account, me.name], [m.settings.roles, (me.roles ?? []).map(m.role).join(", ")], [m.shell.workspace, me.workspace], [m.settings.auth, me.auth === "off" ? m.settings.authOff : m.settings.authOn]]} /></Panel>
      {me.auth !== "off" && <Panel title={m.settings.password} id="password"><PasswordForm account={me.name} /></Panel>}
      {(me.handled ?? []).length > 0 && <Panel title={m.shell.handled.list} id="handled"><HandledList acts={me.handled ?? []} /></Panel>}
      <Panel title={m.settings.permissions} id="permissions"><p className="row">{(me.permissions ?? []).map((p) => <span key={p} className="tag mono">{p}</span>)}</p></Panel>
    </div>
  )}</Await>;
}

/** Changes one's own password; who came by a link has none yet and leaves the first field empty. */
function PasswordForm({ account }: { account: string }) {
  const [current, setCurrent] = useState("");
  const [password, setPassword] = useState("");
  const save = useMutation({ mutationFn: () => call(api.POST("/api/v1/me/password", { body: { current, password } })), onSuccess: () => { setCurrent(""); setPassword(""); } });
  const eye = { visibilityToggleButtonProps: { "aria-label": m.signIn.show, tabIndex: 0 } };
  return (
    <form className="stack gap16" style={{ maxWidth: 360 }} onSubmit={(e) => { e.preventDefault(); save.mutate(); }}>
      <input type="text" name="username" autoComplete="username" value={account} readOnly hidden />
      <PasswordInput label={m.settings.currentPassword} description={m.settings.currentPasswordHint} value={current} onChange={(e) => setCurrent(e.currentTarget.value)} autoComplete="current-password" {...eye} />
      <PasswordInput label={m.settings.newPassword} description={m.settings.newPasswordHint} required minLength={10} value={password} onChange={(e) => setPassword(e.currentTarget.value)} autoComplete="new-password" {...eye} />
      <ProblemNote problem={save.error} />
      {save.isSuccess && <Note tone="ok" title={m.settings.passwordChanged} />}
      <div><Button type="submit" loading={save.isPending}>{m.settings.changePassword}</Button></div>
    </form>
  );
}

function Users() {
  const query = useQuery<User[]>({ queryKey: ["users"], queryFn: async () => items(await call(api.GET("/api/v1/users"))) });
  const why = useWhyNot("user.write");
  const [open, setOpen] = useState(false);
  const columns: Column<User>[] = [
    { key: "name", head: m.settings.account, value: (u) => u.name, cell: (u) => <b>{u.name}</b> }, { key: "display", head: m.name, value: (u) => u.display, cell: (u) => u.display }, { key: "roles", head: m.settings.roles, value: (u) => (u.roles ?? []).join(" "), cell: (u) => (u.roles ?? []).map(m.role).join(", ") },
    { key: "state", head: m.approvals.state, cell: (u) => (u.disabled ? <Chip tone="neutral" glyph="⊘">{m.settings.disabled}</Chip> : <Chip tone="ok">{m.settings.active}</Chip>) }, { key: "created", head: m.created, value: (u) => u.created_at, cell: (u) => <Time at={u.created_at} /> }, { key: "do", head: <span className="sr">{m.actions}</span>, cell: (u) => <Toggle user={u} /> },
  ];
  return (
    <>
      <div className="toolbar"><span className="end"><Action why={why} onClick={() => setOpen(true)}>{m.settings.addUser}</Action></span></div>
      <Await query={query}>{(rows) => <DataTable boxed sort="sort" label={m.settings.users} rows={rows} columns={columns} rowKey={(u) => u.name} empty={<Empty command="keelson user create NAME --role data-scientist">{m.settings.noUsers}</Empty>} />}</Await>
      <Modal opened={open} onClose={() => setOpen(false)} title={m.settings.addUser} centered closeButtonProps={{ "aria-label": m.close }} transitionProps={{ duration: 0 }}><UserForm onDone={() => setOpen(false)} /></Modal>
    </>
  );
}

function Toggle({ user }: { user: User }) {
  const refresh = useRefresh("users");
  const why = useWhyNot("user.write");
  const patch = useMutation({ mutationFn: () => call(api.PATCH("/api/v1/users/{name}", { params: { path: { name: user.name } }, body: { disabled: !user.disabled } })), onSuccess: refresh });
  return <><Action size="compact-sm" variant="default" why={why} loading={patch.isPending} aria-label={`${user.disabled ? m.settings.enable : m.settings.disable} ${user.name}`} onClick={() => patch.mutate()}>{user.disabled ? m.settings.enable : m.settings.disable}</Action><ProblemNote problem={patch.error} /></>;
}

function UserForm({ onDone }: { onDone: () => void }) {
  const roles = useQuery<Role[]>({ queryKey: ["roles"], queryFn: async () => items<Role>(await call(api.GET("/api/v1/roles"))) });
  const refresh = useRefresh("users");
  const [form, setForm] = useState({ name: "", display: "", email: "", password: "" });
  const [chosen, setChosen] = useState<string[]>([]);
  const create = useMutation({ mutationFn: () => call(api.POST("/api/v1/users", { body: { ...form, kind: "person", roles: chosen } })), onSuccess: async () => { await refresh(); onDone(); } });
  const set = (key: keyof typeof form) => (e: { currentTarget: { value: string } }) => setForm({ ...form, [key]: e.currentTarget.value });
  return (
    <form className="stack gap16" onSubmit={(e) => { e.preventDefault(); create.mutate(); }}>
      <TextInput label={m.settings.account} required value={form.name} onChange={set("name")} data-autofocus />
      <TextInput label={m.name} value={form.display} onChange={set("display")} />
      <TextInput label={m.settings.email} type="email" value={form.email} onChange={set("email")} />
      <PasswordInput label={m.signIn.password} required value={form.password} onChange={set("password")} autoComplete="new-password" visibilityToggleButtonProps={{ "aria-label": m.signIn.show, tabIndex: 0 }} />
      <Checkbox.Group label={m.settings.roles} value={chosen} onChange={setChosen}><div className="stack gap4" style={{ marginTop: 6 }}>{(roles.data ?? []).map((r) => <Checkbox key={r.role} value={r.role} label={r.title || m.role(r.role)} />)}</div></Checkbox.Group>
      <ProblemNote problem={create.error} />
      <div className="row between"><Button variant="default" onClick={onDone}>{m.cancel}</Button><Button type="submit" loading={create.isPending}>{m.settings.addUser}</Button></div>
    </form>
  );
}

function Tokens() {
  const query = useQuery<Token[]>({ queryKey: ["tokens"], queryFn: async () => items(await call(api.GET("/api/v1/tokens"))) });
  const refresh = useRefresh("tokens");
  const [name, setName] = useState("");
  const [days, setDays] = useState(90);
  const why = undefined; // everybody who is signed in has tokens of their own
  const create = useMutation({ mutationFn: () => call(api.POST("/api/v1/tokens", { body: { name: name.trim(), expires_in_days: days } })), onSuccess: async () => { setName(""); await refresh(); } });
  const remove = useMutation({ mutationFn: (id: string) => call(api.DELETE("/api/v1/tokens/{id}", { params: { path: { id } } })), onSuccess: refresh });
  const columns: Column<Token>[] = [
    { key: "name", head: m.name, cell: (t) => <b>{t.name}</b> }, { key: "owner", head: m.models.owner, cell: (t) => t.owner }, { key: "created", head: m.created, cell: (t) => <Time at={t.created_at} /> }, { key: "expires", head: m.approvals.expires, cell: (t) => <Time at={t.expires_at} /> }, { key: "used", head: m.models.used, cell: (t) => <Time at={t.last_used_at} /> },
    { key: "do", head: <span className="sr">{m.actions}</span>, cell: (t) => <Action size="compact-sm" variant="default" why={why} aria-label={`${m.settings.revoke} ${t.name}`} onClick={() => remove.mutate(t.id)}>{m.settings.revoke}</Action> },
  ];
  return (
    <div className="stack gap16">
      <Panel title={m.settings.addToken} id="add">
        <form className="row top gap16" onSubmit={(e) => { e.preventDefault(); if (!why && name.trim()) create.mutate(); }}>
          <TextInput label={m.settings.tokenName} required value={name} onChange={(e) => setName(e.currentTarget.value)} />
          <NumberInput label={m.settings.days} min={1} max={3650} value={days} onChange={(v) => setDays(Number(v) || 1)} w={120} />
          <div style={{ paddingTop: 24 }}><Action type="submit" why={why} loading={create.isPending}>{m.settings.addToken}</Action></div>
        </form>
        <ProblemNote problem={create.error ?? remove.error} />
        {create.data?.token && <div style={{ marginTop: 12 }}><Note tone="ok" title={m.settings.tokenOnce}><Command>{create.data.token}</Command></Note></div>}
      </Panel>
      <Await query={query}>{(rows) => <DataTable boxed label={m.settings.tokens} rows={rows} columns={columns} rowKey={(t) => t.id} empty={<Empty>{m.settings.noTokens}</Empty>} />}</Await>
    </div>
  );
}
