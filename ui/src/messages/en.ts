/** Everything the interface says, in English. */
import { converting } from "./converting";
import { curves, grid } from "./grid";
import { explaining } from "./explaining";
import { fairness } from "./fairness";
import { accept, policies, retention, retrain, signs, whatIf } from "./steering";
import { serving } from "./serving";
import { spending } from "./spending";
import { bin, traces, versionDiff } from "./traces";
import { watching } from "./watching";
import { tracking } from "./tracking";

const list = (words: string[]) => (words.length < 2 ? (words[0] ?? "") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);
const s = (n: number, one: string, many = one + "s") => `${n} ${n === 1 ? one : many}`;
type Named = Record<string, string | undefined>;
type Detail = Record<string, unknown>;

const roles: Named = {
  executive: "executive", "business-owner": "business owner", "data-scientist": "data scientist", "data-engineer": "data engineer", "ml-engineer": "ML engineer",
  "it-operations": "IT operations", "risk-compliance": "risk and compliance", auditor: "auditor", administrator: "administrator", service: "service",
};

/** Phrases for the actions of the audit log: "alice PHRASE approval 218". */
const did: Record<string, string | ((d: Detail) => string) | undefined> = {
  "approval.opened": "asked for a change:", "approval.voted": (d) => (d.grant === false ? "refused" : "approved"), "approval.settled": (d) => (d.state === "approved" ? "completed the approval of" : d.state === "refused" ? "closed, as refused," : "settled"), "approval.withdrawn": "withdrew",
  "approval.commented": "commented on", "approval.comment": "commented on", "approval.voided": "voided", "approval.expired": "let expire", "approval.executed": "carried out",
  "deployment.executed": "deployed", "deployment.released": "issued a release of", "deployment.renewed": "renewed the release of", "deployment.rollout": "began a rollout at", "deployment.advanced": "moved the rollout on at", "deployment.held": "held the rollout at", "deployment.rolled-back": "rolled back",
  "deployment.suspended": "suspended", "deployment.resumed": "resumed", "deployment.version-retired": "took out of service", "deployment.blocked": "could not deploy", "deployment.review": "asked for a review of", "loader.refused": "refused to load a release of",
  "model.created": "registered", "model.changed": "changed the record of", "model.renamed": "renamed", "model.deleted": "deleted", "model.restored": "restored", "model.imported": "imported", "version.restored": "restored", "engine.crashed": "saw end the process of", "version.registered": "handed in", "version.ready": "found ready", "version.preparing": "prepares the engine of", "version.rechecked": "has tested again", "version.failed": "could not accept", "version.changed": "changed the record of", "version.retired": "retired", "version.deleted": "deleted",
  "alias.set": "set an alias on", "alias.deleted": "removed an alias from", "alias.refused": "was refused an alias on", "conversion.started": (d) => `asked for a lighter form (${String(d.to ?? "")}) of`, "conversion.done": (d) => `made the lighter form (${String(d.to ?? "")}) of`, "conversion.refused": (d) => `could not make the lighter form (${String(d.to ?? "")}) of`, "evaluation.started": "began to evaluate", "evaluation.passed": "evaluated, passed:", "evaluation.failed": "evaluated, failed:",
  "monitor.created": "began to watch", "monitor.changed": "changed the watch over", "monitor.breached": "saw a limit breached at", "monitor.accepted": "accepted as normal a window of", "monitor.backfill-started": "began to judge older calls of", "monitor.backfill-done": "judged the older calls of", "monitor.backfill-failed": "could not judge all older calls of", "monitor.module-added": "handed in", "monitor.module-deleted": "deleted", "monitor.recovered": "saw a return to normal at", "alert.opened": "opened an alert:", "alert.acknowledged": "acknowledged", "alert.silenced": "silenced", "alert.recovered": "closed, as recovered,", "alert.worsened": "saw grow worse", "alert.escalated": "passed on", "alert.released": "opened again", "alert.assigned": "handed on", "alert.acted": "acted on", "alert.policy-changed": "changed", "notify.route-created": "added", "notify.route-changed": "changed", "notify.route-deleted": "deleted", "notify.route-tested": "tested", "notify.route-muted": "muted", "notify.route-unmuted": "ended the mute of", "alert.policy-dropped": "took back", "study.started": "had studied what answers hang on:", "prediction.retention-set": "set how long is kept:", "prediction.retention-dropped": "took back how long is kept:", "prediction.purged": "removed old decisions of", "prediction.erased": "erased a person from", "notify.refused": "was refused an address for", "feedback.wrong": "marked a decision as wrong:", "feedback.contest": "contested a decision:", "feedback.override": "overrode a decision:", "feedback.claimed": "took", "feedback.released": "put back", "feedback.labelled": "labelled", "feedback.skipped": "skipped",
  "pipeline.saved": "stored", "pipeline.run.started": "started", "pipeline.run.finished": (d) => (d.state === "failed" ? "saw fail:" : "finished"), "pipeline.run.cancelled": "cancelled", "pipeline.run.retried": "retried", "pipeline.retrain.skipped": "did not start a retraining for",
  "dataset.created": "created", "dataset.updated": "changed the record of", "dataset.imported": "imported", "run.started": "started", "run.ended": "ended", "run.deleted": "deleted", "run.restored": "restored", "experiment.created": "created", "experiment.renamed": "renamed", "experiment.deleted": "deleted", "experiment.restored": "restored", "experiment.imported": "imported", "run.imported": "imported", "run.exported": "exported", "logged-model.imported": "imported", "logged-model.restored": "restored", "trace.deleted": "deleted", "hold.set": "put a hold on", "hold.lifted": "lifted the hold on", "artifact.deleted": "deleted", "logged-model.deleted": "deleted",
  "incident.opened": "opened", "incident.changed": "added to", "incident.acknowledged": "took on", "incident.closed": "closed", "incident.recovered": "closed, as recovered,", "incident.reopened": "reopened", "incident.noted": "added a note to", "prediction.exported": "exported decisions of", "prediction.filed": "handed in predictions for", "usecase.created": "created", "usecase.changed": "changed", "policy.shipped": "brought", "policy.changed": "changed",
  "webhook.created": "set up", "webhook.changed": "changed", "webhook.deleted": "deleted", "webhook.tested": "tested", "webhook.refused": "was refused an address for", "workspace.created": "created", "blob.altered": "found altered in the store:", "runtime.changed": (d) => (d.installed === false ? "saw removed:" : "saw installed:"),
  "request.refused": (d) => `was refused ${s(typeof d.count === "number" ? d.count : 1, "request")} that nobody sends by mistake (${String(d.kind ?? "")}):`,
  "prompt.created": "began", "prompt.changed": "changed the record of", "prompt.deleted": "deleted", "prompt.tag-set": "tagged", "prompt.tag-deleted": "took a tag off", "prompt.version.created": "wrote", "prompt.version.deleted": "deleted", "prompt.version.tag-set": "tagged", "prompt.version.tag-deleted": "took a tag off", "prompt.alias.set": "set an alias on", "prompt.alias.deleted": "removed an alias from", "prompt.refused": "was refused a version of",
  "evalset.created": "began", "evalset.changed": "changed", "evalset.deleted": "deleted", "scorer.registered": "registered", "scorer.deleted": "deleted", "trace.assessment.deleted": "deleted an assessment of", "experiment.purged": "removed for good", "run.purged": "removed for good", "logged-model.purged": "removed for good", "model.purged": "removed for good",
  "account.created": "created", "account.changed": "changed", "account.handling-seen": "knows what others did to", "account.signed-in": "signed in:", "token.created": "made", "token.revoked": "revoked", "link.created": "made", "audit.exported": "exported", "access.refused": "was refused:", "event.skipped": "passed over an event of", "event.loop-stopped": "stopped a loop of events at",
};

export const en = {
  accept, bin, converting, curves, explaining, fairness, grid, policies, retention, retrain, serving, signs, spending, traces, tracking, versionDiff, watching, whatIf,
  none: "–", never: "never", yes: "yes", no: "no", id: "Id", name: "Name", created: "Created", actions: "Actions", reason: "Reason", reasonHelp: "Kept in the audit log, beside your name.", reasonMissing: "Say why, in a few words.",
  undo: "Undo", remove: "Remove", next: "Next", save: "Save", edit: "Change", fieldMissing: "Fill this in.", cancel: "Cancel", close: "Close", tryAgain: "Try again", loading: "Loading", loadMore: "Load more", copied: "Copied", command: "Command", copyCommand: "Copy the command", exportCSV: "Export CSV", removeFilters: "Remove filters", since: "From day", until: "To day",
  justNow: "just now", commit: "commit", dirty: "uncommitted changes", clean: "clean", nothingLive: "not live",
  copyOf: (what: string, short: string) => `Copy ${what.toLowerCase()} ${short}`,
  clear: (what: string) => `Clear ${what}`,
  words: list,
  /** Who did it: a part of the platform is named as one, so that nobody takes "deployment" for a person. */
  doer: (n: string, via: string) => (via === "system" && n !== "keelson" && !/^(job|policy):/.test(n) ? `keelson (${n.split(".")[0]})` : n.startsWith("job:") ? `keelson (${n.slice(4).split(".")[0]})` : n.startsWith("policy:") ? `policy ${n.slice(7)}` : n),
  /** On what grounds the platform acted, where a request was approved for it. */
  becauseOf: (request: number) => `as approved in request #${request}`, notSealed: "not sealed yet",
  noun: (n: string) => (({ "pipeline-run": "run", run: "training run", data: "data set", dataset: "data set", usecase: "use case", "logged-model": "logged model", evalset: "evaluation set", blob: "file" }) as Named)[n] ?? n,
  role: (r: string) => roles[r] ?? r,
  via: (v: string) => (({ ui: "in the browser", cli: "on the command line", api: "by API", mlflow: "by MLflow client", oip: "by inference call", system: "by itself" }) as Named)[v] ?? v,
  noRight: (permission: string, mine: string) => `Your account lacks the right "${permission}"${mine ? ` (you are: ${mine})` : ""}. Ask an administrator for a role that has it.`,
  slot: { live: "live", canary: "canary", shadow: "shadow" } as Named,
  modelKind: { ml: "machine learning", statistical: "statistical", rules: "rules", optimisation: "optimisation", graph: "knowledge graph", external: "runs elsewhere" } as Named,
  verdict: { yes: "Healthy", watch: "Warning", no: "Failing", unknown: "Unknown" },
  verdictSentence: { yes: "Its answers can be relied on.", watch: "It works, but something needs a look.", no: "Do not rely on its answers now.", unknown: "Nothing is known yet about how well it works." },
  versionState: { pending: "Being checked", ready: "Ready", failed: "Not accepted", retired: "Retired" } as Named,
  evaluationState: { passed: "Evaluation passed", failed: "Evaluation failed", running: "Evaluating", none: "Not evaluated" } as Named,
  testState: { passed: "Passed", failed: "Failed", skipped: "Left out" } as Named,
  requestState: { open: "Waiting", approved: "Approved", refused: "Refused", withdrawn: "Withdrawn", executed: "Carried out", expired: "Expired", void: "Void" } as Record<string, string>,
  changeKind: { deploy: "Deploy", retire: "Retire", suspend: "Suspend", rollback: "Roll back" } as Record<string, string>,
  deploymentState: { pending: "Starting", rolling: "Rolling out", live: "Live", suspended: "Suspended", retired: "Retired", failed: "Failed" } as Named,
  runState: { queued: "Queued", running: "Running", succeeded: "Succeeded", failed: "Failed", cancelled: "Cancelled", waiting: "Waiting", skipped: "Left out", cached: "Unchanged" } as Named,
  trackingState: { finished: "Finished", running: "Running", failed: "Failed", killed: "Stopped", scheduled: "Scheduled" } as Named,
  alertState: { pending: "Pending", open: "Open", acknowledged: "Acknowledged", silenced: "Silenced", recovered: "Recovered" } as Record<string, string>,
  incidentState: { open: "Open", acknowledged: "Taken on", closed: "Closed" } as Record<string, string>,
  incidentKind: { "loader.refused": "A release was refused by the loader", "monitor.breached": "A limit was breached", "audit.broken": "The audit log does not add up", "engine.panic": "A model broke while answering", "engine.crashed": "A model's own process ended", "data.moved": "The data moved", "prediction.moved": "The predictions moved", "result.worse": "The result got worse", "quality.broken": "The data breaks its rules", "operation.degraded": "Calls fail or are slow", "deployment.review": "A change to be reviewed" } as Named,
  dependencyKind: { data: "data", run: "run", library: "library", model: "model", code: "code" } as Named,
  durability: { group: "Calls are kept in groups, a few milliseconds apart", sync: "Each call is on disk before it is answered", async: "Calls are kept after they are answered" } as Named,
  glossary: {
    mmd: "Squared maximum mean discrepancy: how far two clouds of vectors lie apart; about 0 when they are alike, at most 2.", psi: "Population stability index: how much the shares of values in equal-sized bins differ from the reference. 0 means not at all; above 0.25 usually calls for action.",
    ks: "Kolmogorov-Smirnov distance: the largest gap between the two cumulative distributions, between 0 and 1.",
    js: "Jensen-Shannon distance: how easily the two distributions can be told apart, between 0 and 1.",
  } as Named,
  did,

  problem: {
    unknown: "The server gave no reason.", noAnswerTitle: "No answer", noAnswer: "The server did not answer. Check that it runs and that the network reaches it; the page tries again when you ask.", request: "Request", copy: "Copy details",
    status: (n: number) => `The server answered with status ${n} and no explanation.`,
    heading: (n: number) => (n === 0 ? "No answer from the server" : n === 403 ? "You may not do this" : n === 404 ? "Not found" : n === 409 || n === 422 ? "Refused" : n === 401 ? "Not signed in" : n === 429 ? "Too many requests" : n >= 500 ? "The server could not do this" : "Not accepted"),
  },
  signIn: { title: "Sign in", lead: "Your organisation's models, from data to decision.", name: "Account name", password: "Password", show: "Show password", submit: "Sign in", redeeming: "Signing you in with the link…", help: "No account yet? An administrator makes one, or sends a link that works once." },
  shell: {
    skip: "Skip to content", menu: "Open navigation", navigation: "Navigation", navigationDrawer: "All pages", breadcrumbs: "Where you are", find: "Search or jump to", waiting: "waiting", workspace: "Workspace", signOut: "Sign out",
    overview: "Overview", build: "Build", operate: "Operate", govern: "Govern", themes: { auto: "System theme", light: "Light theme", dark: "Dark theme" },
    inbox: (n: number) => (n ? `Inbox, ${n} waiting for you` : "Inbox"), workspaceIs: (w: string) => `${w} workspace, change`, themeIs: (t: string) => `Theme: ${t}`, profileOf: (n: string) => `${n}, profile`,
    handled: {
      title: "Somebody else changed how you sign in", acts: { password: (by: string) => `${by} set a new password for your account`, link: (by: string) => `${by} made a one-time sign-in link for your account` }, at: (w: string) => `in the workspace ${w}`,
      advice: "If you did not ask for it, change your password now and tell an administrator of the default workspace: whoever did it could act as you.", known: "I know of it", password: "Change my password", list: "What others did to your account", seen: "you know of it", open: "new",
    },
    stale: (t: string) => `Not live since ${t}, trying again. What you see may have changed.`,
  },
  palette: { page: "page", hint: "Model or page…", results: "Results", none: "Nothing by that name." },
  notFound: { title: "No such page", text: "This address leads nowhere. The thing may have another name, or the link is old.", toModels: "Go to the models" },
  chart: {
    png: "Download PNG", firstRows: (n: number, of: number) => `The first ${n} of ${of} rows; the CSV has all.`, asTable: "Show as table", asChart: "Show as chart", csv: "Download CSV", csvShort: "CSV", pngShort: "PNG", bin: "Values", reference: "Reference", current: "Now", referenceShare: "Reference share", currentShare: "Share now", other: "other", window: "Window",
    referenceN: (n: string) => `Reference, n = ${n}`, currentN: (n: string) => `This window, n = ${n}`, pairHelp: "Same bins and scale on both sides; the dashed outline is the other side.", evenBins: "Each bin holds the same share of the reference, so that a level left side is the shape to expect.",
    summary: (label: string, bin: string, share: string) => `${label}: most values in ${bin} (${share}).`, keys: (t: string) => `${t}. Left and right arrow keys read the values.`,
  },

  models: {
    title: "Models", lead: "Every model of the organisation, whatever its kind: what it is for, who answers for it, and whether it can be relied on.", name: "Model", health: "Health", accountable: "Accountable", nobody: "Nobody", tier: "Tier", live: "Live", kind: "Kind", owner: "Owner", area: "Area", used: "Last used", changed: "Last change",
    filter: "Filter models", filterHint: "Filter by name, owner, area…", anyHealth: "Any health", noMatch: "No model matches the filters.", empty: "Models appear here as soon as one is registered, from a training run, a file or only as a record. This command brings in a model file and gives it an address.",
    count: (n: number, of: number) => (n === of ? s(of, "model") : `${n} of ${s(of, "model")}`),
  },
  model: {
    kind: "model", overview: "Overview", versions: "Versions", deployments: "Deployments", monitoring: "Monitoring", timeline: "Timeline", health: "Health", toMonitoring: "Monitoring", lately: "Lately", wholeTimeline: "Whole timeline", whoWhatWhen: "Who changed what, when", people: "Who answers for it", accountable: "Accountable", responsible: "Responsible", consulted: "Consulted", informed: "Informed",
    purpose: "What it is for", useCase: "Use case", intended: "Meant for", forbidden: "Not for", tags: "Tags", latest: "Newest version", usedBy: "Used by", caller: "Caller", calls: "Calls", lastCall: "Last call", noCallers: "Nobody has called it yet.", waiting: "Waiting for approval",
    tier: (n: number) => `Tier ${n}`, tabs: (n: string) => `Pages of ${n}`,
  },
  version: {
    kind: "version", version: "Version", state: "State", evaluation: "Evaluation", deployed: "Deployed to", aliases: "Aliases", format: "Format", size: "Size", digest: "Digest", by: "By", empty: "No version yet. A version is a model file that was checked and can be deployed.", failed: "This version was not accepted", undeployable: "This version is kept, but cannot be deployed", runsIn: "Runs in", pending: "The golden rows are being run; the version is ready when they pass.", retired: "This version is retired: it no longer loads, its files and log stay.",
    origin: "Where it comes from", authors: "Authors", source: "Source", run: "Training run", convertedFrom: "Converted from", convertedTo: (to: string) => `as ${to}`, engineWhy: "Why this engine", artifact: "The file", artifactDigest: "Artifact digest", contentDigest: "Content digest", noGolden: "No golden rows were handed in with this version.", test: "Test", value: "Value", limit: "Limit", detail: "Detail", noEvaluation: "This version has not been evaluated yet. The suite is declared in keelson.yaml under evaluate.",
    inputs: "Inputs", outputs: "Outputs", datatype: "Type", shape: "Shape", noSignature: "No signature.", optional: "may be missing", goldenWaits: (n: number) => `${s(n, "golden row")} handed in, not run yet.`, files: "Files", path: "Path", noFiles: "No files yet.", dependencies: "Made of", noDependencies: "Nothing recorded.", approvals: "Approvals", noApprovals: "Nobody has asked to deploy this version yet.",
    golden: (good: boolean) => (good ? "Golden rows agree" : "Golden rows differ too much"), goldenDetail: (n: number, error: string, limit: string) => `${s(n, "row")}, largest error ${error}, limit ${limit}.`, suite: (n: string) => `Suite ${n || "default"}`, passedOf: (n: number, of: number) => `${n} of ${s(of, "test")} passed`,
  },
  inbox: { title: "Inbox", lead: "What waits for your vote, oldest first.", empty: "Nothing waits for you." },
  approvals: {
    title: "Approvals", lead: "Changes to what is live, asked for and decided. Nothing reaches production from a menu alone.", kind: "approval", request: "Request", state: "State", votes: "Votes", missing: "Still missing", author: "Asked by", opened: "Opened", expires: "Expires", anyState: "Any state", model: "Model", environment: "Environment",
    noMatch: "No request matches the filters.", empty: "Requests for deployment appear here. Open one from a model's page or with this command.", planAll: "all calls at once", planShadow: "beside the live version, answers not used", planThenAll: "then all calls",
    planStep: (share: number, hold: string) => (share === 100 ? "then all calls" : `${share} % of calls${hold ? ` until ${hold}` : ""}`), rows: (n: string) => `${n} rows`, seconds: (n: string) => `${n} s have passed`,
    asks: (kind: string, model: string, v: number, env: string) => `${kind} ${model}${v ? ` v${v}` : ""}${env ? ` ${kind === "Deploy" ? "to" : "in"} ${env}` : ""}`, of: (n: number, of: number) => (of === 0 ? "none needed" : `${n} of ${of}`), missingWords: (w: string[]) => list(w),
    why: "The reason given", changes: "Changes", noChanges: "Nothing to compare: there is no earlier version in this environment.", fromTo: (a: number, b: number) => `From version ${a} to version ${b}.`, first: (b: number) => `Version ${b} is the first in this environment; there is nothing to compare it with.`, rowCount: (n: number) => s(n, "line"), seen: "Seen", markSeen: (t: string) => `I have looked at ${t}`,
    what: "What", before: "Before", after: "After", noteHead: "Note", better: "better", worse: "worse", checks: (n: number, of: number) => `Checks ${n} of ${of}`, allowed: "Policy satisfied", blocked: "Policy not satisfied", policy: (n: string, v: number) => `Policy ${n}, version ${v}, in its own words:`, met: "Met", notMet: "Not met", advice: "Advice", broken: "The record of this request was changed outside keelson", noChecks: "The policy has no clause for this.",
    noVotes: "No vote yet.", grantedWord: "Approved", refusedWord: "Refused", stillMissing: "Still missing:", conversation: "Conversation", noComments: "No comment yet.", comment: "Comment", sendComment: "Comment", commentEmpty: "Write something first.", askedBy: "Asked by", decision: "Decision", binds: "What the approval is bound to", plan: "Rollout", planDigest: "Plan digest", needs: "Needs",
    need: (n: number, r: string[]) => `${s(n, "vote")}${r.length ? ` from: ${r.join(", ")}` : ""}`, cannotVote: "May not vote", goesLive: "Goes live", whenApproved: "by itself, with the last vote", byHand: "when somebody carries it out", withdraw: "Withdraw", withdrawTitle: "Withdraw this request", withdrawOnly: (a: string) => `Only ${a}, who asked, can withdraw it.`, execute: "Deploy now",
  },
  vote: {
    form: "Your vote", approve: "Approve", refuse: "Refuse", mayNot: "The policy does not let you vote on this request.", youMayNot: "You cannot vote on this request", reasonHelp: "What you looked at, and what convinced you.", settled: (state: string) => `This request is settled: ${state.toLowerCase()}.`,
    effectNow: (v: number, env: string, plan: string) => `With the last vote version ${v} goes to ${env}: ${plan}.`, effectLater: (v: number, env: string) => `Once approved, version ${v} can be put into ${env} by IT operations.`,
  },
  propose: {
    button: "Propose…", noVersion: "There is no version to propose yet.", retired: (v: number) => `v${v} is retired for good; nothing can be done with it any more.`, kind: "What should happen", all: "All calls at once", canary: "A part of the calls first", shadow: "Beside the live version", share: "First share of calls", hold: "Hold for rows", holdHelp: "0: until somebody advances it", auto: "Put it live by itself with the last vote", columns: "Its callers know that its columns are others", columnsHelp: "Rows sent without the names of their columns are read by their places.", submit: "Ask for approval", reasonHelp: "Reviewers read this first.",
    title: (n: string) => `Propose a change of ${n}`, environment: (t: string, auto: boolean) => (auto ? `${t} (approves by itself)` : t),
  },
  deploy: {
    title: "Deployments", lead: "What answers calls, where, and with which version.", kind: "deployment", endpoint: "Endpoint", traffic: "Traffic", changed: "Last change", anyEnvironment: "All environments", empty: "Nothing is deployed yet. This command brings a model file to an address in the dev environment.", serial: "Release", previous: "Version before", durability: "Prediction log", redact: "Left out of the log", redactNone: "nothing", redactHash: (c: string) => `${c} (kept as a hash)`, call: "How to call it", callHelp: "Open Inference Protocol v2, JSON or binary tensors.", seeCalls: "Its calls", openapi: "OpenAPI document", releases: "Releases", noReleases: "No release yet.", notSigned: "signature does not fit", broken: "The record of this deployment was changed outside keelson", byRequest: "approved request",
    noPrevious: "There is no earlier approved version to go back to.", rollback: "Roll back", now: "Now", advance: "Next step", advancePlan: "The rollout goes to its next share of calls at once.", suspend: "Suspend", suspendPlan: "Calls are refused until somebody resumes the endpoint.", resume: "Resume", suspendedNote: "Calls to this endpoint are refused until somebody resumes it.",
    noneForModel: (n: string) => `${n} is not deployed anywhere.`, rollbackTitle: (e: string) => `Roll back ${e}`, rollbackConfirm: (v: number) => `Roll back to v${v}`, rollbackPlan: (e: string, v: number) => `After this, version ${v} answers all calls to ${e}. It was approved before, so no vote is needed; the change is in the audit log.`, advanceTitle: (e: string) => `Next step for ${e}`, suspendTitle: (e: string) => `Suspend ${e}`, resumeTitle: (e: string) => `Resume ${e}`,
  },
  monitor: {
    title: "Monitoring", lead: "Which models are watched, against which data, and what the watch says.", endpoint: "Endpoint", reference: "Reference", windowSize: "Window", onBreach: "On a breach", alertOnly: "alert only", empty: "Nothing is watched yet. A watch compares what a model is asked now with the data it was made for.", verdict: "Verdict", against: "against", windowsRegion: "Windows, oldest first", feature: "Input", shift: "Shift", missing: "Missing", limit: "Limit", moved: "moved", steady: "steady", slight: "slightly", featureTable: "Inputs of this window", noFeatures: "No input was compared in this window.", distributions: "Distributions", noHistogram: "This window kept no distribution for this input.",
    segment: "Segment", segmentRows: "Rows", segmentResult: "Result", segmentLead: "What moved most", segmentTable: "Segments of this window", segmentFound: "found", segmentWorst: "worst", segmentUnknown: "not known yet", segmentOfAll: (v: string) => `all: ${v}`, segmentOfOthers: (v: string) => `others: ${v}`, segmentGap: (low: string, high: string, n: string) => `Worse than the other rows by ${low} to ${high}; found among ${n} slices`, segments: (n: number) => `How ${s(n, "segment")} ${n === 1 ? "fares" : "fare"}`,
    embedding: "Vector", embeddingWidth: "Columns", embeddingTable: "Vectors of this window", embeddings: (n: number) => `${s(n, "vector")} compared as a whole`,
    performance: "Were the answers right?", labelsLate: "Not known yet: no outcome has been reported for these windows. A shift of the inputs alone is not an error.", accuracy: "Accuracy", noLabels: "no outcomes yet", within: "within limits", breach: "limit breached", heightHelp: "height: largest shift (PSI) of any input",
    rows: (n: string) => `${n} rows`, retrains: (p: string) => `starts pipeline ${p}`, notWatched: (n: string) => `${n} is not watched yet. A watch compares what it is asked now with the data it was made for.`, noWindows: (n: string) => `No window is full yet: the first verdict comes after ${n} rows.`, windows: (n: number) => `Last ${s(n, "window")}`,
    features: (n: number, of: number) => (n ? `${n} of ${s(of, "input")} moved` : `None of ${s(of, "input")} moved`), distribution: (f: string) => `Distribution of ${f}`, windowWords: (n: string, v: string) => `${n} rows, ${v}`, performanceTitle: (a: string, n: string, c: string) => `Accuracy ${a} of ${n} known outcomes (${c} of the calls have one)`, performanceOf: (n: string, c: string) => `Error on ${n} known outcomes (${c} of the calls have one)`, limitAt: (v: string) => `limit ${v}`, estimateOf: (n: string) => `${n}, estimated`, onlyEstimate: "No outcome is known yet: what is expected", labelNote: (n: string, c: string) => `n = ${n}, ${c} labelled`,
    windowLabel: (i: number, b: boolean, psi: string, n: string, to: string) => `Window ${i}: ${b ? "limit breached" : "within limits"}, largest PSI ${psi}, ${n} rows, to ${to}`, movedSentence: (f: string, measure: string, v: string, l: string) => `${f} is distributed differently from the reference: ${measure} ${v}, limit ${l}.`, steadySentence: (f: string, measure: string, v: string, l: string) => `${f} looks like the reference: ${measure} ${v}, limit ${l}.`, pairTitle: "Reference beside this window",
  },
  measures: {
    title: (out: number, n: number) => (out ? `${out} of ${s(n, "metric")} outside of the limits` : `${s(n, "metric")} of the business within the limits`), table: "Metrics of the business", name: "Metric", value: "Value", state: "State", of: "Of", unknown: "nothing handed in yet", within: "within", outside: "outside",
    between: (a: string, b: string) => `${a} to ${b}`, atLeast: (v: string) => `at least ${v}`, atMost: (v: string) => `at most ${v}`, rows: (n: string) => `${n} rows`, ofWindow: "computed of this window", handedIn: "handed in",
    rules: (bad: number, n: number) => (bad ? `${bad} of ${s(n, "rule")} about the data broken` : `The data keeps ${n === 1 ? "its rule" : `all ${n} rules`}`), rulesTable: "Rules about the data", rule: "Rule", kept: "kept", broken: "broken", detail: "What was found", example: (v: string) => `For example ${v}.`,
  },
  look: {
    importance: "Weight", importanceHelp: "Share of this input in what moves the answers of the version, as last studied. The table is in order of weight times shift.", borrowed: (v: number, of: number) => `Weights are those of v${v}; v${of} was not studied.`, notStudiedHead: "How much each input moves the answers of this version was not studied yet.", study: "Study it", course: "Course", courseHelp: "PSI of each window, oldest first; the dashed line is the limit.", trend: (f: string, first: string, last: string, n: number) => `PSI of ${f} from ${first} to ${last} over ${n} windows`,
    limitLine: (v: string) => `limit ${v}`, deployed: (v: number) => `version ${v} from here`, newValues: (p: string) => `${p} new`, retired: (v: number) => `How much each input moves the answers of v${v} was never studied, and it is retired.`, studyOther: (v: number) => `Study v${v}, whose weights then stand here`,
    missing: (f: string, is: string, was: string) => `${f} is missing in ${is} of the rows; in the reference it is ${was}.`, fresh: (f: string, is: string) => `${is} of the values of ${f} do not occur in the reference.`,
    mean: (was: string, is: string) => `On average it went from ${was} to ${is}.`, unknown: (f: string, why: string) => `${f} could not be compared: ${why}.`,
  },
  alerts: { title: "Alerts", lead: "Limits that were breached, what moved, and the rows behind it.", what: "What happened", value: "Value", limit: "Limit", opened: "Since", rowsBehind: "Rows", seeRows: "See the rows", ack: "Acknowledge", ackTitle: "Acknowledge this alert", silence: "Silence", silenceTitle: "Silence this alert", noMatch: "No alert in this state.", empty: "No limit has been breached.", none: "No alert for this endpoint.", all: "All alerts", moved: (f: string) => `${f} has moved`, metric: (x: string) => `${x} is out of its limit` },
  incidents: { title: "Incidents", lead: "What went wrong, who took it on, how it ended.", one: "incident", what: "What happened", severity: "Severity", empty: "No incident.", story: "What happened", ack: "Take on", ackTitle: "Take on this incident", close: "Close incident", closeTitle: "Close this incident" },
  pipeline: {
    title: "Pipelines", lead: "From data to an evaluated version, step by step, repeatable.", kind: "pipeline", runKind: "pipeline run", lastRun: "Last run", steps: "Steps", empty: "Pipelines are declared in keelson.yaml. This command stores and runs the one of your folder.", run: "Run", runs: "Runs", noRuns: "This pipeline has not run yet.", startedBy: "Started by", started: "Started", took: "Took", content: "Content digest", start: "Run now", graph: "Steps from left to right", list: "Steps in time", step: "Step", needs: "Needs", attempts: "Tries", when: "When", repeat: "What it ran on", environment: "Environment", seed: "Seed", made: "Versions made", data: "Data", cancel: "Cancel run", retry: "Retry from the failed step", byMonitor: "the watch over", bySchedule: "schedule",
    failedAt: (n: string) => `at step ${n}`, attempt: (n: number) => `try ${n}`, runTitle: (n: string) => `Run ${n}`, stepTitle: (n: string) => `Step ${n}`, stepFailed: (n: string, code: number | null) => `Step ${n} failed${code === null ? "" : ` with exit code ${code}`}`, waits: (n: string) => (n ? `Waits for ${n}.` : "Waits for its turn."), ganttLabel: (from: string, took: string) => `begins after ${from}, takes ${took}`,
  },
  log: { label: "Log of the step", find: "Find in the log", wrap: "Wrap lines", follow: "Follow the end", live: "live", download: "Download", waiting: "Waiting for the first line…", empty: "The step wrote nothing.", lines: (n: number) => s(n, "line"), matches: (n: number, of: number) => `${n} of ${s(of, "line")}` },
  audit: {
    title: "Audit", lead: "Who did what to which thing, when. Nothing here can be edited; every entry is in a signed log.", when: "When", who: "Who", did: "Did", to: "To", models: "Models", leaf: "Leaf hash", details: "Details", export: "Export signed bundle", verify: "Verify now", verifyAgain: "Verify again", table: "Table", feed: "As sentences", views: "Views", noneYet: "Nothing has happened yet.", unknown: "Unknown: the check could not be made", unknownDetail: "Whether the log is intact is not known until a check succeeds.", notYet: "Not verified in this session", brokenDetail: "The entries named here are not what was recorded. Keep the database as it is and inform the people responsible.",
    filter: { actor: "Who", action: "Action", model: "Model", object: "Object" },
    noMatch: (n: number) => `No entry matches ${s(n, "filter")}.`, notYetDetail: (n: string) => `The log has ${n} entries. Verifying reads all of them and compares them with the signed checkpoint.`, broken: (i?: number) => (i === undefined ? "Broken: the log does not match its signed checkpoint" : `Broken at entry ${i}`), verified: (n: string, t: string) => `Verified to entry ${n} at ${t}`, verifiedDetail: (n: string, p: string) => `${n} entries checked against the signed checkpoint, ${p} waiting to be sealed.`,
  },
  predict: { title: "Predictions", lead: "Every call, with its version, caller, inputs and answer.", kind: "prediction", rows: "Rows", latency: "Took", answer: "Answer", answered: "answered", noMatch: "No call matches the filters.", empty: "Calls appear here as soon as a model answers one.", call: "Call", application: "Application", purpose: "Purpose", subject: "Subject", compute: "Computing", trace: "Trace", fired: "Rules that fired", outcomes: "What turned out to be true", noOutcome: "No outcome has been reported for this call.", row: "Row", notKept: "Not kept.", one: (id: string) => `Call ${id}`, moreValues: (n: number) => `and ${n} more` },
  data: {
    title: "Data", lead: "Data sets and their versions; a version never changes.", kind: "data set", filter: "Filter data sets", noMatch: "No data set matches the filter.", empty: "Data sets appear here after the first import. A file that breaks a rule is refused.", noOwner: "no owner", sensitivity: "Sensitivity", columns: "Columns", rules: "Rules", note: "Note", about: "About", source: "Source", target: "Target", noRules: "No rules are declared.", noVersions: "No version yet.", parents: "Made from", rulesPassed: "Rules this version kept", profile: "Columns", noProfile: "No profile.", column: "Column", type: "Type", distribution: "Distribution", missing: "Missing", distinct: "Distinct", min: "Lowest", median: "Median", mean: "Mean", sd: "Std. dev.", max: "Highest", download: "Download the file",
    histogramLabel: (n: string, a: string, b: string, c: string) => `Distribution of ${n}: 5 % below ${a}, half below ${b}, 95 % below ${c}`,
    rule: (check: string, column: string, r: { min?: number; max?: number; max_share?: number; type?: string; values: string }) => {
      const range = r.min !== undefined && r.max !== undefined ? `between ${r.min} and ${r.max}` : r.min !== undefined ? `at least ${r.min}` : r.max !== undefined ? `at most ${r.max}` : "";
      switch (check) {
        case "type": return `${column} is of type ${r.type}`;
        case "range": return `${column} is ${range}`;
        case "null_share": return `at most ${((r.max_share ?? 0) * 100).toFixed(0)} % of ${column} is missing`;
        case "allowed": return `${column} is one of ${r.values}`;
        case "unique": return `${column} has no value twice`;
        case "rows": return `the number of rows is ${range}`;
        default: return `${column}: ${check}`;
      }
    },
  },
  settings: { title: "Settings", profile: "Profile", users: "Accounts", tokens: "Tokens", account: "Account", roles: "Roles", permissions: "What you may do", auth: "Sign-in", authOff: "off: everybody on this machine may do everything but vote", authOn: "on", addUser: "Add account", noUsers: "No account.", disabled: "Disabled", active: "Active", enable: "Enable", disable: "Disable", email: "E-mail", addToken: "New token", tokenName: "What for", days: "Valid days", revoke: "Revoke", noTokens: "No token. Programs sign in with one.", tokenOnce: "Copy it now: it is shown only once.", password: "Password", currentPassword: "Current password", currentPasswordHint: "Leave it empty if you came by a link and have none yet.", newPassword: "New password", newPasswordHint: "At least 10 characters.", changePassword: "Change password", passwordChanged: "Your password is changed." },
};
