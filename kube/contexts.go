package kube

// Contexts returns the names of the contexts of a kubeconfig, sorted; "" means
// the files that OpenLogs would read. It returns none if they cannot be read.
func Contexts(kubeconfig string) []string {
	raw, err := loadingRules(kubeconfig).Load()
	if err != nil {
		return nil
	}
	return sortedKeys(raw.Contexts)
}
