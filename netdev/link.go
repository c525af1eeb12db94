package netdev

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/vishvananda/netlink"
)

// Link is a device as the kernel describes it.
type Link = netlink.Link

// MaxNameLen is IFNAMSIZ less the terminating zero.
const MaxNameLen = 15

// NameProblem says what is wrong with a device's name, nothing where it can
// be one: dev_valid_name of the kernel's net/core/dev.c.
func NameProblem(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > MaxNameLen:
		return "is longer than the 15 bytes that an interface name can have"
	case name == "." || name == "..":
		return "is not an interface name"
	case strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r == ':' || unicode.IsSpace(r) || unicode.IsControl(r) }):
		return "has a slash, a colon, white space or a control character"
	}
	return ""
}

// AliasPrefix begins the alias (IFLA_IFALIAS) of every device that berth
// makes on a host, so that one without a record can be told from a stranger's.
const AliasPrefix = "berth:"

// HostName is the name of an attachment's device on the host: the same for
// the same attachment, so that a second Add meets what a crash left.
func HostName(prefix, network, container, ifname string) string {
	sum := sha256.Sum256([]byte(network + "\x00" + container + "\x00" + ifname))
	return fmt.Sprintf("%s%x", prefix, sum[:6])[:min(MaxNameLen, len(prefix)+12)]
}

// Link finds a device by name; ErrNotFound when there is none.
func (h *Handle) Link(name string) (Link, error) {
	link, err := retry(func() (Link, error) { return h.nl.LinkByName(name) })
	if missing(err) {
		return nil, fmt.Errorf("find link %s: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("find link %s: %w", name, err)
	}
	return link, nil
}

// LinkByIndex finds a device by its index; ErrNotFound when there is none.
func (h *Handle) LinkByIndex(index int) (Link, error) {
	link, err := retry(func() (Link, error) { return h.nl.LinkByIndex(index) })
	if missing(err) {
		return nil, fmt.Errorf("find link %d: %w", index, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("find link %d: %w", index, err)
	}
	return link, nil
}

// Links lists every device: never on the path of an Add or Del, whose cost
// must not grow with the host.
func (h *Handle) Links() ([]Link, error) {
	links, err := retry(h.nl.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return links, nil
}

// SetUp brings a device up.
func (h *Handle) SetUp(link Link) error {
	if err := h.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("set link %s up: %w", link.Attrs().Name, err)
	}
	return nil
}

// SetDown takes a device down.
func (h *Handle) SetDown(link Link) error {
	if err := h.nl.LinkSetDown(link); err != nil {
		return fmt.Errorf("set link %s down: %w", link.Attrs().Name, err)
	}
	return nil
}

// SetAlias names a device's purpose (IFLA_IFALIAS).
func (h *Handle) SetAlias(link Link, alias string) error {
	if err := h.nl.LinkSetAlias(link, alias); err != nil {
		return fmt.Errorf("set alias of link %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// DeleteLink removes a device by name. One that is not there is success.
func (h *Handle) DeleteLink(name string) error {
	link, err := h.Link(name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil {
		err = h.nl.LinkDel(link)
	}
	if err != nil && !missing(err) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}

// DeleteLinkByIndex removes a device by its index. One that is not there is
// success.
func (h *Handle) DeleteLinkByIndex(index int) error {
	err := h.nl.LinkDel(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}})
	if err != nil && !missing(err) {
		return fmt.Errorf("delete link %d: %w", index, err)
	}
	return nil
}
