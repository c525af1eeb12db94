package container

import "github.com/opencontainers/runtime-spec/specs-go"

// allowedCalls are the system calls that every container may make, by what
// they are for. Names of other architectures' ABIs are among them: libseccomp
// passes over those that an architecture does not have.
//
// What is not here fails with EPERM, above all what acts on the whole kernel
// (modules, kexec, swap, clocks, accounting), the keyrings, which are not
// namespaced, new user and mount namespaces, in which a process has every
// capability, and io_uring, whose operations pass by this filter.
var allowedCalls = []string{
	// Files and their attributes.
	`access chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
	 fadvise64 fadvise64_64 fallocate fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64
	 fdatasync flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat
	 ioctl lchown lchown32 lseek _llseek lstat lstat64 newfstatat open openat openat2 stat stat64 statfs
	 statfs64 statx sync sync_file_range syncfs truncate truncate64 umask utime utimensat
	 utimensat_time64 utimes cachestat name_to_handle_at`,
	`fgetxattr flistxattr fremovexattr fsetxattr getxattr lgetxattr listxattr llistxattr lremovexattr
	 lsetxattr removexattr setxattr getxattrat listxattrat removexattrat setxattrat`,
	// Directories and links.
	`chdir fchdir getcwd getdents getdents64 link linkat mkdir mkdirat mknod mknodat readlink readlinkat
	 rename renameat renameat2 rmdir symlink symlinkat unlink unlinkat`,
	// Input and output.
	`pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readv write writev sendfile
	 sendfile64 splice tee vmsplice pipe pipe2 io_cancel io_destroy io_getevents io_pgetevents
	 io_pgetevents_time64 io_setup io_submit ioprio_get ioprio_set`,
	// Waiting for events.
	`epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
	 epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1
	 inotify_rm_watch poll ppoll ppoll_time64 pselect6 pselect6_time64 select _newselect signalfd
	 signalfd4`,
	// Memory.
	`brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall
	 mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
	 pkey_mprotect process_mrelease remap_file_pages`,
	// Processes and threads.
	`execve execveat exit exit_group fork vfork futex futex_requeue futex_time64 futex_wait
	 futex_waitv futex_wake get_robust_list set_robust_list get_thread_area set_thread_area
	 set_tid_address getcpu getpgid getpgrp getpid getppid getsid gettid getpriority setpriority
	 getrlimit setrlimit ugetrlimit prlimit64 getrusage kill tgkill tkill pause pidfd_open
	 pidfd_send_signal prctl restart_syscall rseq sched_getaffinity sched_getattr sched_getparam
	 sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval
	 sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
	 sched_yield setpgid setsid times wait4 waitid waitpid uretprobe`,
	// The yama and no_new_privs rules of kernels since 4.8 make tracing one's
	// own processes safe under a filter.
	`process_vm_readv process_vm_writev ptrace`,
	// Signals.
	`rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
	 rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn`,
	// Identity. Capabilities decide what of it succeeds.
	`capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32
	 getresgid getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid
	 setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32
	 setresuid setresuid32 setreuid setreuid32 setuid setuid32`,
	// Sandboxing oneself further.
	`landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp`,
	// Time. Setting the clock needs CAP_SYS_TIME, too.
	`adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
	 clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer setitimer gettimeofday
	 nanosleep time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
	 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
	 timerfd_settime timerfd_settime64`,
	// Sockets. socket itself is in socketRules.
	`accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
	 recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair`,
	// System V and POSIX IPC, in a namespace of the container's own.
	`ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
	 mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
	 semtimedop_time64 shmat shmctl shmdt shmget`,
	// About the system.
	`getrandom sysinfo uname`,
}

// archCalls are those of one architecture, by Go's name for it.
var archCalls = map[string]string{
	"amd64":   "arch_prctl modify_ldt",
	"386":     "modify_ldt",
	"arm64":   "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
	"arm":     "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
	"ppc64le": "sync_file_range2 swapcontext",
	"riscv64": "riscv_flush_icache riscv_hwprobe",
	"s390x":   "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
}

// capabilityCalls become allowed with a capability, which they need anyway.
var capabilityCalls = map[string]string{
	"CAP_BPF":             "bpf",
	"CAP_DAC_READ_SEARCH": "open_by_handle_at",
	"CAP_PERFMON":         "perf_event_open",
	"CAP_SYS_ADMIN": `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick mount mount_setattr move_mount
		open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare`,
	"CAP_SYS_BOOT":       "reboot",
	"CAP_SYS_CHROOT":     "chroot",
	"CAP_SYS_MODULE":     "delete_module finit_module init_module",
	"CAP_SYS_NICE":       "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
	"CAP_SYS_PACCT":      "acct",
	"CAP_SYS_PTRACE":     "kcmp pidfd_getfd process_madvise",
	"CAP_SYS_RAWIO":      "ioperm iopl",
	"CAP_SYS_TIME":       "clock_settime clock_settime64 settimeofday stime",
	"CAP_SYS_TTY_CONFIG": "vhangup",
	"CAP_SYSLOG":         "syslog",
}

// subArchitectures are what else a kernel of the architecture runs. x32 is
// left out on purpose: nothing is built for it, and its system calls are a
// second door to the 64-bit ones.
var subArchitectures = map[string][]specs.Arch{
	"amd64":   {specs.ArchX86_64, specs.ArchX86},
	"arm64":   {specs.ArchAARCH64, specs.ArchARM},
	"riscv64": {specs.ArchRISCV64},
	"s390x":   {specs.ArchS390X, specs.ArchS390},
	"ppc64le": {specs.ArchPPC64LE},
}
