// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * SECONDS: 30
 * What a deletion changes, and what it does not.
 */
#include "selftests/controlplane/apiserver/world.h"

#define PODS "/api/v1/namespaces/default/pods"
#define HELD                                                              \
	"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'%s',"        \
	"'finalizers':['x.io/y']},'spec':{'nodeName':'n','containers':[{" \
	"'name':'c','image':'i'}]}}"

static char *version(struct world *w)
{
	(void)GET(w, w->root, PODS "/held");
	return strdup(said(w, "/metadata/resourceVersion"));
}

/* Whoever deletes on every event must not make the next event by it. */
TEST(a_deletion_repeated_changes_nothing)
{
	auto_free char *first = NULL, *second = NULL, *third = NULL;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	EXPECT_STATUS(&w, 201, POST(&w, w.root, PODS, HELD, "held"));
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "DELETE",
			  PODS "/held?gracePeriodSeconds=30", NULL));
	EXPECT_SAYS(&w, "\"generation\":2");
	first = version(&w);
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "DELETE",
			  PODS "/held?gracePeriodSeconds=60", NULL));
	second = version(&w);
	EXPECT_STREQ(second, first);
	free(take_ptr(second));
	/* Sooner is a change; its repetition is none. */
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "DELETE",
			  PODS "/held?gracePeriodSeconds=0", NULL));
	second = version(&w);
	EXPECT_EQ(strcmp(second, first) != 0, true);
	EXPECT_SAYS(&w, "\"generation\":2");
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "DELETE",
			  PODS "/held?gracePeriodSeconds=0", NULL));
	third = version(&w);
	EXPECT_STREQ(third, second);
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PATCH", PODS "/held",
			  "{'metadata':{'finalizers':null}}"));
	EXPECT_STATUS(&w, 404, GET(&w, w.root, PODS "/held"));
	world_end(&w);
}

TEST_MAIN()
