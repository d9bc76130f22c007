export type { Evaluation, Model, ModelCaller, Version } from "../../api/types";
