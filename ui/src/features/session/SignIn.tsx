import { Button, PasswordInput, TextInput } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { m } from "../../messages";
import { Note, ProblemNote } from "../../ui/Note";
import { useParam } from "../../ui/url";
import { useSignIn } from "./api";

/** Asks for name and password, or redeems the one-time link of the address. */
export function SignIn() {
  const signIn = useSignIn();
  const [link, setLink] = useParam("link");
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const redeemed = useRef("");
  useEffect(() => { document.title = `${m.signIn.title} · keelson`; }, []);
  useEffect(() => {
    if (!link || redeemed.current === link) return;
    redeemed.current = link;
    signIn.mutate({ link }, { onSettled: () => setLink("") });
  }, [link, setLink, signIn]);
  return (
    <main className="signin">
      <div className="card stack gap16">
        <div className="row"><img src="/favicon.svg" width={36} height={36} alt="" /><h1>{m.signIn.title}</h1></div>
        <p className="dim">{m.signIn.lead}</p>
        {signIn.isPending && link && <Note>{m.signIn.redeeming}</Note>}
        <form className="stack gap16" onSubmit={(e) => { e.preventDefault(); signIn.mutate({ name: name.trim(), password }); }}>
          <TextInput label={m.signIn.name} autoComplete="username" value={name} onChange={(e) => setName(e.currentTarget.value)} required autoFocus />
          <PasswordInput label={m.signIn.password} autoComplete="current-password" value={password} onChange={(e) => setPassword(e.currentTarget.value)} required
            visibilityToggleButtonProps={{ "aria-label": m.signIn.show, tabIndex: 0 }} />
          <ProblemNote problem={signIn.error} />
          <Button type="submit" fullWidth loading={signIn.isPending}>{m.signIn.submit}</Button>
        </form>
        <p className="small dim">{m.signIn.help}</p>
      </div>
    </main>
  );
}
