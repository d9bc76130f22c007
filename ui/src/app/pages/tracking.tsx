/** Experiments, runs and traces: what several features know of a run, put together. */
import { ExperimentPage } from "../../features/tracking/ExperimentsPage";
import { TrackingRunPage } from "../../features/tracking/RunPage";
import { TracePage } from "../../features/traces/TracePage";
import { Traces } from "../../features/traces/TracesPage";
import { usePart } from "./part";

export { BinPage } from "../../features/bin/BinPage";
export { ComparePage } from "../../features/tracking/ComparePage";
export { ExperimentsPage } from "../../features/tracking/ExperimentsPage";
export { TracesPage } from "../../features/traces/TracesPage";

export const ExperimentOne = () => <ExperimentPage id={usePart("id")} />;
export const TrackingRunOne = () => <TrackingRunPage id={usePart("id")} traces={(run) => <Traces run={run.id} />} />;
export const TraceOne = () => <TracePage id={usePart("id")} />;
