package hijack

// isOpen tells whether a call is open(2) itself, which this machine has not.
func isOpen(int) bool { return false }
