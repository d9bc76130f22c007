import { useMutation, useQuery } from "@tanstack/react-query";
import { api, call, items } from "../../api/client";
import { usePages } from "../../api/query";
import type { ChangeRequest, Changes, Comment, Environment, Plan } from "../../api/types";
import { useRefresh } from "../../ui/hooks";

export interface Filter { state?: ChangeRequest["state"]; model?: string; mine?: boolean }

export function useRequests(filter: Filter) {
  return usePages<ChangeRequest>(["approvals", "list", filter], (cursor) => call(api.GET("/api/v1/approvals", { params: { query: { ...filter, limit: 50, cursor } } })));
}

export function useRequest(id: string) {
  return useQuery<ChangeRequest>({ queryKey: ["approvals", id], queryFn: () => call(api.GET("/api/v1/approvals/{id}", { params: { path: { id } } })) });
}

export function useChanges(id: string) {
  return useQuery<Changes>({ queryKey: ["approvals", id, "changes"], queryFn: () => call(api.GET("/api/v1/approvals/{id}/changes", { params: { path: { id } } })) });
}

export function useComments(id: string) {
  return useQuery<Comment[]>({ queryKey: ["approvals", id, "comments"], queryFn: async () => items(await call(api.GET("/api/v1/approvals/{id}/comments", { params: { path: { id } } }))) });
}

export function useEnvironments() {
  return useQuery<Environment[]>({ queryKey: ["environments"], queryFn: async () => items(await call(api.GET("/api/v1/environments"))) });
}

export function useVote(id: string) {
  const refresh = useRefresh("approvals", "models", "deployments", "audit");
  return useMutation({ mutationFn: (body: { grant: boolean; reason: string }) => call(api.POST("/api/v1/approvals/{id}/votes", { params: { path: { id } }, body })), onSuccess: refresh });
}

export function useWithdraw(id: string) {
  const refresh = useRefresh("approvals", "audit");
  return useMutation({ mutationFn: (reason: string) => call(api.POST("/api/v1/approvals/{id}/withdraw", { params: { path: { id } }, body: { reason } })), onSuccess: refresh });
}

export function useComment(id: string) {
  const refresh = useRefresh("approvals");
  return useMutation({ mutationFn: (text: string) => call(api.POST("/api/v1/approvals/{id}/comments", { params: { path: { id } }, body: { text } })), onSuccess: refresh });
}

export interface Proposal { kind: ChangeRequest["kind"]; model: string; version: number; environment: string; plan?: Plan; reason: string; when_approved: boolean }

export function usePropose() {
  const refresh = useRefresh("approvals", "models", "audit");
  return useMutation({ mutationFn: (body: Proposal) => call(api.POST("/api/v1/approvals", { body })), onSuccess: refresh });
}

/** Carries out an approved request. */
export function useExecute() {
  const refresh = useRefresh("approvals", "models", "deployments", "audit");
  return useMutation({ mutationFn: (request: string) => call(api.POST("/api/v1/deployments", { body: { request } })), onSuccess: refresh });
}
