/* SPDX-License-Identifier: Apache-2.0 */
/* Between objects.c and objwatch.c. All under remote.lock but for the call. */
#ifndef AGENT_REMOTE_OBJECTS_H
#define AGENT_REMOTE_OBJECTS_H

#include <stdbool.h>
#include <stdint.h>

#include "controlplane/client/client.h"
#include "lib/buf.h"

struct object;
struct remote;

/* The watch of one object. */
struct objwatch {
	struct objwatch *next; /* of remote.watches */
	struct remote *r;
	struct object *object; /* NULL: nobody wants it any more */
	char *path, *url;
	struct client *client; /* whose the call is */
	uint64_t version;      /* seen so far */
	int64_t began_ms;
	bool valid;   /* what is known is what there is */
	bool running; /* the call is the client's */
	bool leaving; /* its end has been posted to the client's loop */
	struct client_call call;
	struct buf line; /* the loop's */
};

struct object {
	char *json; /* NULL: there is none */
	int64_t asked_ms, used_ms;
	bool immutable;
	struct objwatch *watch; /* NULL: it is asked for now and then */
};

int64_t object_clock_ms(void);
/* Takes @json. */
void object_set(struct object *o, char *json, bool immutable);

/* "DIR/NAME" as a list of that one. */
void objwatch_list_path(const char *path, struct buf *url);
/* Watch from @version on. False: not now, there are too many. */
bool objwatch_start(struct remote *r, struct object *o, const char *path,
		    uint64_t version);
/* End what nobody wants, free what has ended. Takes the lock. */
void objwatch_sweep(struct remote *r);
/* All of them; nothing is called any more. Not under the lock. */
void objwatch_stop(struct remote *r);

#endif /* AGENT_REMOTE_OBJECTS_H */
