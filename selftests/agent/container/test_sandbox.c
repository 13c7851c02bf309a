// SPDX-License-Identifier: Apache-2.0
/*
 * Supervisor and client together: life and death of a pod's processes.
 *
 * LANE: both
 * SECONDS: 180
 */
#include <signal.h>
#include <sys/pidfd.h>

#include "selftests/agent/container/fixture.h"

TEST(container_runs_and_its_exit_is_told)
{
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "web", "echo hello; exit 7", ""), 0);
	EXPECT_STREQ(p.e.msg, "");
	EXPECT_EQ(p.proc.state, PROC_RUNNING);
	ASSERT_EQ(pod_wait(&p, "web"), 0);
	EXPECT_EQ(p.proc.state, PROC_EXITED);
	EXPECT_EQ(p.proc.exit_code, 7);
	EXPECT_EQ(p.proc.signal, 0);
	EXPECT_STREQ(p.proc.reason, "Error");
	EXPECT_EQ(strlen(p.proc.started_at), 30);
	EXPECT_EQ(strlen(p.proc.finished_at), 30);
}

TEST_MAIN()
