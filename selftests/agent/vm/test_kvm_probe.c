// SPDX-License-Identifier: Apache-2.0
/*
 * The KVM probe: a verdict in any case, soon, and nothing left behind.
 *
 * LANE: both
 * SECONDS: 60
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>

#include "selftests/harness.h"
#include "agent/vm/kvm_probe.h"

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static int count(const char *dir)
{
	DIR *d = opendir(dir);
	int nr = 0;

	while (d && readdir(d))
		nr++;
	if (d)
		closedir(d);
	return nr;
}

TEST(absent_device_is_named)
{
	struct kvm_verdict v;

	kvm_probe("/dev/none", &v);
	EXPECT_EQ(v.usable, false);
	EXPECT_EQ(v.lack, KVM_LACKS_DEVICE);
	EXPECT_STREQ(v.why, "open '/dev/none': No such file or directory");
}

TEST(another_device_is_no_kvm)
{
	struct kvm_verdict v;

	kvm_probe("/dev/null", &v);
	EXPECT_EQ(v.usable, false);
	EXPECT_EQ(v.lack, KVM_LACKS_API);
	EXPECT_STREQ(v.why, "'/dev/null' does not speak KVM's API");
}

TEST(unreadable_device_is_named)
{
	struct kvm_verdict v;
	int fd = open("kvm", O_CREAT | O_WRONLY | O_CLOEXEC, 0000);

	close(fd);
	if (getuid() == 0 && seteuid(65534) < 0)
		SKIP("cannot become another user");
	kvm_probe("kvm", &v);
	EXPECT_EQ(v.usable, false);
	EXPECT_EQ(v.lack, KVM_LACKS_ACCESS);
	EXPECT_STREQ(v.why, "open 'kvm': Permission denied");
	(void)!seteuid(0);
}

/* What helps depends on what was found, and on what stands below. */
TEST(the_remedy_fits_what_is_missing)
{
	static const struct {
		enum kvm_lack lack;
		struct kvm_host host;
		const char *has, *has_not;
	} cases[] = {
		{ KVM_LACKS_LIFE,
		  { .cpu_can = true, .module = true, .virtual = true },
		  "let its hypervisor offer nested",
		  "load kvm" },
		{ KVM_LACKS_MACHINE,
		  { .module = true, .virtual = true },
		  "let its hypervisor offer nested",
		  "load kvm" },
		{ KVM_LACKS_LIFE, { .module = true }, "dmesg", "load kvm" },
		{ KVM_LACKS_DEVICE,
		  { .virtual = true },
		  "nested virtualization",
		  "firmware" },
		{ KVM_LACKS_DEVICE,
		  { .cpu_can = true, .virtual = true },
		  "load kvm_intel",
		  "nested" },
		{ KVM_LACKS_DEVICE,
		  { 0 },
		  "enable virtualization in the firm",
		  "nested" },
		{ KVM_LACKS_DEVICE,
		  { .cpu_can = true, .module = true },
		  "mknod /dev/kvm",
		  "load kvm" },
		{ KVM_LACKS_ACCESS, { .module = true }, "as root", "load kvm" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct kvm_verdict v = { .lack = cases[i].lack };
		const char *text = kvm_remedy(&v, &cases[i].host);

		if (!strstr(text, cases[i].has) ||
		    strstr(text, cases[i].has_not))
			FAIL("%zu: %s", i, text);
	}
}

TEST(real_device_gets_a_verdict_in_time)
{
	long long begin = now_ms();
	int fds = count("/proc/self/fd");
	struct kvm_verdict v;

	if (access("/dev/kvm", F_OK) < 0)
		SKIP("no /dev/kvm");
	kvm_probe("/dev/kvm", &v);
	printf("# %s: %s\n", v.usable ? "usable" : "unusable", v.why);
	EXPECT_GE(5000, now_ms() - begin);
	EXPECT_EQ(v.why[0] != '\0', 1);
	/* the thread is gone, unless it hangs in the kernel */
	if (!strstr(v.why, "hangs")) {
		for (int i = 0; i < 1000 && count("/proc/self/task") > 3; i++)
			usleep(1000);
		EXPECT_EQ(count("/proc/self/task"), 3);
		EXPECT_EQ(count("/proc/self/fd"), fds);
	}
}

TEST(signals_are_as_before)
{
	struct sigaction before, after;
	sigset_t mask, was;
	struct kvm_verdict v;

	sigaction(SIGURG, NULL, &before);
	sigprocmask(SIG_SETMASK, NULL, &was);
	kvm_probe("/dev/kvm", &v);
	sigaction(SIGURG, NULL, &after);
	sigprocmask(SIG_SETMASK, NULL, &mask);
	EXPECT_EQ(before.sa_handler == after.sa_handler, 1);
	/* the kernel knows 64 signals, the C library 1024 */
	EXPECT_EQ(memcmp(&mask, &was, 8), 0);
}

TEST_MAIN()
