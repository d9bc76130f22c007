import { useMutation, useQuery } from "@tanstack/react-query";
import { api, call, items } from "../../api/client";
import type { Deployment } from "../../api/types";
import { useRefresh } from "../../ui/hooks";

export function useDeployments() {
  return useQuery<Deployment[]>({ queryKey: ["deployments", "list"], queryFn: async () => items(await call(api.GET("/api/v1/deployments", { params: { query: { limit: 200 } } }))) });
}

export function useDeployment(endpoint: string) {
  return useQuery<Deployment>({ queryKey: ["deployments", endpoint], queryFn: () => call(api.GET("/api/v1/deployments/{endpoint}", { params: { path: { endpoint } } })) });
}

export type Verb = "advance" | "rollback" | "suspend" | "resume";

export function useOperate(endpoint: string, verb: Verb) {
  const refresh = useRefresh("deployments", "models", "audit", "approvals");
  const init = (reason: string) => ({ params: { path: { endpoint } }, body: { reason } });
  return useMutation<Deployment, Error, string>({
    mutationFn: (reason) => {
      switch (verb) {
        case "advance": return call(api.POST("/api/v1/deployments/{endpoint}/advance", init(reason)));
        case "rollback": return call(api.POST("/api/v1/deployments/{endpoint}/rollback", init(reason)));
        case "suspend": return call(api.POST("/api/v1/deployments/{endpoint}/suspend", init(reason)));
        case "resume": return call(api.POST("/api/v1/deployments/{endpoint}/resume", init(reason)));
      }
    },
    onSuccess: refresh,
  });
}
