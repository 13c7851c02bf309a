// SPDX-License-Identifier: Apache-2.0
/*
 * The default seccomp profile: what containers in general do is allowed, all
 * else is EPERM. Calls that only make sense with a capability are allowed with
 * it. In the spirit of what the common runtimes ship; io_uring, keyrings,
 * userfaultfd and namespaces without CAP_SYS_ADMIN are out.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/container/container.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"

#define NAMESPACE_FLAGS 0x7e020000 /* CLONE_NEW*, without NEWTIME */
#define CAP(name)       (UINT64_C(1) << CAP_##name)

/* Names by their first letter, blank apart. */
static const char *const always[] = {
	"accept accept4 access adjtimex alarm arch_prctl bind brk",
	"cachestat capget capset chdir chmod chown chown32 clock_adjtime",
	"clock_adjtime64 clock_getres clock_getres_time64 clock_gettime",
	"clock_gettime64 clock_nanosleep clock_nanosleep_time64 close",
	"close_range connect copy_file_range creat dup dup2 dup3",
	"epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait",
	"epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve",
	"execveat exit exit_group faccessat faccessat2 fadvise64",
	"fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat",
	"fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync",
	"fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat",
	"fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64",
	"futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake",
	"futimesat get_robust_list get_thread_area getcpu getcwd getdents",
	"getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32",
	"getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid",
	"getppid getpriority getrandom getresgid getresgid32 getresuid",
	"getresuid32 getrlimit getrusage getsid getsockname getsockopt",
	"gettid gettimeofday getuid getuid32 getxattr getxattrat",
	"inotify_add_watch inotify_init inotify_init1 inotify_rm_watch",
	"io_cancel io_destroy io_getevents io_pgetevents",
	"io_pgetevents_time64 io_setup io_submit ioctl ioprio_get",
	"ioprio_set ipc kill landlock_add_rule landlock_create_ruleset",
	"landlock_restrict_self lchown lchown32 lgetxattr link linkat",
	"listen listmount listxattr listxattrat llistxattr _llseek",
	"lremovexattr lseek lsetxattr lstat lstat64 madvise",
	"map_shadow_stack membarrier memfd_create memfd_secret mincore",
	"mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2",
	"modify_ldt mprotect mq_getsetattr mq_notify mq_open",
	"mq_timedreceive mq_timedreceive_time64 mq_timedsend",
	"mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv",
	"msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep",
	"newfstatat _newselect open openat openat2 pause pidfd_open",
	"pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect",
	"poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64",
	"process_mrelease process_vm_readv process_vm_writev pselect6",
	"pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead",
	"readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64",
	"recvmsg remap_file_pages removexattr removexattrat rename renameat",
	"renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction",
	"rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn",
	"rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64",
	"rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min",
	"sched_getaffinity sched_getattr sched_getparam sched_getscheduler",
	"sched_rr_get_interval sched_rr_get_interval_time64",
	"sched_setaffinity sched_setattr sched_setparam sched_setscheduler",
	"sched_yield seccomp select semctl semget semop semtimedop",
	"semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto",
	"set_robust_list set_thread_area set_tid_address setfsgid",
	"setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups",
	"setgroups32 setitimer setpgid setpriority setregid setregid32",
	"setresgid setresgid32 setresuid setresuid32 setreuid setreuid32",
	"setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat",
	"shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4",
	"sigprocmask sigreturn socketcall socketpair splice stat stat64",
	"statfs statfs64 statmount statx symlink symlinkat sync",
	"sync_file_range syncfs sysinfo tee tgkill time timer_create",
	"timer_delete timer_getoverrun timer_gettime timer_gettime64",
	"timer_settime timer_settime64 timerfd_create timerfd_gettime",
	"timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill",
	"truncate truncate64 ugetrlimit umask uname unlink unlinkat",
	"uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice",
	"wait4 waitid waitpid write writev",
};

static const struct {
	uint64_t cap;
	const char *names;
} with_cap[] = {
	{ CAP(DAC_READ_SEARCH), "open_by_handle_at" },
	{ CAP(SYS_ADMIN), "bpf clone clone3 fanotify_init fsconfig fsmount" },
	{ CAP(SYS_ADMIN), "fsopen fspick lookup_dcookie mount mount_setattr" },
	{ CAP(SYS_ADMIN), "move_mount open_tree perf_event_open quotactl" },
	{ CAP(SYS_ADMIN), "quotactl_fd setdomainname sethostname setns" },
	{ CAP(SYS_ADMIN), "syslog umount umount2 unshare" },
	{ CAP(SYS_BOOT), "reboot" },
	{ CAP(SYS_CHROOT), "chroot" },
	{ CAP(SYS_MODULE), "delete_module finit_module init_module" },
	{ CAP(SYS_PACCT), "acct" },
	{ CAP(SYS_PTRACE), "kcmp pidfd_getfd process_madvise" },
	{ CAP(SYS_RAWIO), "ioperm iopl" },
	{ CAP(SYS_TIME), "clock_settime clock_settime64 settimeofday stime" },
	{ CAP(SYS_TTY_CONFIG), "vhangup" },
	{ CAP(SYS_NICE), "get_mempolicy mbind set_mempolicy" },
	{ CAP(SYS_NICE), "set_mempolicy_home_node" },
	{ CAP(SYSLOG), "syslog" },
	{ CAP(BPF), "bpf" },
	{ CAP(PERFMON), "perf_event_open" },
};

static const uint32_t personalities[] = { 0, 8, 0x20000, 0x20008, 0xffffffff };

static int allow_names(scmp_filter_ctx ctx, const char *names)
{
	char name[48];

	while (*names) {
		size_t len = strcspn(names, " ");
		int nr, r;

		if (len >= sizeof(name))
			return -EINVAL;
		memcpy(name, names, len);
		name[len] = '\0';
		names += len;
		names += *names == ' ';
		/* What this libseccomp does not know yet stays forbidden. */
		nr = seccomp_syscall_resolve_name(name);
		if (nr == __NR_SCMP_ERROR)
			continue;
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0);
		if (r < 0)
			return r;
	}
	return 0;
}

static int allow_arg(scmp_filter_ctx ctx, int nr, struct scmp_arg_cmp arg)
{
	return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, nr, 1, &arg);
}

/* All families but AF_ALG and AF_VSOCK: the one has been a source of kernel
 * bugs, the other reaches the host past the network namespace. */
static int allow_socket(scmp_filter_ctx ctx)
{
	int nr = SCMP_SYS(socket);
	int r = allow_arg(ctx, nr, SCMP_A0(SCMP_CMP_LT, AF_ALG));

	if (r == 0)
		r = allow_arg(ctx, nr, SCMP_A0(SCMP_CMP_EQ, AF_NFC));
	if (r == 0)
		r = allow_arg(ctx, nr, SCMP_A0(SCMP_CMP_GT, AF_VSOCK));
	return r;
}

static int fill(scmp_filter_ctx ctx, uint64_t caps)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(always); i++)
		r = allow_names(ctx, always[i]);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(with_cap); i++)
		if (caps & with_cap[i].cap)
			r = allow_names(ctx, with_cap[i].names);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(personalities); i++)
		r = allow_arg(ctx, SCMP_SYS(personality),
			      SCMP_A0(SCMP_CMP_EQ, personalities[i]));
	if (r == 0)
		r = allow_socket(ctx);
	if (r < 0 || caps & CAP(SYS_ADMIN))
		return r;
	r = allow_arg(ctx, SCMP_SYS(clone),
		      SCMP_A0(SCMP_CMP_MASKED_EQ, NAMESPACE_FLAGS, 0));
	/* Its flags are in memory, where no filter can look; the C libraries
	 * go back to clone() when told that it does not exist. */
	return r < 0 ? r
		     : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS),
					SCMP_SYS(clone3), 0);
}

static int add_arches(scmp_filter_ctx ctx)
{
#if defined(__x86_64__)
	int r = seccomp_arch_add(ctx, SCMP_ARCH_X86);

	return r == -EEXIST ? 0 : r;
#elif defined(__aarch64__)
	int r = seccomp_arch_add(ctx, SCMP_ARCH_ARM);

	return r == -EEXIST ? 0 : r;
#else
	(void)ctx;
	return 0;
#endif
}

static int export(scmp_filter_ctx ctx, int *ret_fd, struct err *e)
{
	auto_close int fd =
		memfd_create("arktos-seccomp", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return err_sys(e, "memfd_create");
	r = seccomp_export_bpf(ctx, fd);
	if (r < 0)
		return err_set(e, r, "seccomp: export the profile");
	if (fcntl(fd, F_ADD_SEALS,
		  F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return err_sys(e, "seal the seccomp profile");
	*ret_fd = take_fd(&fd);
	return 0;
}

int seccomp_default_fd(uint64_t caps, int *ret_fd, struct err *e)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r;

	if (!ctx)
		return err_set(e, -ENOMEM, "out of memory");
	r = add_arches(ctx);
	/* A tree instead of a list: some 10 comparisons a call, not 300. */
	if (r == 0)
		r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	/* no_new_privs is the pod's choice, not the filter's. */
	if (r == 0)
		r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
	if (r == 0)
		r = fill(ctx, caps);
	r = r < 0 ? err_set(e, r, "seccomp: build the profile")
		  : export(ctx, ret_fd, e);
	seccomp_release(ctx);
	return r;
}
