import { DeploymentPage } from "../../features/deployments/DeploymentPage";
import { PredictionPage } from "../../features/predictions/PredictionPage";
import { usePart } from "./part";

export { DeploymentsPage } from "../../features/deployments/DeploymentsPage";
export { PredictionsPage } from "../../features/predictions/PredictionsPage";

export const DeploymentOne = () => <DeploymentPage endpoint={usePart("id")} />;
export const PredictionOne = () => <PredictionPage id={usePart("id")} />;
