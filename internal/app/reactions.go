package app

// react lists what the platform does by itself, one line per reaction: who, upon what, does what.
func (a *App) react() {
}
