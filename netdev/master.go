package netdev

import "fmt"

// SetMaster makes a device a port of a bridge, or of none when master is nil.
func (h *Handle) SetMaster(link, master Link) error {
	index := 0
	if master != nil {
		index = master.Attrs().Index
	}
	if link.Attrs().MasterIndex == index {
		return nil
	}
	if err := h.nl.LinkSetMasterByIndex(link, index); err != nil {
		return fmt.Errorf("set master of link %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// SetMTU changes a device's MTU in bytes where it differs.
func (h *Handle) SetMTU(link Link, mtu int) error {
	if link.Attrs().MTU == mtu {
		return nil
	}
	if err := h.nl.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("set MTU %d of link %s: %w", mtu, link.Attrs().Name, err)
	}
	return nil
}
