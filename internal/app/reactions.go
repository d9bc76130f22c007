package app

import (
	"keelson/internal/approval"
	"keelson/internal/deployment"
	"keelson/internal/monitor"
)

// react lists what the platform does by itself, one line per reaction: who, upon what, does what.
func (a *App) react() {
	on := a.Events.On
	on("deployment", approval.Settled, a.Deployments.Settled) // deploys what asked to go live once approved
	on("watch", deployment.Released, a.watch)                 // watches what goes live
	on("alias", deployment.Released, a.follow)                // protected aliases say what runs
	on("rollout", monitor.Breached, a.Deployments.Breached)   // holds a canary that is watched and breached
	on("alert", monitor.Breached, a.Alerts.OnBreach)          // tells people
	on("alert", monitor.Recovered, a.Alerts.OnRecovered)      // and that it is over
	on("incident", monitor.Breached, a.Incidents.Follow)      // keeps the time lines of incidents
	on("incident", monitor.Recovered, a.Incidents.Follow)     //
	on("incident", deployment.Released, a.Incidents.Follow)   //
	on("webhook", "*", a.Webhooks.Hear)                       // tells other programs
	on("retrain", monitor.Breached, a.Pipelines.Retrain)      // only where the monitor says so
}
