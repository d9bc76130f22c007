import { ApprovalPage } from "../../features/approvals/ApprovalPage";
import { usePart } from "./part";

export { ApprovalsPage, InboxPage } from "../../features/approvals/ApprovalsPage";

export function Approval() {
  return <ApprovalPage id={usePart("id")} />;
}
