/**
 * Operations the server answers that its description (schema.ts, generated) does not
 * hold, because they set cookies. An operation that appears in the description takes
 * the place of the one here by itself; see types.ts.
 */
interface Problem { type?: string; title?: string; status?: number; detail?: string }
interface Failed { headers: Record<string, unknown>; content: { "application/problem+json": Problem } }
interface Me { name: string; display: string; kind: string; roles: string[] | null; workspace: string; workspaces: string[] | null; permissions: string[] | null; auth: "on" | "off" }

export interface Pending {
  "/api/v1/session": {
    post: {
      parameters: { query?: never; path?: never; header?: never; cookie?: never };
      requestBody: { content: { "application/json": { name?: string; password?: string; link?: string } } };
      responses: { 200: { headers: Record<string, unknown>; content: { "application/json": Me } }; default: Failed };
    };
    delete: {
      parameters: { query?: never; path?: never; header?: never; cookie?: never };
      requestBody?: never;
      responses: { 204: { headers: Record<string, unknown>; content?: never }; default: Failed };
    };
  };
}
