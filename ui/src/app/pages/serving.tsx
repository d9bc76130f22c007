import { DeploymentPage } from "../../features/deployments/DeploymentPage";
import { Said } from "../../features/feedback/Said";
import { PredictionPage } from "../../features/predictions/PredictionPage";
import { usePart } from "./part";

export { DeploymentsPage } from "../../features/deployments/DeploymentsPage";
export { PredictionsPage } from "../../features/predictions/PredictionsPage";

export const DeploymentOne = () => <DeploymentPage endpoint={usePart("id")} />;
export const PredictionOne = () => { const id = usePart("id"); return <PredictionPage id={id} said={<Said id={id} />} />; };
