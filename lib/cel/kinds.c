// SPDX-License-Identifier: Apache-2.0
/* What kinds of values are called, by users and in the tables of functions. */
#include "lib/cel/fn.h"
#include "lib/str.h"

static const char *const names[] = {
	[CEL_DYN] = "dyn",
	[CEL_NULL] = "null",
	[CEL_BOOL] = "bool",
	[CEL_INT] = "int",
	[CEL_UINT] = "uint",
	[CEL_DOUBLE] = "double",
	[CEL_STRING] = "string",
	[CEL_BYTES] = "bytes",
	[CEL_LIST] = "list",
	[CEL_MAP] = "map",
	[CEL_OBJECT] = "object",
	[CEL_TIMESTAMP] = "google.protobuf.Timestamp",
	[CEL_DURATION] = "google.protobuf.Duration",
	[CEL_TYPE] = "type",
	[CEL_OPTIONAL] = "optional_type",
	[CEL_QUANTITY] = "kubernetes.Quantity",
	[CEL_URL] = "kubernetes.URL",
	[CEL_IP] = "net.IP",
	[CEL_CIDR] = "net.CIDR",
	[CEL_AUTHORIZER] = "kubernetes.authorization.Authorizer",
	[CEL_PATH_CHECK] = "kubernetes.authorization.PathCheck",
	[CEL_GROUP_CHECK] = "kubernetes.authorization.GroupCheck",
	[CEL_RESOURCE_CHECK] = "kubernetes.authorization.ResourceCheck",
	[CEL_DECISION] = "kubernetes.authorization.Decision",
};

const char *cel_kind_name(enum cel_kind kind)
{
	return names[kind];
}

/* The letters of struct cel_fn. */
static const struct {
	char letter;
	uint8_t kind;
} letters[] = {
	{ '?', CEL_DYN },
	{ 'b', CEL_BOOL },
	{ 'i', CEL_INT },
	{ 'u', CEL_UINT },
	{ 'd', CEL_DOUBLE },
	{ 's', CEL_STRING },
	{ 'y', CEL_BYTES },
	{ 'l', CEL_LIST },
	{ 'm', CEL_MAP },
	{ 't', CEL_TIMESTAMP },
	{ 'D', CEL_DURATION },
	{ 'T', CEL_TYPE },
	{ 'o', CEL_OPTIONAL },
	{ 'q', CEL_QUANTITY },
	{ 'U', CEL_URL },
	{ 'I', CEL_IP },
	{ 'C', CEL_CIDR },
	{ 'A', CEL_AUTHORIZER },
	{ 'P', CEL_PATH_CHECK },
	{ 'G', CEL_GROUP_CHECK },
	{ 'R', CEL_RESOURCE_CHECK },
	{ 'V', CEL_DECISION },
};

enum cel_kind fn_kind(char letter)
{
	for (size_t i = 0; i < ARRAY_LEN(letters); i++)
		if (letters[i].letter == letter)
			return letters[i].kind;
	return CEL_DYN;
}

bool fn_takes(char letter, enum cel_kind kind)
{
	enum cel_kind want = fn_kind(letter);

	return !want || !kind || want == kind ||
	       (want == CEL_MAP && kind == CEL_OBJECT);
}
