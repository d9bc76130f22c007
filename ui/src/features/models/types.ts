import type { components } from "../../api/schema";

export type { Evaluation, Model, Version } from "../../api/types";
export type ModelCaller = components["schemas"]["ModelCaller"];
