# SPDX-License-Identifier: Apache-2.0
"""python3-kubernetes: what goes through to a node.

streams.py KUBECONFIG POD WEB-POD PORT

Prints "NAME: ok" for each that works, and what came for each that does not.
"""
import sys

from kubernetes import client, config
from kubernetes.stream import portforward, stream


def check(name, got, want):
    print("%s: %s" % (name, "ok" if got == want else repr(got)), flush=True)


def run(v1, pod, *command, **kwargs):
    return stream(v1.connect_get_namespaced_pod_exec, pod, "default",
                  command=list(command), stderr=True, stdin=False,
                  stdout=True, tty=False, **kwargs)


def main():
    v1 = client.CoreV1Api(config.new_client_from_config(sys.argv[1]))
    pod, web, port = sys.argv[2], sys.argv[3], int(sys.argv[4])
    check("log", v1.read_namespaced_pod_log(pod, "default", tail_lines=1),
          "three\n")
    check("exec", run(v1, pod, "echo", "hello"), "hello\n")
    s = run(v1, pod, "sh", "-c", "echo out; echo err >&2; exit 5",
            _preload_content=False)
    s.run_forever(timeout=20)
    check("exit code", s.returncode, 5)
    check("output", s.read_stdout(), "out\n")
    check("error output", s.read_stderr(), "err\n")
    s = stream(v1.connect_get_namespaced_pod_exec, pod, "default",
               command=["sh", "-c", "read a; echo got $a"], stderr=True,
               stdin=True, stdout=True, tty=False, _preload_content=False)
    s.write_stdin("this\n")
    s.run_forever(timeout=20)
    check("input", s.read_stdout(), "got this\n")
    f = portforward(v1.connect_get_namespaced_pod_portforward, web,
                    "default", ports=str(port))
    sock = f.socket(port)
    sock.setblocking(True)
    sock.settimeout(20)
    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
    check("port-forward", sock.recv(5), b"HTTP/")
    sock.close()


main()
