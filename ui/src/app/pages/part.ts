import { useParams } from "@tanstack/react-router";

/** One part of the page's path, like the name of a model. */
export function usePart(name: "name" | "id" | "v"): string {
  return (useParams({ strict: false }) as Record<string, string | undefined>)[name] ?? "";
}
