/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is spoken on <run>/pods/<uid>/pod.sock, between the agent and the
 * supervisor of one pod (arktos-pod).
 *
 * SOCK_SEQPACKET, one JSON object a message, root only, several clients at a
 * time. Descriptors ride along (SCM_RIGHTS); JSON names them by their index in
 * the message. A body larger than %PROTO_INLINE_MAX is put into a memfd, which
 * is then the *last* descriptor, and the message itself is {"body":"fd"}.
 *
 *   request   {"id":7,"op":"start","spec":{...}}          + descriptors
 *   reply     {"id":7,"ok":true, ...}
 *   refusal   {"id":7,"ok":false,"error":{"reason":"StartError",
 *              "message":"exec 'httpd': not found in PATH=...","exitCode":127,
 *              "errno":2}}
 *   event     {"event":"exit","process":{...}}    to clients that subscribed
 *
 * op          further members                    reply
 * hello       -                                  version, uid, pid, userns
 * subscribe   -                                  then events on this socket
 * list        -                                  processes: [process, ...]
 * start       spec                               process
 * exec        container, spec                    process; tty: 1 descriptor
 * kill        name, signal, group                -
 * resize      name, rows, cols                   -
 * attach      name, out, in, once                1 descriptor, if in is asked
 * for ack         name                               - (its exit is forgotten)
 * reopen      name                               - (log file opened anew)
 * shutdown    -                                  sent when all are dead
 *
 * process: name, kind (container, exec, host), container (of an exec), attempt,
 *   state (starting, running, exited), pid (the host's number, 0 if unknown),
 *   podPid (inside the pod), startedAt, finishedAt (RFC 3339, UTC), exitCode,
 *   signal, oomKilled, reason, message, logDropped (bytes)
 *
 * attach: what the process writes from now on is also written to the
 *   descriptors out names ([stdout, stderr]; with a terminal the first has
 * all), and they are closed at its end. Who does not read holds the process up.
 * "in" (bool) asks for its standard input or terminal; with "once" it is handed
 *   over: closing it is the end of the input. A process that has none, or whose
 *   input was handed over before, gets no descriptor in reply.
 *
 * spec: see PROTO_SPEC below.
 */
#ifndef AGENT_SUPERVISOR_PROTO_H
#define AGENT_SUPERVISOR_PROTO_H

#define PROTO_VERSION     1
#define PROTO_SOCKET      "pod.sock"   /* in the pod's run directory */
#define PROTO_EXITS       "exits.json" /* in the pod's state directory */
#define PROTO_SCRATCH     "mnt"        /* mount point in the run directory */
#define PROTO_INLINE_MAX  (32 * 1024)
#define PROTO_BODY_MAX    (2 * 1024 * 1024) /* 64 Ki of one text, many texts */
#define PROTO_FDS_MAX     200               /* the kernel's limit is 253 */
#define PROTO_DEPTH_MAX   8
#define PROTO_NAME_MAX    63
#define PROTO_PROCS_MAX   160 /* containers and execs of one pod */
#define PROTO_ARGS_MAX    4096
#define PROTO_LAYERS_MAX  128
#define PROTO_MOUNTS_MAX  128
#define PROTO_GROUPS_MAX  64
#define PROTO_CLIENTS_MAX 16
#define PROTO_TAPS_MAX    8 /* who is attached to one process */

/* The command line of a new supervisor, to the forker (forker.c): strings, each
 * with its NUL, and the descriptors they name, from 3 on. The first of these is
 * --ready-fd's. */
#define PROTO_FORK_MAX  (64 * 1024)
#define PROTO_FORK_ARGS 96
#define PROTO_FORK_FDS  24

/*
 * PROTO_SPEC: one process. Everything but name and argv may be missing. "fd"
 * members are indices of descriptors in the message.
 *
 * name          unique in the pod among what is not yet acked
 * kind          "container" (default) or "host": a host binary in an empty root
 *               that holds what mounts and symlinks put there
 * attempt       restart count, for the log
 * argv, env     lists; env as NAME=value. argv[0] is looked up in env's PATH
 * cwd           made when missing; "/" at first
 * user          "name", "1000", "name:group": by the image's own passwd, group
 * uid, gid      numbers; they win over user
 * groups        supplementary gids, added to those of the image's group file
 * umask         18 (022)
 * caps          hexadecimal mask: bounding, and permitted for uid 0
 * ambient       hexadecimal mask
 * noNewPrivs    bool
 * seccomp       fd: struct sock_filter[], as seccomp_export_bpf() writes it
 * rlimits       [{"type":7,"soft":1024,"hard":4096}]: RLIMIT_ numbers
 * oomScoreAdj   number
 * tty, stdin    bool; without, stdin is /dev/null
 * rows, cols    of the tty
 * cgroups       [fd]: tasks of every v1 hierarchy, opened for writing
 * cgroupDir     fd: cgroup v2 directory: started into it (CLONE_INTO_CGROUP)
 * oom           fd: memory.events, or memory.oom_control on v1
 * layers        [path]: overlay lower directories, the topmost first
 * rw            path: directory of this process; upper/ and work/ are made in
 *               it. Missing: the root is the layers, read-only
 * readOnlyRoot  bool
 * privileged    bool: host's devices, nothing masked, /sys writable
 * sharePid      bool: in the pod's pid namespace instead of one of its own
 * mounts        [{"dest":"/data","fd":3 | "path":"/var/..","ro":true,
 *               "noexec":true, "idmap":"no"|"try"|"must"}]
 *               fd: a detached mount (open_tree(OPEN_TREE_CLONE)); path:
 *               absolute, no symlink in it. In order. "type":"tmpfs" mounts a
 *               fresh one of "size" bytes instead
 * devices       [path]: further device nodes of the host, shown in /dev
 * symlinks      [{"path":"/lib","target":"usr/lib"}], kind host only
 * masked        [path], readOnlyPaths [path]
 * log           path of the log file; its folder exists. Missing: discarded
 * logMax        bytes before it is rotated, 10 MiB; logKeep: how many rotated
 *               ones stay, 3: <log>.1 is the youngest
 * fds           [fd]: become descriptors 3, 4, ... of the process
 * stdio         [fd, fd, fd]: exec only, instead of log
 * exit          fd: exec only: struct proto_exit is written there at its end
 */
#define PROTO_LOG_MAX  (10 * 1024 * 1024)
#define PROTO_LOG_KEEP 3

/* Reasons, as Kubernetes shows them. */
#define PROTO_CREATE_ERROR "CreateContainerError" /* root, mounts, user */
#define PROTO_RUN_ERROR    "RunContainerError"    /* namespaces, cgroup, fork */
#define PROTO_START_ERROR  "StartError"           /* exec itself */

/* Exit codes where the process never ran. */
#define PROTO_EXIT_NOT_FOUND 127
#define PROTO_EXIT_NO_ACCESS 126
#define PROTO_EXIT_NO_START  128

/* Written to the "exit" descriptor of an exec. */
struct proto_exit {
	int exit_code; /* 128 + signal when it was killed */
	int signal;    /* 0, or what killed it */
};

#endif /* AGENT_SUPERVISOR_PROTO_H */
