"""Owns the processes of one stack, and ends them with itself.

    supervisor.py run STATE                        serve until "end" or until STATE vanishes
    supervisor.py ask STATE VERB [ARGUMENT...]     one request; the answer on stdout
    supervisor.py wait STATE SERVICE SECONDS       until SERVICE listens on its port

Verbs:
    port SERVICE...              the service's port on 127.0.0.1, reserved for as long as the supervisor lives
    start SERVICE [OPTION...] -- PROGRAM ...
                                 start it unless it runs; "started PID" or "running PID". The options
                                 are setpriv's, for a program that must not run as root
    stop SIGNAL SERVICE...       send SIGNAL, wait, KILL what is left
    signal SIGNAL SERVICE...     only send it (STOP and CONT play a hang)
    end                          stop everything and leave

Only the standard library and Linux's /proc are used.

Why not a pid file for each service and nothing else: sshd puts each connection into a session
of its own and Apache's workers outlive a killed parent, so that neither a process group nor a
session holds all of a service. A child subreaper inherits every orphan, so nothing escapes it.
"""

import ctypes
import fcntl
import json
import os
import random
import select
import signal
import socket
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
TICK = 0.25  # seconds between two looks at the state folder
GRACE = 30.0  # seconds from the signal to KILL
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
PORTS = range(20000, 30000)  # below the kernel's own choice for outgoing connections


def stat_of(pid):
    """State letter, parent and start time of a process; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1]), fields[19]


def boot_id():
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def record(path, pid):
    """Write "pid start-time boot", which together name one process for ever."""
    found = stat_of(pid)
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(f"{pid} {found[2] if found else 0} {boot_id()}\n")
    os.rename(path + ".new", path)


def recorded(path):
    """The pid in such a file, if that very process runs; else None."""
    try:
        with open(path, encoding="ascii") as file:
            pid, start, boot = file.read().split()
    except (OSError, ValueError):
        return None
    found = stat_of(pid)
    if boot != boot_id() or not found or found[0] in "ZX" or found[2] != start:
        return None
    return int(pid)


def processes():
    """All processes now, as {pid: (parent, start time)}."""
    found = {int(entry): stat_of(entry) for entry in os.listdir("/proc") if entry.isdigit()}
    return {pid: stat[1:] for pid, stat in found.items() if stat}


def tree(roots, among=None):
    """The processes below and including roots, as {pid: start time}."""
    among = among or processes()
    children = {}
    for pid, (parent, _) in among.items():
        children.setdefault(parent, []).append(pid)
    found, todo = {}, [pid for pid in roots if pid in among]
    while todo:
        pid = todo.pop()
        found[pid] = among[pid][1]
        todo += children.get(pid, [])
    return found


def send(doomed, number):
    """Send a signal to those of {pid: start time} that are still the same processes."""
    for pid, start in doomed.items():
        now = stat_of(pid)
        if now and now[2] == start:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass


def sockets(port):
    """The states of the sockets on 127.0.0.1 that have this port: 0A listens, 06 is TIME_WAIT."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        return {line.split()[3] for line in file if line.split()[1] == f"0100007F:{port:04X}"}


def listens(port):
    return "0A" in sockets(port)


class Refused(Exception):
    """A request that cannot be done; the text is for the person."""


class Supervisor:
    def __init__(self, state):
        self.state = state
        self.identity = self.identify()
        self.services = {}  # name -> pid
        self.sockets = {}  # name -> the socket that reserves its port
        self.leave = False
        self.owner = os.path.join(state, "supervisor", "while")
        if os.path.exists(self.owner) and not recorded(self.owner):
            os.unlink(self.owner)  # a former owner's

    def identify(self):
        """What the folder is now. A folder of the same name made later is another one."""
        try:
            found = os.stat(self.state)
            os.stat(os.path.join(self.state, "supervisor", "pid"))
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def run(self, listener):
        while not self.leave:
            if select.select([listener], [], [], TICK)[0]:
                self.answer(listener.accept()[0])
            self.reap()
            if self.identify() != self.identity:
                print("the state folder has vanished: ending everything", flush=True)
                self.kill_all()
                return
            if os.path.exists(self.owner) and not recorded(self.owner):
                print("the process that wanted this stack has ended: ending everything", flush=True)
                self.do_end()

    def answer(self, connection):
        connection.settimeout(5)
        with connection, connection.makefile("rw", encoding="utf-8") as stream:
            try:
                verb, *arguments = json.loads(stream.readline())
                reply = [True, getattr(self, "do_" + verb)(*arguments)]
            except Refused as refused:
                reply = [False, str(refused)]
            except (OSError, ValueError, TypeError, AttributeError) as error:
                reply = [False, f"supervisor: {type(error).__name__}: {error}"]
            try:
                stream.write(json.dumps(reply) + "\n")
                stream.flush()
            except OSError as error:
                print(f"the client has gone: {error}", flush=True)

    # ------------------------------------------------------------------ processes
    def reap(self):
        """Bury what ended, then end what it left behind."""
        buried = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            buried = True
            for name in [name for name, known in self.services.items() if known == pid]:
                code = os.waitstatus_to_exitcode(status)
                how = f"by signal {-code}" if code < 0 else f"with status {code}"
                print(f"{time.strftime('%FT%TZ', time.gmtime())} {name} ended {how}", flush=True)
                del self.services[name]
        if buried:
            send(self.orphans(), signal.SIGKILL)

    def orphans(self):
        """What services that have ended left to us, as we are the subreaper."""
        everybody, known = processes(), set(self.services.values())
        adopted = [pid for pid, (parent, _) in everybody.items() if parent == os.getpid() and pid not in known]
        return tree(adopted, everybody)

    def do_start(self, name, *arguments):
        self.reap()  # it may have been killed a moment ago
        if name in self.services:
            return f"running {self.services[name]}"
        log = os.path.join(self.state, "log", name + ".log")
        # The kernel ends the service when the supervisor is killed; setpriv makes that outlive exec.
        argv = ["/usr/bin/setpriv", "--pdeathsig", "TERM", *arguments]
        pid = os.posix_spawn(
            argv[0], argv,
            {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": os.path.join(self.state, "supervisor")},
            setsid=True,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ])
        self.services[name] = pid
        record(os.path.join(self.state, "run", name + ".pid"), pid)
        return f"started {pid}"

    def do_signal(self, number, *names):
        down = [name for name in names if name not in self.services]
        if down:
            raise Refused(f"{', '.join(down)}: not running")
        send(tree([self.services[name] for name in names]), getattr(signal, "SIG" + number))
        return ""

    def do_stop(self, number, *names):
        self.reap()
        pids = [self.services[name] for name in names if name in self.services]
        doomed, number = tree(pids), getattr(signal, "SIG" + number)
        hard = number == signal.SIGKILL
        send(doomed if hard else {pid: doomed[pid] for pid in pids if pid in doomed}, number)
        if not hard:
            send(doomed, signal.SIGCONT)  # a stopped process cannot see TERM
        end = time.monotonic() + GRACE
        while any(pid in self.services.values() for pid in pids) and time.monotonic() < end:
            self.reap()
            time.sleep(0.02)
        send(doomed, signal.SIGKILL)
        while any(pid in self.services.values() for pid in pids):
            self.reap()
            time.sleep(0.02)
        for name in names:
            try:
                os.unlink(os.path.join(self.state, "run", name + ".pid"))
            except FileNotFoundError:
                pass
        return ""

    def do_end(self):
        self.do_stop("TERM", *list(self.services))
        self.kill_all()
        self.leave = True
        return ""

    def kill_all(self):
        """Nothing below us is left when this returns, however fast it forks."""
        while True:
            below = tree([os.getpid()])
            del below[os.getpid()]
            if not below:
                return
            send(below, signal.SIGKILL)
            self.reap()
            time.sleep(0.02)

    # ---------------------------------------------------------------------- ports
    def do_port(self, *names):
        path = os.path.join(self.state, "ports")
        known = {}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                known = {name: int(port) for name, port in (line.split() for line in file)}
        for name in names:
            if name not in self.sockets:
                self.sockets[name], known[name] = self.reserve(name, known.get(name))
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.writelines(f"{name} {port}\n" for name, port in sorted(known.items()))
        os.rename(path + ".new", path)
        return "\n".join(str(known[name]) for name in names)

    def reserve(self, name, port):
        """Bind a port alone, then allow our service, and only a program that names this port, to share it.

        Bound without SO_REUSEADDR the port is ours or the call fails: two stacks cannot choose the
        same. Set afterwards, the option lets a service, which sets it too, listen on the bound port,
        while the kernel gives the port to nobody who asks for any free one - also while the service
        is down between a crash and its restart.

        Connections that our service closed a moment ago keep a remembered port for a minute (TIME_WAIT).
        Nobody can have reserved it meanwhile, so that they need not be waited for.
        """
        candidates = [port] if port else random.sample(PORTS, 200)
        for candidate in candidates:
            reserved = socket.socket()
            if port and sockets(port) == {"06"}:
                reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                reserved.bind(("127.0.0.1", candidate))
            except OSError:
                reserved.close()
                continue
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return reserved, candidate
        if port:
            raise Refused(f"port {port}, which this stack remembers for {name}, is taken by another program; "
                          "end that program, or make a new stack after `stack down --purge`")
        raise Refused(f"no free port between {PORTS.start} and {PORTS.stop}")


def run(state):
    os.closerange(3, 1024)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("supervisor: prctl: " + os.strerror(ctypes.get_errno()))
    os.chdir(os.path.join(state, "supervisor"))
    lock = os.open("lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("supervisor: another one serves this state folder")
    if os.path.lexists("control"):
        os.unlink("control")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("control")  # relative: a socket's path holds only 107 bytes
    listener.listen(64)
    record(os.path.join(state, "supervisor", "pid"), os.getpid())
    supervisor = Supervisor(state)

    def leave(*_):
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    try:
        supervisor.run(listener)
    finally:
        if supervisor.identify() == supervisor.identity and not supervisor.leave:
            supervisor.do_end()


def ask(state, *request):
    os.chdir(os.path.join(state, "supervisor"))
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(120)
    try:
        connection.connect("control")
        with connection, connection.makefile("rw", encoding="utf-8") as stream:
            stream.write(json.dumps(request) + "\n")
            stream.flush()
            good, text = json.loads(stream.readline())
    except (OSError, ValueError) as error:
        sys.exit(f"the supervisor of {state} does not answer: {error}")
    if not good:
        sys.exit(text)
    if text:
        print(text)


def wait(state, name, seconds):
    """Listening is enough: connections wait in the kernel until the service takes them."""
    with open(os.path.join(state, "ports"), encoding="utf-8") as file:
        port = next(int(line.split()[1]) for line in file if line.split()[0] == name)
    pid_file = os.path.join(state, "run", name + ".pid")
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        open_now = listens(port)
        if not recorded(pid_file):
            sys.exit(f"{name} ended while it started")
        if open_now:
            return
        time.sleep(0.03)
    sys.exit(f"{name} does not listen on port {port} after {seconds} s")


if __name__ == "__main__":
    {"run": run, "ask": ask, "wait": wait}[sys.argv[1]](*sys.argv[2:])
