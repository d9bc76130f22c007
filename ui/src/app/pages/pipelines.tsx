import { PipelinePage } from "../../features/pipelines/PipelinesPage";
import { RunPage } from "../../features/pipelines/RunPage";
import { usePart } from "./part";

export { PipelinesPage } from "../../features/pipelines/PipelinesPage";

export function PipelineOne() {
  return <PipelinePage name={usePart("name")} />;
}

export function PipelineRunOne() {
  return <RunPage pipeline={usePart("name")} id={usePart("id")} />;
}
