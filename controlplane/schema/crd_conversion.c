// SPDX-License-Identifier: Apache-2.0
/* What is wrong with spec.conversion of a CustomResourceDefinition. */
#include <string.h>

#include "controlplane/schema/types.h"
#include "lib/str.h"

#define AT          "spec.conversion."
#define CLIENT      AT "webhookClientConfig"
#define FORM        "; desired format: https://host[/path]"
#define NOT_WEBHOOK "should not be set when strategy is not set to Webhook"

static void check_url(yyjson_mut_val *v, struct field_errors *errs)
{
	static const char at[] = CLIENT ".url";
	const char *url = yyjson_mut_get_str(v);
	const char *host;

	if (!url || !str_starts(url, "https://")) {
		field_error_add(errs, FIELD_INVALID, at, v,
				"'https' is the only allowed URL scheme" FORM);
		return;
	}
	host = url + strlen("https://");
	if (!strcspn(host, "/?#"))
		field_error_add(errs, FIELD_INVALID, at, v,
				"host must be specified" FORM);
	if (memchr(host, '@', strcspn(host, "/?#")))
		field_error_add(errs, FIELD_INVALID, at, v,
				"user information is not permitted in the URL");
	if (strchr(url, '#'))
		field_error_add(errs, FIELD_INVALID, at, v,
				"fragments are not permitted in the URL");
	if (strchr(url, '?'))
		field_error_add(errs, FIELD_INVALID, at, v,
				"query parameters are not permitted in the "
				"URL");
}

static void check_service(yyjson_mut_val *service, struct field_errors *errs)
{
	const char *name = mut_str(service, "name");
	const char *namespace = mut_str(service, "namespace");
	const char *path = mut_str(service, "path");
	int64_t port = mut_int(service, "port", 443);

	if (!name || !*name)
		field_error_add(errs, FIELD_REQUIRED, CLIENT ".service.name",
				NULL, "service name is required");
	if (!namespace || !*namespace)
		field_error_add(errs, FIELD_REQUIRED,
				CLIENT ".service.namespace", NULL,
				"service namespace is required");
	if (port < 1 || port > 65535)
		field_error_add(errs, FIELD_INVALID, CLIENT ".service.port",
				mut_get(service, "port"),
				"port is not valid: must be between 1 and "
				"65535, inclusive");
	if (path && *path != '/')
		field_error_add(errs, FIELD_INVALID, CLIENT ".service.path",
				mut_get(service, "path"),
				"must start with a '/'");
}

static void check_review_versions(yyjson_mut_val *list,
				  struct field_errors *errs)
{
	static const char at[] = AT "conversionReviewVersions";
	yyjson_mut_val *v;
	bool known = false;
	size_t i, max;

	if (!yyjson_mut_arr_size(list)) {
		field_error_add(errs, FIELD_REQUIRED, at, NULL,
				"must specify one of v1beta1, v1");
		return;
	}
	yyjson_mut_arr_foreach(list, i, max, v)
	{
		known |= yyjson_mut_equals_str(v, "v1") ||
			 yyjson_mut_equals_str(v, "v1beta1");
	}
	if (!known)
		field_error_add(errs, FIELD_INVALID, at, list,
				"must include at least one of v1, v1beta1");
}

void crd_check_conversion(yyjson_mut_val *obj, struct field_errors *errs)
{
	const char *strategy = mut_str(obj, AT "strategy");
	yyjson_mut_val *client = mut_get(obj, AT "webhook.clientConfig");
	yyjson_mut_val *versions =
		mut_get(obj, AT "webhook.conversionReviewVersions");
	yyjson_mut_val *url = mut_get(client, "url");
	yyjson_mut_val *service = mut_get(client, "service");

	if (!strategy)
		return;
	if (strcmp(strategy, "None") != 0 && strcmp(strategy, "Webhook") != 0)
		field_error_add(errs, FIELD_NOT_SUPPORTED, AT "strategy",
				mut_get(obj, AT "strategy"),
				"supported values: \"None\", \"Webhook\"");
	if (strcmp(strategy, "Webhook") != 0) {
		if (client)
			field_error_add(errs, FIELD_FORBIDDEN, CLIENT, NULL,
					NOT_WEBHOOK);
		if (yyjson_mut_arr_size(versions))
			field_error_add(errs, FIELD_FORBIDDEN,
					AT "conversionReviewVersions", NULL,
					NOT_WEBHOOK);
		return;
	}
	if (!client)
		field_error_add(errs, FIELD_REQUIRED, CLIENT, NULL,
				"required when strategy is set to Webhook");
	else if (!url == !service)
		field_error_add(errs, FIELD_REQUIRED, CLIENT, NULL,
				"exactly one of url or service is required");
	else if (url)
		check_url(url, errs);
	else
		check_service(service, errs);
	check_review_versions(versions, errs);
}
