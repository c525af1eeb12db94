package netns

import (
	"errors"
	"fmt"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ID is the identity of a namespace during one boot of the host.
//
// Dev and Ino are those of its nsfs file. The kernel gives the lowest free
// inode number to the next namespace (proc_alloc_inum, fs/proc/generic.c), so
// a container that dies and comes back often has that of its predecessor.
// Cookie is never given again (net_gen_cookie, net/core/net_namespace.c); it
// is 0 before Linux 5.14.
type ID struct {
	Dev    uint64 `json:"dev"`
	Ino    uint64 `json:"ino"`
	Cookie uint64 `json:"cookie,omitempty"`
}

func (id ID) String() string { return strconv.FormatUint(id.Ino, 10) }

// ID is the namespace's identity.
func (h *Handle) ID() (ID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(h.FD(), &st); err != nil {
		return ID{}, fmt.Errorf("stat netns %s: %w", h.Path(), err)
	}
	cookie, err := h.cookie()
	if err != nil {
		return ID{}, fmt.Errorf("identify netns %s: %w", h.Path(), err)
	}
	return ID{Dev: uint64(st.Dev), Ino: st.Ino, Cookie: cookie}, nil
}

// Is tells whether the namespace at path exists and is the one of that
// identity: a path such as /proc/PID/ns/net may meanwhile belong to another
// process, and a name below /run/netns to another container.
func (id ID) Is(path string) bool {
	if found, ok := look(path); ok {
		return found == id
	}
	h, err := Open(path)
	if err != nil {
		return false
	}
	defer h.Close()
	found, err := h.ID()
	return err == nil && found == id
}

// look is the identity of what is at path, in four system calls: every answer
// of a resolver looks. It cannot be had so before Linux 6.18.
func look(path string) (ID, bool) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return ID{}, false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	cookie, errno := nsID(fd)
	if errno != 0 || unix.Fstat(fd, &st) != nil {
		return ID{}, false
	}
	return ID{Dev: uint64(st.Dev), Ino: st.Ino, Cookie: cookie}, true
}

// nsGetID is NS_GET_ID of include/uapi/linux/nsfs.h, _IOR(0xb7, 13, __u64),
// since Linux 6.18. For a network namespace it is the cookie.
const nsGetID = 0x8008b70d

func nsID(fd int) (id uint64, errno unix.Errno) {
	_, _, errno = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), nsGetID, uintptr(unsafe.Pointer(&id)))
	return id, errno
}

func (h *Handle) cookie() (cookie uint64, err error) {
	cookie, errno := nsID(h.FD())
	if errno == 0 {
		return cookie, nil
	}
	err = h.Do(func() error {
		cookie, err = socketCookie()
		return err
	})
	return cookie, err
}

// socketCookie asks for the cookie in the thread's namespace, which takes a
// socket. A Unix one costs least.
func socketCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return 0, nil
	}
	return cookie, err
}
