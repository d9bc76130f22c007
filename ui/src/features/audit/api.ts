import { useMutation, useQuery } from "@tanstack/react-query";
import { api, call, prefix } from "../../api/client";
import { usePages } from "../../api/query";
import type { Checkpoint, Entry, Verified } from "../../api/types";

export interface AuditFilter { model?: string; actor?: string; action?: string; object?: string; since?: string; until?: string }

export function useEntries(filter: AuditFilter, limit = 100) {
  return usePages<Entry>(["audit", "list", filter, limit], (cursor) => call(api.GET("/api/v1/audit", { params: { query: { ...filter, limit, cursor } } })));
}

export function useTimeline(model: string, limit = 50) {
  return usePages<Entry>(["audit", "timeline", model, limit], (cursor) => call(api.GET("/api/v1/models/{name}/timeline", { params: { path: { name: model }, query: { limit, cursor } } })));
}

export function useCheckpoint() {
  return useQuery<Checkpoint>({ queryKey: ["audit", "checkpoint"], queryFn: () => call(api.GET("/api/v1/audit/checkpoint")) });
}

export function useVerify() {
  return useMutation<Verified, Error>({ mutationFn: () => call(api.POST("/api/v1/audit/verify")) });
}

export const exportAddress = () => `${prefix}/api/v1/audit/export`;
