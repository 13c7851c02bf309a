// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "agent/image/keyring.h"
#include "lib/base64.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

#define WHERE_MAX 1024
#define HUB       "docker.io"

static void wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

static void entry_clear(struct keyring_entry *en)
{
	free(en->where);
	wipe(en->auth);
	wipe(en->token);
	*en = (struct keyring_entry){ 0 };
}

void keyring_clear(struct keyring *k)
{
	while (k->nr)
		entry_clear(&k->v[--k->nr]);
	free(k->v);
	k->v = NULL;
}

void keyring_free(struct keyring *k)
{
	if (!k)
		return;
	keyring_clear(k);
	free(k);
}

/* --- reading --- */

/* Without what older files write around it. */
static char *place(const char *text)
{
	static const char *const hubs[] = { "index." HUB, "registry-1." HUB };
	size_t host, len;
	char *p;

	if (str_starts(text, "https://"))
		text += strlen("https://");
	else if (str_starts(text, "http://"))
		text += strlen("http://");
	host = strcspn(text, "/");
	for (size_t i = 0; i < ARRAY_LEN(hubs); i++)
		if (host == strlen(hubs[i]) &&
		    strncasecmp(text, hubs[i], host) == 0) {
			text += host - strlen(HUB);
			host = strlen(HUB);
		}
	if (str_starts(text + host, "/v1/") || str_starts(text + host, "/v2/"))
		p = str_printf("%.*s%s", (int)host, text, text + host + 3);
	else
		p = strdup(text);
	len = p ? strlen(p) : 0;
	while (len && p[len - 1] == '/')
		p[--len] = '\0';
	return p;
}

static const char *text_of(yyjson_val *v, const char *key)
{
	return yyjson_get_str(yyjson_obj_get(v, key));
}

/* A user name and a password beside "auth" come first, as with docker. */
static int read_auth(yyjson_val *v, struct keyring_entry *en)
{
	const char *user = text_of(v, "username");
	const char *password = text_of(v, "password");
	const char *auth = text_of(v, "auth");
	const char *token = text_of(v, "identitytoken");
	auto_buf struct buf plain = BUF_INIT, b64 = BUF_INIT;
	int r = 0;

	if (yyjson_get_len(yyjson_obj_get(v, "auth")) > KEYRING_AUTH_MAX ||
	    (user && strlen(user) > KEYRING_AUTH_MAX) ||
	    (password && strlen(password) > KEYRING_AUTH_MAX) ||
	    (token && strlen(token) > KEYRING_AUTH_MAX))
		return -E2BIG;
	if (user && *user && password) {
		r = buf_printf(&plain, "%s:%s", user, password);
		if (r == 0)
			r = base64_put(&b64, plain.data, plain.len);
	} else if (auth) {
		r = base64_get(auth, strlen(auth), &plain);
		if (r == 0 && (!memchr(plain.data, ':', plain.len) ||
			       memchr(plain.data, '\0', plain.len)))
			r = -EBADMSG;
		if (r == 0)
			r = buf_puts(&b64, auth);
	} else if (!token) {
		return -EBADMSG;
	}
	en->auth = r == 0 ? strdup(buf_str(&b64)) : NULL;
	en->token = token && *token ? strdup(token) : NULL;
	buf_wipe(&plain);
	buf_wipe(&b64);
	if (r < 0)
		return r;
	return en->auth && (!token || !*token || en->token) ? 0 : -ENOMEM;
}

static int reserve(struct keyring *k, size_t more)
{
	struct keyring_entry *v =
		realloc(k->v, (k->nr + more + 1) * sizeof(*k->v));

	if (!v)
		return -ENOMEM;
	k->v = v;
	return 0;
}

/* Before the first that is shorter: stable, and the most exact comes first.
 * There is room for it. */
static void insert(struct keyring *k, const struct keyring_entry *en)
{
	size_t at = 0;

	while (at < k->nr && strlen(k->v[at].where) >= strlen(en->where))
		at++;
	memmove(&k->v[at + 1], &k->v[at], (k->nr - at) * sizeof(*k->v));
	k->v[at] = *en;
	k->nr++;
}

static int add_one(struct keyring *k, const char *where, yyjson_val *v,
		   struct err *e)
{
	struct keyring_entry en = { 0 };
	int r;

	if (!where || strlen(where) > WHERE_MAX)
		return err_set(e, -E2BIG, "a registry's name is too long");
	if (k->nr >= KEYRING_ENTRIES_MAX)
		return err_set(e, -E2BIG, "more than %d registries",
			       KEYRING_ENTRIES_MAX);
	if (!yyjson_is_obj(v))
		return err_set(e, -EBADMSG, "\"%.80s\" is not an object",
			       where);
	/* A registry whose credentials a helper of docker's has. */
	if (!yyjson_obj_size(v))
		return 0;
	r = read_auth(v, &en);
	if (r == -EBADMSG)
		err_set(e, r,
			"\"%.80s\" has neither username and password, nor auth "
			"(base64 of USER:PASSWORD)",
			where);
	else if (r < 0)
		err_set(e, r, "\"%.80s\": %s", where, strerror(-r));
	if (r == 0) {
		en.where = place(where);
		r = en.where ? reserve(k, 1) : -ENOMEM;
	}
	if (r == 0)
		insert(k, &en);
	else
		entry_clear(&en);
	return r;
}

static int read_file(struct keyring *k, yyjson_val *root, struct err *e)
{
	yyjson_val *auths = yyjson_obj_get(root, "auths"), *key, *val;
	size_t i, max;
	int r = 0;

	if (!yyjson_is_obj(root) || (auths && !yyjson_is_obj(auths)))
		return err_set(e, -EBADMSG,
			       "not a JSON object with \"auths\" in it");
	json_obj_foreach (auths ? auths : root, i, max, key, val) {
		r = add_one(k, yyjson_get_str(key), val, e);
		if (r < 0)
			break;
	}
	return r;
}

int keyring_add(struct keyring *k, const char *json, size_t len, struct err *e)
{
	struct keyring more = { 0 };
	yyjson_doc *doc = NULL;
	int r;

	if (len > KEYRING_FILE_MAX)
		return err_set(e, -E2BIG, "more than %d bytes",
			       KEYRING_FILE_MAX);
	/* What the parser says may show what is in it. */
	r = json_parse(json, len, &doc, NULL);
	if (r < 0)
		return err_set(e, r, "not JSON");
	r = read_file(&more, yyjson_doc_get_root(doc), e);
	if (r == 0 && k->nr + more.nr > KEYRING_ENTRIES_MAX)
		r = err_set(e, -E2BIG, "more than %d registries",
			    KEYRING_ENTRIES_MAX);
	if (r == 0)
		r = reserve(k, more.nr);
	for (size_t i = 0; i < more.nr && r == 0; i++)
		insert(k, &more.v[i]);
	if (r == 0)
		more.nr = 0; /* moved */
	keyring_clear(&more);
	yyjson_doc_free(doc);
	return r;
}

/* --- looking up --- */

/* Label by label: a pattern never spans a dot. */
static bool host_fits(const char *pattern, size_t plen, const char *host,
		      size_t hlen)
{
	while (plen && hlen) {
		size_t p = 0, h = 0;
		char a[256], b[256];

		while (p < plen && pattern[p] != '.')
			p++;
		while (h < hlen && host[h] != '.')
			h++;
		if (p >= sizeof(a) || h >= sizeof(b))
			return false;
		snprintf(a, sizeof(a), "%.*s", (int)p, pattern);
		snprintf(b, sizeof(b), "%.*s", (int)h, host);
		if (fnmatch(a, b, FNM_NOESCAPE | FNM_CASEFOLD) != 0)
			return false;
		if ((p == plen) != (h == hlen))
			return false;
		if (p == plen)
			return true;
		pattern += p + 1;
		plen -= p + 1;
		host += h + 1;
		hlen -= h + 1;
	}
	return plen == hlen;
}

static bool fits(const char *where, const char *repo)
{
	size_t wlen = strcspn(where, "/"), rlen = strcspn(repo, "/");
	const char *wport = memchr(where, ':', wlen);
	const char *rport = memchr(repo, ':', rlen);
	const char *path = where + wlen, *rest = repo + rlen;
	size_t whost = wport ? (size_t)(wport - where) : wlen;
	size_t rhost = rport ? (size_t)(rport - repo) : rlen;

	if (wlen - whost != rlen - rhost ||
	    strncmp(where + whost, repo + rhost, wlen - whost) != 0)
		return false;
	if (!host_fits(where, whost, repo, rhost))
		return false;
	/* As kubelet has it: a beginning, wherever it ends. */
	return str_starts(rest, path);
}

const struct keyring_entry *keyring_find(const struct keyring *k, size_t from,
					 const char *repo)
{
	for (size_t i = from; i < k->nr; i++)
		if (fits(k->v[i].where, repo))
			return &k->v[i];
	return NULL;
}

int keyring_put(const struct keyring_entry *entry, const char *repo,
		struct buf *out)
{
	auto_free char *host = strndup(repo, strcspn(repo, "/"));
	struct json_out o = JSON_OUT(out);

	if (!host)
		return -ENOMEM;
	json_put_object(&o, NULL);
	json_put_object(&o, "auths");
	json_put_object(&o, host);
	if (*entry->auth)
		json_put_str(&o, "auth", entry->auth);
	if (entry->token)
		json_put_str(&o, "identitytoken", entry->token);
	for (int i = 0; i < 3; i++)
		json_put_end(&o);
	return buf_error(out);
}
