/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Greeters: threads that accept connections and do their handshakes, which cost
 * more than all else that is done for most of them. A connection that has shown
 * who it is goes to a loop; those who wait for that are served by the address
 * they come from, in turn (turns.c), and where a greeter and a loop want the
 * same CPU, the loop has it first.
 */
#ifndef CONTROLPLANE_APISERVER_GREET_H
#define CONTROLPLANE_APISERVER_GREET_H

struct conn;
struct err;
struct loop;

#define GREETING_MAX 4096 /* connections in handshake, a greeter */

/* Accept from now on, on the greeter's own thread. */
int greeter_listen(struct loop *g, struct err *e);
/* What its thread is like. */
void greeter_settle(void);
/* A turn of a connection in handshake. It may be gone after, or a loop's. */
void greet(struct conn *c);

#endif /* CONTROLPLANE_APISERVER_GREET_H */
