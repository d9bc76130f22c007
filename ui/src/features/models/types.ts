export type { Evaluation, Model, ModelCaller, ModelUsage, Version } from "../../api/types";
