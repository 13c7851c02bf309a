// SPDX-License-Identifier: Apache-2.0
/* What an operator does with the store: copies, keys, and where it is. */
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/control.h"
#include "controlplane/store/keys.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

/* As Kubernetes has it: 5m0s, 300s, 1h. */
static bool parse_history(const char *value, uint32_t *ret_s)
{
	uint64_t total = 0;

	while (*value) {
		char *end;
		unsigned long n = strtoul(value, &end, 10);

		if (end == value || n > 86400 || !strchr("hms", *end) || !*end)
			return false;
		total += (uint64_t)n * (*end == 'h'   ? 3600
					: *end == 'm' ? 60
						      : 1);
		value = end + 1;
	}
	*ret_s = (uint32_t)total;
	return total && total <= 7 * 86400;
}

bool control_store_option(struct control_store *s, int c, const char *value)
{
	switch (c) {
	case 'S':
		if (strcmp(value, "embedded") == 0)
			return true;
		if (strncmp(value, "etcd=", 5) != 0 || !value[5])
			return false;
		s->etcd.endpoints = value + 5;
		s->opts.etcd = &s->etcd;
		return true;
	case 'C':
		s->etcd.ca_file = value;
		return true;
	case 'X':
		s->etcd.cert_file = value;
		return true;
	case 'K':
		s->etcd.key_file = value;
		return true;
	case 'P':
		s->etcd.prefix = value;
		return true;
	case 'H':
		return parse_history(value, &s->opts.history_s);
	case 'E':
		s->opts.key_file = value;
		return true;
	default:
		return false;
	}
}

struct command {
	struct control_store store;
	const char *dir, *to, *from;
	char *db, *keys;
};

static void command_clear(struct command *cmd)
{
	free(cmd->db);
	free(cmd->keys);
}

/* Folders and keys of a command; the key file may not be there. */
static bool parse(int argc, char **argv, struct command *cmd)
{
	static const struct option options[] = {
		{ "data-dir", required_argument, NULL, 'd' },
		{ "to", required_argument, NULL, 't' },
		{ "from", required_argument, NULL, 'f' },
		CONTROL_STORE_OPTIONS,
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'd')
			cmd->dir = optarg;
		else if (c == 't')
			cmd->to = optarg;
		else if (c == 'f')
			cmd->from = optarg;
		else if (!control_store_option(&cmd->store, c, optarg))
			return false;
	}
	if (!cmd->dir || optind != argc)
		return false;
	cmd->db = str_printf("%s/store", cmd->dir);
	cmd->keys = cmd->store.opts.key_file
			    ? strdup(cmd->store.opts.key_file)
			    : str_printf("%s/encryption.keys", cmd->dir);
	if (!cmd->db || !cmd->keys)
		return false;
	if (fs_exists(AT_FDCWD, cmd->keys))
		cmd->store.opts.key_file = cmd->keys;
	cmd->store.opts.dir = cmd->db;
	return true;
}

static int backup_etcd(struct command *cmd, uint64_t *objects,
		       uint64_t *revision, struct err *e)
{
	auto_ptr(store) s = NULL;
	struct store_stats st;
	int r = store_open(&cmd->store.opts, &s, e);

	if (r == 0)
		r = store_backup(s, cmd->to, e);
	if (r < 0)
		return r;
	store_stats(s, &st);
	*objects = st.live_objects;
	*revision = st.revision;
	return 0;
}

int control_backup(int argc, char **argv)
{
	struct command cmd = { 0 };
	uint64_t objects = 0, revision = 0;
	struct err e = { 0 };
	int r;

	if (!parse(argc, argv, &cmd) || !cmd.to) {
		command_clear(&cmd);
		return control_wrong("--data-dir and --to are required");
	}
	if (cmd.store.opts.etcd)
		r = backup_etcd(&cmd, &objects, &revision, &e);
	else
		r = store_backup_folder(cmd.db, cmd.to, cmd.store.opts.key_file,
					&objects, &revision, &e);
	if (r == 0)
		printf("%s: %llu objects, revision %llu, verified\n", cmd.to,
		       (unsigned long long)objects,
		       (unsigned long long)revision);
	if (r == 0 && cmd.store.opts.key_file)
		printf("it is encrypted: without a copy of %s, kept elsewhere, "
		       "nobody can read it\n",
		       cmd.store.opts.key_file);
	command_clear(&cmd);
	return r < 0 ? control_failed(&e) : 0;
}

int control_restore(int argc, char **argv)
{
	struct command cmd = { 0 };
	uint64_t objects = 0, revision = 0;
	struct err e = { 0 };
	int r;

	if (!parse(argc, argv, &cmd) || !cmd.from || cmd.store.opts.etcd) {
		command_clear(&cmd);
		return control_wrong("--data-dir and --from are required");
	}
	r = store_restore(cmd.from, cmd.db, cmd.store.opts.key_file, &e);
	if (r == 0)
		r = store_verify(cmd.db, cmd.store.opts.key_file, &objects,
				 &revision, &e);
	if (r == 0)
		printf("%s: %llu objects, revision %llu\n", cmd.db,
		       (unsigned long long)objects,
		       (unsigned long long)revision);
	command_clear(&cmd);
	return r < 0 ? control_failed(&e) : 0;
}

int control_rotate_key(int argc, char **argv)
{
	struct command cmd = { 0 };
	auto_ptr(store_keys) k = NULL;
	struct err e = { 0 };
	int r;

	if (!parse(argc, argv, &cmd)) {
		command_clear(&cmd);
		return control_wrong("--data-dir is required");
	}
	r = store_keys_open(cmd.keys, false, &k, &e);
	if (r == 0)
		r = store_keys_rotate(k, &e);
	if (r == 0)
		printf("%s has a new first key. Send SIGHUP to every "
		       "arktos-control that runs with it,\nor use 'reencrypt' "
		       "when none does; then old keys may be taken out\n",
		       cmd.keys);
	command_clear(&cmd);
	return r < 0 ? control_failed(&e) : 0;
}

int control_reencrypt(int argc, char **argv)
{
	struct command cmd = { 0 };
	auto_ptr(store) s = NULL;
	struct err e = { 0 };
	uint64_t nr = 0;
	int r = 0;

	if (!parse(argc, argv, &cmd)) {
		command_clear(&cmd);
		return control_wrong("--data-dir is required");
	}
	if (!cmd.store.opts.etcd && !fs_exists(AT_FDCWD, cmd.db))
		r = err_set(&e, -ENOENT, "%s holds no store", cmd.dir);
	cmd.store.opts.key_file = cmd.keys;
	cmd.store.opts.create_key_file = true;
	if (r == 0)
		r = store_open(&cmd.store.opts, &s, &e);
	if (r == -EBUSY)
		err_wrap(&e, r, "it is served: send that process SIGHUP");
	if (r == 0)
		r = store_reencrypt(s, &nr, &e);
	if (r == 0)
		printf("%llu records rewritten\n", (unsigned long long)nr);
	store_close(take_ptr(s));
	command_clear(&cmd);
	return r < 0 ? control_failed(&e) : 0;
}
