package agent

import "bytes"

// install gives this host the conflists of the cluster's networks and takes
// back those of networks that are gone.
func (a *Agent) install() {
	if a.Catalogue == nil {
		return
	}
	lists := map[string][]byte{}
	for _, n := range a.cluster.View().Networks() {
		if len(n.List) > 0 {
			lists[n.Name] = bytes.TrimSpace(n.List)
		}
	}
	a.trouble("install networks", a.Catalogue.Install(lists))
}
