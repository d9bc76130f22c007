import { useQuery } from "@tanstack/react-query";
import { m } from "../messages";
import { api, call } from "./client";
import type { Me } from "./types";

/** Who is signed in; the query fails with status 401 when nobody is. */
export function useMe() {
  return useQuery<Me>({ queryKey: ["me"], queryFn: () => call(api.GET("/api/v1/me")), staleTime: 60_000 });
}

/** Why the person may not do this, in words, or undefined when nothing speaks against it. The server decides in the end. */
export function useWhyNot(permission: string): string | undefined {
  const { data } = useMe();
  if (!data) return undefined;
  return (data.permissions ?? []).includes(permission) ? undefined : m.noRight(permission, m.words(data.roles ?? []));
}
