package app

import (
	"keelson/internal/approval"
	"keelson/internal/deployment"
	"keelson/internal/incident"
	"keelson/internal/monitor"
)

// react lists what the platform does by itself, one line per reaction: who, upon what, does what.
func (a *App) react() {
	on := a.Events.On
	on("deployment", approval.Settled, a.Deployments.Settled) // deploys what asked to go live once approved
	on("watch", deployment.Released, a.watch)                 // watches what goes live
	on("alias", deployment.Released, a.follow)                // protected aliases say what runs
	on("rollout", monitor.Breached, a.Deployments.Breached)   // holds a canary that is watched and breached
	on("alert", monitor.Closed, a.Alerts.OnWindow)            // tells people, once per cause
	on("alert", monitor.Labelled, a.Alerts.OnWindow)          // also of what outcomes say later
	on("alert", incident.Changed, a.Alerts.OnIncident)        // who takes on the incident has seen its alerts
	on("incident", deployment.Released, a.Incidents.Follow)   // keeps the time lines of incidents
	on("incident", approval.Settled, a.Incidents.Follow)      //
	on("incident", "pipeline.run.finished", a.Incidents.Follow)
	on("candidate", "pipeline.run.finished", a.candidate) // proposes what a retraining made
	on("notify", "*", a.Notices.Hear)                     // brings alerts to people
	on("webhook", "*", a.Webhooks.Hear)                   // tells other programs
}
