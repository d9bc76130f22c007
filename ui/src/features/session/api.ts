import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, call } from "../../api/client";

export function useSignIn() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: { name?: string; password?: string; link?: string }) => call(api.POST("/api/v1/session", { body })),
    onSuccess: async (me) => { client.setQueryData(["me"], me); await client.invalidateQueries(); },
  });
}

export function useSignOut() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => call(api.DELETE("/api/v1/session")),
    onSettled: () => { client.clear(); },
  });
}
