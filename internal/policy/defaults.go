package policy

// Shipped is who made the policies that come with the program.
const Shipped = "keelson"

// defaultEnvironments come with every workspace.
func defaultEnvironments() []Environment {
	return []Environment{
		{Name: "dev", Title: "Development", Policy: "dev", AutoApprove: true, URLSuffix: "dev", Position: 1},
		{Name: "prod", Title: "Production", Policy: "prod", Position: 2},
	}
}

// goesLive is true for the kinds that make a version answer calls.
const goesLive = `request.kind in ['deploy', 'rollback']`

var (
	ready = Rule{
		ID: "ready", When: goesLive, Require: `version.state == 'ready'`,
		Message: `Version {version.name} is {version.state} {version.reason}; only a version whose state is ready can go live.`,
		Pass:    `Version {version.name} is ready.`,
	}
	golden = Rule{
		ID: "golden", When: goesLive + ` && version.golden.rows > 0`,
		Require: `version.golden.max_error <= version.golden.limit`,
		Message: `The engine missed the golden rows of {version.name} by {version.golden.max_error}; the limit is {version.golden.limit}.`,
		Pass:    `The engine answers the {version.golden.rows} golden rows of {version.name} within {version.golden.limit}.`,
	}
	evaluated = Rule{
		ID: "evaluated", When: `request.kind == 'deploy'`, Require: `version.evaluation.state == 'passed'`,
		Message: `{version.evaluation.state == 'failed' ? 'The evaluation of ' + version.name + ' failed: ' + version.evaluation.failed.join('; ') + '.' :` +
			` version.evaluation.state == 'running' ? 'The evaluation of ' + version.name + ' is still running; propose it when it has passed.' :` +
			` 'Version ' + version.name + ' was never evaluated; run a suite on it first.'}`,
		Pass: `Version {version.name} passed all {version.evaluation.tests} tests of its evaluation.`,
	}
	accountable = Rule{
		ID: "accountable", When: goesLive, Require: `model.accountable != ''`, Advice: true,
		Message: `Nobody is accountable for {model.name}; name a person in its responsibilities.`,
		Pass:    `{model.accountable} is accountable for {model.name}.`,
	}
	logged = Rule{
		ID: "logged", When: goesLive, Require: `request.unlogged == 0.0`,
		Message: `The plan leaves {request.unlogged} percent of the decisions out of the log; here every decision is on record.`,
		Pass:    `Every decision is on record.`,
	}
	committed = Rule{
		ID: "committed", When: `request.kind == 'deploy'`, Require: `!version.dirty`, Advice: true,
		Message: `Version {version.name} was made from code with changes that were not committed; it may not be reproducible.`,
		Pass:    `Version {version.name} names no uncommitted code.`,
	}
)

// defaultPolicies come with every workspace as version 1.
func defaultPolicies() []Policy {
	return []Policy{
		{
			Name: "dev", Version: 1, Title: "Anything that loads may be tried; nobody votes",
			Rules:     []Rule{ready, golden},
			Approvals: `{'count': 0, 'roles': []}`,
			Note:      "Shipped with the program.", CreatedBy: Shipped,
		},
		{
			Aliases: &Aliases{Names: []string{"champion", "prod", "production"}, Tier: 2},
			Name:    "prod", Version: 1, Title: "Four eyes: two approvers of different roles, none of them an author",
			Rules:     []Rule{ready, golden, evaluated, logged, accountable, committed},
			Approvals: `request.kind == 'suspend' ? {'count': 1, 'roles': ['risk-compliance', 'business-owner']} : {'count': 2, 'roles': ['risk-compliance', 'business-owner']}`,
			Note:      "Shipped with the program.", CreatedBy: Shipped,
		},
	}
}
